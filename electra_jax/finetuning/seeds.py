"""Scores of several seeds: median, spread, the best one, and their tables."""

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import rich.console
import rich.table
from etils import epath

from electra_jax.disk.json_files import read_json
from electra_jax.files import to_json, write_whole
from electra_jax.runs.weights import SCORES


def finished_seeds(workdir: epath.PathLike) -> dict[int, dict[str, float]]:
  """Returns the scores of the seeds that are finished, from a workdir."""
  fix = "delete it, and the seed is scored again"
  found = {}
  for path in epath.Path(workdir).glob(f"seed_*/{SCORES}"):
    seed = path.parent.name.removeprefix("seed_")
    if seed.isdecimal():
      scores = read_json(path, dict[str, float | None], fix)
      # JSON has no NaN: null stands for a score that is not defined.
      found[int(seed)] = {
          name: math.nan if score is None else score
          for name, score in scores.items()
      }
  return found


def summarise(
    scores: Mapping[int, Mapping[str, float]], main_metrics: list[str]
) -> dict[str, Any]:
  """Sums up the scores of seeds.

  Args:
    scores: by seed, then by name, as "rte/dev/accuracy".
    main_metrics: the names whose mean selects the best seed.

  Returns:
    `seeds`, `median`, `mean`, `standard_deviation` (of a sample; 0 for one
    seed), `min`, `max`, `best_seed` and `selected_by`.
  """
  seeds = sorted(scores)
  names = list(scores[seeds[0]])
  table = np.array([[scores[seed][name] for name in names] for seed in seeds])
  means = [np.mean([scores[s][name] for name in main_metrics]) for s in seeds]

  def by_name(values):
    return dict(zip(names, map(float, values), strict=True))

  return {
      "selected_by": main_metrics,
      # An undefined score, as the correlation of a constant, is never the best.
      "best_seed": seeds[int(np.argmax(np.nan_to_num(means, nan=-np.inf)))],
      "median": by_name(np.median(table, axis=0)),
      "mean": by_name(table.mean(0)),
      "standard_deviation": by_name(
          table.std(0, ddof=1) if len(seeds) > 1 else np.zeros(len(names))
      ),
      "min": by_name(table.min(0)),
      "max": by_name(table.max(0)),
      "seeds": {str(seed): dict(scores[seed]) for seed in seeds},
  }


def medians_and_deviations(summary: Mapping[str, Any]) -> dict[str, float]:
  """Returns the medians and deviations of a summary, flat, for trackers."""
  return {
      f"{part}/{name}": value
      for part in ("median", "standard_deviation")
      for name, value in summary[part].items()
  }


def write_summary(workdir: epath.PathLike, summary: Mapping[str, Any]) -> None:
  """Writes a summary as `scores.txt` and `scores.json` where it is new."""
  path = epath.Path(workdir)
  text = to_json(summary, indent=1)
  if (path / SCORES).exists() and (path / SCORES).read_text() == text:
    return
  write_whole(path / "scores.txt", [as_text(summary), "\n"])
  write_whole(path / SCORES, [text])


def make_tables(summary: Mapping[str, Any]) -> list[rich.table.Table]:
  """Lays the scores out: one table by seed, one by metric.

  The first shows the scores that select the best seed, the second sums up
  every score; of a single seed the second says it all.
  """
  seeds = summary["seeds"]
  by_metric = rich.table.Table("score", title_justify="left")
  columns = ["median", "standard_deviation", "min", "max"]
  if len(seeds) == 1:
    columns = ["median"]
  for column in columns:
    title = column.replace("_", " ") if len(seeds) > 1 else "value"
    by_metric.add_column(title, justify="right")
  for name in summary["median"]:
    by_metric.add_row(name, *(f"{summary[c][name]:.2f}" for c in columns))
  if len(seeds) == 1:
    return [by_metric]
  by_seed = rich.table.Table("seed", title_justify="left")
  for name in summary["selected_by"]:
    by_seed.add_column(name, justify="right")
  for seed, scores in seeds.items():
    is_best = int(seed) == summary["best_seed"]
    values = (f"{scores[name]:.2f}" for name in summary["selected_by"])
    by_seed.add_row(f"{seed} (best)" if is_best else seed, *values)
  return [by_seed, by_metric]


def as_text(summary: Mapping[str, Any]) -> str:
  """Returns the tables of `make_tables` as plain text."""
  text = io.StringIO()
  # A notebook would show the tables itself and leave the text empty.
  console = rich.console.Console(
      file=text,
      width=160,
      force_jupyter=False,
      force_terminal=False,
      color_system=None,
  )
  console.print(*make_tables(summary))
  return text.getvalue().rstrip("\n")
