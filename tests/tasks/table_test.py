"""The user's table: four formats, three kinds, and errors with their place."""

import json
import sys

import pyarrow
import pyarrow.parquet
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.table import read_table, table_task
from electra_jax.tasks.task import MissingSplitError, Source

OPTIONS = {"kind": "classification", "text": "text", "label": "label"}
ROWS = [
    {"key": "a1", "text": 'He said "no",\nthen left.', "label": "bad"},
    {"key": "a2", "text": "Schön, ja", "label": "good"},
]
CSV = 'key,text,label\r\na1,"He said ""no"",\nthen left.",bad\r\n\r\n'
CSV += 'a2,"Schön, ja",good\r\n'


def read(folder, split="train", **options):
  options = OPTIONS | options
  task = table_task(options)
  return task.read(Source(folder, options=options), split)


def write(path, text):
  path.write_bytes(text.encode("utf-8"))
  return path


def write_rows(path, rows):
  """Writes JSON lines or parquet."""
  if path.suffix == ".parquet":
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path
  return write(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def fails(folder, *parts, split="train", error=UserError, **options):
  with pytest.raises(error) as caught:
    read(folder, split, **options)
  for part in parts:
    assert part in str(caught.value)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_formats(tmp_path, suffix):
  path = tmp_path / f"train.{suffix}"
  if suffix == "csv":
    write(path, "\ufeff" + CSV)
  else:
    write_rows(path, ROWS)
  assert read(tmp_path, id="key") == [
      TextExample("a1", ROWS[0]["text"], None, "bad"),
      TextExample("a2", ROWS[1]["text"], None, "good"),
  ]
  assert [e.id for e in read(tmp_path)] == ["0", "1"]


def test_tsv_has_no_quotes(tmp_path):
  text = '\ufefftext\tother\tlabel\r\n"a\tb, "c"\t1\r\n\r\n'
  write(tmp_path / "train.tsv", text)
  assert read(tmp_path, other_text="other") == [
      TextExample("0", '"a', 'b, "c"', "1")
  ]


def test_a_file_by_name_stands_above_the_folder(tmp_path):
  write(tmp_path / "train.csv", "text,label\nin the folder,1\n")
  path = write(tmp_path / "mine.csv", "text,label\nby name,1\n")
  assert read(tmp_path)[0].text == "in the folder"
  assert read(tmp_path, train=str(path))[0].text == "by name"
  assert read(None, "dev", dev=str(path))[0].text == "by name"


def test_labels_that_are_not_text(tmp_path):
  labels = [True, 3, "x", 1.5]
  write_rows(
      tmp_path / "train.jsonl", [{"text": "a", "label": v} for v in labels]
  )
  assert [e.label for e in read(tmp_path)] == ["true", "3", "x", "1.5"]
  rows = [{"text": "a", "label": True}, {"text": "b", "label": False}]
  write_rows(tmp_path / "dev.parquet", rows)
  assert [e.label for e in read(tmp_path, "dev")] == ["true", "false"]


def test_several_labels(tmp_path):
  write(tmp_path / "train.csv", "text,label\na,x | y\nb,\nc,z\n")
  labels = [e.label for e in read(tmp_path, kind="multilabel")]
  assert labels == [("x", "y"), (), ("z",)]
  write(tmp_path / "dev.csv", 'text,label\na,"x,y|z"\n')
  (example,) = read(tmp_path, "dev", kind="multilabel", separator=",")
  assert example.label == ("x", "y|z")
  rows = [{"text": "a", "label": ["x", 2]}, {"text": "b", "label": "x|y"}]
  write_rows(tmp_path / "test.jsonl", rows)
  labels = [e.label for e in read(tmp_path, "test", kind="multilabel")]
  assert labels == [("x", "2"), ("x", "y")]


def test_ratings(tmp_path):
  write(tmp_path / "dev.csv", "text,label\na,3.5\nb,-1e2\n")
  assert [e.label for e in read(tmp_path, "dev", kind="regression")] == [
      3.5,
      -100.0,
  ]
  for value in ("high", "nan", ""):
    path = write(tmp_path / "dev.csv", f"text,label\na,1\nb,{value}\n")
    fails(tmp_path, f"{path}:3", repr(value), split="dev", kind="regression")
  path = write_rows(tmp_path / "train.jsonl", [{"text": "a", "label": [1]}])
  fails(tmp_path, f"{path}:1", "[1]", kind="regression")


def test_only_the_test_split_may_lack_labels(tmp_path):
  for split in ("dev", "test"):
    write(tmp_path / f"{split}.csv", "text\na\n")
  assert read(tmp_path, "test") == [TextExample("0", "a", None, None)]
  fails(tmp_path, "dev.csv:2", "'label'", "['text']", split="dev")
  for split in ("dev", "test"):
    rows = [{"text": "a", "label": None}, {"text": "b", "label": "x"}]
    (tmp_path / f"{split}.csv").unlink()
    write_rows(tmp_path / f"{split}.parquet", rows)
  assert [e.label for e in read(tmp_path, "test")] == [None, "x"]
  fails(tmp_path, "dev.parquet: row 0", "nothing", "'label'", split="dev")


def test_errors_name_the_place(tmp_path):
  train = tmp_path / "train.csv"
  fails(tmp_path, "train.csv", "train.parquet", error=MissingSplitError)
  fails(None, "train=PATH", error=MissingSplitError)
  fails(None, "there is no file", "gone.csv", train="gone.csv")
  fails(None, "a.xlsx", ".csv|.tsv", train="a.xlsx")
  write(train, "text,label\n")
  fails(tmp_path, str(train), "no row")
  write(train, "")
  fails(tmp_path, str(train), "no row")
  write(train, "words,label\na,1\n")
  fails(tmp_path, f"{train}:2", "'text'", "['words', 'label']")
  write(train, "text,label\na,1,2\n")
  fails(tmp_path, f"{train}:2", "3 cells", "2 columns")
  write(train, 'text,label\n"a"b,1\n')
  fails(tmp_path, f"{train}:2", "not CSV")
  write(train, "text,label\na,\n")
  fails(tmp_path, f"{train}:2", "empty label")
  write(train, "text,label\na,x\n")
  fails(tmp_path, f"{train}:2", "'x'", "['y', 'z']", labels=("y", "z"))
  write(train, "text,label\na,y|x\n")
  fails(tmp_path, "'x'", labels=("y", "z"), kind="multilabel")
  train.unlink()
  tsv = write(tmp_path / "train.tsv", "text\tlabel\na\n")
  fails(tmp_path, f"{tsv}:2", "1 cells")
  tsv.unlink()
  jsonl = write(tmp_path / "train.jsonl", '{"text": "a", "label": 1}\n[1]\n')
  fails(tmp_path, f"{jsonl}:2", "JSON list")
  write(jsonl, '{"text": null, "label": 1}\n')
  fails(tmp_path, f"{jsonl}:1", "nothing", "'text'")
  jsonl.unlink()
  parquet = write(tmp_path / "train.parquet", "no parquet")
  fails(tmp_path, str(parquet), "not a parquet file")


def test_missing_pyarrow_is_named_by_its_extra(tmp_path, monkeypatch):
  path = write_rows(tmp_path / "train.parquet", ROWS)
  monkeypatch.setitem(sys.modules, "pyarrow", None)
  fails(tmp_path, str(path), "electra-jax[parquet]")


def test_the_task_follows_from_its_options():
  task = table_task(OPTIONS | {"labels": ["b", "a"]})
  assert task.labels == ("b", "a") and task.name == "table"
  assert task.read is read_table
  assert task.metrics == ("accuracy", "macro_f1")
  task = table_task(OPTIONS | {"kind": "regression", "label_range": [1, 5]})
  assert task.label_range == (1, 5) and task.metrics[0] == "spearman"
  assert table_task(OPTIONS | {"kind": "regression"}).label_range is None
  for key, value in (("kind", "tagging"), ("text", ""), ("label", None)):
    with pytest.raises(UserError, match=rf"'table' has {key}={value!r}"):
      table_task(OPTIONS | {key: value})
