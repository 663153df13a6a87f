"""matplotlib figures: their style, and how they become SVG and PNG."""

import contextlib
import dataclasses
import importlib.util
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.reporting.palette import in_page_colours, light

MADE_BY = "electra_jax report"  # Stands in every file: it is ours to replace.
_WIDTH, _HEIGHT = 4.6, 2.9  # Inches.
_LEGEND_CHARACTERS, _OF_A_HANDLE = 60, 6  # Of a line, and what a mark takes.
_PIXELS_A_POINT = 1.6  # Of a plot on a wide page.
_INSTALL = "run pip install 'electra-jax[report]'"


@dataclasses.dataclass(frozen=True)
class Plot:
  """A drawing, as files and for a page.

  Attributes:
    name: of its files.
    svg: the file.
    png: the file.
    inline: the SVG for a page, in the page's own colours and type.
  """

  name: str
  svg: bytes
  png: bytes
  inline: str


def check_packages() -> None:
  """Raises a UserError that names every package that a page lacks."""
  missing = [
      name
      for name in ("jinja2", "matplotlib")
      if importlib.util.find_spec(name) is None
  ]
  if missing:
    are = "are" if len(missing) > 1 else "is"
    raise UserError(
        f"a report needs {' and '.join(missing)}, which {are} not installed;"
        f" {_INSTALL}"
    )


@contextlib.contextmanager
def style() -> Iterator[None]:
  """Holds matplotlib's settings for the figures that are made inside."""
  import matplotlib

  colours = light()
  settings = {
      "axes.edgecolor": colours["muted"],
      "axes.facecolor": "none",
      "axes.grid": True,
      "axes.labelcolor": colours["muted"],
      "axes.spines.right": False,
      "axes.spines.top": False,
      "axes.linewidth": 0.7,
      "figure.facecolor": "none",
      "font.family": "sans-serif",
      "font.size": 9,
      "grid.color": colours["rule"],
      "grid.linewidth": 0.7,
      "legend.fontsize": 8.5,
      "legend.frameon": False,
      "legend.labelcolor": colours["ink"],
      "lines.linewidth": 1.6,
      "lines.solid_capstyle": "round",
      "savefig.facecolor": "none",
      "svg.fonttype": "none",
      "text.color": colours["ink"],
      "text.parse_math": False,  # A name may hold a dollar sign.
      "xtick.color": colours["muted"],
      "ytick.color": colours["muted"],
  }
  with matplotlib.rc_context(settings):
    yield


def figure(width: float = _WIDTH, height: float = _HEIGHT) -> tuple[Any, Any]:
  """Makes a figure of one panel; to be called inside `style`."""
  from matplotlib.figure import Figure

  made = Figure(figsize=(width, height), layout="constrained")
  return made, made.subplots()


def columns(labels: Sequence[str], most: int = 3) -> int:
  """Returns how many columns of a legend a plot's width has room for."""
  longest = max(map(len, labels))
  return max(1, min(most, _LEGEND_CHARACTERS // (longest + _OF_A_HANDLE)))


def save(made: Any, name: str, alt: str) -> Plot:
  """Draws a figure.

  Args:
    made: a matplotlib Figure.
    name: of its files, unlike that of any other on the page.
    alt: says what there is to see, for those who do not.
  """
  import matplotlib

  svg, png = io.BytesIO(), io.BytesIO()
  with matplotlib.rc_context({"svg.hashsalt": name}):
    about = {"Date": None, "Creator": MADE_BY}
    made.savefig(svg, format="svg", metadata=about)
  made.savefig(
      png,
      format="png",
      dpi=200,
      facecolor=light()["paper"],
      metadata={"Software": MADE_BY},
  )
  text = svg.getvalue().decode("utf-8")
  return Plot(name, svg.getvalue(), png.getvalue(), inline(text, name, alt))


def inline(svg: str, name: str, alt: str) -> str:
  """Makes an SVG file part of a page, in the page's colours and type.

  Raises:
    ValueError: it is no SVG.
    TypeError: it has no view box.
  """
  body = svg[svg.index("<svg") :]
  body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
  # Its style sheet would hold for the whole page.
  body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
  # Ids hold for the whole page as well.
  body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
  body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
  body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
  box = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', body)
  # No wider than its type stays as large as that of other plots.
  widest = f"max-width: {float(box[1]) * _PIXELS_A_POINT:.0f}px"
  start = (
      f'<svg class="plot" role="img" aria-label="{_quoted(alt)}" {box[0]}'
      f' style="{widest}">'
  )
  body = start + body[body.index(">") + 1 :]
  return in_page_colours(body)


def _quoted(text: str) -> str:
  import markupsafe

  return str(markupsafe.escape(text))
