"""Finding the file of a split, and reading its lines with a place to name."""

import gzip
import io
import json
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks.task import MissingSplitError, Source
from electra_jax.text.streams import find_mark

# The release keeps its tasks below the first, the GLUE download below the
# second. Release, configure_finetuning.py:FinetuningConfig.raw_data_dir.
PARENT_FOLDERS = ("", "finetuning_data", "glue_data")


def find_file(
    source: Source,
    task: str,
    split: str,
    *,
    folders: Sequence[str],
    names: Sequence[str],
) -> pathlib.Path:
  """Finds the file of a split.

  Args:
    source: its folder holds the task's folder, or is it.
    task: for the error message.
    split: for the error message.
    folders: names of the task's folder, the first that has the file wins.
    names: names of the file.

  Returns:
    The path of an existing file.

  Raises:
    MissingSplitError: no such file is there.
    UserError: no folder is given, or it does not exist.
  """
  if source.folder is None:
    raise UserError(
        f"no folder with the data of {task!r} is given; name the one that holds"
        f" {folders[0]}/{names[0]} by --config.data.folder, or set"
        " --config.data.source=tfds"
    )
  if not source.folder.is_dir():
    raise UserError(
        f"there is no folder {source.folder} with the data of {task!r}; name"
        f" the folder that holds {folders[0]}/{names[0]} by"
        " --config.data.folder (evaluate: --folder)"
    )
  for parent in PARENT_FOLDERS:
    for folder in folders:
      for name in names:
        path = source.folder / parent / folder / name
        if path.is_file():
          return path
  for name in names:
    if (source.folder / name).is_file():
      return source.folder / name
  raise MissingSplitError(
      f"the folder {source.folder} holds no split {split!r} of {task!r}; put"
      f" {' or '.join(names)} into it or into its folder"
      f" {' or '.join(folders)}"
  )


def read_lines(path: pathlib.Path) -> Iterator[tuple[int, str]]:
  """Yields line numbers, from 1, and lines without their ends.

  A line ends at a newline character only, with or without a carriage return
  before it; a byte order mark tells the encoding and is dropped, and `.gz` is
  unpacked.

  Raises:
    UserError: the file is neither UTF-8 nor what its mark tells, a damaged
      gzip file, or cannot be read.
  """
  opened = gzip.open if path.name.endswith(".gz") else open
  try:
    with opened(path, "rb") as stream:
      yield from decode_lines(stream, str(path))
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise UserError(
        f"{path} is a damaged gzip file ({error}); fetch it again"
    ) from error
  except OSError as error:
    raise UserError(
        f"{path} cannot be read ({error.strerror}); mend its permissions, or"
        " name another file"
    ) from error


def decode_lines(
    stream: io.BufferedReader | gzip.GzipFile, name: str
) -> Iterator[tuple[int, str]]:
  """Does the same with a stream of bytes, which need not go back.

  Args:
    stream: at its start.
    name: what an error message calls it.

  Raises:
    UserError: it is neither UTF-8 nor what its mark tells.
  """
  number = 0
  _, encoding = find_mark(stream.peek(4)[:4])
  lines = stream
  if encoding in ("utf-16", "utf-32"):
    # Newline characters are not single bytes there.
    lines = io.TextIOWrapper(stream, encoding, newline="\n")
  try:
    for number, line in enumerate(lines, start=1):
      if isinstance(line, bytes):
        line = line.decode("utf-8-sig" if number == 1 else "utf-8")
      yield number, line.rstrip("\r\n")
  except UnicodeError as error:
    raise UserError(
        f"{name}:{max(number, 1)} is not {(encoding or 'utf-8').upper()};"
        " convert the file, for example with iconv"
    ) from error


def parse_object(text: str, place: str) -> dict[str, Any]:
  """Parses one JSON object.

  Raises:
    UserError: it is none; the message begins with `place`.
  """
  try:
    record = json.loads(text)
  except RecursionError as error:
    raise UserError(
        f"{place} is nested too deeply to be read; write flat objects, as in"
        ' {"name": value}'
    ) from error
  except ValueError as error:
    raise UserError(
        f"{place} is not JSON ({error}); write one object there, as in"
        ' {"name": value}'
    ) from error
  if not isinstance(record, dict):
    raise UserError(
        f"{place} holds a JSON {type(record).__name__}; write an object, as in"
        ' {"name": value}'
    )
  return record


def read_objects(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields place and object of each line that is not blank of JSON lines."""
  for number, line in read_lines(path):
    if line.strip():
      place = f"{path}:{number}"
      yield place, parse_object(line, place)


def check_label(label: str, labels: Iterable[str], place: str) -> str:
  """Returns the label, or raises a UserError if it is none of `labels`."""
  if label not in labels:
    raise UserError(
        f"{place} has the label {label!r}, which is none of {list(labels)};"
        " mend the file, check that it belongs to this task, or, if the labels"
        " are named by config.table.labels, add it there"
    )
  return label
