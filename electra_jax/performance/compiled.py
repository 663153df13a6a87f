"""The training step compiled for devices that need not be here.

What the compiler says of it: memory, what travels between devices, and how
long it expects the trainer to take. Nothing is run.
"""

import collections
import dataclasses
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from electra_jax.devices import sharding
from electra_jax.pretraining.trainer import Trainer
from electra_jax.store.feed import Batch
from electra_jax.store.manifest import row_dtype

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
# A GPU that is not here can't try kernels out; and untuned, Triton multiplies
# in tiles that no GPU would be given.
_UNTUNED = {
    "xla_gpu_autotune_level": 0,
    "xla_gpu_enable_triton_gemm": False,
}
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?(%\S+) = (.+?) ([a-z][\w-]*)\((.*)")
_COMPUTATION = re.compile(r"(?:ENTRY )?(%\S+) \(.*\{$")
_LAYOUT = re.compile(r"\{[^{}]*\}")
_SHAPE = re.compile(r"([a-z]+\d*)\w*\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|body|to_apply)=(%[\w.-]+)")
_CONDITION = re.compile(r"\bcondition=(%[\w.-]+)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_TOO_LARGE = re.compile(r"Used ([\d.]+)([KMG]) of ([\d.]+)([KMG]) hbm")


class Memory(NamedTuple):
  """Bytes of one device.

  Attributes:
    state: parameters, moments and the rows of a step, before and after it.
    temporaries: what the step needs besides.
    code: the program itself.
  """

  state: int
  temporaries: int
  code: int

  @property
  def total(self) -> int:
    return sum(self)


@dataclasses.dataclass
class Collective:
  """All collectives of one kind in a step.

  Attributes:
    instructions: how many the program holds.
    asynchronous: how many of them may run beside computation.
    executions: how often they run; loops counted by their trips.
    bytes: by data type, of the whole array on one device: the operand of a
      reduce-scatter, the result of an all-gather.
    asynchronous_bytes: of those that may run beside computation.
  """

  instructions: int = 0
  asynchronous: int = 0
  executions: int = 0
  bytes: dict[str, int] = dataclasses.field(default_factory=dict)
  asynchronous_bytes: int = 0


class CompiledStep(NamedTuple):
  """What the compiler says of a training step.

  Attributes:
    lower_secs: Python to StableHLO.
    compile_secs: StableHLO to a program.
    memory: of one device, or None where the program does not fit.
    needed_bytes: what a program that does not fit would take; else its total.
    limit_bytes: what there is of it, where the compiler said so.
    collectives: by kind.
    estimated_cycles: the TPU compiler's own count, kernels left out; 0
      elsewhere.
    text: the optimised program of one device.
  """

  lower_secs: float
  compile_secs: float
  memory: Memory | None
  needed_bytes: int
  limit_bytes: int | None
  collectives: Mapping[str, Collective]
  estimated_cycles: int
  text: str


def compile_step(
    trainer: Trainer, batch_size: int, length: int
) -> CompiledStep:
  """Compiles the training step for the devices of its mesh.

  Args:
    trainer: of `programs.build`.
    batch_size: rows of a step over all devices.
    length: tokens of a row.
  """
  began = time.perf_counter()
  lowered = trainer.train_step.lower(
      *abstract_arguments(trainer, batch_size, length)
  )
  lower_secs = time.perf_counter() - began
  began = time.perf_counter()
  device = trainer.mesh.devices.flat[0]
  options = {}
  if device.platform == "gpu" and device not in jax.devices():
    options["compiler_options"] = _UNTUNED
  try:
    compiled = lowered.compile(**options)
  except jax.errors.JaxRuntimeError as error:
    found = _TOO_LARGE.search(str(error))
    if found is None:
      raise
    used, limit = _bytes(found[1], found[2]), _bytes(found[3], found[4])
    secs = time.perf_counter() - began
    return CompiledStep(lower_secs, secs, None, used, limit, {}, 0, "")
  compile_secs = time.perf_counter() - began
  stats, text = compiled.memory_analysis(), compiled.as_text()
  memory = Memory(
      # Outputs that reuse donated arguments count once.
      stats.argument_size_in_bytes
      + stats.output_size_in_bytes
      - stats.alias_size_in_bytes,
      stats.temp_size_in_bytes,
      stats.generated_code_size_in_bytes,
  )
  return CompiledStep(
      lower_secs,
      compile_secs,
      memory,
      memory.total,
      None,
      collectives_of(text),
      estimated_cycles_of(text),
      text,
  )


def abstract_arguments(
    trainer: Trainer, batch_size: int, length: int
) -> tuple[Any, Batch]:
  """Returns the arguments of the step as shapes that know where they lie."""

  def shape_of(x, where):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)

  state = jax.tree.map(shape_of, trainer.abstract, trainer.shardings)
  rows = sharding.batch_sharding(trainer.mesh)
  dtype = row_dtype(trainer.model.config.discriminator.vocab_size)
  shapes = Batch(
      jax.ShapeDtypeStruct((batch_size, length), dtype),
      jax.ShapeDtypeStruct((batch_size, 2), "int32"),
  )
  return state, jax.tree.map(lambda x: shape_of(x, rows), shapes)


def collectives_of(text: str) -> dict[str, Collective]:
  """Counts what travels between devices in one step, by kind.

  Args:
    text: the optimised program of one device.
  """
  types, found = {}, []
  for line in instructions(text):
    types[line.name] = line.result
    if line.op.removesuffix("-start") in COLLECTIVES:
      found.append(line)
  trips = _Trips(text)
  summary = collections.defaultdict(Collective)
  for line in found:
    executions = trips.of(line.computation)
    sizes = bytes_by_type(line.result)
    inputs = collections.Counter()
    for operand in line.operands:
      inputs += bytes_by_type(types[operand])
    if line.op.endswith("-start") and line.op != "all-reduce-start":
      sizes -= inputs  # The result of a start holds its operands as well.
    if inputs.total() > sizes.total():
      sizes = inputs
    kind = summary[line.op.removesuffix("-start")]
    kind.instructions += 1
    kind.executions += executions
    if line.op.endswith("-start") or trips.is_started(line.computation):
      kind.asynchronous += 1
      kind.asynchronous_bytes += executions * sizes.total()
    for dtype, size in sizes.items():
      kind.bytes[dtype] = kind.bytes.get(dtype, 0) + executions * size
  return dict(summary)


def estimated_cycles_of(text: str) -> int:
  """Adds up what the TPU compiler expects of each operation of a step."""
  trips, total = _Trips(text), 0
  for line in instructions(text):
    if cycles := _CYCLES.search(line.rest):
      total += trips.of(line.computation) * int(cycles[1])
  return total


class Instruction(NamedTuple):
  """One line of a compiled program.

  Attributes:
    computation: name of the function that it stands in.
    name: of its result.
    result: type of its result.
    op: the operation.
    rest: of the line, from the operands on.
  """

  computation: str
  name: str
  result: str
  op: str
  rest: str

  @property
  def operands(self) -> list[str]:
    return re.findall(r"%[\w.-]+", self.rest.partition(")")[0])


def instructions(text: str) -> Iterator[Instruction]:
  """Yields the lines of a compiled program."""
  computation = ""
  for line in text.splitlines():
    if match := _COMPUTATION.match(line):
      computation = match[1]
    elif match := _INSTRUCTION.match(line):
      yield Instruction(computation, *match.groups())


def bytes_by_type(result: str) -> collections.Counter:
  """Adds up the arrays of a type such as "(f32[], bf16[4,8]{1,0})"."""
  sizes = collections.Counter()
  for dtype, shape in _SHAPE.findall(_LAYOUT.sub("", result)):
    bits = re.search(r"\d+$", dtype)  # pred has none and takes a byte.
    count = math.prod(int(n) for n in shape.split(",") if n)
    sizes[dtype] += count * (int(bits[0]) if bits else 8) // 8
  return sizes


class _Trips:
  """How often the computations of a program run in a step."""

  def __init__(self, text: str):
    self._callers, self._limits, self._started = {}, {}, set()
    for line in instructions(text):
      if line.op == "constant" and line.result.startswith("s32[]"):
        self._limits[line.computation] = int(line.rest.partition(")")[0])
      for called in _CALLED.findall(line.rest):
        condition = _CONDITION.search(line.rest)
        self._callers[called] = line.computation, condition and condition[1]
        if line.op.endswith("-start"):
          self._started.add(called)

  def is_started(self, computation: str) -> bool:
    """Whether a computation runs beside the one that calls it."""
    return computation in self._started

  def of(self, computation: str) -> int:
    executions = 1
    while computation in self._callers:
      computation, condition = self._callers[computation]
      # A scan compares its counter, which starts at 0, with one constant.
      executions *= self._limits.get(condition, 1)
    return executions


def _bytes(number: str, unit: str) -> int:
  return round(float(number) * 2 ** {"K": 10, "M": 20, "G": 30}[unit])
