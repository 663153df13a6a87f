"""The pre-training step compiled for TPU slices on a machine without a TPU.

A table of what `electra-jax plan` says of shipped configs: one JSON object per
size and topology, appended to a file. Needs `pip install "jax[tpu]"`.

  python tests/benchmarks/tpu_compile.py --size small base
  python tests/benchmarks/tpu_compile.py --size large --topology v5e:4x4 v6e:4x4 \\
      --set train.accumulation_steps=16 --set mesh.fsdp=4
  python tests/benchmarks/tpu_compile.py --table tests/benchmarks/results/tpu.jsonl
"""

import argparse
import dataclasses
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import config_files
from electra_jax.devices.chips import keep_arrays_on_the_cpu
from electra_jax.performance.plan import plan


def table(path: pathlib.Path) -> str:
  """Returns what a file tells of every program, a line of Markdown each."""
  lines = [
      "| size | slice | chips | rows a chip, at a time | GiB of | gathered MB |"
      " reduced MB (least) | beside computation |",
      "|---|---|---|---|---|---|---|---|",
  ]
  records = [json.loads(line) for line in path.read_text().splitlines()]
  for found in sorted(records, key=_order):
    kinds = found["collectives"]
    reduced = kinds["all-reduce"]
    rows = found["rows_per_device"] // found["accumulation_steps"]
    gathered = sum(
        sum(kind["bytes"].values())
        for name, kind in kinds.items()
        if name != "all-reduce"
    )
    lines.append(
        f"| `{found['size']}` | {found['topology']} | {found['num_devices']} |"
        f" {found['rows_per_device']}, {rows} |"
        f" {found['needed_bytes'] / 2**30:.2f} of"
        f" {found['limit_bytes'] / 2**30:.2f} | {gathered / 1e6:.1f} |"
        f" {sum(reduced['bytes'].values()) / 1e6:.1f}"
        f" ({found['least_gradient_bytes'] / 1e6:.1f}) |"
        f" {reduced['asynchronous']} of {reduced['instructions']} |"
    )
  return "\n".join(lines)


def _order(found: dict) -> tuple:
  sizes = ("small", "base", "large")
  return sizes.index(found["size"]), found["num_devices"], found["topology"]


def main():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--size", nargs="+", default=["small"])
  parser.add_argument("--topology", nargs="+", default=["v5e:4x4"])
  parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
  parser.add_argument("--output", type=pathlib.Path, help="file to append to")
  parser.add_argument("--table", type=pathlib.Path, metavar="FILE")
  args = parser.parse_args()
  if args.table:
    print(table(args.table))
    return
  keep_arrays_on_the_cpu()
  for size in args.size:
    for topology in args.topology:
      config = config_files.load_config(
          f"{ROOT}/configs/pretrain.py:{size}",
          [f"--config.{value}" for value in args.set],
      )
      found = dataclasses.asdict(plan(config, topology, suggest=False))
      record = json.dumps({"size": size, "set": args.set, **found})
      print(record, flush=True)
      if args.output:
        with args.output.open("a") as file:
          file.write(record + "\n")


if __name__ == "__main__":
  main()
