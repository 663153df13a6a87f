"""The rows of a table: CSV, TSV, JSON lines and parquet, cell by cell.

CSV is read with its quotes; what stands between its cells is found in the line
of names. In TSV a tab ends a cell and quotes are ordinary. Both begin with a
line of names. JSON lines hold one object each. In parquet, numbers of classes
whose names the file tells, as Hugging Face's datasets write it, become names.
"""

import csv
import json
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import task_files
from electra_jax.text.delimiters import find_delimiter

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

_PARQUET_BATCH = 1024  # Rows that are turned into Python objects at a time.
_SEP_LINE = re.compile(r'"?sep=(.)"?')  # Spreadsheets tell it in line 1.

# A place to name in an error, and the cells by their column.
Rows = Iterator[tuple[str, Mapping[str, Any]]]


def read_rows(path: pathlib.Path, columns: Sequence[str]) -> Rows:
  """Yields place and cells of each row that is not blank.

  Args:
    path: its name ends with one of SUFFIXES.
    columns: those that will be asked for; they tell the delimiter of CSV.

  Raises:
    UserError: the file is not what its name says, with the line.
  """
  if path.suffix.lower() == ".csv":
    return _read_csv(path, columns)
  readers = {
      ".tsv": _read_tsv,
      ".jsonl": task_files.read_objects,
      ".parquet": _read_parquet,
  }
  return readers[path.suffix.lower()](path)


def _read_csv(path: pathlib.Path, columns: Sequence[str]) -> Rows:
  lines = _Lines(path)
  delimiter = lines.take_sep_line() or find_delimiter(lines.first, columns)
  # The module's default would refuse a cell of 131,073 characters.
  csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
  reader = csv.reader(lines, delimiter=delimiter, strict=True)
  header, start = None, lines.number + 1
  try:
    for cells in reader:
      if header is None and cells:
        header = _check_header(path, cells, columns)
      elif cells:
        yield _named(path, start, header, cells)
      start = lines.number + 1
  except csv.Error as error:
    raise UserError(
        f"{path}:{start} is not CSV ({error}); mend the quotes of the row that"
        " begins there, or write the table as JSON lines"
    ) from error


class _Lines:
  """The lines of a file with their number; the first may be looked at."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._lines = task_files.read_lines(path)
    self.first = next(self._lines, (0, ""))[1]
    self._is_first_taken = False
    self.number = 0  # Of the last line that was handed out.

  def take_sep_line(self) -> str | None:
    """Returns the delimiter of a line `sep=;`, and skips that line."""
    if found := _SEP_LINE.fullmatch(self.first):
      self._is_first_taken, self.number = True, 1
      return found[1]
    return None

  def __iter__(self) -> Iterator[str]:
    if not self._is_first_taken:
      self.number = 1
      yield self._checked(self.first)
    for number, line in self._lines:
      self.number = number
      yield self._checked(line)

  def _checked(self, line: str) -> str:
    if "\r" in line:
      raise UserError(
          f"{self._path}:{self.number} has a carriage return inside, as if it"
          " ended lines by itself; convert the file, for example with mac2unix"
      )
    return f"{line}\n"


def _read_tsv(path: pathlib.Path) -> Rows:
  header = None
  for number, line in task_files.read_lines(path):
    if header is None and line:
      header = _check_header(path, line.split("\t"), ())
    elif line:
      yield _named(path, number, header, line.split("\t"))


def _check_header(
    path: pathlib.Path, names: Sequence[str], columns: Sequence[str]
) -> list[str]:
  names = [name.strip() for name in names]
  for column in columns:
    if names.count(column) > 1:
      raise UserError(
          f"{path}:1 names {names.count(column)} columns {column!r}; give each"
          " a name of its own"
      )
  return names


def _named(
    path: pathlib.Path, line: int, header: list[str], cells: list[str]
) -> tuple[str, dict[str, str]]:
  place = f"{path}:{line}"
  if len(cells) != len(header):
    raise UserError(
        f"{place} has {len(cells)} cells but the first line names"
        f" {len(header)} columns; mend the line"
    )
  return place, dict(zip(header, cells, strict=True))


def _read_parquet(path: pathlib.Path) -> Rows:
  try:
    from pyarrow import lib, parquet
  except ImportError as error:
    raise UserError(
        f"reading {path} needs a package that is not installed; run pip install"
        " 'electra-jax[parquet]'"
    ) from error
  number = 0
  try:
    with parquet.ParquetFile(path) as table:
      classes = _class_names(table.schema_arrow.metadata)
      for batch in table.iter_batches(_PARQUET_BATCH):
        for row in batch.to_pylist():
          place = f"{path}: row {number}"
          named = {
              column: _class_name(row[column], names, f"{place}: {column}")
              for column, names in classes.items()
              if column in row
          }
          yield place, row | named
          number += 1
  # Some damage is told as an OSError, or comes out as text that is none.
  except (lib.ArrowException, OSError, UnicodeDecodeError) as error:
    reason = " ".join(str(error).split())
    raise UserError(
        f"{path} is not a parquet file, or a damaged one ({reason}); write it"
        " again"
    ) from error


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list]:
  """Returns the names of classes that Hugging Face's datasets keep, by column.

  Such a column holds numbers from 0, and -1 where the class
  is not told.
  """
  try:
    known = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    features = known["info"]["features"]
    return {
        column: feature["names"]
        for column, feature in features.items()
        if feature.get("_type") == "ClassLabel"
    }
  except (ValueError, KeyError, TypeError, AttributeError):
    return {}  # The file is of someone else.


def _class_name(value: Any, names: Sequence[str], place: str) -> Any:
  if value is None or value == -1:
    return None
  if isinstance(value, int) and 0 <= value < len(names):
    return names[value]
  raise UserError(
      f"{place} holds {value!r} and the file names {len(names)} classes; write"
      " the file again"
  )
