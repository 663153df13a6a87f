"""The pre-training step compiled for an NVIDIA GPU on a machine without one.

The compiler that ships with `pip install "jax[cuda12]"` takes a description of
a GPU in place of the GPU; it needs neither a driver nor a card. It tells which
kernels a step becomes, what each reads and writes and whether the step fits
into memory. No card means no trial runs to choose among kernels, so all
products are left to cuBLAS, and a lower bound of the time is all that can be
said of speed: every kernel takes the longest of its bytes at the memory's
peak, its multiplications at the tensor cores' peak, and the least time of any
kernel. Prints one JSON object per size and batch:

  python tests/benchmarks/gpu_compile.py --size small --batch-size 512 1024
  python tests/benchmarks/gpu_compile.py --size base --length 128
"""

import argparse
import collections
import json
import math
import pathlib
import re
import sys
from typing import NamedTuple

import jax

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import config_files
from electra_jax.devices.chips import devices_of, keep_arrays_on_the_cpu
from electra_jax.performance import compiled
from electra_jax.performance.benchmark import find_vocabulary
from electra_jax.pretraining.trainer import make_mesh, make_trainer
from electra_jax.runs.networks import training_flops

# NVIDIA, "H100 Tensor Core GPU" data sheet, SXM, without sparsity.
PEAK_FLOPS = {"bf16": 989e12, "f32": 494e12}  # float32 operands go as TF32.
PEAK_BYTES = 3.35e12
LEAST_SECS = 3e-6  # Of a kernel: about what a launch takes.
_NO_KERNEL = ("parameter", "tuple", "get-tuple-element", "bitcast", "constant")
_WORKSPACE = re.compile(r"\bs8\[\d+\]\{0\}")  # Of cuBLAS; rarely touched.
_DIMS = re.compile(r'"lhs_contracting_dimensions":\["?([\d",]*?)"?\]')


class Kernel(NamedTuple):
  """One instruction of the compiled program that runs on the GPU.

  Attributes:
    kind: "gemm", "triton", "reduce", "loop" or the instruction's own name.
    dtype: of a gemm's operands, else "".
    size: bytes of its operands and results; more than it reads of a gather.
    flops: of a gemm, else 0.
  """

  kind: str
  dtype: str
  size: int
  flops: int

  @property
  def least_secs(self) -> float:
    """No run on an H100 takes less than about this."""
    multiplying = self.flops / PEAK_FLOPS.get(self.dtype, math.inf)
    return max(LEAST_SECS, self.size / PEAK_BYTES, multiplying)


def compile_step(args, size: str, batch_size: int | None) -> dict:
  """Compiles the train step and returns what the compiled program holds."""
  values = {
      "train.batch_size": batch_size,
      "data.length": args.length,
      "train.accumulation_steps": 1,  # A loop's kernels are not counted.
      "model.remat": args.remat,
  }
  config = config_files.load_config(
      f"{ROOT}/configs/pretrain.py:{size}",
      [f"--config.{k}={v}" for k, v in values.items() if v is not None],
  )
  devices = devices_of("h100:1")
  vocabulary = find_vocabulary(config)
  mesh = make_mesh(config, vocabulary, devices)
  trainer = make_trainer(config, vocabulary, mesh)
  train, length = config.train, config.data.length
  leaves = jax.tree.leaves(trainer.abstract.params)
  record = {
      "size": size,
      "device_kind": devices[0].device_kind,
      "devices": len(devices),
      "batch_size": train.batch_size,
      "length": length,
      "accumulation_steps": train.accumulation_steps,
      "remat": config.model.remat,
      "dtype": config.model.dtype,
      "parameters": sum(math.prod(x.shape) for x in leaves),
      "model_gflops": round(training_flops(config, vocabulary) / 1e9, 1),
  }
  step = compiled.compile_step(trainer, train.batch_size, length)
  record["lower_secs"] = round(step.lower_secs, 1)
  record["compile_secs"] = round(step.compile_secs, 1)
  if args.hlo:
    args.hlo.mkdir(parents=True, exist_ok=True)
    name = f"{size}_{length}_{train.batch_size}.txt"
    (args.hlo / name).write_text(step.text)
  return record | {
      "gib_per_gpu": round(step.needed_bytes / 2**30, 3),
      **census(kernels(step.text), train.batch_size),
  }


def kernels(text: str) -> list[Kernel]:
  """Lists the kernels of a compiled program; the body of a loop is left out."""
  entry = re.search(r"^ENTRY (%\S+)", text, re.MULTILINE)[1]
  lines = list(compiled.instructions(text))
  types = {line.name: _WORKSPACE.sub("", line.result) for line in lines}
  found = []
  for line in lines:
    if line.computation != entry or line.op in _NO_KERNEL:
      continue
    operands = [types[x] for x in line.operands]
    arrays = (types[line.name], *operands)
    size = sum(compiled.bytes_by_type(x).total() for x in arrays)
    kind, dtype, flops = _kind(line.op, line.rest), "", 0
    if kind == "gemm":
      dtype = operands[0].partition("[")[0]
      flops = _gemm_flops(types[line.name], operands[0], line.rest)
    found.append(Kernel(kind, dtype, size, flops))
  return found


def census(found: list[Kernel], batch_size: int) -> dict:
  """Counts kernels, their bytes and least times, by kind."""
  counts, sizes, secs = (collections.Counter() for _ in range(3))
  for kernel in found:
    kind = " ".join(filter(None, (kernel.kind, kernel.dtype)))
    counts[kind] += 1
    sizes[kind] += kernel.size
    secs[kind] += kernel.least_secs
  return {
      "kernels": len(found),
      "kernels_of_least_time": sum(x.least_secs <= LEAST_SECS for x in found),
      "gigabytes": round(sizes.total() / 1e9, 2),
      "gemm_gflops": round(sum(x.flops for x in found) / 1e9, 1),
      "least_ms": round(1e3 * secs.total(), 2),
      "most_rows_per_sec": round(batch_size / secs.total()),
      "by_kind": {
          kind: {
              "kernels": count,
              "gigabytes": round(sizes[kind] / 1e9, 2),
              "least_ms": round(1e3 * secs[kind], 2),
          }
          for kind, count in counts.most_common()
      },
  }


def _kind(op: str, rest: str) -> str:
  if op == "custom-call":
    target = re.search(r'custom_call_target="([^"]+)"', rest)[1]
    return "gemm" if target.startswith("__cublas") else target
  if op != "fusion":
    return op
  if '"kind":"__triton' in rest:
    return "triton"
  kind = re.search(r"kind=k(\w+)", rest)[1].lower()
  return {"input": "reduce"}.get(kind, kind)


def _gemm_flops(result: str, left: str, rest: str) -> int:
  def dims(array):
    return [int(n) for n in re.search(r"\[([\d,]*)\]", array)[1].split(",")]

  contracted = [int(n) for n in re.findall(r"\d+", _DIMS.search(rest)[1])]
  shape = dims(left)
  return 2 * math.prod(dims(result)) * math.prod(shape[i] for i in contracted)


def main():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--size", default="small")
  parser.add_argument("--length", type=int, help="tokens per row")
  parser.add_argument("--batch-size", type=int, nargs="+", default=[None])
  parser.add_argument("--remat", choices=("none", "dots", "layer"))
  parser.add_argument(
      "--hlo", type=pathlib.Path, help="folder that keeps the compiled text"
  )
  args = parser.parse_args()
  keep_arrays_on_the_cpu()
  for batch_size in args.batch_size:
    record = compile_step(args, args.size, batch_size)
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
  main()
