"""Devices as a named mesh, and where every array lies on it.

Axes: "data" splits the batch; "fsdp" splits the batch and the parameters;
"tensor" splits the discriminator's heads and feed-forward width. No axis splits
rows: they are short, a batch has more of them than there are devices, and keys
and values would have to travel in every layer.
"""

from typing import Any

import jax
import numpy as np
import optax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from electra_jax.errors import UserError
from electra_jax.shapes import Hidden, Params
from electra_jax.trees import match_rules, path_names

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")

# The generator is too narrow for the tensor axis: it is copied along it. The
# word table is split by width, as its rows (30,522) divide by no mesh.
RULES = (
    (r".*(layer_norm|bias).*", P()),
    (r"(\w*)embeddings/\w+/embedding", P(None, "fsdp")),
    (
        r"discriminator/.*/(query|key|value|intermediate)/kernel",
        P("fsdp", "tensor"),
    ),
    (r"discriminator/.*/output/kernel", P("tensor", "fsdp")),
    (r"discriminator/embeddings_project/kernel", P("fsdp")),
    (r"generator(_ltr|_rtl)?/.*/kernel", P("fsdp")),
    (
        r"(generator|discriminator|cloze|token|target)_head/\w+/kernel",
        P("fsdp"),
    ),
    (r"latent_head/\w+/kernel", P()),  # No side of it need divide.
    # A decoder that reads another text and writes this one.
    (
        r"decoder/(layer|cross)_\d+/(.*/)?(query|key|value|intermediate)/kernel",
        P("fsdp", "tensor"),
    ),
    (r"decoder/(layer|cross)_\d+/(.*/)?output/kernel", P("tensor", "fsdp")),
    (r"decoder/\w+/kernel", P("fsdp")),
    (r"task_specific/.*kernel", P("fsdp")),
    (r"task_specific/\w+/prior_\w+", P()),
    # What DiffCSE trains with, and leaves behind.
    (r"(frozen_generator|detector)/.*embedding", P(None, "fsdp")),
    (r"(frozen_generator|detector)/.*kernel", P("fsdp")),
)


def make_mesh(
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    devices: list[jax.Device] | None = None,
) -> Mesh:
  """Arranges devices as (data, fsdp, tensor).

  Args:
    data: size of that axis; -1 takes the devices that the others leave.
    fsdp: size of that axis; see `fewest_shards` for how to choose it.
    tensor: size of that axis.
    devices: the devices, or None for all of all processes.

  Raises:
    UserError: the sizes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  if min(fsdp, tensor) < 1:
    raise UserError(
        f"mesh fsdp={fsdp} tensor={tensor} holds a size below 1; choose"
        " config.mesh so that the product is the number of devices"
    )
  if data == -1:
    data = len(devices) // (fsdp * tensor)
  if data * fsdp * tensor != len(devices):
    raise UserError(
        f"mesh data={data} fsdp={fsdp} tensor={tensor} asks for"
        f" {data * fsdp * tensor} devices and there are {len(devices)}; choose"
        " config.mesh so that the product is their number"
    )
  return jax.make_mesh(
      (data, fsdp, tensor),
      AXES,
      axis_types=(AxisType.Auto,) * len(AXES),
      devices=devices,
  )


def fewest_shards(params: Params, num_devices: int, memory_bytes: int) -> int:
  """Returns a size of "fsdp" with which a state fits.

  It is the smallest for which parameters, moments and gradients, all of
  float32, leave half of a device's memory to everything else. With more than
  one shard a device holds its share of parameters and moments, and during a
  step all parameters and gradients.

  Args:
    params: their shapes.
    num_devices: that the axes "data" and "fsdp" share.
    memory_bytes: of one device.
  """
  specs = match_rules(RULES, params, "sharding")
  widths = [
      leaf.shape[spec.index("fsdp")]
      for (_, leaf), (_, spec) in zip(
          path_names(params), path_names(specs), strict=True
      )
      if "fsdp" in spec
  ]
  size = 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
  shards = 1
  for n in range(1, num_devices + 1):
    if num_devices % n or any(width % n for width in widths):
      continue
    shards = n
    if size * (3 / n + (1 if n == 1 else 2)) <= memory_bytes / 2:
      break
  return shards


def batch_shards(mesh: Mesh) -> int:
  """Returns over how many devices the rows of a batch are split."""
  return _size(mesh, BATCH_AXES)


def check_divisible(mesh: Mesh, name: str, value: int, axes: tuple[str, ...]):
  """Raises a UserError unless `value` divides over the mesh axes."""
  size = _size(mesh, axes)
  if value % size:
    raise UserError(
        f"{name} {value} does not divide over the {size} devices of mesh axes"
        f" {' x '.join(axes)}; choose a multiple of {size} or another"
        " config.mesh"
    )


def check_batch(mesh: Mesh, batch_size: int, accumulation_steps: int) -> None:
  """Raises a UserError unless a batch divides into parts and over devices."""
  if accumulation_steps < 1 or batch_size % accumulation_steps:
    raise UserError(
        f"config.train.batch_size {batch_size} does not divide into"
        f" config.train.accumulation_steps {accumulation_steps}; choose a"
        " multiple"
    )
  check_divisible(
      mesh,
      "config.train.batch_size over config.train.accumulation_steps",
      batch_size // accumulation_steps,
      BATCH_AXES,
  )


def params_shardings(mesh: Mesh, params: Any) -> Any:
  """Returns the sharding of every parameter by RULES.

  Raises:
    UserError: a parameter has no rule, or does not divide over its axes.
  """
  specs = match_rules(RULES, params, "sharding")
  for (name, leaf), (_, spec) in zip(
      path_names(params), path_names(specs), strict=True
  ):
    for size, axis in zip(leaf.shape, spec, strict=False):
      if axis is not None:
        check_divisible(mesh, f"width of parameter {name}", size, (axis,))
  return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def state_shardings(
    mesh: Mesh, optimizer: optax.GradientTransformation, state: Any
) -> Any:
  """Returns the sharding of a TrainState: moments lie as their parameters."""
  params = params_shardings(mesh, state.params)
  whole = NamedSharding(mesh, P())
  opt_state = optax.tree_utils.tree_map_params(
      optimizer,
      lambda _, sharding: sharding,
      state.opt_state,
      params,
      transform_non_params=lambda _: whole,
  )
  return state._replace(step=whole, params=params, opt_state=opt_state)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Rows split over the batch axes, everything else whole."""
  return NamedSharding(mesh, P(BATCH_AXES))


def to_global(mesh: Mesh, local_batch: Any) -> Any:
  """Assembles every process's rows into global arrays, rows in order.

  Args:
    local_batch: a tree of numpy arrays [b, ...], this process's rows.
  """
  sharding = batch_sharding(mesh)
  with jax.transfer_guard("allow"):  # The one transfer a step may make.
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(sharding, rows),
        local_batch,
    )


def rows_to_global(mesh: Mesh, batch: Any) -> Any:
  """Lays out a batch that every process holds whole.

  Args:
    batch: a tree of numpy arrays [rows, ...], split over the batch axes, and
      of scalars, which all devices get.
  """
  rows, whole = batch_sharding(mesh), NamedSharding(mesh, P())

  def lay_out(array):
    array = np.asarray(array)
    return jax.make_array_from_callback(
        array.shape, rows if array.ndim else whole, lambda part: array[part]
    )

  with jax.transfer_guard("allow"):  # The one transfer a step may make.
    return jax.tree.map(lay_out, batch)


def to_everywhere(mesh: Mesh, value: np.ndarray | np.generic) -> jax.Array:
  """Puts one value, the same in every process, on all devices."""
  return jax.device_put(value, NamedSharding(mesh, P()))


def constrain_hidden(mesh: Mesh):
  """Returns a function that pins [B, L, D] states to rows over the mesh."""
  is_gpu = mesh.devices.flat[0].platform == "gpu"

  def constrain(hidden: Hidden) -> Hidden:
    here, free = mesh_here(mesh)
    if free:
      axes = tuple(axis for axis in BATCH_AXES if axis in free)
      rows = NamedSharding(here, P(axes or None, None, None))
      hidden = jax.lax.with_sharding_constraint(hidden, rows)
    if is_gpu:  # Else XLA puts the rows last there, and copies at each layer.
      hidden = with_layout_constraint(hidden, Layout((0, 1, 2)))
    return hidden

  return constrain


def constrain_params(mesh: Mesh, shardings: Any):
  """Returns a function that pins whole parameters to the axis "tensor".

  Their gradients are pinned with them, which XLA else lays out as it likes
  where a loop adds them up. Without that axis there is nothing to pin.
  """
  if mesh.shape["tensor"] == 1:
    return lambda params: params

  def constrain(params: Params) -> Params:
    here, _ = mesh_here(mesh)

    def pin(leaf, where):
      spec = P(*(axis if axis == "tensor" else None for axis in where.spec))
      return jax.lax.with_sharding_constraint(leaf, NamedSharding(here, spec))

    return jax.tree.map(pin, params, shardings)

  return constrain


def mesh_here(mesh: Mesh) -> tuple[Mesh | AbstractMesh, tuple[str, ...]]:
  """Returns the mesh of the computation being traced, and its free axes.

  Inside of a shard_map over some axes, XLA splits arrays over the others only.
  """
  inside = jax.sharding.get_abstract_mesh()
  if inside.empty:
    return mesh, mesh.axis_names
  mapped = inside.manual_axes
  return inside, tuple(x for x in mesh.axis_names if x not in mapped)


def _size(mesh: Mesh, axes: tuple[str, ...]) -> int:
  return int(np.prod([mesh.shape[axis] for axis in axes]))
