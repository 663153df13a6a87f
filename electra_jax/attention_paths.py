"""Which way attention is computed, and how it is split over the devices."""

import dataclasses
from collections.abc import Callable

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from electra_jax.errors import UserError
from electra_jax.models.attention import AttentionConfig, attend
from electra_jax.models.fused_attention import LONGEST, fits, fused_attend
from electra_jax.shapes import Hidden
from electra_jax.training.sharding import BATCH_AXES

PATHS = ("auto", "xla", "fused")


def make_attend(path: str, mesh: Mesh) -> Callable[..., Hidden]:
  """Returns how the programs of a mesh compute attention.

  All ways zero the same probabilities in dropout and agree to rounding.

  Args:
    path: "xla": scores and probabilities are arrays; "fused": they stay
      inside a kernel, for TPUs (elsewhere it is interpreted, for tests);
      "auto": fused on TPUs where rows and heads fit the kernel, else xla.
    mesh: the devices.

  Raises:
    UserError: there is no such path, now; or a row that does not fit the
      fused one, when the program is traced.
  """
  if path not in PATHS:
    raise UserError(
        f"config.model.attention is {path!r}; it must be one of"
        f" {', '.join(PATHS)}"
    )
  is_tpu = mesh.devices.flat[0].platform == "tpu"
  if path == "xla" or (path == "auto" and not is_tpu):
    return attend

  def choose(config: AttentionConfig, query: Hidden, *rest) -> Hidden:
    _, length, width = query.shape
    if fits(length, width, config.num_heads):
      return _on_each_device(mesh, not is_tpu, config, query, *rest)
    if path == "auto":
      return attend(config, query, *rest)
    raise UserError(
        f"config.model.attention is 'fused', and rows of {length} tokens with"
        f" {config.num_heads} heads in a width of {width} do not fit its"
        f" kernel, which takes up to {LONGEST} tokens, a multiple of 8; set"
        " it to 'auto'"
    )

  return choose


def _on_each_device(mesh, interpret, config, query, key, value, *rest):
  # The compiler cannot split a kernel: each device runs it on its rows, and on
  # its heads where they divide over the tensor axis.
  input_mask, positions, dropout_seeds = rest
  parts = mesh.shape["tensor"]
  is_split = config.num_heads % parts == 0
  local = config
  if is_split:
    local = dataclasses.replace(config, num_heads=config.num_heads // parts)

  def run(*arrays):
    first_head = 0
    if is_split:
      first_head = jax.lax.axis_index("tensor") * local.num_heads
    return fused_attend(local, *arrays, first_head, interpret=interpret)

  hidden = P(BATCH_AXES, None, "tensor" if is_split else None)
  tokens = P(BATCH_AXES, None)
  one_row = positions.shape[0] == 1 != query.shape[0]
  return jax.shard_map(
      run,
      mesh=mesh,
      in_specs=(
          *(hidden,) * 3,
          tokens,
          P() if one_row else tokens,
          None if dropout_seeds is None else tokens,
      ),
      out_specs=hidden,
      check_vma=False,  # A kernel does not say over which axes it varies.
  )(query, key, value, input_mask, positions, dropout_seeds)
