"""What the files of a run say, read so that nothing in them can stop a page.

A file that is missing, torn or of another shape reads as if it said nothing:
the page then has a section "not recorded". No lock is taken and nothing is
written, so that a run that is going is not disturbed. Nothing here needs jax.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.runs import shipped
from electra_jax.runs.history import flat

PRETRAIN, FINETUNE, SWEEP = "pretrain", "finetune", "sweep"
TRAIN, HELD_OUT = "train", "validation"  # Groups of records.
# The sign of each kind, which is the first thing that is written.
_SIGNS = {"store.json": PRETRAIN, "task.json": FINETUNE, "sweep.json": SWEEP}
_PHASES = "phases.json"
_MOST_STEPS = 2**63  # That an array of steps can hold.


class Series(NamedTuple):
  """A figure over the steps of a run.

  Attributes:
    steps: [n] ascending.
    values: [n] NaN where the figure was not defined.
  """

  steps: np.ndarray
  values: np.ndarray


Curves = Mapping[tuple[str, str], Series]  # By group and name.


@dataclasses.dataclass(frozen=True)
class RunRecord:
  """What a folder says of its run; what is not recorded is empty.

  Attributes:
    path: the folder.
    name: what the page calls it.
    kind: PRETRAIN, FINETUNE or SWEEP.
    config: its values by dotted key.
    environment: versions, devices, commit, command.
    parameters: numbers of parameters by network.
    facts: about its data.
    history: a record for each command that took a step.
    curves: by group and name; of a fine-tuning by seed, see `seeds`.
    samples: what each evaluation kept, in the order of the steps.
    seeds: curves of each seed of a fine-tuning.
    scores: the summary of a fine-tuning.
  """

  path: epath.Path
  name: str
  kind: str
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  parameters: Mapping[str, int] = dataclasses.field(default_factory=dict)
  facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  history: Sequence[Mapping[str, Any]] = ()
  curves: Curves = dataclasses.field(default_factory=dict)
  samples: Sequence[Mapping[str, Any]] = ()
  seeds: Mapping[int, Curves] = dataclasses.field(default_factory=dict)
  scores: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def last_step(self) -> int:
    """The last step that is recorded, 0 if there is none."""
    steps = [s.steps[-1] for s in self.curves.values() if len(s.steps)]
    return int(max(steps, default=0))

  @property
  def main_scores(self) -> list[str]:
    """Names of the scores that the best seed of a fine-tuning is chosen by."""
    names = self.scores.get("selected_by")
    names = names if isinstance(names, list) else []
    return [name for name in names if isinstance(name, str)]


def read_runs(paths: Sequence[epath.PathLike]) -> list[RunRecord]:
  """Reads the runs of some folders; a run of phases counts as so many.

  Raises:
    UserError: a folder is no workdir and no sweep.
  """
  found = []
  for path in map(epath.Path, paths):
    phases = read_object(path / _PHASES)
    folders = [path / name for name in phases if _kind_of(path / name)]
    if not folders:
      folders = [path]
    found += folders
  kinds = [_checked_kind(path) for path in found]
  names = _names(found)
  return [
      _read_run(path, name, kind)
      for path, name, kind in zip(found, names, kinds, strict=True)
  ]


def read_object(path: epath.Path) -> dict[str, Any]:
  """Returns a JSON file's object; empty if it is missing or broken."""
  try:
    value = json.loads(path.read_bytes().decode("utf-8", "replace"))
  except (OSError, ValueError, RecursionError):
    return {}
  return value if isinstance(value, dict) else {}


def read_lines(path: epath.Path) -> Iterator[dict[str, Any]]:
  """Yields the objects of a file of JSON lines; a torn line is left out."""
  try:
    text = path.read_bytes().decode("utf-8", "replace")
  except OSError:
    return
  for line in text.split("\n"):
    try:
      value = json.loads(line)
    except (ValueError, RecursionError):
      continue
    if isinstance(value, dict):
      yield value


def number(value: Any) -> float | None:
  """Returns a finite number, or None for anything else."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  try:
    value = float(value)
  except OverflowError:  # A whole number of hundreds of digits.
    return None
  return value if math.isfinite(value) else None


def read_curves(path: epath.Path) -> dict[tuple[str, str], Series]:
  """Reads metrics.jsonl."""
  found: dict[tuple[str, str], dict[int, float]] = {}
  for record in read_lines(path):
    step, group = record.get("step"), record.get("group")
    is_step = type(step) is int and 0 <= step < _MOST_STEPS
    if not is_step or not isinstance(group, str):
      continue
    for name, value in record.items():
      is_gap = value is None
      if name in ("step", "group") or not (is_gap or number(value) is not None):
        continue
      values = found.setdefault((group, name), {})
      values[step] = math.nan if is_gap else float(value)
  return {
      key: Series(
          np.asarray(sorted(values), np.int64),
          np.asarray([values[step] for step in sorted(values)], np.float64),
      )
      for key, values in found.items()
  }


def last(curves: Curves, group: str, name: str) -> float | None:
  """Returns the last value of a figure that is defined."""
  series = curves.get((group, name))
  if series is None:
    return None
  finite = series.values[np.isfinite(series.values)]
  return float(finite[-1]) if len(finite) else None


def _kind_of(path: epath.Path) -> str | None:
  for sign, kind in _SIGNS.items():
    if (path / sign).exists():
      return kind
  return None


def _checked_kind(path: epath.Path) -> str:
  if kind := _kind_of(path):
    return kind
  if shipped.is_shipped(path):
    raise UserError(
        f"{path} comes with the package without the record of its training; its"
        f" figures stand in {shipped.place_of(path) / 'README.md'}"
    )
  what = "does not exist" if not path.exists() else "is no workdir"
  raise UserError(
      f"{path} {what}: a report is of the --workdir of a pretrain or finetune"
      " run, or of the --output of a sweep; name one"
  )


def _names(paths: Sequence[epath.Path]) -> list[str]:
  """Returns the shortest ends of the paths that tell them apart."""
  parts = [epath.Path(path).absolute().parts for path in paths]
  for length in range(1, max(map(len, parts)) + 1):
    names = ["/".join(path[-length:]) for path in parts]
    if len(set(names)) == len(names):
      return names
  return [f"{name} ({i})" for i, name in enumerate(names, start=1)]


def _read_run(path: epath.Path, name: str, kind: str) -> RunRecord:
  if kind == SWEEP:
    return RunRecord(path, name, kind, facts=read_object(path / "sweep.json"))
  facts = read_object(
      path / ("store.json" if kind == PRETRAIN else "task.json")
  )
  sizes = read_object(path / "parameters.json").get("networks")
  sizes = sizes if isinstance(sizes, dict) else {}
  about = {
      "config": dict(flat(read_object(path / "config.json"))),
      "environment": read_object(path / "environment.json"),
      "parameters": {k: n for k, n in sizes.items() if type(n) is int},
      "facts": facts,
      "history": list(read_lines(path / "history.jsonl")),
  }
  if kind == PRETRAIN:
    samples = {
        record["step"]: record
        for record in read_lines(path / "samples.jsonl")
        if type(record.get("step")) is int
    }
    return RunRecord(
        path,
        name,
        kind,
        curves=read_curves(path / "metrics.jsonl"),
        samples=[samples[step] for step in sorted(samples)],
        **about,
    )
  seeds = {
      int(folder.name.removeprefix("seed_")): read_curves(
          folder / "metrics.jsonl"
      )
      for folder in path.glob("seed_*")
      if folder.name.removeprefix("seed_").isdecimal()
  }
  scores = read_object(path / "scores.json")
  return RunRecord(
      path,
      name,
      kind,
      curves=_curves_of_best(seeds, scores),
      seeds=dict(sorted(seeds.items())),
      scores=scores,
      **about,
  )


def _curves_of_best(seeds: Mapping[int, Curves], scores) -> Curves:
  best = scores.get("best_seed")
  if type(best) is int and best in seeds:
    return seeds[best]
  return seeds[min(seeds)] if seeds else {}
