"""Learning curves: which there are, what each tells, how they are drawn."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from electra_jax.reporting import curves, drawing, palette
from electra_jax.reporting.records import HELD_OUT, TRAIN, Curves


@dataclasses.dataclass(frozen=True)
class Panel:
  """A figure of a run over its steps.

  Attributes:
    name: of the figure, as in metrics.jsonl.
    title: of the panel.
    unit: below which its axis runs.
    meaning: what the figure is, and which way is better.
    reference: a value to compare with, as `reference_of` finds it, and what it
      is called.
    is_log: whether the axis is logarithmic.
    is_smoothed: whether a long curve is; one without noise is not.
  """

  name: str
  title: str
  unit: str
  meaning: str
  reference: tuple[str, str] | None = None
  is_log: bool = False
  is_smoothed: bool = True


PRETRAINING = (
    Panel(
        "mlm_loss",
        "Generator: masked-LM loss",
        "nats per masked token",
        "How surprised the generator is by the tokens that were masked; lower is"
        " better. The dotted line is what knowing only how frequent each token"
        " is would give.",
        ("unigram_entropy", "frequencies alone"),
    ),
    Panel(
        "rtd_loss",
        "Discriminator: replaced-token loss",
        "nats per token",
        "How surprised the discriminator is by the truth about each token; lower"
        " is better. It may rise while the generator learns to fool it: look at"
        " the AUC beside it.",
    ),
    Panel(
        "relation_loss",
        "Distillation: loss of the relations",
        "nats per token",
        "How far the relations of a token to the others of its text are from the"
        " teacher's; lower is better, 0 is the same.",
    ),
    Panel(
        "token_loss",
        "Loss of the head over the vocabulary",
        "nats per token",
        "Lower is better.",
    ),
    Panel(
        "rtd_auc",
        "Replaced-token AUC",
        "share of pairs",
        "The chance that a replaced token gets a higher probability than an"
        " original one. 0.5 is guessing, 1 is perfect; it does not depend on"
        " where the line between the two is drawn.",
        ("half", "guessing"),
    ),
    Panel(
        "rtd_accuracy",
        "Replaced-token accuracy",
        "share of tokens",
        "Tokens that are rightly called replaced or original. Calling every"
        " token original already gives the dotted line.",
        ("all_original", "calling all original"),
    ),
    Panel(
        "rtd_precision",
        "Replaced-token precision",
        "share of calls",
        "Of the tokens that are called replaced, how many are. A gap means that"
        " none was called so.",
    ),
    Panel(
        "rtd_recall",
        "Replaced-token recall",
        "share of replaced tokens",
        "Of the tokens that are replaced, how many are called so.",
    ),
    Panel(
        "mlm_accuracy",
        "Masked-LM accuracy",
        "share of masked tokens",
        "Masked tokens for which the generator's first guess is the original.",
    ),
    Panel(
        "token_accuracy",
        "Accuracy of the head over the vocabulary",
        "share of tokens",
        "Tokens for which its first guess is the original.",
    ),
    Panel(
        "learning_rate",
        "Learning rate",
        "per step",
        "What the schedule gives: a rise while the optimizer warms up, then a"
        " fall to zero at the last step.",
        is_smoothed=False,
    ),
    Panel(
        "grad_norm",
        "Gradient norm, before clipping",
        "norm",
        "Spikes that come back to the line are ordinary; a rise that stays is a"
        " warning to lower the learning rate.",
        is_log=True,
    ),
    Panel(
        "rows_per_sec",
        "Speed",
        "rows a second",
        "Rows of tokens per second over all devices; compilation, evaluations and"
        " checkpoints left out.",
    ),
    Panel(
        "mfu",
        "Model FLOPs utilisation",
        "share of the peak",
        "The arithmetic that the networks need, over what the devices could do"
        " at their dense bfloat16 peak.",
    ),
)
FINETUNING = (
    Panel(
        "loss",
        "Training loss",
        "nats",
        "How surprised the model is by the answers of the training examples;"
        " lower is better.",
    ),
    Panel(
        "autoencode_reconstruction",
        "Reconstruction",
        "nats per text",
        "What a text costs that is written from a draw of z; lower is better.",
    ),
    Panel(
        "autoencode_kl",
        "Divergence of z from the prior",
        "nats per text",
        "What a draw of z may tell of its text, as it is: without free bits and"
        " whatever beta is. At 0 the decoder leaves z alone, which is called"
        " collapse.",
    ),
    Panel(
        "autoencode_beta",
        "Beta, the weight of the divergence",
        "",
        "It rises in cycles; a point is the mean over the steps of a record. At"
        " 1 the loss is the negative evidence lower bound, but for free bits.",
        is_smoothed=False,
    ),
    *(
        panel
        for panel in PRETRAINING
        if panel.name in ("learning_rate", "grad_norm", "rows_per_sec")
    ),
)


@dataclasses.dataclass(frozen=True)
class Drawn:
  """A panel that has been drawn.

  Attributes:
    panel: which one.
    plot: the drawing.
    note: how it was smoothed.
  """

  panel: Panel
  plot: drawing.Plot
  note: str


def draw(
    panel: Panel,
    runs: Mapping[str, Curves],
    references: Mapping[str, float | None],
    prefix: str = "",
) -> Drawn | None:
  """Draws a figure of several runs.

  Args:
    panel: which figure.
    runs: curves by the name of the run.
    references: values that a panel may compare with, by name.
    prefix: of the plot's name.

  Returns:
    None where no run has recorded it.
  """
  found = [
      (
          index,
          name,
          group,
          curves.prepare(
              of_run[group, panel.name], is_smoothed=panel.is_smoothed
          ),
      )
      for index, (name, of_run) in enumerate(runs.items())
      for group in (TRAIN, HELD_OUT)
      if (group, panel.name) in of_run
  ]
  found = [item for item in found if len(item[3].line.steps)]
  if not found:
    return None
  made, axes = drawing.figure()
  several = len(runs) > 1
  for index, name, group, drawn in found:
    _draw_line(axes, index, name, group, drawn, several)
  if panel.reference and references.get(panel.reference[0]) is not None:
    level = references[panel.reference[0]]
    axes.axhline(
        level,
        color=palette.light()["muted"],
        linestyle=(0, (1, 2.5)),
        linewidth=1.2,
        label=panel.reference[1],
    )
  _dress(axes, panel, [drawn for *_, drawn in found])
  alt = f"{panel.title}, {panel.unit}, over steps; {_told(found)}"
  name = f"{prefix}{panel.name}"
  return Drawn(panel, drawing.save(made, name, alt), _note(found))


def _draw_line(axes, index, name, group, drawn: curves.Drawn, several) -> None:
  is_train = group == TRAIN
  label = name if several else ("training" if is_train else "held out")
  if several and not is_train:
    label = f"{name}, held out"
  colour, dashes = palette.line(index if several else int(not is_train))
  few, is_lone = len(drawn.line.steps) <= 40, len(drawn.line.steps) == 1
  if drawn.window > 1 or drawn.is_thinned:
    axes.plot(*drawn.raw, color=colour, alpha=0.25, linewidth=0.8)
  axes.plot(
      *drawn.line,
      color=colour,
      linestyle=dashes if is_train or not several else (0, (1.5, 1.5)),
      marker="o" if few and (not is_train or is_lone) else "",
      markersize=3.5,
      label=label,
  )


def _dress(axes: Any, panel: Panel, drawn: Sequence[curves.Drawn]) -> None:
  from matplotlib.ticker import FuncFormatter, MaxNLocator

  axes.set_xlabel("step")
  axes.set_ylabel(panel.unit)
  axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
  axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
  lowest = min(float(np.nanmin(d.raw.values)) for d in drawn)
  if panel.is_log and lowest > 0:
    axes.set_yscale("log")
    plain = FuncFormatter(lambda y, _: f"{y:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(FuncFormatter(_few_minor_labels))
  axes.margins(x=0.02)
  handles, labels = axes.get_legend_handles_labels()
  if len(labels) > 1:
    # Above the axes: a legend inside would hide what it tells of.
    columns = drawing.columns(labels, 2 if len(labels) > 3 else 3)
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=2.2,
        columnspacing=1.4,
    )


def _few_minor_labels(value: float, _: int) -> str:
  """Labels 2 and 5 between the powers of ten, and nothing else."""
  leading = f"{value:e}"[0]
  return f"{value:g}" if leading in "25" else ""


def short(value: float) -> str:
  """Writes a number of steps as short as it may be: 1,500 or 2.5M."""
  if abs(value) >= 1e6:
    return f"{value / 1e6:g}M"
  return f"{value:,.0f}"


def _told(found) -> str:
  parts = []
  for _, name, group, drawn in found:
    first, end = drawn.line.values[0], drawn.line.values[-1]
    what = "training" if group == TRAIN else "held out"
    parts.append(f"{name}, {what}: from {first:.4g} to {end:.4g}")
  return "; ".join(parts)


def _note(found) -> str:
  windows = {drawn.window for *_, drawn in found if drawn.window > 1}
  parts = []
  if windows:
    span = " or ".join(map(str, sorted(windows)))
    parts.append(f"Faint: the records; line: the mean of {span} neighbours.")
  else:
    parts.append("The records as they are, not smoothed.")
  if any(drawn.is_thinned for *_, drawn in found):
    parts.append("Of the faint ones the least and greatest of each stretch.")
  return " ".join(parts)
