"""What a trial's folder says: whether it is finished, and its figures."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.sweeps.space import Sweep
from electra_jax.sweeps.trials import Stage, SweepPlan, Trial

FINISHED = "finished"
LOGS = "log*.txt"
_SCORES = "scores.json"  # Of a finetune run.
_COMMITTED = "commit_success.txt"  # In a checkpoint that is whole, on gs://.


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a trial stands.

  Attributes:
    trial: the one meant.
    state: FINISHED, or a word for what else it is.
    values: the sweep's metric, by seed; empty unless finished.
    figures: all that its last evaluations said, by seed and by name.
    note: the last line of its log, unless it is finished.
  """

  trial: Trial
  state: str
  values: Mapping[int, float] = dataclasses.field(default_factory=dict)
  figures: Mapping[int, Mapping[str, float]] = dataclasses.field(
      default_factory=dict
  )
  note: str = ""


def is_finished(stage: Stage, folder: epath.Path) -> bool:
  """Whether a stage has ended: what its verb writes last is there.

  Args:
    stage: of a trial.
    folder: the trial's.
  """
  workdir = folder / stage.folder
  if stage.verb == "finetune":
    seeds = _read_scores(workdir).get("seeds", {})
    return all(str(seed) in seeds for seed in range(stage.end))
  # The last evaluation stands before or behind the last checkpoint.
  checkpoint = workdir / stage.last_phase / "checkpoints" / str(stage.end)
  is_whole = (checkpoint / _COMMITTED).exists() or (
      checkpoint.exists() and "://" not in str(checkpoint)
  )
  return is_whole and _last_figures(stage, folder)[0] == stage.end


def next_stage(trial: Trial, folder: epath.Path) -> Stage | None:
  """Returns the first stage that is not finished, None if all are."""
  for stage in trial.stages:
    if not is_finished(stage, folder):
      return stage
  return None


def read_outcome(
    sweep: Sweep, trial: Trial, folder: epath.Path, state: str = "unfinished"
) -> Outcome:
  """Reads how a trial stands.

  Args:
    sweep: its sweep.
    trial: the one meant.
    folder: of the trial.
    state: what it is where it has begun and is not finished.

  Raises:
    UserError: a finished trial has no such metric.
  """
  if next_stage(trial, folder) is not None:
    note = last_line(folder)
    begun = folder.exists()
    return Outcome(trial, state if begun else "not started", note=note)
  if trial.stages[-1].verb == "pretrain":
    _, figures = _last_figures(trial.stages[-1], folder)
    named = {f"validation/{key}": value for key, value in figures.items()}
    _check_metric(sweep, named)
    return _finished(trial, named[sweep.metric], figures)
  scores = [
      _read_scores(folder / stage.folder)
      for stage in trial.stages
      if stage.verb == "finetune"
  ]
  if not sweep.judges:
    (only,) = scores
    by_seed = {int(seed): found for seed, found in only["seeds"].items()}
    values = {
        s: _main_score(sweep, only, found) for s, found in by_seed.items()
    }
    return Outcome(trial, FINISHED, values, by_seed)
  figures = {}
  for found in scores:
    figures |= found["median"]
  if sweep.metric:
    _check_metric(sweep, figures)
    return _finished(trial, figures[sweep.metric], figures)
  value = np.mean([_main_score(sweep, s, s["median"]) for s in scores])
  return _finished(trial, float(value), figures)


def _finished(trial: Trial, value: float, figures) -> Outcome:
  return Outcome(trial, FINISHED, {trial.seed: value}, {trial.seed: figures})


def last_line(folder: epath.Path) -> str:
  """Returns the last line that says something in a trial's logs, or ""."""
  logs = sorted(folder.glob(LOGS)) if folder.exists() else []
  for log in logs:
    lines = log.read_bytes().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
      if line.strip():
        return line.strip()
  return ""


@dataclasses.dataclass(frozen=True)
class Row:
  """A point with what its seeds came to.

  Attributes:
    point: values of the varied keys.
    values: the metric of every seed that is finished.
    states: of its trials that are not, with the notes.
    is_best: whether its median is the best of all.
    others: of the same seeds, the figure that the sweep's `against` names.
  """

  point: Mapping[str, Any]
  values: tuple[float, ...]
  states: tuple[str, ...]
  is_best: bool = False
  others: tuple[float, ...] = ()

  @property
  def median(self) -> float:
    return float(np.median(self.values)) if self.values else float("nan")

  @property
  def other_median(self) -> float:
    return float(np.median(self.others)) if self.others else float("nan")


def ranked(plan: SweepPlan, outcomes: Sequence[Outcome]) -> list[Row]:
  """Puts the seeds of a point together, and the best point first."""
  by_point = {}
  for outcome in outcomes:
    key = json.dumps(outcome.trial.point)
    by_point.setdefault(key, []).append(outcome)
  rows = [_row(group, plan.sweep.against) for group in by_point.values()]
  sign = -1 if plan.sweep.goal == "max" else 1
  # A metric that is not finite ranks behind all others, as no metric does.
  rows.sort(
      key=lambda row: sign * row.median if np.isfinite(row.median) else np.inf
  )
  if np.isfinite(rows[0].median):
    rows[0] = dataclasses.replace(rows[0], is_best=True)
  return rows


def _row(group: Sequence[Outcome], against: str) -> Row:
  others = [
      np.mean([v for k, v in found.items() if k.rpartition("/")[2] == against])
      for outcome in group
      for found in outcome.figures.values()
      if any(k.rpartition("/")[2] == against for k in found)
  ]
  return Row(
      group[0].trial.point,
      tuple(value for outcome in group for value in outcome.values.values()),
      tuple(
          f"{outcome.state}: {outcome.note}" if outcome.note else outcome.state
          for outcome in group
          if outcome.state != FINISHED
      ),
      others=tuple(map(float, others)),
  )


def _last_figures(stage: Stage, folder: epath.Path) -> tuple[int, dict]:
  path = folder / stage.folder / stage.last_phase / "metrics.jsonl"
  step, figures = -1, {}
  for line in path.read_text().splitlines() if path.exists() else ():
    try:
      record = json.loads(line)
    except ValueError:  # Cut off by a kill.
      continue
    if record.pop("group") == "validation":
      step, figures = record.pop("step"), record
  return step, {
      name: float("nan") if value is None else value
      for name, value in figures.items()
  }


def _read_scores(workdir: epath.Path) -> dict[str, Any]:
  path = workdir / _SCORES
  if not path.exists():
    return {}
  # JSON has no NaN: null stands for a score that is not defined.
  return json.loads(
      path.read_text(),
      object_hook=lambda found: {
          name: math.nan if value is None else value
          for name, value in found.items()
      },
  )


def _main_score(sweep: Sweep, summary, scores: Mapping[str, float]) -> float:
  if sweep.metric:
    _check_metric(sweep, scores)
    return scores[sweep.metric]
  return float(np.mean([scores[name] for name in summary["selected_by"]]))


def _check_metric(sweep: Sweep, figures: Mapping[str, float]) -> None:
  if sweep.metric not in figures:
    raise UserError(
        f"the sweep's metric is {sweep.metric!r} and a finished trial has"
        f" {', '.join(sorted(figures))}; name one of them"
    )
