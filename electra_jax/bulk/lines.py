"""Files of texts -> lines with their places, in windows of bounded size.

A file is read as often as is needed and never held as a whole.
"""

import hashlib
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from electra_jax.errors import UserError
from electra_jax.tasks.table_files import read_rows
from electra_jax.tasks.task_files import (
    decode_lines,
    parse_object,
    read_lines,
)
from electra_jax.text.formats import CSV, JSON, PARQUET, format_of
from electra_jax.text.streams import packing_of

STANDARD_INPUT = "standard input"
# A window ends with its last line, or when its text is as long as this.
WINDOW_LINES, WINDOW_CHARACTERS = 8192, 1 << 22

_COLUMNS = ("text", "other_text", "words", "question", "context", "id")


class Line(NamedTuple):
  """One line that is not blank, or one row of a table.

  Attributes:
    file: where it stands.
    index: its number there, from 0; blank lines have numbers, too.
    place: what an error message calls it.
    content: the line, or the cells of the row by column.
    is_json: whether the line must be a JSON object, as its file's name tells.
  """

  file: str
  index: int
  place: str
  content: str | Mapping[str, Any]
  is_json: bool = False

  def fields(self) -> str | Mapping[str, Any]:
    """Returns the line, or what it holds by name.

    Raises:
      UserError: it must be a JSON object and is none.
    """
    if self.is_json:
      return parse_object(self.content, self.place)
    return self.content


class Lines:
  """The lines of files, or of standard input where no file is named.

  Attributes:
    files: their names.
    is_rereadable: whether they may be read twice: a pipe may not.
  """

  def __init__(
      self, files: Sequence[str | os.PathLike], field: str | None = None
  ):
    """Looks whether the files are there.

    Args:
      files: their names.
      field: a column that will be asked for, beside those of tasks.

    Raises:
      UserError: one cannot be read.
    """
    self.files = [os.fspath(file) for file in files] or [STANDARD_INPUT]
    self._columns = tuple(dict.fromkeys((*_COLUMNS, field or "text")))
    self.is_rereadable = bool(files) and all(map(os.path.isfile, self.files))
    for file in self.files if files else ():
      try:
        with open(file, "rb") if os.path.isfile(file) else os.scandir(file):
          pass
      except NotADirectoryError:  # A pipe, which is opened once.
        continue
      except OSError as error:
        raise UserError(
            f"cannot read --file {file}: {error.strerror}; give a file with a"
            " text on each line"
        ) from error
      _check_packing(file)
      if os.path.isdir(file):
        raise UserError(
            f"cannot read --file {file}: it is a folder; name the files in it"
        )

  def __iter__(self) -> Iterator[Line]:
    for file in self.files:
      yield from _read(file, self._columns)

  def digest(self) -> "Digest":
    """Returns an empty digest of such lines."""
    return Digest(with_files=len(self.files) > 1)


class Digest:
  """A checksum of the lines that were read so far.

  Attributes:
    count: how many.
  """

  def __init__(self, *, with_files: bool):
    self.count = 0
    self._with_files = with_files
    self._hash = hashlib.sha256()

  def add(self, line: Line) -> None:
    """Takes a line into account, and its place."""
    content = line.content
    if not isinstance(content, str):
      content = json.dumps(content, default=str)
    file = line.file if self._with_files else ""
    key = f"{file}\0{line.index}\0{content}\n"
    self._hash.update(key.encode("utf-8", "surrogatepass"))
    self.count += 1

  def value(self) -> str:
    """Returns the checksum of all lines that were added."""
    return self._hash.hexdigest()


def windows(lines: Iterable[Line]) -> Iterator[list[Line]]:
  """Yields lines by thousands; the same lines give the same windows."""
  window, size = [], 0
  for line in lines:
    window.append(line)
    size += _size(line.content)
    if len(window) == WINDOW_LINES or size >= WINDOW_CHARACTERS:
      yield window
      window, size = [], 0
  if window:
    yield window


def skipped(lines: Iterator[Line], digest: Digest, count: int) -> None:
  """Reads past some lines, or fewer where they end, into a digest."""
  for line in itertools.islice(lines, count):
    digest.add(line)


def _read(file: str, columns: Sequence[str]) -> Iterator[Line]:
  kind = format_of(file)
  if kind in (CSV, PARQUET):
    rows = read_rows(pathlib.Path(file), columns)
    for index, (place, cells) in enumerate(rows):
      yield Line(file, index, place, cells)
    return
  if file == STANDARD_INPUT:
    numbered = decode_lines(sys.stdin.buffer, file)
  else:
    numbered = read_lines(pathlib.Path(file))
  for number, line in numbered:
    if line and not line.isspace():
      yield Line(file, number - 1, f"{file}:{number}", line, kind == JSON)


def _check_packing(file: str) -> None:
  packing = packing_of(file)
  is_table = format_of(file) in (CSV, PARQUET)
  if packing and (is_table or packing != ".gz"):
    raise UserError(
        f"cannot read --file {file}: of packed files only .gz of text and JSON"
        " lines are read; unpack it"
    )


def _size(content: Any) -> int:
  if isinstance(content, str):
    return len(content)
  if isinstance(content, Mapping):
    return sum(map(_size, content.values()))
  return sum(map(_size, content)) if isinstance(content, list) else 1
