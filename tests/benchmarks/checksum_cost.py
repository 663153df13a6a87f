"""What checksums cost: time of a checkpoint with and without them.

  python tests/benchmarks/checksum_cost.py --sizes tiny small --rounds 9

A train state of each size is saved and restored in turn with checksums and
without. The call of `save` is what a run waits for; the rest is written beside
the next steps. Prints medians in milliseconds, and writes them with --json:
of the clock, and of the processor, which other work on the machine disturbs
less. Both are of this process with all of its threads.
A step itself computes no checksum. With --steps N, N steps of the first size
are timed as well, with a checkpoint in their middle, which is written beside
the steps that follow; its end is waited for.
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import sys
import tempfile
import time
from unittest import mock

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from electra_jax.config_files import load_config
from electra_jax.devices import sharding
from electra_jax.pretraining.trainer import make_trainer
from electra_jax.runs.config import read_pretrain_config
from electra_jax.runs.networks import Vocabulary
from electra_jax.store.feed import Batch
from electra_jax.text.tokenizer import SpecialIds
from electra_jax.training import checkpoint, checksums
from electra_jax.trees import path_names

VOCAB_SIZE = {"tiny": 1_000}  # Of all others the released one's.
WAYS = ("with", "without")


def make_state(size: str):
  """Returns a trainer and a state of random values, as hard to compress."""
  config = read_pretrain_config(load_config(f"pretrain:{size}"))
  vocab_size = VOCAB_SIZE.get(size, 30_522)
  vocabulary = Vocabulary(
      vocab_size, SpecialIds(0, 1, 2, 3, 4), np.zeros(vocab_size, bool)
  )
  trainer = make_trainer(config, vocabulary, sharding.make_mesh())
  rng = np.random.default_rng(0)

  def fill(leaf, where):
    values = rng.standard_normal(leaf.shape).astype(leaf.dtype)
    return jax.device_put(values, where)

  return trainer, jax.tree.map(fill, trainer.abstract, trainer.shardings)


def without(tree):
  """Stands for `examine` where nothing is examined."""
  return {n: checksums.Examined(0, True) for n, _ in path_names(tree)}


def one_round(trainer, state, way: str) -> dict[str, float]:
  """Returns seconds of a checkpoint that is written and read."""
  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    if way == "without":
      stack.enter_context(mock.patch.object(checkpoint, "examine", without))
    checkpointer = stack.enter_context(checkpoint.Checkpointer(folder))
    times = [now()]
    checkpointer.save(state, 1)
    times.append(now())
    checkpointer.wait()
    times.append(now())
    restored = checkpointer.restore_latest(trainer.abstract, trainer.shardings)
    jax.block_until_ready(restored)
    times.append(now())
  began, called, written, read = times
  parts = {
      "save_call": called - began,
      "save_whole": written - began,
      "restore": read - written,
  }
  return {
      f"{name}_{clock}": part[i]
      for name, part in parts.items()
      for i, clock in enumerate(("clock", "cpu"))
  }


def step_round(trainer, steps: int, way: str) -> dict[str, float]:
  """Returns seconds of a training step; a checkpoint is saved in the middle."""
  train, length = trainer.config.train, trainer.config.data.length
  rng = np.random.default_rng(0)
  batch = Batch(
      rng.integers(5, 1_000, (train.batch_size, length), np.uint16),
      np.full((train.batch_size, 2), length, np.int32),
  )
  batch = sharding.to_global(trainer.mesh, batch)
  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    if way == "without":
      stack.enter_context(mock.patch.object(checkpoint, "examine", without))
    checkpointer = stack.enter_context(checkpoint.Checkpointer(folder))
    state, _ = trainer.train_step(trainer.init(), batch)
    jax.block_until_ready(state)
    began = now()
    for step in range(1, steps + 1):
      state, _ = trainer.train_step(state, batch)
      if step == steps // 2:
        checkpointer.save(state, step)
    jax.block_until_ready(state)
    checkpointer.wait()
    secs = (now() - began) / steps
  return {"step_clock": secs[0], "step_cpu": secs[1]}


def now() -> np.ndarray:
  """Returns seconds of the clock and of the processor."""
  return np.array([time.perf_counter(), time.process_time()])


def measure(size: str, rounds: int, steps: int) -> dict[str, object]:
  trainer, state = make_state(size)
  seen = {way: [] for way in WAYS}
  for way in WAYS:  # The first of each warms up.
    one_round(trainer, state, way)
    if steps:
      step_round(trainer, 2, way)
  for number in range(rounds):
    for way in WAYS if number % 2 else reversed(WAYS):
      figures = one_round(trainer, state, way)
      if steps:
        figures |= step_round(trainer, steps, way)
      seen[way].append(figures)
  examined = []
  for _ in range(rounds):
    began = time.process_time()
    checksums.examine(state)
    examined.append(time.process_time() - began)
  num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  return {
      "size": size,
      "state_megabytes": num_bytes / 1e6,
      "examine_cpu_ms": 1e3 * statistics.median(examined),
      **{
          way: {
              name: 1e3 * statistics.median(x[name] for x in seen[way])
              for name in seen[way][0]
          }
          for way in WAYS
      },
  }


def main() -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--sizes", nargs="+", default=["tiny", "small"])
  parser.add_argument("--rounds", type=int, default=9)
  parser.add_argument("--steps", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  found = [
      measure(size, args.rounds, 0 if i else args.steps)
      for i, size in enumerate(args.sizes)
  ]
  for figures in found:
    print(
        f"{figures['size']}: state of {figures['state_megabytes']:.1f} MB,"
        f" examined in {figures['examine_cpu_ms']:.1f} ms of one core"
    )
    for name in figures["with"]:
      times = [figures[way][name] for way in WAYS]
      print(
          f"  {name:<16} with {times[0]:9.1f} ms, without {times[1]:9.1f} ms,"
          f" ratio {times[0] / times[1]:.3f}"
      )
  if args.json:
    args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  main()
