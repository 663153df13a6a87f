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
  write(tmp_path / "dev.csv", "text,label\na,x\ty\n")
  (example,) = read(tmp_path, "dev", kind="multilabel", separator="\\t")
  assert example.label == ("x", "y")
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
  fails(None, "--config.table.train=PATH", error=MissingSplitError)
  fails(None, "there is no file", "gone.csv", train="gone.csv")
  fails(None, "a.xlsx", ".csv, .tsv", "config.table.train", train="a.xlsx")
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
    with pytest.raises(UserError, match=rf"config.table.{key} is {value!r}"):
      table_task(OPTIONS | {key: value})


# --- Held out of one file ---


def write_many(path, order=1):
  rows = [f"text {i},{'ab'[i % 2]}\n" for i in range(400)][::order]
  return write(path, "text,label\n" + "".join(rows))


def test_a_share_of_one_file_is_held_out(tmp_path):
  write_many(tmp_path / "train.csv")
  train, dev = (read(tmp_path, s, dev_percent=25) for s in ("train", "dev"))
  assert len(train) + len(dev) == 400 and 70 < len(dev) < 130
  assert sorted(int(e.id) for e in train + dev) == list(range(400))
  # Neither the order of the rows nor the others decide.
  other = tmp_path / "other"
  other.mkdir()
  write_many(other / "train.csv", order=-1)
  assert {e.text for e in read(other, "dev", dev_percent=25)} == {
      e.text for e in dev
  }
  write(
      other / "train.csv",
      "text,label\n" + f"{dev[0].text},a\n{train[0].text},b\n",
  )
  assert [e.text for e in read(other, "dev", dev_percent=25)] == [dev[0].text]
  # A larger share holds out the same, and more.
  more = {e.text for e in read(tmp_path, "dev", dev_percent=50)}
  assert {e.text for e in dev} < more


def test_equal_texts_are_held_out_together(tmp_path):
  rows = [f"text {i % 40},{'ab'[i % 3 % 2]}\n" for i in range(200)]
  write(tmp_path / "train.csv", "text,label\n" + "".join(rows))
  train, dev = (read(tmp_path, s, dev_percent=25) for s in ("train", "dev"))
  assert not {e.text for e in train} & {e.text for e in dev}


def test_a_share_that_cannot_be(tmp_path):
  write(tmp_path / "train.csv", "text,label\na,x\n")
  fails(tmp_path, "config.table.dev_percent=0.001 of 1 rows", split="dev", dev_percent=0.001)  # fmt: skip
  for percent in (-1, 100):
    fails(
        tmp_path, f"config.table.dev_percent is {percent}", dev_percent=percent
    )
  fails(tmp_path, "--config.table.dev_percent=10", split="dev", error=MissingSplitError)  # fmt: skip


def test_a_file_of_dev_and_a_share_are_one_too_many(tmp_path):
  write_many(tmp_path / "train.csv")
  write(tmp_path / "dev.csv", "text,label\na,a\n")
  options = OPTIONS | {"dev_percent": 10}
  source = Source(tmp_path, options=options)
  task = table_task(options)
  with pytest.raises(UserError, match=r"dev_percent is 10 and dev has a file"):
    task.check(source, {"train": task.read(source, "train")})
  # A finished model, which keeps its options, reads the file.
  assert [e.text for e in task.read(source, "dev")] == ["a"]


def test_columns_and_numbers_of_the_config():
  for options, message in (
      ({"label": "text"}, "config.table.text and config.table.label both name"),
      ({"labels": ("a", "b", "a")}, "names 'a' 2 times"),
      ({"labels": ("b,a",)}, r"names 'b,a' alone .*labels=\"\('no','yes'\)\""),
      ({"label_range": (5, 1)}, r"label_range is \(5, 1\)"),
      ({"label_range": (1, 2, 3)}, r"label_range is \(1, 2, 3\)"),
  ):
    with pytest.raises(UserError, match=message):
      table_task(OPTIONS | options)
  assert table_task(OPTIONS | {"labels": (1, True)}).labels == ("1", "true")


def test_blanks_around_labels_are_no_part_of_them(tmp_path):
  write(tmp_path / "train.csv", "text,label\na, good\nb,good \nc,\u00a0bad\n")
  assert [e.label for e in read(tmp_path)] == ["good", "good", "bad"]
  write(tmp_path / "train.csv", "text,label\na,x\nb, \n")
  fails(tmp_path, "train.csv:3 has an empty label")


def test_cells_that_hold_more_than_one_thing(tmp_path):
  path = tmp_path / "train.jsonl"
  write_rows(path, [{"text": "a", "label": ["x", "y"]}])
  fails(tmp_path, f"{path}:1", "['x', 'y']", "--config.table.kind=multilabel")
  write_rows(path, [{"text": ["a"], "label": "x"}])
  fails(tmp_path, f"{path}:1 has a list in the column 'text'")
  for value in (True, "1_000", "3,5"):
    write_rows(path, [{"text": "a", "label": value}])
    fails(tmp_path, f"{path}:1", repr(value), "a decimal point", kind="regression")  # fmt: skip


def test_classes_whose_names_the_file_tells(tmp_path):
  """As Hugging Face's datasets write them; -1 is no class."""
  features = {
      "text": {"dtype": "string", "_type": "Value"},
      "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
  }
  metadata = {"huggingface": json.dumps({"info": {"features": features}})}

  def write_labels(split, labels):
    table = pyarrow.table({"text": ["a", "b"], "label": labels})
    path = tmp_path / f"{split}.parquet"
    table = table.replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, path)

  write_labels("train", [1, 0])
  write_labels("test", [-1, -1])
  assert [e.label for e in read(tmp_path)] == ["pos", "neg"]
  assert [e.label for e in read(tmp_path, "test")] == [None, None]
  write_labels("train", [1, 2])
  fails(tmp_path, "row 1: label holds 2", "names 2 classes")
  write_labels("train", [1, -1])
  fails(tmp_path, "row 1 has nothing in the column 'label'")
  metadata["huggingface"] = "{"
  write_labels("train", [1, 0])
  assert [e.label for e in read(tmp_path)] == ["1", "0"]


def test_rows_that_an_annotator_rejected(tmp_path):
  """Prodigy keeps them with their label."""
  rows = [{"text": "a", "label": "x", "_task_hash": 1, "answer": "accept"}]
  path = write_rows(tmp_path / "train.jsonl", rows)
  assert read(tmp_path)[0].label == "x"
  write_rows(path, [*rows, {**rows[0], "answer": "reject"}])
  fails(tmp_path, "train.jsonl:2 has 'reject' under 'answer'", "'accept' alone")
  # A column of one's own by that name is no such thing.
  assert [e.label for e in read(tmp_path, label="answer")] == [
      "accept", "reject",
  ]  # fmt: skip


def test_labels_may_be_named_as_numbers(tmp_path):
  write(tmp_path / "train.csv", "text,label\na,1\nb,2\n")
  assert [e.label for e in read(tmp_path, labels=(1, 2))] == ["1", "2"]
  fails(tmp_path, ":3 has the label '2', which is none of", labels=(0, 1))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize(("suffix", "mark"), [("csv", ";"), ("tsv", "\t")])
def test_what_spreadsheets_save(tmp_path, encoding, suffix, mark):
  text = f"text{mark}label\r\nSchön, ja Ω{mark}gut\r\n"
  (tmp_path / f"train.{suffix}").write_bytes(text.encode(encoding))
  (example,) = read(tmp_path)
  assert (example.text, example.label) == ("Schön, ja Ω", "gut")
