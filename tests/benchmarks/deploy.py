"""Measures exported discriminators against the jitted model, and PyTorch's.

  python tests/benchmarks/deploy.py [--sizes tiny small base] [--peer PYTHON]

Random weights of the shipped sizes and 30,522 pieces. Each side is a process of
its own that holds its model, on one core and one thread, then on two of both;
in every round each side takes its turn, so that what else the machine does
meets all. Figures are the least of all calls and their ratios; the medians of
the ratios of single rounds stand beside them. Other work on the machine changes
processor times little and times by the clock much, so that the load average is
told. Writes OUTPUT.json and OUTPUT.md.

PYTHON is an interpreter with torch, transformers, onnxscript and onnxruntime,
where this one lacks them. PyTorch's ONNX is that of torch.onnx.export: the
packages of optimum that export ask for an older transformers.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tests.benchmarks.deploy_sides import (
    BATCH,
    LENGTH,
    NAMES,
    SIDES,
    VOCABULARY,
    network_of,
)

SIDE_FILE = pathlib.Path(__file__).with_name("deploy_sides.py")
RESULTS = pathlib.Path(__file__).with_name("results") / "deploy"
MOST_CALLS, ROUND_SECS = 20, 0.5  # Of a side in a round.
OURS = (
    *("jax", "onnx", "onnxruntime"),
    *("litert-converter", "ai-edge-litert", "ai-edge-quantizer"),
)
PEERS = ("torch", "transformers", "onnxruntime")


def main() -> None:
  """Measures all sizes and writes what was found."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--sizes", nargs="+", default=["tiny", "small", "base"])
  parser.add_argument("--peer", default=sys.executable, metavar="PYTHON")
  parser.add_argument("--no-peer", action="store_true")
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--batch-rounds", type=int, default=3)
  parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
  args = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = "cpu"
  facts = {
      "processor": _processor(),
      "cores": len(os.sched_getaffinity(0)),
      "rounds": args.rounds,
      "versions": {name: metadata.version(name) for name in OURS},
      "peer_versions": {} if args.no_peer else _peer_versions(args.peer),
      "records": [],
  }
  for size in args.sizes:
    with tempfile.TemporaryDirectory() as folder:
      facts["records"] += measure(size, pathlib.Path(folder), args)
    args.output.with_suffix(".json").write_text(
        json.dumps(facts, indent=1) + "\n"
    )
    args.output.with_suffix(".md").write_text(table(facts["records"]) + "\n")
  print(table(facts["records"]))


def measure(
    size: str, folder: pathlib.Path, args: argparse.Namespace
) -> list[dict[str, Any]]:
  """Returns a record for each side of a size."""
  sides = {
      name: side
      for name, side in SIDES.items()
      if not (side.is_peer and args.no_peer)
  }
  parameters = write_models(size, folder, args)
  records = {}
  for name, side in sides.items():
    files = _files(folder / side.file) if side.file else []
    records[name] = {
        "size": size,
        "side": name,
        "parameters": parameters,
        "bytes": sum(file.stat().st_size for file in files) or None,
    }
  for threads in (1, 2):
    before = os.getloadavg()[0]
    with started(sides, size, folder, threads, args.peer) as processes:
      single = time_rounds(processes, "single", args.rounds)
      batch = time_rounds(processes, "batch", args.batch_rounds, most=1)
    logits = {name: np.load(folder / f"{name}.npy") for name in sides}
    for name, record in records.items():
      record[f"threads_{threads}"] = {
          "load_average": [before, os.getloadavg()[0]],
          "single": _figures(single, name),
          "batch": _figures(batch, name),
      }
      difference = np.abs(logits[name] - logits["jax"])
      record["largest_difference"] = float(difference.max())
      record["deviation_of_logits"] = float(logits["jax"].std())
  return list(records.values())


def write_models(
    size: str, folder: pathlib.Path, args: argparse.Namespace
) -> int:
  """Writes rows and files of all sides; returns the number of parameters."""
  from electra_jax.exporting import litert_file, onnx_file
  from electra_jax.exporting.networks import network_of_pretraining
  from electra_jax.interop.huggingface import write_model
  from electra_jax.interop.model import PretrainedState
  from electra_jax.trees import count_parameters

  config, params = network_of(size)
  state = PretrainedState(config, params)
  network = network_of_pretraining(state, "discriminator", LENGTH)
  path = {name: folder / (side.file or "") for name, side in SIDES.items()}
  onnx_file.write_onnx(path["onnx"], network)
  onnx_file.quantize_onnx(path["onnx"], path["onnx_int8"])
  litert_file.write_litert(path["litert"], network, [LENGTH])
  litert_file.quantize_litert(path["litert"], path["litert_int8"])
  if not args.no_peer:
    path["torch"].parent.mkdir()
    write_model(path["torch"].parent, config, params, 0)
    command = [args.peer, SIDE_FILE, "write", path["torch"]]
    subprocess.run(
        [*command, path["torch_onnx"]], check=True, stdout=subprocess.DEVNULL
    )
  rng = np.random.default_rng(0)
  rows = {}
  for name, count in (("single", 1), ("batch", BATCH)):
    shape = (count, LENGTH)
    ids = rng.integers(5, VOCABULARY, shape, np.int32)
    arrays = (ids, np.ones(shape, np.int32), np.zeros(shape, np.int32))
    pairs = zip(NAMES, arrays, strict=True)
    rows |= {f"{name}_{port}": array for port, array in pairs}
  np.savez(folder / "rows.npz", **rows)
  return count_parameters(network.params)


@contextlib.contextmanager
def started(
    sides, size: str, folder: pathlib.Path, threads: int, peer: str
) -> Iterator[dict[str, subprocess.Popen]]:
  """Starts a process for each side, on as many cores as it has threads."""
  if len(os.sched_getaffinity(0)) < threads:
    raise SystemExit(f"{threads} threads need as many cores")
  processes = {}
  try:
    for name, side in sides.items():
      model = size if side.file is None else folder / side.file
      python = peer if name == "torch" else sys.executable
      command = [python, SIDE_FILE, name, model, folder / "rows.npz"]
      process = subprocess.Popen(
          [*map(str, command), str(folder / f"{name}.npy"), str(threads)],
          stdin=subprocess.PIPE,
          stdout=subprocess.PIPE,
          stderr=subprocess.DEVNULL,
          text=True,
      )
      processes[name] = process
      if not process.stdout.readline():
        raise SystemExit(f"the side {name} of {size} does not start")
    yield processes
  finally:
    for process in processes.values():
      process.stdin.close()
      process.wait()


def time_rounds(
    processes: dict[str, subprocess.Popen],
    rows: str,
    rounds: int,
    most: int = MOST_CALLS,
) -> dict[str, list[dict[str, float]]]:
  """Returns the least seconds of each side in each round."""

  def ask(process, calls):
    process.stdin.write(f"{rows} {calls}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())

  calls = {}
  for name, process in processes.items():  # And warms up.
    took = ask(process, 2)["cpu"][1] if most > 1 else 1.0
    calls[name] = min(most, max(2, int(ROUND_SECS / took)))
  found = {name: [] for name in processes}
  for _ in range(rounds):
    for name, process in processes.items():
      secs = ask(process, calls[name])
      found[name].append({clock: min(x) for clock, x in secs.items()})
  return found


def _figures(found, name: str) -> dict[str, Any]:
  """Returns the least of all rounds over JAX's, and the ratios of rounds."""
  figures = {}
  for clock in ("cpu", "wall"):
    secs = [one[clock] for one in found[name]]
    own = [one[clock] for one in found["jax"]]
    ratios = [x / y for x, y in zip(secs, own, strict=True)]
    figures[f"{clock}_ms"] = 1e3 * min(secs)
    figures[f"{clock}_over_jax"] = min(secs) / min(own)
    figures[f"{clock}_over_jax_median_of_rounds"] = statistics.median(ratios)
    figures[f"{clock}_ms_of_rounds"] = [1e3 * x for x in secs]
  return figures


def table(records: list[dict[str, Any]]) -> str:
  """Lays the records out in Markdown."""
  head = (
      *("size", "side", "MB", "CPU ms", "over JAX", "median of rounds"),
      *("2 threads: CPU ms", "over JAX", "ms", "texts/CPU s"),
      *("2 threads: texts/s", "load", "largest difference"),
  )
  lines = [" | ".join(head), " | ".join(["---"] * len(head))]
  for r in records:
    one, two = r["threads_1"], r["threads_2"]
    cells = (
        r["size"],
        SIDES[r["side"]].title,
        f"{r['bytes'] / 1e6:.2f}" if r["bytes"] else "",
        f"{one['single']['cpu_ms']:.2f}",
        f"{one['single']['cpu_over_jax']:.2f}",
        f"{one['single']['cpu_over_jax_median_of_rounds']:.2f}",
        f"{two['single']['cpu_ms']:.2f}",
        f"{two['single']['cpu_over_jax']:.2f}",
        f"{two['single']['wall_ms']:.2f}",
        f"{1e3 * BATCH / one['batch']['cpu_ms']:.1f}",
        f"{1e3 * BATCH / two['batch']['wall_ms']:.1f}",
        f"{two['load_average'][0]:.0f}",
        f"{r['largest_difference']:.2g}",
    )
    lines.append(" | ".join(cells))
  return "\n".join(f"| {line} |" for line in lines)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
  return [path] if path.is_file() else [*path.glob("*.safetensors")]


def _processor() -> str:
  lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
  return names[0] if names else platform.machine()


def _peer_versions(python: str) -> dict[str, str]:
  code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
  done = subprocess.run(
      [python, "-c", code, *PEERS], check=True, capture_output=True, text=True
  )
  return dict(zip(PEERS, done.stdout.split(), strict=True))


if __name__ == "__main__":
  main()
