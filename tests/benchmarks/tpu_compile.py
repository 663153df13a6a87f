"""The pre-training step compiled for TPU slices on a machine without a TPU.

The TPU compiler ships with `pip install "jax[tpu]"` and takes the shape of a
slice in place of devices. It tells whether a size fits into the memory of a
chip and what travels between chips; it tells nothing about speed. Its FLOPs
count the body of a loop once, so with accumulation those of one micro-batch.
Prints one JSON object per size and topology:

  python tests/benchmarks/tpu_compile.py --size small
  python tests/benchmarks/tpu_compile.py --size large --fsdp 16 --remat dots \
      --topology v5e:4x4 v6e:4x4 v5p:2x2x4
"""

import argparse
import collections
import json
import math
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator

# Arrays stay on the CPU, and libtpu asks no metadata server what it runs on.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")

import jax
from jax.experimental import topologies

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import cli, programs  # noqa: E402
from electra_jax.data.feed import Batch  # noqa: E402
from electra_jax.data.tokenizer import SpecialIds  # noqa: E402
from electra_jax.training import sharding  # noqa: E402

VOCAB_SIZE = 30522
SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)
COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?(%\S+) = (.+?) ([a-z][\w-]*)\((.*)")
_COMPUTATION = re.compile(r"(?:ENTRY )?(%\S+) \(.*\{$")
_LAYOUT = re.compile(r"\{[^{}]*\}")
_SHAPE = re.compile(r"([a-z]+\d*)\w*\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|body|to_apply)=(%[\w.-]+)")
_CONDITION = re.compile(r"\bcondition=(%[\w.-]+)")


def compile_step(args, size: str, topology: str) -> dict:
  """Compiles the train step and returns what the compiler says of it."""
  names = ("mesh.data", "mesh.fsdp", "mesh.tensor", "model.remat")
  names += ("train.batch_size", "train.accumulation_steps")
  values = {name: getattr(args, name.split(".")[1]) for name in names}
  config = cli.load_config(
      f"{ROOT}/configs/pretrain.py:{size}",
      [f"--config.{k}={v}" for k, v in values.items() if v is not None],
  )
  devices = topologies.get_topology_desc(
      platform="tpu", topology_name=topology
  ).devices
  mesh = sharding.make_mesh(**config.mesh, devices=list(devices))
  parts = programs.build(config, programs.Vocabulary(VOCAB_SIZE, SPECIAL), mesh)
  train, length = config.train, config.data.length
  shards = math.prod(mesh.shape[axis] for axis in sharding.BATCH_AXES)
  leaves = jax.tree.leaves(parts.abstract.params)
  num_params = sum(math.prod(x.shape) for x in leaves)
  record = {
      "size": size,
      "topology": topology,
      "device_kind": devices[0].device_kind,
      "devices": len(devices),
      "mesh": dict(mesh.shape),
      "batch_size": train.batch_size,
      "length": length,
      "accumulation_steps": train.accumulation_steps,
      "rows_per_device": train.batch_size // shards,
      "remat": config.model.remat,
      "dtype": config.model.dtype,
      "parameters": num_params,
      "min_gradient_all_reduce_mb": round(4 * num_params / 1e6, 3),
  }
  began = time.perf_counter()
  lowered = parts.train_step.lower(*abstract_arguments(parts, train, length))
  record["lower_secs"] = round(time.perf_counter() - began, 1)
  began = time.perf_counter()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:  # Such as too little memory.
    compiled, record["error"] = None, " ".join(str(error).split())[:300]
  record["compile_secs"] = round(time.perf_counter() - began, 1)
  if compiled is None:
    return record
  text = compiled.as_text()
  if args.hlo:
    args.hlo.mkdir(parents=True, exist_ok=True)
    name = f"{size}_{topology.replace(':', '_')}.txt"
    (args.hlo / name).write_text(text)
  return record | {
      "gib_per_chip": memory(compiled.memory_analysis()),
      "gflops_per_chip": round(compiled.cost_analysis()["flops"] / 1e9, 1),
      "collectives": collectives(text),
  }


def abstract_arguments(parts: programs.Programs, train, length: int):
  """The arguments of the train step, as shapes that know where they lie."""

  def shape_of(x, where):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)

  state = jax.tree.map(shape_of, parts.abstract, parts.shardings)
  rows = sharding.batch_sharding(parts.mesh)
  shapes = Batch(
      jax.ShapeDtypeStruct((train.batch_size, length), "uint16"),
      jax.ShapeDtypeStruct((train.batch_size, 2), "int32"),
  )
  return state, jax.tree.map(lambda x: shape_of(x, rows), shapes)


def memory(stats) -> dict[str, float]:
  """GiB of one chip; outputs that reuse donated arguments count once."""
  parts = {
      "arguments": stats.argument_size_in_bytes,
      "outputs": stats.output_size_in_bytes,
      "aliased": stats.alias_size_in_bytes,
      "temporaries": stats.temp_size_in_bytes,
      "code": stats.generated_code_size_in_bytes,
  }
  parts["total"] = sum(parts.values()) - 2 * parts["aliased"]
  return {name: round(size / 2**30, 3) for name, size in parts.items()}


def collectives(text: str) -> dict[str, dict]:
  """Counts what travels between chips in one step, by kind.

  Args:
    text: the optimised program of one chip.

  Returns:
    For each kind the number of instructions, of executions (loops counted by
    their trips) and the megabytes per data type of the whole array on one
    chip: the operand of a reduce-scatter, the result of an all-gather.
  """
  types, found, callers, limits = {}, [], {}, {}
  for computation, name, result, op, rest in instructions(text):
    types[name] = result
    if op == "constant" and result.startswith("s32[]"):
      limits[computation] = int(rest.partition(")")[0])
    for called in _CALLED.findall(rest):
      condition = _CONDITION.search(rest)
      callers[called] = computation, condition and condition[1]
    if op.removesuffix("-start") in COLLECTIVES:
      operands = re.findall(r"%[\w.-]+", rest.partition(")")[0])
      found.append((computation, op, result, operands))
  summary = {}
  for computation, op, result, operands in found:
    executions = 1
    while computation in callers:
      computation, condition = callers[computation]
      # A scan compares its counter, which starts at 0, with one constant.
      executions *= limits.get(condition, 1)
    sizes = bytes_by_type(result)
    inputs = sum((bytes_by_type(types[x]) for x in operands), sizes - sizes)
    if op.endswith("-start") and op != "all-reduce-start":
      sizes -= inputs  # The result of a start holds its operands as well.
    if inputs.total() > sizes.total():
      sizes = inputs
    kind = summary.setdefault(
        op.removesuffix("-start"),
        {"instructions": 0, "async": 0, "executions": 0, "mb": {}},
    )
    kind["instructions"] += 1
    kind["async"] += op.endswith("-start")
    kind["executions"] += executions
    for dtype, size in sizes.items():
      kind["mb"][dtype] = kind["mb"].get(dtype, 0) + executions * size / 1e6
  for kind in summary.values():
    kind["mb"] = {name: round(size, 3) for name, size in kind["mb"].items()}
  return summary


def instructions(text: str) -> Iterator[tuple[str, str, str, str, str]]:
  """Yields (computation, name, result type, operation, rest of the line)."""
  computation = ""
  for line in text.splitlines():
    if match := _COMPUTATION.match(line):
      computation = match[1]
    elif match := _INSTRUCTION.match(line):
      yield computation, *match.groups()


def bytes_by_type(result: str) -> collections.Counter:
  """Adds up the arrays of a type such as "(f32[], bf16[4,8]{1,0})"."""
  sizes = collections.Counter()
  for dtype, shape in _SHAPE.findall(_LAYOUT.sub("", result)):
    bits = re.search(r"\d+$", dtype)  # pred has none and takes a byte.
    count = math.prod(int(n) for n in shape.split(",") if n)
    sizes[dtype] += count * (int(bits[0]) if bits else 8) // 8
  return sizes


def main():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--size", nargs="+", default=["small"])
  parser.add_argument("--topology", nargs="+", default=["v5e:4x4"])
  for name in ("data", "fsdp", "tensor"):
    parser.add_argument(f"--{name}", type=int, help="axis of the mesh")
  parser.add_argument("--batch-size", type=int, help="rows over all chips")
  parser.add_argument("--accumulation-steps", type=int)
  parser.add_argument("--remat", choices=("none", "dots", "layer"))
  parser.add_argument(
      "--hlo", type=pathlib.Path, help="folder that keeps the compiled text"
  )
  args = parser.parse_args()
  for size in args.size:
    for topology in args.topology:
      print(json.dumps(compile_step(args, size, topology)), flush=True)


if __name__ == "__main__":
  main()
