"""A sweep's results as its table shows them: a line for each point."""

import base64
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from electra_jax.reporting.about import shown
from electra_jax.reporting.drawing import inline
from electra_jax.reporting.records import RunRecord, number, read_lines
from electra_jax.text.visible import visible


@dataclasses.dataclass(frozen=True)
class SweepTable:
  """The points of a sweep.

  Attributes:
    name: of the folder.
    sweep: as it was named.
    metric: what is compared.
    better: "higher" or "lower".
    finished: trials that are finished.
    total: all trials.
    keys: what is varied.
    lines: of each point: whether it is the best, values of the keys, median,
      spread, what is not finished.
    plot: an SVG of the page, or "".
    image: a data URL, where there is no SVG; or "".
  """

  name: str
  sweep: str
  metric: str
  better: str
  finished: int
  total: int
  keys: Sequence[str]
  lines: Sequence[tuple[bool, Sequence[str], str, str, str]]
  plot: str = ""
  image: str = ""

  @property
  def has_spread(self) -> bool:
    """Whether a point has several seeds."""
    return any(line[3] for line in self.lines)


def read_sweep(run: RunRecord, plot_name: str) -> SweepTable:
  """Reads what a sweep has written so far.

  Args:
    run: of kind SWEEP.
    plot_name: unlike that of any other plot on the page.
  """
  records = list(read_lines(run.path / "results.jsonl"))
  trials = run.facts.get("trials")
  trials = trials if isinstance(trials, dict) else {}
  keys, metric = _columns(records)
  goal = run.facts.get("goal")
  points: dict[str, list[Mapping[str, Any]]] = {}
  for record in records:
    point = json.dumps([record.get(key) for key in keys])
    points.setdefault(point, []).append(record)
  sign = 1 if goal == "min" else -1
  rows = sorted(
      (_row(group, keys, metric) for group in points.values()),
      key=lambda row: sign * row[0] if math.isfinite(row[0]) else math.inf,
  )
  is_known = goal in ("min", "max") and rows and math.isfinite(rows[0][0])
  lines = [(bool(is_known and not i), *row[1:]) for i, row in enumerate(rows)]
  plot, image = _plot(run.path, plot_name)
  finished = {
      str(r.get("trial")) for r in records if r.get("state") == "finished"
  }
  return SweepTable(
      run.name,
      visible(str(run.facts.get("sweep", ""))),
      metric,
      "lower" if goal == "min" else "higher",
      len(finished),
      len(trials),
      [key.rpartition(".")[2] for key in keys],
      lines,
      plot,
      image,
  )


def _columns(records: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
  """Returns the varied keys and the metric, which stands behind them."""
  around = ("trial", "state", "seed", "figures", "note")
  names = [n for n in (records[0] if records else {}) if n not in around]
  return (names[:-1], names[-1]) if names else ([], "")


def _row(group, keys, metric):
  values = [number(record.get(metric)) for record in group]
  values = [value for value in values if value is not None]
  median = float(np.median(values)) if values else math.nan
  odd = [
      f"{visible(str(r.get('state')))}: {visible(str(r.get('note', '')))}"
      for r in group
      if r.get("state") != "finished"
  ]
  spread = ""
  if len(values) > 1:
    spread = f"{min(values):.4g} to {max(values):.4g}, {len(values)} seeds"
  return (
      median,
      [shown(group[0].get(key)) for key in keys],
      f"{median:.4g}" if values else "-",
      spread,
      "; ".join(odd),
  )


def _plot(path: epath.Path, name: str) -> tuple[str, str]:
  svg, png = path / "results.svg", path / "results.png"
  try:
    text = svg.read_bytes().decode("utf-8", "replace")
    if "<script" in text.lower():  # It goes into the page as it is.
      raise ValueError
    return inline(text, name, "Results of the sweep"), ""
  except (OSError, ValueError, TypeError):
    pass
  try:
    content = base64.b64encode(png.read_bytes()).decode()
    return "", f"data:image/png;base64,{content}"
  except OSError:
    return "", ""
