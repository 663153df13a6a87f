"""The registry: every task under its name, sound in itself."""

import pickle

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.registry import TASKS, find_task
from electra_jax.tasks.task import Source

KINDS = ("classification", "regression", "tagging", "questions")


def test_tasks_are_sound():
  assert len(TASKS) == 21
  for name, task in TASKS.items():
    assert find_task(name) is task
    assert task.name == name and task.kind in KINDS and task.metrics
    assert set(task.leaderboard) <= set(task.test_splits)
    assert bool(task.labels) == (task.kind == "classification")
    assert (task.label_range is None) == (name != "sts")


def test_a_task_reads_files_and_survives_pickling(tmp_path):
  (tmp_path / "train.tsv").write_text("sentence\tlabel\ngood\t1\n")
  task = pickle.loads(pickle.dumps(TASKS["sst"]))
  (example,) = task.read(Source(tmp_path), "train")
  assert example.text == "good"


def test_the_table_is_made_from_its_options():
  options = {"kind": "multilabel", "text": "a", "label": "b"}
  assert find_task("table", options).kind == "multilabel"
  with pytest.raises(UserError, match="kind is None"):
    find_task("table")


def test_an_unknown_name_lists_the_names():
  with pytest.raises(UserError, match=r"'sst2' is unknown.*'sst'.*'table'"):
    find_task("sst2")
