"""The formats of files: which one a file has, and the documents in it."""

import dataclasses
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator

from electra_jax.text import records
from electra_jax.text.documents import (
    WIKI,
    check_document_per,
    ends_document,
    join_lines,
    split_document,
)
from electra_jax.text.streams import TextStream, check_encoding, packing_of

TEXT, JSON, CSV, TSV, PARQUET = "text", "json", "csv", "tsv", "parquet"
_FORMATS = {
    ".txt": TEXT,
    ".jsonl": JSON,
    ".ndjson": JSON,
    ".json": JSON,
    ".csv": CSV,
    ".tsv": TSV,
    ".parquet": PARQUET,
}
SUFFIXES = tuple(_FORMATS)
_WIKI_NAME = re.compile(r"(.*/)?wiki_\d+")  # As WikiExtractor calls its files.
_JSON_VALUE = re.compile(rb"\s*(\[|\{\s*\n)")  # No object in one line.


@dataclasses.dataclass(frozen=True)
class ReadOptions:
  """How files are read.

  Attributes:
    document_per: what ends a document of a text file: "blank-line", "line", or
      nothing before the "file" does.
    encoding: of text without a byte order mark, as Python calls it.

  Raises:
    UserError: there is no such choice.
  """

  document_per: str = "blank-line"
  encoding: str = "utf-8"

  def __post_init__(self):
    check_document_per(self.document_per)
    check_encoding(self.encoding)


@dataclasses.dataclass
class Tally:
  """What was met while reading.

  Attributes:
    null_texts: records whose field is null.
    empty_texts: records whose field holds no text.
    undivided: text files of several lines without a blank one, though a blank
      line was to end a document.
  """

  null_texts: int = 0
  empty_texts: int = 0
  undivided: list[str] = dataclasses.field(default_factory=list)

  def passed_over(self, *, bad_files: int) -> dict[str, int]:
    """Returns what a manifest tells of it."""
    return {
        "null_texts": self.null_texts,
        "empty_texts": self.empty_texts,
        "bad_files": bad_files,
    }


def format_of(name: str) -> str | None:
  """Returns the format that a file's name tells, or None where it tells none."""
  name = name.removesuffix(packing_of(name))
  if _WIKI_NAME.fullmatch(name):
    return TEXT
  suffix = name[name.rfind(".") :] if "." in name else ""
  return _FORMATS.get(suffix.lower())


def is_divisible(name: str, options: ReadOptions) -> bool:
  """Says whether parts of a file may be read apart, as far as its name tells."""
  kind = format_of(name) or TEXT
  if packing_of(name) or kind in (CSV, TSV):
    return False
  return kind != TEXT or options.document_per != "file"


def read_file(
    raw: io.IOBase,
    name: str,
    field: str,
    options: ReadOptions,
    tally: Tally,
    span: range | None = None,
) -> Iterator[str]:
  """Reads the documents of a file, cleaned and never empty.

  Args:
    raw: the file, just opened for reading bytes.
    name: its path, which tells its format, and what an error message calls it.
    field: key or column of the text.
    options: how.
    tally: is kept up to date while reading.
    span: bytes; only the documents that begin behind an end in there, see
      `_owned`. All if None. Of a file that is not divisible all belong to the
      span that begins at byte 0.

  Yields:
    The documents in order.

  Raises:
    UserError: the file is damaged, or holds no such field.
  """
  kind = format_of(name) or TEXT
  if kind == PARQUET:
    texts = (
        text
        for _, some in records.read_row_groups(raw, name, field, span)
        for text in some
    )
    yield from documents_of_records(texts, tally)
    return
  stream = TextStream(raw, name, options.encoding)
  per = options.document_per
  if kind == TEXT and stream.head.startswith(b"<doc "):
    per = WIKI
  elif kind == TEXT and _WIKI_NAME.fullmatch(
      name.removesuffix(packing_of(name))
  ):
    kind = JSON if stream.head.startswith(b"{") else kind
  is_array = (
      kind == JSON
      and name.removesuffix(packing_of(name)).lower().endswith(".json")
      and bool(_JSON_VALUE.match(stream.head))
  )
  divisible = stream.is_divisible and is_divisible(name, options)
  if not divisible or is_array:
    if span is not None and span.start:
      return
    span = None
  if kind == TEXT:
    yield from _read_text(stream, per, tally, span)
  elif is_array:
    yield from documents_of_records(
        records.read_json_array(stream, field), tally
    )
  elif kind == JSON:
    texts = _read_json_lines(stream, field, span)
    yield from documents_of_records(texts, tally)
  else:
    cells = records.read_csv(stream, field, is_tsv=kind == TSV)
    yield from documents_of_records(cells, tally)


def documents_of_records(
    texts: Iterable[str | None], tally: Tally
) -> Iterator[str]:
  """Makes documents of the texts of records, and counts those without text."""
  for text in texts:
    if text is None:
      tally.null_texts += 1
      continue
    is_empty = True
    for document in split_document(text):
      is_empty = False
      yield document
    tally.empty_texts += is_empty


def _read_text(
    stream: TextStream, document_per: str, tally: Tally, span: range | None
) -> Iterator[str]:
  is_end = ends_document(document_per)
  lines, ends = 0, 0

  def watched() -> Iterator[str]:
    nonlocal lines, ends
    for _, line in _owned(stream.pieces, span, is_end):
      lines += line.endswith("\n")
      ends += is_end(line)
      yield line

  for text in join_lines(watched(), document_per):
    yield from split_document(text)
  if document_per == "blank-line" and span is None and lines > 1 and not ends:
    tally.undivided.append(stream.name)


def _read_json_lines(
    stream: TextStream, field: str, span: range | None
) -> Iterator[str | None]:
  owned = _owned(stream.lines, span, lambda line: True)
  for number, (offset, line) in enumerate(owned, start=1):
    if not line.isspace():
      place = f"{stream.name}:{number}"
      if span is not None:  # Of which nobody has counted the lines before.
        place = f"{stream.name} at byte {offset}"
      yield records.json_text(line, field, place)


def _owned(
    read: Callable[[int], Iterable[tuple[int, str]]],
    span: range | None,
    is_end: Callable[[str], bool],
) -> Iterator[tuple[int, str]]:
  """Leaves out the lines that the spans before and behind read.

  A document belongs to the span in which the end before it begins.

  Args:
    read: lines from a byte on, with their offsets.
    span: bytes; all lines if None.
    is_end: says whether a document ends with a line.
  """
  start, stop = (0, sys.maxsize) if span is None else (span.start, span.stop)
  is_owned = not start
  for offset, line in read(start):
    if is_owned:
      yield offset, line
    if offset >= stop and (is_end(line) or not is_owned):
      return
    is_owned = is_owned or is_end(line)
