"""Draws docs/quickstart.png: held-out sentences with the model's verdicts.

  python tests/benchmarks/quickstart_picture.py RUN docs/quickstart.png

RUN is the workdir of a pre-training run, as the quickstart's. What is drawn is
what `electra-jax predict --workdir RUN --held-out N` prints on a terminal, each
character in a cell of its own.
"""

import argparse

import rich.console
import rich.terminal_theme
import rich.text

from electra_jax.cli.display import legend
from electra_jax.pretraining.judging import render_detection
from electra_jax.pretraining.model import PretrainedModel

COLUMNS = 96
SIZE = 13  # Points.
CELL, LINE = 0.602, 1.45  # Of a letter of DejaVu Sans Mono, by its size.
THEME = rich.terminal_theme.SVG_EXPORT_THEME


def main() -> None:
  """Judges the rows and writes the picture."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("run")
  parser.add_argument("output")
  parser.add_argument("--rows", type=int, default=4)
  args = parser.parse_args()
  answers = PretrainedModel(args.run).detect_held_out(args.rows)
  texts = [legend(answers)]
  for answer in answers:
    texts += [rich.text.Text(), render_detection(answer)]
  draw(lay_out(texts), args.output)


def lay_out(texts: list[rich.text.Text]) -> list[rich.text.Text]:
  """Breaks texts into lines of at most COLUMNS letters."""
  console = rich.console.Console(width=COLUMNS)
  return [
      line for text in texts for line in (text.wrap(console, COLUMNS) or [text])
  ]


def draw(lines: list[rich.text.Text], output: str) -> None:
  """Draws lines of coloured text on a dark ground."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  console = rich.console.Console(
      width=COLUMNS, color_system="truecolor", force_terminal=True
  )
  width = (COLUMNS + 4) * CELL * SIZE / 72
  height = (len(lines) + 1) * LINE * SIZE / 72
  ground = THEME.background_color.hex
  figure = plt.figure(figsize=(width, height), dpi=110, facecolor=ground)
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set(xlim=(-2, COLUMNS + 2), ylim=(len(lines) + 0.5, -0.5))
  axes.set_axis_off()
  for row, line in enumerate(lines):
    column = 0
    for text, style, _ in line.render(console):
      style = style if isinstance(style, rich.style.Style) else None
      draw_run(axes, row, column, text, style)
      column += rich.cells.cell_len(text)
  figure.savefig(output, facecolor=ground)


def draw_run(axes, row, column, text, style) -> None:
  """Draws letters of one style, each where its column is."""
  colour, bold = THEME.foreground_color, False
  if style is not None:
    bold = bool(style.bold)
    if style.color is not None:
      colour = style.color.get_truecolor(THEME)
  shown = colour.hex
  if style is not None and style.dim:
    shown = tuple((0.6 * c + 0.4 * 41) / 255 for c in colour)
  for place, letter in enumerate(text):
    axes.text(
        *(column + place, row + 0.75, letter),
        color=shown,
        family="DejaVu Sans Mono",
        fontsize=SIZE,
        weight="bold" if bold else "normal",
    )
  if style is not None and style.underline:
    ends = (column, column + len(text.rstrip()))
    axes.plot(ends, (row + 0.93, row + 0.93), color=shown, linewidth=1)


if __name__ == "__main__":
  main()
