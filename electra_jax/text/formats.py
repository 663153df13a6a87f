"""What lies in files: lines, JSON objects, columns of parquet, data sets.

Knows neither which files there are nor what a document is, see `sources`.
"""

import contextlib
import gzip
import io
import json
import pathlib
import re
import types
from collections.abc import Iterator
from typing import Any

from electra_jax.errors import UserError

TFDS_PREFIX = "tfds:"
BUFFER_BYTES = 1 << 20

_TFDS = re.compile(
    r"tfds:(?P<name>[\w/.-]+(:\d+\.\d+\.\d+)?)(\[(?P<split>.+)\])?"
)
_PARQUET_BATCH = 1024  # Rows that are held at a time.


def read_lines(
    raw: io.IOBase, name: str, start: int = 0
) -> Iterator[tuple[int, str]]:
  """Reads the lines that begin at a byte or behind it.

  Args:
    raw: a file that was just opened.
    name: its path; with .gz at its end it is unpacked.
    start: the byte, 0 in a packed file.

  Yields:
    The offset of each line, and the line with its end.

  Raises:
    UserError: the file is damaged, or not UTF-8.
  """
  if start:
    raw.seek(start - 1)
  lines = io.BufferedReader(raw, BUFFER_BYTES)
  if name.endswith(".gz"):
    lines = gzip.GzipFile(fileobj=lines)
  offset = start
  try:
    if start:  # A line that began before is another's.
      offset += len(lines.readline()) - 1
    for line in lines:
      yield offset, line.decode("utf-8")
      offset += len(line)
  except UnicodeDecodeError as error:
    raise UserError(
        f"{name} is not UTF-8 at byte {offset + error.start}; convert it, for"
        " example with iconv"
    ) from error
  except (EOFError, gzip.BadGzipFile) as error:
    raise UserError(
        f"{name} is a damaged gzip file ({error}); fetch it again"
    ) from error


def json_text(line: str, field: str, place: str) -> str:
  """Returns the text of a JSON object.

  Args:
    line: the object.
    field: the key of the text.
    place: what an error message calls the line.

  Raises:
    UserError: it is no object, or has no text there.
  """
  try:
    record = json.loads(line)
  except ValueError as error:
    raise UserError(
        f"{place} is not a JSON object ({error}); write one object on each line"
    ) from error
  if not isinstance(record, dict) or not isinstance(record.get(field), str):
    keys = list(record) if isinstance(record, dict) else type(record).__name__
    raise UserError(
        f"{place} has no text under {field!r}, only {keys}; name the field"
        " that holds the text"
    )
  return record[field]


def read_row_groups(
    file: pathlib.Path | io.IOBase,
    name: str,
    field: str,
    span: range | None = None,
) -> Iterator[tuple[float, list[str]]]:
  """Reads a column of text from a parquet file.

  Args:
    file: its path, or the opened file.
    name: what an error message calls it.
    field: name of the column.
    span: only the row groups that begin at these bytes; all if None.

  Yields:
    The share of the file's rows that was read, and some texts.

  Raises:
    UserError: it is no parquet file, or has no such column.
  """
  try:
    from pyarrow import lib, parquet
  except ImportError as error:
    raise missing_extra(name, "parquet") from error
  try:
    with parquet.ParquetFile(file) as table:
      columns = table.schema_arrow.names
      if field not in columns:
        raise UserError(
            f"{name} has no column {field!r}, only {columns}; name the field"
            " that holds the text"
        )
      groups = [
          group
          for group in range(table.num_row_groups)
          if span is None
          or table.metadata.row_group(group).column(0).data_page_offset in span
      ]
      done = 0
      if not groups:  # Of which pyarrow 25 makes an error.
        return
      for batch in table.iter_batches(_PARQUET_BATCH, groups, [field]):
        done += batch.num_rows
        texts = [text for text in batch[0].to_pylist() if text]
        yield done / table.metadata.num_rows, texts
  except lib.ArrowException as error:
    raise UserError(
        f"{name} is not a parquet file ({error}); fetch it again"
    ) from error


@contextlib.contextmanager
def tfds_for(source: str) -> Iterator[types.ModuleType]:
  """Lends tensorflow-datasets and explains what goes wrong with a source."""
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise missing_extra(source, "tfds") from error
  try:
    yield tfds
  except (ValueError, OSError, tfds.core.DatasetNotFoundError) as error:
    reason = str(error).strip().split("\n")[0]
    raise UserError(
        f"cannot open {source}: {reason}; check name, version and split"
    ) from error


def open_tfds(
    tfds: types.ModuleType, source: str, field: str
) -> tuple[Any, str]:
  """Fetches a data set if need be; returns its builder and the split's name."""
  name, split = parse_tfds(source)
  builder = tfds.builder(name)
  builder.download_and_prepare()
  features = list(builder.info.features)
  if field not in features:
    raise UserError(
        f"{source} has no field {field!r}, only {features}; name the field"
        " that holds the text"
    )
  return builder, split


def tfds_texts(
    tfds: types.ModuleType, builder: Any, split: Any, field: str
) -> Iterator[str]:
  """Reads the text of a split, the same one every time."""
  examples = builder.as_dataset(split=split, shuffle_files=False)
  for example in tfds.as_numpy(examples):
    yield example[field].decode("utf-8", "replace")


def parse_tfds(source: str) -> tuple[str, str]:
  """Returns the name of a data set and its split, out of a source.

  Raises:
    UserError: it is not written so.
  """
  match = _TFDS.fullmatch(source)
  if not match:
    raise UserError(
        f"{source!r} is not tfds:NAME/CONFIG:VERSION[SPLIT]; write for example"
        " tfds:wiki40b/en:1.3.0[train]"
    )
  return match["name"], match["split"] or "train"


def missing_extra(source: object, extra: str) -> UserError:
  """Says which extra of this package reads a source."""
  return UserError(
      f"reading {source} needs a package that is not installed; run"
      f" pip install 'electra-jax[{extra}]'"
  )
