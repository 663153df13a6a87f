"""Results of a sweep to read: a line for every run, a table of the points."""

import json
import math
from collections.abc import Sequence

from etils import epath

from electra_jax.files import write_whole
from electra_jax.sweeps.outcomes import FINISHED, Outcome, Row, ranked
from electra_jax.sweeps.trials import SweepPlan, short_names, value_text

RECORDS, TABLE = "results.jsonl", "results.txt"


def write_results(
    plan: SweepPlan, outcomes: Sequence[Outcome], output: epath.Path
) -> str:
  """Writes results.jsonl and results.txt, and returns the latter's text."""
  write_whole(output / RECORDS, _records(plan, outcomes))
  text = make_table(plan, ranked(plan, outcomes))
  write_whole(output / TABLE, [text])
  return text


def make_table(plan: SweepPlan, rows: Sequence[Row]) -> str:
  """Lays the points out, the best first.

  Args:
    plan: of the sweep.
    rows: as `outcomes.ranked` gives them.

  Returns:
    Lines of: the varied keys, the metric's median over seeds, its least and
    greatest where there are several, their number, the median of the figure
    that the metric is drawn over, if any, and what is not finished.
  """
  names = short_names(plan.keys)
  has_seeds = any(len(row.values) > 1 for row in rows)
  spread = ("min", "max", "seeds") if has_seeds else ()
  title = metric_name(plan)
  against = plan.sweep.against
  lines = [["", *names.values(), title, *spread, *filter(None, [against]), ""]]
  for row in rows:
    line = ["best" if row.is_best else ""]
    line += [value_text(row.point[key]) for key in plan.keys]
    line.append(_number(row.median) if row.values else "-")
    if has_seeds:
      bounds = (min(row.values), max(row.values)) if row.values else ()
      line += [_number(bound) for bound in bounds] or ["-", "-"]
      line.append(str(len(row.values)))
    if against:
      line.append(_number(row.other_median) if row.others else "-")
    lines.append([*line, "; ".join(row.states)])
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  # Numbers end at the same place; what is said behind them begins there.
  return "".join(
      "  ".join(
          [
              *(c.rjust(w) for c, w in zip(line[:-1], widths, strict=False)),
              line[-1],
          ]
      ).rstrip()
      + "\n"
      for line in lines
  )


def metric_name(plan: SweepPlan) -> str:
  """Returns what the metric is called, without a space."""
  return plan.sweep.metric or "dev_score"


def _number(value: float) -> str:
  return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _records(plan: SweepPlan, outcomes: Sequence[Outcome]) -> list[str]:
  lines = []
  for outcome in outcomes:
    values = outcome.values or {outcome.trial.seed: None}
    for seed, value in values.items():
      record = {
          "trial": outcome.trial.name,
          "state": outcome.state,
          "seed": seed,
          **outcome.trial.point,
          metric_name(plan): _finite(value),
      }
      if outcome.state == FINISHED:
        figures = outcome.figures[seed]
        record["figures"] = {k: _finite(v) for k, v in figures.items()}
      elif outcome.note:
        record["note"] = outcome.note
      lines.append(json.dumps(record) + "\n")
  return lines


def _finite(value: float | None) -> float | None:
  return value if value is not None and math.isfinite(value) else None
