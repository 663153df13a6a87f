"""Files of texts to embed, and files of their vectors."""

import contextlib
import io
import os
import pathlib
import secrets
import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.files import is_remote, to_json, writing
from electra_jax.text import formats
from electra_jax.text.records import json_text, read_csv, read_row_groups
from electra_jax.text.streams import TextStream, missing_extra

OUTPUTS = (".npy", ".jsonl", ".parquet")
_DIGITS = 9  # Of a number in JSON, from which its float32 is read back.


def read_texts(path: str | None, field: str = "text") -> Iterator[str]:
  """Yields the texts of a file, blank ones among them.

  Args:
    path: a text on each line; or .jsonl, .csv, .tsv or .parquet; or None for
      lines of standard input. A text file and a table may be packed (.gz, …).
    field: key or column of the text, where the file has several.

  Raises:
    UserError: the file cannot be read or is not what its name says, with the
      line.
  """
  if path is None:
    yield from _lines(TextStream(sys.stdin.buffer, "standard input"))
    return
  kind = formats.format_of(path)
  if kind == formats.PARQUET:
    for _, texts in read_row_groups(pathlib.Path(path), path, field):
      yield from (text or "" for text in texts)
    return
  with _opened(path) as raw:
    stream = TextStream(raw, path)
    if kind in (formats.CSV, formats.TSV):
      texts = read_csv(stream, field, is_tsv=kind == formats.TSV)
    elif kind == formats.JSON:
      texts = (
          json_text(line, field, f"{path}:{number}")
          for number, line in enumerate(_lines(stream), start=1)
          if line.strip()
      )
    else:
      texts = _lines(stream)
    yield from (text or "" for text in texts)


def check_output(path: str, source: str | None = None) -> None:
  """Raises a UserError unless vectors can be written there.

  Args:
    path: a local file, in place of one that is there.
    source: the file that texts are read from, which stays as it is.
  """
  if pathlib.Path(path).suffix.lower() not in OUTPUTS:
    raise UserError(
        f"--output {path} ends with none of {', '.join(OUTPUTS)}; rename it"
    )
  if is_remote(path):
    raise UserError(
        f"--output {path} is not a local file; give one, and copy it there"
    )
  if pathlib.Path(path).is_dir():
    raise UserError(f"--output {path} is a folder; give a file in it")
  both_there = source and os.path.exists(path) and os.path.exists(source)
  if both_there and os.path.samefile(path, source):
    raise UserError(
        f"--output {path} is the file that --input names, and would replace it;"
        " give another name"
    )
  if path.lower().endswith(".parquet"):
    try:
      import pyarrow  # noqa: F401
    except ImportError as error:
      raise missing_extra(path, "parquet") from error


def write_vectors(
    path: str,
    chunks: Iterable[tuple[list[str], np.ndarray]],
    dimensions: int,
) -> int:
  """Writes vectors as they come; the file appears when it is whole.

  Args:
    path: as of `check_output`. `.npy` holds the array [n, dimensions] alone;
      the others hold rows of "text" and "vector".
    chunks: some texts and their vectors, in order.
    dimensions: numbers of a vector.

  Returns:
    How many there are.

  Raises:
    UserError: the place cannot be written.
  """
  place = epath.Path(path)
  write = _WRITERS[place.suffix.lower()]
  partial = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
  try:
    with writing(path), open(partial, "xb") as file:
      count = write(file, chunks, dimensions)
    with writing(path):
      partial.replace(place)
  finally:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)
  return count


def _opened(path: str) -> BinaryIO:
  try:
    return open(path, "rb")
  except OSError as error:
    raise UserError(
        f"cannot read --input {path}: {error.strerror}; give a file with a text"
        " on each line"
    ) from error


def _write_npy(file: BinaryIO, chunks, dimensions: int) -> int:
  # The header's length does not depend on the number of rows, which is told
  # when all are written.
  file.write(_npy_header(0, dimensions))
  count = 0
  for _, vectors in chunks:
    file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
    count += len(vectors)
  file.seek(0)
  file.write(_npy_header(count, dimensions))
  return count


def _npy_header(count: int, dimensions: int) -> bytes:
  told = {"descr": "<f4", "fortran_order": False, "shape": (count, dimensions)}
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(header, told)
  return header.getvalue()


def _write_jsonl(file: BinaryIO, chunks, dimensions: int) -> int:
  del dimensions
  count = 0
  for texts, vectors in chunks:
    for text, vector in zip(texts, vectors, strict=True):
      numbers = [float(f"{x:.{_DIGITS}g}") for x in vector]
      record: dict[str, Any] = {"text": text, "vector": numbers}
      file.write((to_json(record, ensure_ascii=False) + "\n").encode())
    count += len(texts)
  return count


def _write_parquet(file: BinaryIO, chunks, dimensions: int) -> int:
  import pyarrow as pa
  from pyarrow import parquet

  kind = pa.list_(pa.float32(), dimensions)
  schema = pa.schema([("text", pa.string()), ("vector", kind)])
  count = 0
  with parquet.ParquetWriter(file, schema) as table:
    for texts, vectors in chunks:
      flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
      arrays = [
          # Half a surrogate pair, as JSON may hold, is no UTF-8.
          pa.array([t.encode("utf-8", "replace").decode() for t in texts]),
          pa.FixedSizeListArray.from_arrays(flat, dimensions),
      ]
      table.write_table(pa.Table.from_arrays(arrays, schema=schema))
      count += len(texts)
  return count


def _lines(stream: TextStream) -> Iterator[str]:
  for _, line in stream.lines():
    yield line.rstrip("\r\n")


_WRITERS = {
    ".npy": _write_npy,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
