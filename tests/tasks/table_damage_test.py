"""Tables that are damaged: read, or refused in one sentence, never a traceback."""

import gzip
import json
import random

import pyarrow
import pyarrow.parquet
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.table import table_task
from electra_jax.tasks.task import Source

OPTIONS = {"kind": "classification", "text": "text", "label": "label"}
ROWS = [{"text": f'a "b"\n{i} é', "label": i % 2 == 0} for i in range(40)]


def write(path):
  """Writes a whole table in the format of its name."""
  if path.suffix == ".parquet":
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
  elif path.suffix == ".jsonl":
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
  else:
    mark = "\t" if path.suffix == ".tsv" else ","
    lines = [f'"x {i} é"{mark}{i % 2}\n' for i in range(40)]
    path.write_text(f"text{mark}label\n" + "".join(lines))


def damaged(data, rng):
  """Cuts, flips, doubles or fills bytes at some place."""
  place = rng.randrange(len(data))
  length = rng.choice((1, 2, 8, 64))
  rest = data[place + length :]
  return rng.choice((
      data[:place],
      data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :],
      data[: place + length] * 2 + rest,
      data[:place] + b"\0" * length + rest,
      data[:place] + rng.randbytes(length) + rest,
  ))  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_damaged_tables(tmp_path, suffix):
  path, rng = tmp_path / f"train.{suffix}", random.Random(suffix)
  write(path)
  whole = path.read_bytes()
  task, source = table_task(OPTIONS), Source(tmp_path, options=OPTIONS)
  assert len(task.read(source, "train")) == 40
  refused = 0
  for _ in range(300):
    path.write_bytes(damaged(whole, rng))
    try:
      task.read(source, "train")
    except UserError as error:
      refused += 1
      assert str(path) in str(error) and "\n" not in str(error)
  assert 0 < refused < 300


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
  path = tmp_path / "train.jsonl"
  write(path)

  def fail(*_, **__):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr("builtins.open", fail)
  task, source = table_task(OPTIONS), Source(tmp_path, options=OPTIONS)
  with pytest.raises(
      UserError, match=r"train.jsonl cannot be read \(Permission"
  ):
    task.read(source, "train")


def test_damaged_gzip(tmp_path):
  from electra_jax.tasks.task_files import read_lines

  path, rng = tmp_path / "a.txt.gz", random.Random(0)
  whole = gzip.compress(b"a line of text\n" * 200, mtime=0)
  refused = 0
  for _ in range(200):
    path.write_bytes(damaged(whole, rng))
    try:
      list(read_lines(path))
    except UserError as error:
      refused += 1
      assert str(path) in str(error)
  assert refused > 100
