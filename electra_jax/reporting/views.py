"""From what runs have recorded to what a page shows of them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from electra_jax.reporting import (
    about,
    curve_plots,
    gallery,
    judged_plots,
    summaries,
    task_answers,
    task_plots,
)
from electra_jax.reporting.curve_plots import Drawn
from electra_jax.reporting.drawing import Plot
from electra_jax.reporting.records import HELD_OUT, RunRecord, last, number


@dataclasses.dataclass(frozen=True)
class Judged:
  """How a run's discriminator judges single tokens.

  Attributes:
    name: of the run.
    error: expected calibration error, or None.
    bands: by frequency.
    frames: the gallery, an evaluation each.
  """

  name: str
  error: float | None
  bands: Sequence[judged_plots.Band]
  frames: Sequence[gallery.Frame]


@dataclasses.dataclass(frozen=True)
class Answered:
  """A task's answers, with their drawing."""

  run: str
  answers: task_answers.TaskAnswers
  plot: Plot | None


@dataclasses.dataclass(frozen=True)
class RunAbout:
  """What there is to say of one run beside its figures."""

  name: str
  path: str
  parameters: Sequence[tuple[str, str]]
  data: about.Data | None
  examples: Sequence[tuple[str, str]]
  history: Sequence[about.Change]


@dataclasses.dataclass(frozen=True)
class View:
  """All that a page shows of the runs of one kind.

  Attributes:
    kind: of the runs.
    summaries: one for each.
    curves: panels that were recorded.
    calibration: drawing, or None.
    frequency: drawing, or None.
    judged: of each pretrain run.
    scores: of finetune runs: score, run, median, spread, values by seed.
    scores_plot: drawing, or None.
    answered: of each task of each finetune run.
    config: of all runs.
    environment: of all runs.
    abouts: of each run.
  """

  kind: str
  summaries: Sequence[summaries.Summary]
  curves: Sequence[Drawn]
  config: about.Comparison
  environment: about.Comparison
  abouts: Sequence[RunAbout]
  calibration: Plot | None = None
  frequency: Plot | None = None
  judged: Sequence[Judged] = ()
  scores: Sequence[Sequence[str]] = ()
  scores_plot: Plot | None = None
  answered: Sequence[Answered] = ()

  @property
  def plots(self) -> Iterator[Plot]:
    """All drawings."""
    yield from (drawn.plot for drawn in self.curves)
    several = (self.calibration, self.frequency, self.scores_plot)
    yield from (plot for plot in several if plot is not None)
    yield from (one.plot for one in self.answered if one.plot is not None)


def view_pretraining(runs: Sequence[RunRecord]) -> View:
  """Lays out pretrain runs over each other; to be called inside a style."""
  curves = {run.name: run.curves for run in runs}
  references = _references(runs)
  panels = (
      curve_plots.draw(panel, curves, references)
      for panel in curve_plots.PRETRAINING
  )
  last_samples = {run.name: run.samples[-1] for run in runs if run.samples}
  bins = {n: judged_plots.calibration_of(s) for n, s in last_samples.items()}
  bands = {n: judged_plots.bands_of(s) for n, s in last_samples.items()}
  bins, told = _filled(bins), _filled(bands)
  return View(
      "pretrain",
      [summaries.summarise_pretraining(run) for run in runs],
      [drawn for drawn in panels if drawn is not None],
      calibration=judged_plots.draw_calibration(bins) if bins else None,
      frequency=judged_plots.draw_bands(told) if told else None,
      judged=[
          Judged(
              run.name,
              judged_plots.calibration_error(bins.get(run.name, ())),
              bands.get(run.name, ()),
              gallery.frames_of(run.samples),
          )
          for run in runs
      ],
      **_common(runs),
  )


def view_finetuning(runs: Sequence[RunRecord]) -> View:
  """Lays out finetune runs; to be called inside a style."""
  names = dict.fromkeys(name for run in runs for name in run.main_scores)
  by_name = {
      name: _filled({r.name: summaries.seed_scores(r, name) for r in runs})
      for name in names
  }
  by_name = _filled(by_name)
  curves = _curves_by_seed(runs)
  panels = (
      curve_plots.draw(panel, curves, {}, "finetune_")
      for panel in curve_plots.FINETUNING
  )
  answered = []
  for number_of_run, run in enumerate(runs):
    for answers in task_answers.answers_of(run):
      prefix = f"{answers.task}_{answers.split}_{number_of_run or ''}"
      answered.append(Answered(run.name, answers, _draw(answers, prefix)))
  return View(
      "finetune",
      [summaries.summarise_finetuning(run) for run in runs],
      [drawn for drawn in panels if drawn is not None],
      scores=[
          line
          for name, values in by_name.items()
          for line in _lines(name, values)
      ],
      scores_plot=task_plots.draw_scores(by_name) if by_name else None,
      answered=answered,
      **_common(runs),
  )


def _common(runs: Sequence[RunRecord]) -> dict[str, Any]:
  names = [run.name for run in runs]
  return {
      "config": about.compare(names, [about.config_of(r) for r in runs]),
      "environment": about.compare(
          names, [about.environment_of(run) for run in runs]
      ),
      "abouts": [
          RunAbout(
              run.name,
              str(run.path),
              _parameters(run),
              about.data_of(run),
              _examples(run),
              about.history_of(run),
          )
          for run in runs
      ],
  }


def _references(runs: Sequence[RunRecord]) -> dict[str, float | None]:
  """Returns what curves are compared with, where it is the same for all."""
  entropies = {number(run.facts.get("unigram_entropy")) for run in runs}
  shares = [last(run.curves, HELD_OUT, "replaced_share") for run in runs]
  known = [share for share in shares if share is not None]
  return {
      "half": 0.5,
      "unigram_entropy": entropies.pop() if len(entropies) == 1 else None,
      "all_original": 1 - float(np.mean(known)) if len(runs) == len(known) == 1
      else None,
  }  # fmt: skip


def _curves_by_seed(runs: Sequence[RunRecord]):
  several = len(runs) > 1
  return {
      f"{run.name}, seed {seed}" if several else f"seed {seed}": curves
      for run in runs
      for seed, curves in run.seeds.items()
  }


def _draw(answers: task_answers.TaskAnswers, prefix: str) -> Plot | None:
  if answers.kind == "regression" and answers.count:
    return task_plots.draw_ratings(*answers.ratings, prefix)
  if 0 < len(answers.labels) <= task_plots.MOST_LABELS:
    return task_plots.draw_confusion(answers.labels, answers.confusion, prefix)
  return None


def _lines(name: str, scores: Mapping[str, Sequence[float]]):
  return [
      (
          name,
          run,
          f"{np.median(values):.2f}",
          f"{min(values):.2f} to {max(values):.2f}",
          ", ".join(f"{value:.2f}" for value in values),
      )
      for run, values in scores.items()
  ]


def _parameters(run: RunRecord) -> list[tuple[str, str]]:
  lines = [(name, f"{count:,}") for name, count in run.parameters.items()]
  if lines:
    lines.append(("together", f"{sum(run.parameters.values()):,}"))
  return lines


def _examples(run: RunRecord) -> list[tuple[str, str]]:
  counts = run.facts.get("examples")
  counts = counts if isinstance(counts, dict) else {}
  return [
      (f"{task}, {split}", about.shown(count))
      for task, splits in counts.items()
      if isinstance(splits, dict)
      for split, count in splits.items()
  ]


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in values.items() if value}
