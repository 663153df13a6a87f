"""Made-up tasks: every task can read them, and one word tells the label."""

import collections

import pytest

from electra_jax.tasks.registry import TASKS, find_task
from electra_jax.tasks.synthetic import write_synthetic_task
from electra_jax.tasks.task import Source

TABLE = {"kind": "classification", "text": "text", "label": "label"}


def read(folder, name, split):
  task = find_task(name, TABLE)
  return task.read(Source(folder, options=TABLE), split)


@pytest.mark.parametrize("name", sorted({*TASKS, "table"} - {"reviews"}))
def test_every_task_reads_its_splits(tmp_path, name):
  sizes = {"num_train": 12, "num_dev": 7, "num_test": 5}
  write_synthetic_task(name, tmp_path, **sizes)
  task = find_task(name, TABLE)
  if name != "ax":
    assert len(read(tmp_path, name, "train")) == 12
  for split in task.dev_splits:
    assert len(read(tmp_path, name, split)) == 7
  for split in task.test_splits:
    assert len(read(tmp_path, name, split)) == 5


def test_a_seed_tells_the_data(tmp_path):
  for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
    write_synthetic_task("rte", tmp_path / folder, seed=seed)
  a, b, c = (read(tmp_path / f, "rte", "train") for f in "abc")
  assert a == b != c
  assert a != read(tmp_path / "a", "rte", "dev")


@pytest.mark.parametrize(
    "name", ["cola", "mnli", "sts", "mrpc", "qnli", "table"]
)
def test_one_word_tells_the_label(tmp_path, name):
  write_synthetic_task(name, tmp_path)
  examples = read(tmp_path, name, "train")
  labels_of = collections.defaultdict(set)
  for example in examples:
    for word in f"{example.text} {example.other_text or ''}".split():
      labels_of[word.strip(",")].add(example.label)
  labels = {example.label for example in examples}
  assert len(labels) == {"mnli": 3, "sts": 6}.get(name, 2)
  for label in labels:
    assert {label} in labels_of.values()


def test_answers_stand_in_their_context(tmp_path):
  for name in ("squad", "squadv1", "newsqa"):
    write_synthetic_task(name, tmp_path)
    for split in ("train", "dev"):
      examples = read(tmp_path, name, split)
      for example in examples:
        assert bool(example.answers) != example.is_impossible
        for answer in example.answers:
          end = answer.start + len(answer.text)
          assert example.context[answer.start : end] == answer.text
      assert (name == "squad") == any(e.is_impossible for e in examples)
    assert any(len(e.answers) > 1 for e in examples)
    assert not any(e.has_gold for e in read(tmp_path, name, "test"))
  assert {len(e.answers) for e in read(tmp_path, "squad", "train")} == {0, 1}


def test_tags_are_of_spans_or_words(tmp_path):
  expected = {
      "ner": {"B-PER", "I-PER", "B-LOC", "O"},
      "pos": {"NNP", "VBD", "DT", "NN", "IN", "."},
  }
  for name, tags in expected.items():
    write_synthetic_task(name, tmp_path)
    examples = read(tmp_path, name, "train")
    assert {tag for e in examples for tag in e.tags} == tags
