"""Records in a file -> one of their fields: JSON, CSV, columns of parquet."""

import csv
import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator
from io import IOBase
from typing import Any

from electra_jax.errors import UserError, listed
from electra_jax.text.delimiters import find_delimiter
from electra_jax.text.streams import (
    MAX_RECORD_BYTES,
    TextStream,
    missing_extra,
    reading,
)

_BATCH_ROWS = 1024  # Rows of parquet that are held at a time,
_BATCH_BYTES = 1 << 24  # or fewer where they are long.


def json_text(line: str, field: str, place: str) -> str | None:
  """Returns the text of a JSON object; None where it is null.

  Args:
    line: the object.
    field: the key of the text.
    place: what an error message calls the line.

  Raises:
    UserError: it is no object, or has no text there.
  """
  try:
    record = json.loads(line)
  except (ValueError, RecursionError) as error:
    raise UserError(
        f"{place} is not a JSON object ({error}); write one object on each line"
    ) from error
  return text_of(record, field, place)


def text_of(record: Any, field: str, place: str) -> str | None:
  """Returns the text of a parsed record; None where it is null.

  Raises:
    UserError: it is no object, or has no text there.
  """
  if not isinstance(record, dict):
    raise UserError(
        f"{place} is a JSON {type(record).__name__}, not an object; write"
        f' objects such as {{"{field}": "…"}}'
    )
  if field not in record:
    raise UserError(
        f"{place} has no text under {field!r}, only {list(record)}; name the"
        " key that holds the text by --field"
    )
  text = record[field]
  if text is not None and not isinstance(text, str):
    raise UserError(
        f"{place} has no text under {field!r} but a {type(text).__name__}; name"
        " the key that holds the text by --field"
    )
  return text


def read_json_array(stream: TextStream, field: str) -> Iterator[str | None]:
  """Reads the objects of a JSON array, or objects that span lines.

  One object is held at a time.

  Args:
    stream: the file.
    field: the key of the text.

  Yields:
    The text of each object, None where it is null.

  Raises:
    UserError: it is damaged, holds anything but objects, or one without text.
  """
  blocks, decoder = stream.blocks(), json.JSONDecoder()
  buffer, number, depth = "", 0, 0  # Depth 1: inside of the array.
  while True:
    rest = buffer.lstrip(" \t\r\n,")
    if rest[:1] == ("]" if depth else "["):
      depth, buffer = 1 - depth, rest[1:]
      continue
    if not rest:
      buffer = next(blocks, None)
      if buffer is None:
        break
      continue
    try:
      record, end = decoder.raw_decode(rest)
    except (ValueError, RecursionError) as error:
      more = _as_much_again(blocks, len(rest))
      if not more or len(rest) > MAX_RECORD_BYTES:
        raise UserError(
            f"{stream.name}: record {number + 1} is not JSON ({error}); write"
            " one object on each line"
        ) from error
      buffer = rest + more
      continue
    number += 1
    yield text_of(record, field, f"{stream.name}: record {number}")
    buffer = rest[end:]
  if depth:
    raise UserError(
        f"{stream.name} ends inside of its JSON array; fetch it again"
    )


def _as_much_again(blocks: Iterator[str], size: int) -> str:
  """Reads at least `size` characters, so that retries cost no square."""
  found = []
  while size > 0 and (block := next(blocks, None)) is not None:
    found.append(block)
    size -= len(block)
  return "".join(found)


def read_csv(
    stream: TextStream, field: str, *, is_tsv: bool
) -> Iterator[str | None]:
  """Reads a column of a table in text, whose first line names the columns.

  In CSV cells may stand in quotes, with newline characters in them, and the
  delimiter is the one by which the first line names the field. In TSV a tab
  ends a cell and quotes are ordinary.

  Args:
    stream: the file.
    field: name of the column.
    is_tsv: whether it is TSV.

  Yields:
    The cells.

  Raises:
    UserError: there is no such column, or a line has more or fewer cells.
  """
  csv.field_size_limit(MAX_RECORD_BYTES)
  lines = (line for _, line in stream.lines())
  first = next(lines, "")
  dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
  if not is_tsv:
    dialect = {"delimiter": find_delimiter(first, [field]), "strict": True}
  reader = csv.reader(itertools.chain([first], lines), **dialect)
  try:
    header = [name.strip() for name in next(reader, [])]
    if field not in header:
      raise UserError(
          f"{stream.name} has no column {field!r}, only {listed(header)}; name the"
          " column that holds the text by --field"
      )
    column = header.index(field)
    for cells in reader:
      if not cells:
        continue
      if len(cells) < len(header) or any(cells[len(header) :]):
        raise UserError(
            f"{stream.name}:{reader.line_num} has {len(cells)} cells and the"
            f" first line names {len(header)} columns; mend the line, or write"
            " JSON lines"
        )
      yield cells[column]
  except csv.Error as error:
    raise UserError(
        f"{stream.name}:{reader.line_num} is not CSV ({error}); mend its"
        " quotes, or write JSON lines"
    ) from error


def read_row_groups(
    file: pathlib.Path | IOBase,
    name: str,
    field: str,
    span: range | None = None,
) -> Iterator[tuple[float, list[str | None]]]:
  """Reads a column of text from a parquet file.

  Args:
    file: its path, or the opened file.
    name: what an error message calls it.
    field: name of the column.
    span: only the row groups that begin at these bytes; all if None.

  Yields:
    The share of the file's rows that was read, and some texts, None where one
    is null.

  Raises:
    UserError: it is no parquet file, is damaged, or has no such column of text.
  """
  try:
    from pyarrow import lib, parquet
  except ImportError as error:
    raise missing_extra(name, "parquet") from error
  try:
    with reading(name), parquet.ParquetFile(file) as table:
      _check_column(table.schema_arrow, field, name)
      groups = [
          group
          for group in range(table.num_row_groups)
          if span is None
          or table.metadata.row_group(group).column(0).data_page_offset in span
      ]
      done = 0
      if not groups:  # Of which pyarrow 25 makes an error.
        return
      rows = _rows_at_a_time(table.metadata, groups, field)
      for batch in table.iter_batches(rows, groups, [field]):
        done += batch.num_rows
        yield done / table.metadata.num_rows, batch[0].to_pylist()
  except (lib.ArrowException, UnicodeDecodeError, MemoryError) as error:
    raise _damaged_parquet(name, error) from error
  except UserError as error:
    # What pyarrow calls an OSError is damage too.
    if isinstance(error.__cause__, OSError) and not error.__cause__.errno:
      raise _damaged_parquet(name, error.__cause__) from error
    raise


def _damaged_parquet(name: str, error: BaseException) -> UserError:
  reason = str(error).strip().split("\n")[0]
  return UserError(
      f"{name} is not a parquet file, or damaged ({reason}); fetch it again, or"
      " leave such files out by --skip-bad-files"
  )


def _check_column(schema: Any, field: str, name: str) -> None:
  from pyarrow import types

  if field not in schema.names:
    raise UserError(
        f"{name} has no column {field!r}, only {listed(schema.names)}; name the"
        " column that holds the text by --field"
    )
  if schema.names.count(field) > 1:
    raise UserError(
        f"{name} has several columns {field!r}; give each a name of its own"
    )
  kind = schema.field(field).type
  held = kind.value_type if types.is_dictionary(kind) else kind
  if not (
      types.is_string(held)
      or types.is_large_string(held)
      or types.is_string_view(held)
      or types.is_null(held)
  ):
    raise UserError(
        f"{name} has the column {field!r} of type {kind}, which is not text;"
        f" name one of {listed(schema.names)} that holds text by --field"
    )


def _rows_at_a_time(metadata: Any, groups: Iterable[int], field: str) -> int:
  """Returns how many rows are read at a time, so that memory stays bounded."""
  most = 1.0
  for group in map(metadata.row_group, groups):
    columns = map(group.column, range(group.num_columns))
    size = sum(
        column.total_uncompressed_size
        for column in columns
        if column.path_in_schema == field
    )
    most = max(most, size / max(group.num_rows, 1))
  return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / most)))
