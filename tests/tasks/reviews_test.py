import pytest

from electra_jax.tasks.registry import find_task
from electra_jax.tasks.task import MissingSplitError, Source


def test_the_package_is_split_by_text():
  task = find_task("reviews")
  splits = {s: task.read(Source(), s) for s in ("train", "dev", "test")}
  sizes = {split: len(examples) for split, examples in splits.items()}
  assert sum(sizes.values()) == 8530
  assert 0.78 < sizes["train"] / 8530 < 0.82
  texts = [e.text for examples in splits.values() for e in examples]
  assert len(set(texts)) == len(texts)
  for examples in splits.values():
    share = sum(e.label == "positive" for e in examples) / len(examples)
    assert {e.label for e in examples} == {"negative", "positive"}
    assert 0.45 < share < 0.55


def test_another_split_is_named():
  with pytest.raises(MissingSplitError, match="no split 'validation'"):
    find_task("reviews").read(Source(), "validation")
