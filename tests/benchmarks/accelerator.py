r"""Everything worth measuring on a GPU or TPU machine, in one command.

Runs `electra-jax benchmark` for the sizes of the paper and the comparison with
PyTorch of peer_step.py, the most telling figures first, each in a process of its
own. What is finished is written at once to OUT/DEVICE.json and as a table to
OUT/DEVICE.md; the same command goes on where it was stopped.

  python tests/benchmarks/accelerator.py --minutes 25
  python tests/benchmarks/accelerator.py --only 'base_*' \
      --override model.remat=layer --override train.accumulation_steps=2
  python tests/benchmarks/accelerator.py --smoke --out /tmp/smoke  # On a CPU.

It needs the package, and torch and transformers for the comparison.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import config_files
from electra_jax.errors import UserError
from electra_jax.files import write_whole
from tests.benchmarks.accelerator_plan import Job, plan
from tests.benchmarks.accelerator_table import markdown

OURS_SECS, PEER_SECS = 60, 150  # Less time left than this: not begun.
_PROBE = """
import jax, json
device = jax.devices()[0]
limit = (device.memory_stats() or {}).get("bytes_limit")
print(json.dumps({"platform": device.platform, "kind": device.device_kind,
                  "count": jax.device_count(), "memory_bytes": limit}))
"""
_MEMORY = re.compile(
    "do not fit into the memory|RESOURCE_EXHAUSTED|out of memory", re.I
)


class Outcome(NamedTuple):
  """What a command came to.

  Attributes:
    figures: that it wrote, or None.
    failure: its last words, or None; neither of both where time was over.
  """

  figures: dict[str, Any] | None = None
  failure: str | None = None


def run(
    jobs: Sequence[Job],
    results: dict[str, Any],
    save: Callable[[], None],
    *,
    execute: Callable[[Sequence[str], str, float], Outcome],
    deadline: float,
    again: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
  """Does the jobs that have no figures yet.

  Args:
    jobs: in the order of their worth.
    results: name -> what was found; added to.
    save: called after each job.
    execute: (command, XLA's flags, seconds it may take) -> outcome.
    deadline: time of the clock at which everything must be over.
    again: whether to measure anew what has figures.
    clock: in seconds.
  """
  for job in jobs:
    if "figures" in results.get(job.name, {}) and not again:
      print(f"== {job.name}: measured before", flush=True)
      continue
    if deadline - clock() < (PEER_SECS if job.is_peer else OURS_SECS):
      print(f"== {job.name}: no time left", flush=True)
      continue
    outcome, command = Outcome(), ()
    xla_flags = f"{os.environ.get('XLA_FLAGS', '')} {job.xla_flags}".strip()
    for rows, command in _attempts(job, results):
      print(f"== {job.name}: {rows} rows", flush=True)
      outcome = execute(command, xla_flags, deadline - clock())
      if outcome.failure is None or not _MEMORY.search(outcome.failure):
        break
    if outcome == Outcome():
      print(f"== {job.name}: stopped, the time is over", flush=True)
      continue
    found = {k: v for k, v in outcome._asdict().items() if v is not None}
    results[job.name] = {
        "command": ["python", *command],
        "xla_flags": xla_flags,
        **found,
    }
    save()


def _attempts(job: Job, results) -> Sequence[tuple[int, tuple[str, ...]]]:
  shape = results.get(job.name.partition("/")[0], {})
  if job.is_peer or "figures" not in shape or "/" not in job.name:
    return job.attempts
  most = shape["figures"]["batch_size"] * job.share
  return [x for x in job.attempts if x[0] <= most] or job.attempts[-1:]


def execute(command: Sequence[str], xla_flags: str, seconds: float) -> Outcome:
  """Runs one of this repository's programs, which writes its figures."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "figures.json"
    try:
      done = subprocess.run(
          [sys.executable, *command, "--json", str(file)],
          cwd=ROOT,
          env={**os.environ, "XLA_FLAGS": xla_flags},
          stderr=subprocess.PIPE,
          text=True,
          timeout=seconds,
          check=False,
      )
    except subprocess.TimeoutExpired:
      return Outcome()
    if file.exists():
      figures = json.loads(file.read_text())
      figures.get("environment", {}).pop("command", None)  # Of this folder.
      return Outcome(figures)
  sys.stderr.write(done.stderr)
  said = " ".join(done.stderr.split())
  if match := _MEMORY.search(said):
    said = said[max(0, match.start() - 60) : match.end()]
  return Outcome(failure=said[-300:] or f"exit status {done.returncode}")


def probe() -> dict[str, Any]:
  """Asks another process what devices there are: this one takes none."""
  done = subprocess.run(
      [sys.executable, "-c", _PROBE], stdout=subprocess.PIPE, check=True
  )
  return json.loads(done.stdout.splitlines()[-1])


def file_name(device: Mapping[str, Any], smoke: bool) -> str:
  """Returns a file's stem that tells the device."""
  kind = re.sub(r"\W+", "_", device["kind"].lower()).strip("_")
  several = f"_x{device['count']}" if device["count"] > 1 else ""
  return f"{'smoke_' if smoke else ''}{kind}{several}"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--minutes", type=float, default=600.0)
  parser.add_argument(
      "--only",
      action="append",
      metavar="NAME",
      help="a name of --list, * stands for anything; may be repeated",
  )
  parser.add_argument(
      "--override",
      nargs="+",
      action="append",
      default=[],
      metavar="KEY=VALUE",
      help="a further variant; may be repeated",
  )
  parser.add_argument("--out", default=f"{ROOT}/tests/benchmarks/results")
  parser.add_argument("--steps", type=int, default=30, help="timed per config")
  parser.add_argument("--peak-tflops", type=float, help="as of benchmark")
  parser.add_argument(
      "--again", action="store_true", help="measure anew what has figures"
  )
  parser.add_argument("--list", action="store_true", help="print the names")
  parser.add_argument(
      "--smoke", action="store_true", help="the same path, tiny, on a CPU"
  )
  args = parser.parse_args(argv)
  for overrides in args.override:
    try:
      config_files.load_config(
          f"{ROOT}/configs/pretrain.py:base",
          [f"--config.{x}" for x in overrides],
      )
    except UserError as error:
      parser.error(f"--override {' '.join(overrides)}: {error}")
  return args


def main(argv: Sequence[str] | None = None) -> None:
  args = parse(argv)
  deadline = time.monotonic() + 60 * args.minutes
  if args.smoke:
    os.environ["JAX_PLATFORMS"] = "cpu"
  # The whole device for one program; where two share it, neither begins so.
  os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
  device = probe()
  jobs = list(plan(args, device))
  if not jobs:
    sys.exit(f"--only {' '.join(args.only)}: no such name; see --list")
  if args.list:
    print("\n".join(job.name for job in jobs))
    return
  out = pathlib.Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  file = out / f"{file_name(device, args.smoke)}.json"
  results = json.loads(file.read_text())["results"] if file.exists() else {}

  def save():
    content = {"device": device, "results": results}
    write_whole(file, [json.dumps(content, indent=1) + "\n"])
    write_whole(file.with_suffix(".md"), [markdown(device, results)])

  with tempfile.TemporaryDirectory() as cache:
    # What XLA finds out about a product of matrices serves all programs.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
    run(
        jobs,
        results,
        save,
        execute=execute,
        deadline=deadline,
        again=args.again,
    )
  print(markdown(device, results))


if __name__ == "__main__":
  main()
