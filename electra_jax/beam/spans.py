"""Parts of the sources that are read apart, together the same documents.

A file that may be entered anywhere is cut into spans of bytes; small files share
a part. A document belongs to the span in which the end before it begins, a row
group of a parquet file to the span in which its first page does. Packed files
and those that are one document are not cut.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from electra_jax.errors import UserError
from electra_jax.text.formats import (
    ReadOptions,
    Tally,
    documents_of_records,
    is_divisible,
    read_file,
)
from electra_jax.text.movie_reviews import MOVIE_REVIEWS, read_movie_reviews
from electra_jax.text.tfds_source import open_tfds, tfds_for, tfds_texts

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
    field: key or column of the text.
  """

  path: str
  start: int
  stop: int
  field: str

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
    field: of the text.
  """

  source: str
  folder: str
  split: str
  index: int
  count: int
  size: int
  field: str


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
        TfdsSpan(
            source,
            str(builder.data_dir),
            split,
            i,
            count,
            size // count,
            field,
        )
        for i in range(count)
    ]


def divide(
    spans: Iterable[FileSpan | TfdsSpan],
    options: ReadOptions,
    part_bytes: int | None = None,
) -> list[Part]:
  """Divides sources into parts of about the same size.

  Args:
    spans: all sources in order, each file as a whole.
    options: how files are read.
    part_bytes: of a part; by default it follows from the size of the sources.
  """
  spans = list(spans)
  if part_bytes is None:
    total = sum(span.size for span in spans)
    part_bytes = min(max(total // _MIN_PARTS, _MIN_BYTES), _MAX_BYTES)
  parts, part, size = [], [], 0
  for whole in spans:
    for span in _cut(whole, options, part_bytes):
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
    options: ReadOptions,
    open_file: Callable[[str], io.IOBase],
    tally: Tally | None = None,
) -> Iterator[str]:
  """Reads the documents of a part, cleaned and never empty.

  Args:
    part: of `divide`.
    options: as given to `divide`.
    open_file: opens a path for reading bytes, wherever it lies.
    tally: is kept up to date while reading.

  Yields:
    The documents in order.

  Raises:
    UserError: a file cannot be read, is damaged, or holds no such field.
  """
  tally = tally if tally is not None else Tally()
  for span in part:
    if isinstance(span, TfdsSpan):
      yield from documents_of_records(_read_tfds(span), tally)
    elif span.path == MOVIE_REVIEWS:
      texts = (text for text, _ in read_movie_reviews())
      yield from documents_of_records(texts, tally)
    else:
      yield from _read_span(span, options, open_file, tally)


def _cut(
    span: FileSpan | TfdsSpan, options: ReadOptions, part_bytes: int
) -> Iterator[FileSpan | TfdsSpan]:
  if (
      isinstance(span, TfdsSpan)
      or span.path == MOVIE_REVIEWS
      or not is_divisible(span.path, options)
  ):
    yield span
    return
  for start in range(0, max(span.stop, 1), part_bytes):
    yield span._replace(start=start, stop=min(start + part_bytes, span.stop))


def _read_span(
    span: FileSpan,
    options: ReadOptions,
    open_file: Callable[[str], io.IOBase],
    tally: Tally,
) -> Iterator[str]:
  try:
    raw = open_file(span.path)
  except OSError as error:
    raise UserError(
        f"a worker cannot read {span.path} ({error}); name files that every"
        " worker sees, such as gs://"
    ) from error
  with raw:
    yield from read_file(
        raw,
        span.path,
        span.field,
        options,
        tally,
        range(span.start, span.stop),
    )


def _read_tfds(span: TfdsSpan) -> Iterator[str]:
  with tfds_for(span.source) as tfds:
    builder = tfds.builder_from_directory(span.folder)
    split = tfds.even_splits(span.split, span.count)[span.index]
    yield from tfds_texts(tfds, builder, split, span.field)
