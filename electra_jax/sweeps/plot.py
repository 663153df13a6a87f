"""One plot of a sweep: a panel for each varied key, a point for each of its."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from electra_jax.errors import UserError
from electra_jax.sweeps.outcomes import Row
from electra_jax.sweeps.table import metric_name
from electra_jax.sweeps.trials import SweepPlan, short_names, value_text

PLOT, DRAWING = "results.png", "results.svg"
_MAX_COLOURS = 6  # Values of another key that colours can still tell apart.
_MAX_TICKS = 8  # Values that all stand below an axis.
_LONG_TICK = 5  # Letters from which labels of an axis are turned.
_ASIDE_INCHES = 0.09  # Between the colours of one place.
_LOG_SPAN = 10  # Greatest over least value from which an axis is logarithmic.


def write_plot(
    plan: SweepPlan, rows: Sequence[Row], output: epath.Path
) -> None:
  """Writes results.png and results.svg; takes what `make_figure` takes.

  Raises:
    UserError: matplotlib is not installed.
  """
  figure = make_figure(plan, rows)
  import matplotlib

  # Text stays text; the same results give the same file.
  settings = {"svg.fonttype": "none", "svg.hashsalt": PLOT}
  with matplotlib.rc_context(settings):
    for name in (PLOT, DRAWING):
      image = io.BytesIO()
      kind = name.rpartition(".")[2]
      about = {"Date": None} if kind == "svg" else None
      figure.savefig(image, format=kind, metadata=about)
      (output / name).write_bytes(image.getvalue())


def make_figure(plan: SweepPlan, rows: Sequence[Row]) -> Any:
  """Draws the points of a sweep.

  A point is the median over seeds, its bar reaches from the least to the
  greatest, small dots are the seeds; a star marks the best; crosses at the
  bottom are points without a result. Where another key has few values its
  colours tell them. The last panel has the metric over another figure, if the
  sweep names one: medians, a line through those of a colour.

  Args:
    plan: of the sweep.
    rows: as `outcomes.ranked` gives them.

  Returns:
    A matplotlib Figure.

  Raises:
    UserError: matplotlib is not installed.
  """
  try:
    from matplotlib.figure import Figure
  except ImportError as error:
    raise UserError(
        f"there is no {PLOT}, since matplotlib is not installed; pip install"
        " 'electra-jax[sweeps]', then the same command with --results"
    ) from error
  keys = plan.keys or ("",)
  count = len(keys) + bool(plan.sweep.against)
  figure = Figure(
      figsize=(max(7.0, 4.6 * count), 4.8), layout="constrained", dpi=120
  )
  panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
  told = None
  for panel, key in zip(panels[: len(keys)], keys, strict=True):
    colour_key, colours = _colours(plan, key, rows)
    _draw(panel, key, rows, colour_key, colours)
    if colour_key != told:  # Else the legend before holds here too.
      _add_legend(panel, short_names(plan.keys).get(colour_key), colours)
      told = colour_key
    panel.set_xlabel(plan.sweep.labels.get(key, key))
  if against := plan.sweep.against:
    _draw_against(panels[-1], plan, rows)
    panels[-1].set_xlabel(plan.sweep.labels.get(against, against))
  better = "higher" if plan.sweep.goal == "max" else "lower"
  label = plan.sweep.labels.get("metric", metric_name(plan))
  panels[0].set_ylabel(f"{label}, {better} is better")
  finished = sum(bool(row.values) for row in rows)
  plural = "s" if plan.sweep.seeds > 1 else ""
  figure.suptitle(
      f"{plan.flag.rpartition('/')[2]}: {finished} of {len(rows)} points,"
      f" {plan.sweep.seeds} seed{plural} each",
      fontsize="medium",
  )
  return figure


def _draw(
    panel,
    key: str,
    rows: Sequence[Row],
    colour_key: str,
    colours: Mapping[str, str],
) -> None:
  from matplotlib.transforms import ScaledTranslation

  places, ticks = _places(key, rows)
  texts = list(colours)
  is_crowded = len(set(places)) < len(places)
  drawn = set()
  for row, place in zip(rows, places, strict=True):
    group = value_text(row.point.get(colour_key, ""))
    colour = colours.get(group, "C0")
    aside = 0.0
    if texts and is_crowded:  # Side by side, to be told apart.
      aside = texts.index(group) - (len(texts) - 1) / 2
    shift = ScaledTranslation(
        aside * _ASIDE_INCHES, 0, panel.figure.dpi_scale_trans
    )
    # What is shifted does not count by itself.
    panel.update_datalim([(place, 0)], updatey=False)
    finite = [value for value in row.values if math.isfinite(value)]
    panel.update_datalim([(place, value) for value in finite])
    if not finite:
      panel.plot(
          place, 0.03, "x", color="tab:red", clip_on=False,
          transform=panel.get_xaxis_transform() + shift,
          label=_once("no result", drawn),
      )  # fmt: skip
      continue
    common = {"color": colour, "transform": panel.transData + shift}
    if len(finite) > 1:
      panel.plot([place] * len(finite), finite, ".", alpha=0.5, **common)
    low, high = row.median - min(finite), max(finite) - row.median
    label = group if texts else "median, least, greatest"
    panel.errorbar(
        place, row.median, yerr=[[low], [high]], fmt="o",
        capsize=3 if len(finite) > 1 else 0,
        label=_once(label, drawn), **common,
    )  # fmt: skip
    if row.is_best:
      panel.plot(
          place, row.median, "*", markersize=16, zorder=3,
          **common | {"color": "gold"}, markeredgecolor="black",
          label=f"best: {_number(row.median)}",
      )  # fmt: skip
  _dress(panel, ticks)


def _draw_against(panel, plan: SweepPlan, rows: Sequence[Row]) -> None:
  colour_key, colours = _colours(plan, "", rows)
  groups = {}
  for row in rows:
    if math.isfinite(row.median) and math.isfinite(row.other_median):
      group = value_text(row.point.get(colour_key, ""))
      groups.setdefault(group, []).append((row.other_median, row.median))
  for group in [name for name in colours or [""] if name in groups]:
    places, values = zip(*sorted(groups[group]), strict=True)
    label = group or None
    panel.plot(places, values, "o-", color=colours.get(group), label=label)
  best = next((row for row in rows if row.is_best), None)
  if best is not None and math.isfinite(best.other_median):
    panel.plot(
        best.other_median, best.median, "*", markersize=16, zorder=3,
        color="gold", markeredgecolor="black",
    )  # fmt: skip
  places = [place for group in groups.values() for place, _ in group]
  if places and min(places) > 0 and max(places) / min(places) >= _LOG_SPAN:
    panel.set_xscale("log")
  panel.grid(alpha=0.3)
  panel.margins(x=0.08, y=0.12)
  _add_legend(panel, short_names(plan.keys).get(colour_key), colours)


def _dress(panel, ticks: Mapping[Any, str]) -> None:
  places = list(ticks)
  if min(places) > 0 and max(places) / min(places) >= _LOG_SPAN:
    panel.set_xscale("log")
  if len(ticks) <= _MAX_TICKS:
    is_long = max(map(len, ticks.values())) > _LONG_TICK
    panel.set_xticks(places, ticks.values(), rotation=30 if is_long else 0)
    panel.set_xticks([], minor=True)
  panel.grid(alpha=0.3)
  panel.margins(x=0.08, y=0.12)
  panel.autoscale_view()


def _add_legend(panel, title: str | None, colours: Mapping[str, str]) -> None:
  handles, labels = panel.get_legend_handles_labels()
  order = list(colours)
  pairs = sorted(
      zip(labels, handles, strict=True),
      key=lambda pair: order.index(pair[0]) if pair[0] in order else -1,
  )
  if pairs:
    labels, handles = zip(*pairs, strict=True)
    panel.legend(handles, labels, title=title, fontsize="small", loc="best")


def _places(key: str, rows: Sequence[Row]):
  """Returns where each row stands on a key's axis, and the axis's ticks."""
  values = [row.point.get(key, "all trials") for row in rows]
  if all(_is_number(value) for value in values):
    return values, {value: value_text(value) for value in sorted(set(values))}
  names = list(dict.fromkeys(map(value_text, values)))
  return [names.index(value_text(value)) for value in values], dict(
      enumerate(names)
  )


def _colours(plan: SweepPlan, key: str, rows: Sequence[Row]):
  """Returns another key with few values, and their colours."""
  for other in plan.keys:
    values = {row.point[other] for row in rows}
    if other != key and 1 < len(values) <= _MAX_COLOURS:
      ordered = sorted(values, key=lambda value: (str(type(value)), value))
      return other, {value_text(v): f"C{i}" for i, v in enumerate(ordered)}
  return "", {}


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _once(label: str, drawn: set[str]) -> str | None:
  if label in drawn:
    return None
  drawn.add(label)
  return label


def _number(value: float) -> str:
  digits = 4 if abs(value) < 10 else 2
  return f"{value:.{digits}f}" if math.isfinite(value) else "none"
