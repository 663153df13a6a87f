"""Workdirs and stores as they should be, what verbs answer, and damages."""

import dataclasses
import json
import pathlib
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from electra_jax import api
from tests import helpers
from tests.chaos import damage
from tests.chaos.judging import Ended, contents

TEXTS = ["the quick brown fox", "a [MASK] of the old house"]
LAST_STEP = 6  # Of a run that is resumed from step 4.
# What a run that goes on writes anew.
_RECORDS = (
    *("metrics.jsonl", "samples.jsonl", "history.jsonl"),
    *("environment.json", "config.json"),
)


@dataclasses.dataclass(frozen=True)
class Verb:
  """Something that is done with a workdir.

  Attributes:
    name: of it.
    call: does it, and returns what can be compared.
    writes: whether the workdir may be another afterwards.
  """

  name: str
  call: Callable[[pathlib.Path], Any]
  writes: bool = False


def resume_of(store: pathlib.Path) -> Callable[[pathlib.Path], Any]:
  """Returns what resumes a run on a store, to the step `LAST_STEP`."""

  def resume(workdir: pathlib.Path) -> dict[str, bytes]:
    config = run_config(store, **{"train.num_steps": LAST_STEP})
    api.pretrain(config, workdir, quiet=True)
    records = helpers.read_records(workdir / "metrics.jsonl")
    steps = [(r["step"], r["group"]) for r in records]
    assert len(set(steps)) == len(steps), steps
    return as_bytes(helpers.read_params(workdir, LAST_STEP))

  return resume


def run_config(store: pathlib.Path, **overrides):
  """The config of the runs that are damaged: checkpoints at 2 and 4."""
  every = {
      "optimizer.decay_power": 0.0,  # Rates do not know where a run will end.
      "train.num_steps": 4,
      "train.checkpoint_every_steps": 2,
      "train.eval_every_steps": 2,
      "train.log_every_steps": 2,
      "train.eval_max_rows": 8,
  }
  return helpers.store_config(store, **every | overrides)


def copied(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
  """Copies a folder in the place of another; links stay links."""
  shutil.rmtree(target, ignore_errors=True)
  return pathlib.Path(shutil.copytree(source, target, symlinks=True))


def as_bytes(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
  """Arrays in a form that compares bit for bit."""
  return {name: array.tobytes() for name, array in arrays.items()}


def evaluate(workdir: pathlib.Path) -> dict[str, str]:
  """Returns figures, as text: NaN equals NaN there."""
  return {name: repr(x) for name, x in api.evaluate(workdir).items()}


def detect(workdir: pathlib.Path) -> list[str]:
  """Returns the verdicts on some texts."""
  return [
      repr((found.tokens, [float(p) for p in found.probabilities]))
      for found in api.open_run(workdir).detect(TEXTS)
  ]


def convert(workdir: pathlib.Path) -> list[str]:
  """Returns the digests of what Hugging Face's folders hold, but cards."""
  target = workdir.with_name(f"{workdir.name}_converted")
  shutil.rmtree(target, ignore_errors=True)
  api.convert(workdir, target, to="huggingface")
  for card in target.rglob("README.md"):
    card.unlink()  # It tells the run's name.
  return sorted(contents(target).values())


READING = (
    Verb("evaluate", evaluate),
    Verb("predict", detect),
    Verb("convert", convert),
)


class Answers:
  """What verbs answer of an undisturbed run, at its checkpoints."""

  def __init__(self, workdir: pathlib.Path, scratch: pathlib.Path):
    before = scratch / "before"
    shutil.copytree(workdir, before)
    shutil.rmtree(before / "checkpoints/4")
    self._newest = {verb.name: verb.call(workdir) for verb in READING}
    self._before = {verb.name: verb.call(before) for verb in READING}
    # Else a wrong checkpoint could not be told from the right one.
    assert all(self._newest[n] != x for n, x in self._before.items())

  def add(self, name: str, answer: Any) -> None:
    """Notes the only right answer of a verb."""
    self._newest[name] = self._before[name] = answer

  def is_right(self, verb: Verb, ended: Ended) -> bool:
    """Says so of the newest checkpoint's, or of the one before if told."""
    if ended.result == self._newest[verb.name]:
      return True
    return bool(ended.told) and ended.result == self._before[verb.name]


def damaged_files(
    root: pathlib.Path, rng: random.Random, count: int
) -> Iterator[tuple[pathlib.Path, str, bytes]]:
  """Yields damages of every file below a folder, in turn."""
  for path in sorted(p for p in root.rglob("*") if p.is_file()):
    content = path.read_bytes()
    damages = damage.damages_of_bytes
    if _is_json(content):
      damages = damage.damages_of_json
    for name, changed in damages(content, rng, count):
      if changed != content:
        yield path.relative_to(root), name, changed


def _is_json(content: bytes) -> bool:
  try:
    return isinstance(json.loads(content), dict | list)
  except ValueError:
    return False


def is_kept(verb: Verb, before: dict[str, str], after: dict[str, str]) -> bool:
  """Says whether what may not be written is as it was."""
  if not verb.writes:
    return before == after
  kept = {
      path: x
      for path, x in before.items()
      if not path.endswith(_RECORDS) and "/tensorboard/" not in path
  }
  return not set(kept.values()) - set(after.values())
