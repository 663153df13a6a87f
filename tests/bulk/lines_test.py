"""Lines of files: places, numbers, tables, windows, digests."""

import gzip
import io
import os
import types

import pytest

from electra_jax.bulk import lines as bulk_lines
from electra_jax.bulk.lines import Digest, Line, Lines, skipped, windows
from electra_jax.errors import UserError
from tests import helpers

CASE = helpers.ROOT / "tests/cases/predict-blank-lines/texts.txt"


def read(*files):
  return list(Lines([str(file) for file in files]))


def test_blank_lines_keep_their_number():
  found = [(line.index, line.content) for line in read(CASE)]
  assert found == [
      (0, "the young cook"),
      (2, "the old river"),
      (4, "the tall dog"),
  ]
  assert read(CASE)[1].place == f"{CASE}:3"


def test_packed_and_marked_files(tmp_path):
  path = tmp_path / "a.txt.gz"
  path.write_bytes(gzip.compress("\ufeffone\r\n\r\ntwo".encode()))
  assert [line.content for line in read(path)] == ["one", "two"]
  path = tmp_path / "b.txt"
  path.write_bytes("one\n\nŌtwo".encode("utf-16"))
  assert [line.content for line in read(path)] == ["one", "Ōtwo"]


def test_tables_give_cells_and_json_gives_fields(tmp_path):
  table = tmp_path / "a.csv"
  table.write_text('id,text\n7,"a ""b""\nc"\n8,d\n')
  first, second = read(table)
  assert first.fields() == {"id": "7", "text": 'a "b"\nc'}
  assert (second.index, second.place) == (1, f"{table}:4")
  objects = tmp_path / "b.jsonl"
  objects.write_text('{"text": "x"}\n[1]\n')
  good, bad = read(objects)
  assert good.fields() == {"text": "x"}
  with pytest.raises(UserError, match=r"b.jsonl:2 holds a JSON list"):
    bad.fields()
  plain = tmp_path / "c.txt"
  plain.write_text('{"text": "x"}\n')
  assert read(plain)[0].fields() == '{"text": "x"}'


def test_the_asked_column_tells_the_delimiter(tmp_path):
  table = tmp_path / "a.csv"
  table.write_text("title;of, with, commas\na, b;c\n")
  (line,) = Lines([str(table)], "title")
  assert line.fields() == {"title": "a, b", "of, with, commas": "c"}
  table.write_text("title,title\na,b\n")
  with pytest.raises(UserError, match="names 2 columns 'title'"):
    list(Lines([str(table)], "title"))


def test_standard_input_and_pipes(monkeypatch, tmp_path):
  stdin = types.SimpleNamespace(
      buffer=io.BufferedReader(io.BytesIO(b"one\n\ntw\xff\n"))
  )
  monkeypatch.setattr("sys.stdin", stdin)
  lines = Lines([])
  assert not lines.is_rereadable
  reading = iter(lines)
  assert next(reading).place == "standard input:1"
  with pytest.raises(UserError, match="standard input:3 is not UTF-8"):
    next(reading)
  pipe = tmp_path / "pipe"
  os.mkfifo(pipe)
  assert not Lines([pipe]).is_rereadable
  assert Lines([CASE]).is_rereadable


def test_what_cannot_be_read(tmp_path):
  with pytest.raises(UserError, match=r"cannot read --file .*gone: No such"):
    Lines([CASE, tmp_path / "gone"])
  for name in ("a.csv.gz", "a.txt.zst"):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=f"{name}: of packed files only"):
      Lines([tmp_path / name])
  with pytest.raises(UserError, match="is a folder"):
    Lines([tmp_path])


def test_windows_end_by_number_and_by_size(monkeypatch):
  monkeypatch.setattr(bulk_lines, "WINDOW_LINES", 3)
  monkeypatch.setattr(bulk_lines, "WINDOW_CHARACTERS", 10)
  texts = ["a", "b", "c", "d", "e" * 20, "f", {"words": ["g" * 9, "h"]}, "i"]
  lines = [Line("x", i, f"x:{i}", text) for i, text in enumerate(texts)]
  found = [[line.index for line in window] for window in windows(lines)]
  assert found == [[0, 1, 2], [3, 4], [5, 6], [7]]


def test_a_digest_tells_texts_and_places_apart():
  def digest(*lines, with_files=False):
    found = Digest(with_files=with_files)
    skipped(iter(lines), found, len(lines))
    assert found.count == len(lines)
    return found.value()

  one, two = Line("a", 0, "", "x"), Line("a", 1, "", "y")
  assert digest(one, two) == digest(one, two)
  others = [
      digest(one),
      digest(two, one),
      digest(one, two._replace(index=2)),
      digest(one, two._replace(content="z")),
      digest(one, two._replace(content={"text": "y"})),
  ]
  assert len({digest(one, two), *others}) == 6
  moved = [line._replace(file="b") for line in (one, two)]
  assert digest(one, two) == digest(*moved)
  assert digest(one, two, with_files=True) != digest(*moved, with_files=True)
