"""What a run takes on devices that nobody has rented yet.

The real training step is compiled for them; memory and traffic are what the
compiler says, FLOPs what models/flops.py counts, and times follow from both by
a roofline at a stated efficiency.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax

from electra_jax.devices import sharding
from electra_jax.devices.chips import (
    GPUS_OF_A_BOX,
    chip_of,
    devices_of,
    memory_of,
)
from electra_jax.errors import UserError
from electra_jax.performance.compiled import (
    Collective,
    CompiledStep,
    compile_step,
)
from electra_jax.performance.inputs import find_vocabulary
from electra_jax.performance.plan_result import Plan
from electra_jax.pretraining.phases import one_phase
from electra_jax.pretraining.trainer import Trainer, make_mesh, make_trainer
from electra_jax.progress import Progress
from electra_jax.runs.config import PretrainConfig, check_no_teacher
from electra_jax.runs.networks import Vocabulary
from electra_jax.runs.sections import replaced
from electra_jax.runs.start_shapes import with_shapes_of_start
from electra_jax.training.loop import COMPILE_TIME, COMPILING
from electra_jax.trees import count_parameters

DEFAULT_EFFICIENCY = 0.4
_ROOM = 0.9  # Of the memory: what a suggestion may fill.
_TRIES = 4  # Suggestions that are compiled.
_SENT_PER_BYTE = {"all-reduce": 2.0}  # Reduced, then gathered; others once.


def plan(
    config: PretrainConfig,
    topology: str,
    *,
    phase: str | None = None,
    efficiency: float = DEFAULT_EFFICIENCY,
    price: float | None = None,
    suggest: bool = True,
    quiet: bool = False,
) -> Plan:
  """Plans the run of a pre-training config on a topology.

  Args:
    config: as of configs/pretrain.py. Without a store the vocabulary is taken
      to be BERT's, 30,522 ids.
    topology: as of `accelerators.devices_of`.
    phase: which of the config's phases, if it has some.
    efficiency: model FLOPs utilisation that is counted on, in (0, 1].
    price: of one device for one hour, in any currency.
    suggest: whether to look for values that fit where the config's do not.
    quiet: whether to say nothing meanwhile.

  Raises:
    UserError: values that do not fit each other, or no such topology.
  """
  if not 0 < efficiency <= 1:
    raise UserError(
        f"--efficiency is {efficiency:g}; it must be above 0 and at most 1"
    )
  if price is not None and price < 0:
    raise UserError(f"--price is {price:g}; it must not be negative")
  config = one_phase(with_shapes_of_start(config), phase)
  check_no_teacher(config, "plan")
  progress = Progress(quiet=quiet)
  with progress.stage(f"reading the topology {topology}"):
    devices = devices_of(topology)
  found = _compile(config, devices, progress)
  limit = _limit(devices[0], found.step)
  change, fitting = {}, None
  if suggest and limit is not None and found.step.needed_bytes > limit:
    change, fitting = _find_fitting(config, devices, found, limit, progress)
  asked = _Asked(topology, devices, limit, efficiency, price)
  return _describe(asked, found, change, fitting)


@dataclasses.dataclass(frozen=True)
class _Asked:
  topology: str
  devices: list[Any]
  limit: int | None
  efficiency: float
  price: float | None


@dataclasses.dataclass(frozen=True)
class _Found:
  trainer: Trainer
  step: CompiledStep
  vocabulary: Vocabulary


def _compile(
    config: PretrainConfig,
    devices: list[Any],
    progress: Progress,
    change: Mapping[str, Any] | None = None,
) -> _Found:
  """Compiles the step of a config, with a change that is tried."""
  name = f"{COMPILING} for {len(devices)} x {devices[0].device_kind}"
  if change:
    config = replaced(config, change)
    tried = ", ".join(f"{key}={value}" for key, value in change.items())
    name += f" with {tried}, since the config's values do not fit"
  vocabulary = find_vocabulary(config)
  mesh = make_mesh(config, vocabulary, devices)
  trainer = make_trainer(config, vocabulary, mesh)
  with progress.stage(name, COMPILE_TIME):
    step = compile_step(trainer, config.train.batch_size, config.data.length)
  return _Found(trainer, step, vocabulary)


def _limit(device: Any, step: CompiledStep) -> int | None:
  if step.limit_bytes is not None:
    return step.limit_bytes
  return memory_of(device)


def _find_fitting(config, devices, found, limit, progress):
  """Looks for the least change of a config that fits; compiles each try."""
  most = _rows_of_a_device(config, found.trainer.mesh)
  change = _first_change(config, devices, found, limit)
  for _ in range(_TRIES):
    tried = _compile(config, devices, progress, change)
    if tried.step.needed_bytes <= limit:
      return change, tried.step
    if change.get("train.accumulation_steps", 1) < most:
      change = change | {
          "train.accumulation_steps": _next_divisor(
              most, 2 * change.get("train.accumulation_steps", 1)
          )
      }
    elif "model.remat" not in change and config.model.remat != "layer":
      change = change | {"model.remat": "layer"}
    else:
      break
  return {}, None


def _first_change(config, devices, found, limit) -> dict[str, Any]:
  """Guesses by proportion what brings the step under the limit."""
  change, shards = {}, found.trainer.mesh.shape["fsdp"]
  fixed = now_fixed = _fixed_bytes(found.trainer, shards)
  free = replaced(config, {"mesh.data": -1, "mesh.fsdp": 0})
  fewest = make_mesh(free, found.vocabulary, devices).shape["fsdp"]
  if fewest > shards:
    change = {"mesh.fsdp": fewest, "mesh.data": -1}
    fixed = _fixed_bytes(found.trainer, fewest)
  rows = max(found.step.needed_bytes - now_fixed, 1)
  room = max(_ROOM * limit - fixed, 1)
  most = _rows_of_a_device(config, found.trainer.mesh)
  if rows > room and most > 1:
    now = config.train.accumulation_steps
    change["train.accumulation_steps"] = _next_divisor(
        most, math.ceil(now * rows / room)
    )
  return change


def _rows_of_a_device(config: PretrainConfig, mesh) -> int:
  return config.train.batch_size // sharding.batch_shards(mesh)


def _next_divisor(number: int, least: int) -> int:
  return min(
      (n for n in range(1, number + 1) if number % n == 0 and n >= least),
      default=number,
  )


def _fixed_bytes(trainer: Trainer, shards: int) -> int:
  """Of parameters, moments and gradients on one device, whatever the rows."""
  size = 4 * sum(x.size for x in jax.tree.leaves(trainer.abstract.params))
  size //= trainer.mesh.shape["tensor"]
  return size * 4 if shards == 1 else size * 3 // shards + size * 2


def _describe(
    asked: _Asked,
    found: _Found,
    change: Mapping[str, Any],
    fitting: CompiledStep | None,
) -> Plan:
  config, devices = found.trainer.config, asked.devices
  flops = found.trainer.flops_per_step
  params = found.trainer.abstract.params
  leaves = zip(
      jax.tree.leaves(params),
      jax.tree.leaves(found.trainer.shardings.params),
      strict=True,
  )
  return Plan(
      topology=asked.topology,
      device_kind=devices[0].device_kind,
      num_devices=len(devices),
      mesh=dict(found.trainer.mesh.shape),
      batch_size=config.train.batch_size,
      length=config.data.length,
      accumulation_steps=config.train.accumulation_steps,
      rows_per_device=_rows_of_a_device(config, found.trainer.mesh),
      remat=config.model.remat,
      num_steps=config.train.num_steps,
      parameters={n: count_parameters(tree) for n, tree in params.items()},
      flops_per_step=flops,
      memory=found.step.memory and found.step.memory._asdict(),
      needed_bytes=found.step.needed_bytes,
      limit_bytes=asked.limit,
      collectives={
          name: dataclasses.asdict(kind)
          for name, kind in found.step.collectives.items()
      },
      least_gradient_bytes=sum(
          math.prod(where.shard_shape(x.shape)) * 4 for x, where in leaves
      ),
      suggestion=change,
      suggested_bytes=None if fitting is None else fitting.needed_bytes,
      efficiency=asked.efficiency,
      **_times(asked, flops, fitting or found.step),
      price=asked.price,
      lower_secs=found.step.lower_secs,
      compile_secs=found.step.compile_secs,
      estimated_cycles=found.step.estimated_cycles,
  )


def _times(
    asked: _Asked, flops: int, step: CompiledStep
) -> dict[str, float | None]:
  """Returns the chip's peak, and by roofline the seconds of a step."""
  chip = chip_of(asked.devices[0].device_kind)
  if chip is None:
    compute = exposed = hidden = None
  else:
    speed = chip.peak_tflops * 1e12 * len(asked.devices)
    compute = flops / (asked.efficiency * speed)
    network = chip.network_gb_per_sec
    if chip.far_gb_per_sec and len(asked.devices) > GPUS_OF_A_BOX:
      network = chip.far_gb_per_sec
    exposed, hidden = (
        sent / (network * 1e9) for sent in _sent(step.collectives)
    )
  return {
      "peak_tflops": None if chip is None else chip.peak_tflops,
      "compute_secs": compute,
      "exposed_network_secs": exposed,
      "hidden_network_secs": hidden,
  }


def _sent(collectives: Mapping[str, Collective]) -> tuple[float, float]:
  """Bytes that a device sends: while it waits, and while it computes."""
  waiting = computing = 0.0
  for name, kind in collectives.items():
    factor = _SENT_PER_BYTE.get(name, 1.0)
    hidden = kind.asynchronous_bytes
    waiting += factor * (sum(kind.bytes.values()) - hidden)
    computing += factor * hidden
  return waiting, computing
