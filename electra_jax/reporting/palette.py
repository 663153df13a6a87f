"""The colours of style.css for plots, and plots in the colours of a page.

A plot is drawn in the colours of the light scheme. On a page each of them is
replaced by the name it has in style.css, so that one drawing serves both
schemes.
"""

import functools
import pathlib
import re

FOLDER = pathlib.Path(__file__).parent
LINES = 6  # Colours of lines; from the seventh on they come again.
DASHES = ("solid", (0, (5, 1.6)), (0, (1.5, 1.5)), (0, (5, 1.6, 1.5, 1.6)))
# matplotlib's own colours, which the plot of a sweep is drawn in.
_MATPLOTLIB = {
    "#1f77b4": "line-1",
    "#ff7f0e": "line-2",
    "#2ca02c": "line-4",
    "#d62728": "bad",
    "#9467bd": "line-3",
    "#8c564b": "line-5",
    "#000000": "ink",
    "#b0b0b0": "rule",
    "#cccccc": "rule",
    "#ffffff": "paper",
}
_TOKEN = re.compile(r"--([\w-]+):\s*(#[0-9a-f]{6})")


@functools.cache
def light() -> dict[str, str]:
  """Returns the colours of the light scheme by name."""
  text = (FOLDER / "style.css").read_text(encoding="utf-8")
  return dict(_TOKEN.findall(text.partition("@media")[0]))


def line(index: int) -> tuple[str, object]:
  """Returns colour and dashes of a line; no two of the first 24 are alike."""
  colour = light()[f"line-{index % LINES + 1}"]
  return colour, DASHES[index // LINES % len(DASHES)]


def in_page_colours(svg: str) -> str:
  """Replaces colours by names, which each scheme fills in."""
  own = {colour: name for name, colour in reversed(light().items())}
  names = _MATPLOTLIB | own
  return re.sub(
      r"#[0-9a-f]{6}",
      lambda m: f"var(--{names[m[0]]})" if m[0] in names else m[0],
      svg,
  )
