"""The splits of a config's tasks: found, read, digested, remembered."""

import dataclasses
import json
import pathlib

import pytest

from electra_jax.errors import UserError
from electra_jax.finetuning.task_data import (
    TaskData,
    decode_options,
    digest_of,
    feature_options,
    find_tasks,
    read_task,
    source_of,
    task_from_json,
    task_to_json,
)
from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.features import FeatureOptions
from electra_jax.tasks.predictions import DecodeOptions
from electra_jax.tasks.registry import find_task
from electra_jax.tasks.synthetic import write_synthetic_task
from electra_jax.tasks.task import MissingSplitError, Source
from tests import helpers

SIZES = {"num_train": 6, "num_dev": 4, "num_test": 3}


def config_of(task="rte", **overrides):
  config = helpers.load_config(f"configs/finetune.py:task={task},size=small")
  values = {n.replace("__", "."): value for n, value in overrides.items()}
  return helpers.override(config, values)


def synthetic(name, folder):
  write_synthetic_task(name, folder, **SIZES)
  return read_task(find_tasks(config_of(name))[0], Source(folder))


# --- What a config asks for ---


def test_tasks_are_found_in_their_order():
  tasks = find_tasks(config_of("sts+rte+table"))
  assert [task.name for task in tasks] == ["sts", "rte", "table"]
  (table,) = find_tasks(config_of("table", table__kind="regression"))
  assert table.kind == "regression"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rte+sts+rte", r"config.task 'rte\+sts\+rte' names a task twice"),
        ("rte+glue", "the task 'glue' is unknown; choose one of"),
        ("rte+", "the task '' is unknown"),
    ],
)
def test_tasks_that_are_not_there(name, message):
  with pytest.raises(UserError, match=message):
    find_tasks(config_of(name))


def test_sources():
  source = source_of(config_of(data__folder="data"))
  assert source.folder == pathlib.Path("data") and not source.use_tfds
  source = source_of(config_of(data__source="tfds"))
  assert source.folder is None and source.use_tfds
  # A table may name its files in place of a folder.
  source = source_of(config_of("table", table__train="a.csv"))
  assert source.folder is None
  assert source.options["train"] == "a.csv"
  assert source.options["label"] == "label"


def test_a_source_that_is_none():
  with pytest.raises(UserError, match=r"data.source is 'web'; it must be"):
    source_of(config_of(data__source="web", data__folder="data"))


def test_no_folder():
  for name, message in (
      ("rte", "no folder with the data of 'rte' is given"),
      ("table", "the task 'table' has no 'train' file"),
  ):
    config = config_of(name)
    with pytest.raises(UserError, match=message):
      read_task(find_tasks(config)[0], source_of(config))


def test_options_are_those_of_the_config():
  config = config_of(
      "squad",
      data__max_length=11,
      data__max_query_length=5,
      data__doc_stride=3,
      data__double_unordered=False,
      questions__n_best_size=4,
      questions__max_answer_length=7,
      questions__null_threshold=0.5,
  )
  assert feature_options(config) == FeatureOptions(11, 5, 3, False)
  assert decode_options(config) == DecodeOptions(4, 7, 0.5)


# --- Splits ---


def test_every_split_is_read(tmp_path):
  data = synthetic("mnli", tmp_path)
  assert {split: len(e) for split, e in data.splits.items()} == {
      "train": 6,
      "dev_matched": 4,
      "dev_mismatched": 4,
      "test_matched": 3,
      "test_mismatched": 3,
      "diagnostic": 3,
  }
  assert data.task.labels == ("contradiction", "entailment", "neutral")
  # Each split comes from its own file, although most have equal sizes.
  texts = {s: [e.text for e in examples] for s, examples in data.splits.items()}
  for split, own in texts.items():
    lines = (tmp_path / "mnli" / f"{split}.tsv").read_text().splitlines()
    assert len(lines) == 1 + len(own)
    for line, text in zip(lines[1:], own, strict=True):
      assert text in line.split("\t")
  assert len(set(map(tuple, texts.values()))) == len(texts)


def test_test_splits_may_be_missing(tmp_path):
  write_synthetic_task("rte", tmp_path, **SIZES)
  (tmp_path / "rte" / "test.tsv").unlink()
  task = find_task("rte")
  assert set(read_task(task, Source(tmp_path)).splits) == {"train", "dev"}
  (tmp_path / "rte" / "dev.tsv").unlink()
  with pytest.raises(MissingSplitError, match="no split 'dev' of 'rte'"):
    read_task(task, Source(tmp_path))


def test_a_broken_test_split_is_an_error(tmp_path):
  write_synthetic_task("rte", tmp_path, **SIZES)
  (tmp_path / "rte" / "test.tsv").write_bytes(b"index\ts1\ts2\n0\t\xff\tb\n")
  with pytest.raises(UserError, match="not UTF-8"):
    read_task(find_task("rte"), Source(tmp_path))


def test_tags_of_dev_are_learnt_too_labels_of_training_alone(tmp_path):
  folder = tmp_path / "pos"
  folder.mkdir()
  for split, tag in (("train", "N"), ("dev", "V"), ("test", "X")):
    (folder / f"{split}.txt").write_text(f"a {tag}\nb N\n")
  data = read_task(find_task("pos"), Source(tmp_path))
  assert data.task.labels == ("N", "V")
  config = config_of("table")
  (tmp_path / "train.csv").write_text("text,label\na,x\nb,y\n")
  (tmp_path / "dev.csv").write_text("text,label\na,z\n")
  data = read_task(
      find_tasks(config)[0],
      Source(tmp_path, options=dataclasses.asdict(config.table)),
  )
  assert data.task.labels == ("x", "y")


# --- Whether it is the same data ---


def data_of(name="rte", **splits):
  splits = {"train": [], "dev": [], "test": []} | splits
  return TaskData(find_task(name), splits)


def example(label, text="a"):
  return TextExample("0", text, "b", label)


def test_the_digest_tells_any_change():
  first, second = example("entailment"), example("not_entailment")
  same = data_of(train=[first, second], dev=[first])
  others = [
      data_of(train=[second, second], dev=[first]),
      data_of(train=[first, second], dev=[second]),
      data_of(train=[second, first], dev=[first]),
      data_of(train=[first], dev=[second, first]),
      data_of(train=[first, second, first]),
      data_of(train=[first._replace(text="a "), second], dev=[first]),
      data_of(train=[first._replace(other_text=None), second], dev=[first]),
      data_of("qnli", train=[first, second], dev=[first]),
  ]
  digests = {digest_of([data]) for data in (same, *others)}
  assert len(digests) == 1 + len(others)
  assert digest_of([same]) == digest_of([dataclasses.replace(same)])


def test_the_digest_is_of_what_is_learnt_and_scored(tmp_path):
  data = synthetic("mnli", tmp_path)
  digest = digest_of([data])
  for split, examples in data.splits.items():
    changed = examples[-1]._replace(text="another")
    splits = data.splits | {split: [*examples[:-1], changed]}
    is_same = digest_of([TaskData(data.task, splits)]) == digest
    assert is_same == (split in data.task.test_splits)


def test_the_digest_is_of_all_tasks_in_their_order():
  a = data_of(train=[example("entailment")])
  b = data_of("qnli", train=[example("entailment", "b")])
  digests = {digest_of(tasks) for tasks in ([a], [b], [a, b], [b, a], [a, a])}
  assert len(digests) == 5


def test_the_digest_bears_half_a_surrogate_pair():
  digests = [
      digest_of([data_of(dev=[example("x", t)])]) for t in ("\ud800", "")
  ]
  assert digests[0] != digests[1]


# --- What a model remembers ---


@pytest.mark.parametrize("name", ["mnli", "sts", "squad", "ner", "rte"])
def test_a_task_is_remembered(tmp_path, name):
  task = synthetic(name, tmp_path).task
  record = json.loads(json.dumps(task_to_json(task)))
  assert task_from_json(record, config_of(name)) == task


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_a_table_is_remembered_with_what_its_data_told(tmp_path, kind):
  labels = ("2", "4") if kind == "regression" else ("b", "a")
  for split in ("train", "dev"):
    rows = "".join(f"text,{label}\n" for label in labels)
    (tmp_path / f"{split}.csv").write_text(f"review,stars\n{rows}")
  config = config_of(
      "table", table__kind=kind, table__text="review", table__label="stars",
      data__folder=str(tmp_path),
  )  # fmt: skip
  (task,) = find_tasks(config)
  task = read_task(task, source_of(config)).task
  record = json.loads(json.dumps(task_to_json(task)))
  again = task_from_json(record, config)
  for field in ("kind", "labels", "label_range", "metrics"):
    assert getattr(again, field) == getattr(task, field)
  if kind == "regression":
    assert again.label_range == (2.0, 4.0)
  else:
    assert again.labels == ("a", "b")
