"""Plots of fine-tuning: scores of seeds, who is taken for whom, ratings."""

from collections.abc import Mapping, Sequence

import numpy as np

from electra_jax.reporting import drawing, palette

_PERFECT = 100.0  # Percent.
MOST_LABELS = 16  # That a confusion matrix can still show.


def draw_scores(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
) -> drawing.Plot:
  """Draws a dot for each seed and a bar for their median.

  Args:
    scores: by metric and by run, the seeds' scores.
  """
  rows = [
      (metric, index, name, values)
      for metric, runs in scores.items()
      for index, (name, values) in enumerate(runs.items())
  ]
  made, axes = drawing.figure(height=1.0 + 0.42 * len(rows))
  several = any(len(runs) > 1 for runs in scores.values())
  for place, (_, index, _, values) in enumerate(rows):
    colour, _ = palette.line(index)
    axes.plot(
        values,
        [place] * len(values),
        "o",
        color=colour,
        markersize=6,
        alpha=0.75,
        label="a seed" if not place else None,
    )
    median = float(np.median(values))
    axes.plot(
        [median, median],
        [place - 0.28, place + 0.28],
        color=palette.light()["ink"],
        linewidth=1.4,
        label="median" if not place else None,
    )
  labels = [f"{m}\n{name}" if several else m for m, _, name, _ in rows]
  axes.set_yticks(range(len(rows)), labels)
  axes.set_ylim(len(rows) - 0.5, -0.5)
  axes.margins(x=0.12)
  highest = max((max(values) for *_, values in rows), default=0.0)
  if highest <= _PERFECT < axes.get_xlim()[1]:  # Nothing lies behind it.
    axes.set_xlim(right=_PERFECT + 0.02 * (_PERFECT - axes.get_xlim()[0]))
  axes.set_xlabel("score")
  axes.legend(
      loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2
  )
  told = "; ".join(
      f"{metric}, {name}: {', '.join(f'{v:.2f}' for v in values)}"
      for metric, _, name, values in rows
  )
  return drawing.save(made, "scores", f"Scores of the seeds. {told}")


def draw_confusion(
    labels: Sequence[str], counts: np.ndarray, prefix: str
) -> drawing.Plot:
  """Draws how often each class is taken for each.

  Args:
    labels: names of the classes.
    counts: [classes, classes] examples by true class, then by answer.
    prefix: of the plot's name.
  """
  from matplotlib.colors import ListedColormap

  colours = palette.light()
  size = max(2.4, 1.5 + 0.42 * len(labels))
  made, axes = drawing.figure(size + 0.9, size)
  shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  steps = ListedColormap(
      ["none", *(colours[f"p{i}"] for i in range(1, 6))], name="shades"
  )
  levels = np.digitize(shares, (0.05, 0.2, 0.4, 0.6, 0.8))
  for (row, column), level in np.ndenumerate(levels):
    place = (column - 0.48, row - 0.48)
    axes.add_patch(_square(place, steps.colors[level]))
    axes.text(
        column,
        row,
        f"{counts[row, column]:,.0f}",
        ha="center",
        va="center",
        fontsize=8.5,
        color=colours["on-shade" if level else "ink"],
        fontweight="bold" if row == column else "normal",
    )
  names = [label if len(label) <= 18 else f"{label[:17]}…" for label in labels]
  turned = 35 if max(map(len, names)) > 5 and len(names) > 3 else 0
  axes.set_xticks(
      range(len(names)),
      names,
      rotation=turned,
      ha="right" if turned else "center",
  )
  axes.set_yticks(range(len(names)), names)
  axes.set_xlim(-0.5, len(names) - 0.5)
  axes.set_ylim(len(names) - 0.5, -0.5)
  axes.set_aspect("equal")
  axes.grid(False)
  axes.spines[:].set_visible(False)
  axes.tick_params(length=0)
  axes.set_xlabel("answered")
  axes.set_ylabel("true")
  told = "; ".join(
      f"true {labels[i]} answered {labels[j]}: {counts[i, j]:,.0f}"
      for i, j in np.ndindex(counts.shape)
      if counts[i, j]
  )
  return drawing.save(made, f"{prefix}confusion", f"Confusion matrix. {told}")


def draw_ratings(
    gold: Sequence[float], answers: Sequence[float], prefix: str
) -> drawing.Plot:
  """Draws each example's rating against the true one."""
  made, axes = drawing.figure()
  colour, _ = palette.line(0)
  low, high = min(*gold, *answers), max(*gold, *answers)
  axes.plot(
      [low, high],
      [low, high],
      color=palette.light()["muted"],
      linestyle=(0, (1, 2.5)),
      label="as it should be",
  )
  axes.plot(gold, answers, "o", color=colour, markersize=3, alpha=0.45)
  axes.set_xlabel("true rating")
  axes.set_ylabel("answer")
  axes.legend(
      loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2
  )
  told = f"{len(gold):,} examples between {low:g} and {high:g}"
  return drawing.save(made, f"{prefix}ratings", f"Ratings. {told}")


def _square(place: tuple[float, float], colour: str):
  from matplotlib.patches import Rectangle

  return Rectangle(place, 0.96, 0.96, facecolor=colour, edgecolor="none")
