r"""Seconds from the command to the first training step, and where they go.

Every figure is of a fresh process. A round takes each of these once, so that
ratios within a round hold when the machine's speed drifts:

  cold     no folder of compiled programs
  warm     the same command with a new workdir
  resumed  the same command with a workdir that has a checkpoint
  peer     import torch and transformers, build both networks, one eager step of
           the same shapes; our own modules, which its step borrows, not counted

  python tests/benchmarks/start_up.py --sizes tiny small --rounds 5 \
      --json start_up.json
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

BATCH_SIZE, STEPS = 16, 4
SHARING = "model.embedding_sharing=embeddings"  # The peer has no other.
LENGTHS = {"tiny": 32, "small": 128, "base": 512, "large": 512}
PARTS = (
    *("python", "imports", "store", "build", "init_or_restore"),
    *("trace_and_lower", "compile_or_read", "first_step", "other", "total"),
)
COMPILER_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace_and_lower",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "trace_and_lower",
    "/jax/core/compile/backend_compile_duration": "compile_or_read",
}


class Parts:
  """Seconds by the name of what took them.

  Attributes:
    secs: what has been measured.
  """

  def __init__(self, began: float):
    """Starts with the time since `began` as that of Python itself."""
    self._began = began
    self.secs = {"python": time.time() - began}

  def add(self, name: str, secs: float) -> None:
    """Adds to a part, which may be new."""
    self.secs[name] = self.secs.get(name, 0.0) + secs

  def timed(self, name: str, function: Callable) -> Callable:
    """Returns the function, which adds its time and waits for its arrays."""

    def call(*args, **kwargs):
      began = time.perf_counter()
      result = function(*args, **kwargs)
      if "jax" in sys.modules:
        sys.modules["jax"].block_until_ready(result)
      self.add(name, time.perf_counter() - began)
      return result

    return call

  def end(self, *not_counted: str) -> None:
    """Prints all parts and ends the process, whatever it is in the middle of."""
    total = time.time() - self._began
    for name in not_counted:
      total -= self.secs.pop(name)
    self.secs["other"] = total - sum(self.secs.values())
    print(json.dumps({**self.secs, "total": total}), flush=True)
    os._exit(0)


def run_ours(began: float, arguments: Sequence[str]) -> None:
  """Runs the real command as far as the end of its first step."""
  parts = Parts(began)
  from electra_jax.cli import main as cli

  import_verb = parts.timed("imports", cli._import_verb)

  def import_and_watch(verb):
    import_verb(verb)
    _watch(parts)

  cli._import_verb = import_and_watch
  cli.main(arguments)


def _watch(parts: Parts) -> None:
  import jax

  from electra_jax.pretraining import pretrain, trainer
  from electra_jax.training.checkpoint import Checkpointer

  def note(event, secs, fun_name="", **_):
    if event in COMPILER_EVENTS and "train_step" in fun_name:
      parts.add(COMPILER_EVENTS[event], secs)
      parts.add("first_step", -secs)

  def build_and_stop(*args):
    built = build(*args)
    step = parts.timed("first_step", built.train_step)
    return dataclasses.replace(
        built, train_step=lambda *args: (step(*args), parts.end())
    )

  jax.monitoring.register_event_duration_secs_listener(note)
  build = parts.timed("build", pretrain.make_trainer)
  pretrain.make_trainer = build_and_stop
  trainer.init_state = parts.timed("init_or_restore", trainer.init_state)
  Checkpointer.restore_latest = parts.timed(
      "init_or_restore", Checkpointer.restore_latest
  )
  pretrain.open_store_of = parts.timed("store", pretrain.open_store_of)


def run_peer(began: float, size: str) -> None:
  """Does the peer's side of it."""
  parts = Parts(began)

  def import_torch():
    import torch
    import transformers

    # transformers imports a model when it is asked for it.
    return torch, transformers.ElectraForMaskedLM

  def import_step():
    from tests.benchmarks import peer_torch

    return peer_torch

  parts.timed("imports", import_torch)()
  peer = parts.timed("ours", import_step)()
  case = peer.Case(size, BATCH_SIZE, LENGTHS[size], overrides=(SHARING,))
  step = parts.timed("build", peer.PeerStep)(case)
  parts.timed("first_step", step.run)(1)
  parts.end("ours")


def start(child: str, *arguments: Any) -> dict[str, float]:
  """Returns the parts of a fresh process."""
  environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  command = [sys.executable, __file__, "--child", child, repr(time.time())]
  done = subprocess.run(
      [*command, *map(str, arguments)],
      env=environment,
      stdout=subprocess.PIPE,
      check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


class Size:
  """All that starting one size in all ways needs.

  Attributes:
    name: of configs/pretrain.py.
  """

  def __init__(self, name: str, folder: pathlib.Path):
    from electra_jax.preprocessing.synthetic import make_store

    self.name, self._folder = name, folder / name
    make_store(self._folder / "store", length=LENGTHS[name])
    # A run that was stopped in its middle.
    stopped = self._folder / "stopped"
    command = self._command(stopped, self._folder / "no_cache")
    subprocess.run(
        [sys.executable, "-m", "electra_jax", *command], cwd=ROOT, check=True
    )
    shutil.rmtree(stopped / f"checkpoints/{STEPS}")
    self._stopped = stopped

  def take_round(self) -> dict[str, dict[str, float]]:
    """Starts everything once."""
    cache, run = self._folder / "cache", self._folder / "run"
    shutil.rmtree(cache, ignore_errors=True)
    parts = {}
    for way in ("cold", "warm", "resumed"):
      shutil.rmtree(run, ignore_errors=True)
      if way == "resumed":
        shutil.copytree(self._stopped, run)
      parts[way] = start("ours", *self._command(run, cache))
    parts["peer"] = start("peer", self.name)
    return parts

  def _command(self, run: pathlib.Path, cache: pathlib.Path) -> list[str]:
    return [
        "pretrain",
        *("--config", f"{ROOT}/configs/pretrain.py:{self.name}"),
        *("--workdir", str(run), "--compilation-cache", str(cache), "--quiet"),
        f"--config.data.store={self._folder / 'store'}",
        f"--config.{SHARING}",
        "--config.model.dtype=float32",
        f"--config.train.batch_size={BATCH_SIZE}",
        f"--config.train.num_steps={STEPS}",
        f"--config.train.checkpoint_every_steps={STEPS // 2}",
        f"--config.train.eval_batch_size={BATCH_SIZE}",
        f"--config.train.eval_max_rows={BATCH_SIZE}",
    ]


def summarise(rounds: Sequence[dict]) -> dict[str, Any]:
  """Returns median, least and most of every part, and ratios of totals."""
  ways = rounds[0].keys()
  seconds = {
      way: {
          name: _spread([taken[way].get(name, 0.0) for taken in rounds])
          for name in rounds[0][way]
      }
      for way in ways
  }
  ratios = {
      f"{over}_over_{way}": _spread(
          [taken[over]["total"] / taken[way]["total"] for taken in rounds]
      )
      for over in ("cold", "peer")
      for way in ("cold", "warm", "resumed")
      if over != way
  }
  return {"seconds": seconds, "ratios": ratios}


def _spread(values: Sequence[float]) -> dict[str, float]:
  return {
      "median": statistics.median(values),
      "least": min(values),
      "most": max(values),
  }


def table(size: str, summary: dict[str, Any]) -> str:
  """Returns the medians for people, a line a part."""
  seconds = summary["seconds"]
  lines = [f"{size:<18}" + "".join(f"{way:>10}" for way in seconds)]
  for name in PARTS:
    line = f"{name:<18}"
    for parts in seconds.values():
      line += f"{parts[name]['median']:>10.2f}" if name in parts else " " * 10
    lines.append(line)
  for name, spread in summary["ratios"].items():
    lines.append(
        f"{name:<18}{spread['median']:>10.2f}"
        f" ({spread['least']:.2f} to {spread['most']:.2f})"
    )
  return "\n".join(lines)


def main() -> None:
  if sys.argv[1:2] == ["--child"]:
    child, began, *arguments = sys.argv[2:]
    if child == "ours":
      run_ours(float(began), arguments)
    run_peer(float(began), *arguments)
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--sizes", nargs="+", default=["tiny"], choices=LENGTHS)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  result = {
      "rounds": args.rounds,
      "batch_size": BATCH_SIZE,
      "versions": {
          "python": platform.python_version(),
          **{
              name: metadata.version(name)
              for name in ("jax", "flax", "torch", "transformers")
          },
      },
      "processors": os.cpu_count(),
      "sizes": {},
  }
  with tempfile.TemporaryDirectory() as folder:
    for name in args.sizes:
      size, rounds, loads = Size(name, pathlib.Path(folder)), [], []
      for _ in range(args.rounds):
        loads.append(os.getloadavg()[0])
        rounds.append(size.take_round())
      summary = summarise(rounds)
      print(table(name, summary), flush=True)
      result["sizes"][name] = {
          **summary,
          "load_average": loads,
          "rounds": rounds,
      }
  if args.json:
    args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
  main()
