"""The validation split of many documents, of a few and of one."""

import random

import pytest

from electra_jax.preprocessing.held_out import (
    ValidationSplit,
    choose_split,
    document_digest,
    is_held_out,
)


def split_of(documents, percent=0.5):
  """Returns the documents of both splits."""
  split = choose_split(iter(documents), percent)
  found = {True: [], False: []}
  for document in split.divide(documents):
    found[split.holds_out(document_digest(document))].append(document)
  return found[False], found[True]


def make(count, lines=8):
  return [
      "\n".join(f"document {i} line {j} ." for j in range(lines))
      for i in range(count)
  ]


def test_hashes_choose_among_many():
  documents = make(3000)
  read = []
  split = choose_split((read.append(d) or d for d in documents), 0.5)
  assert split == ValidationSplit(0.5)
  assert len(read) < 2000  # It need not read all of them.
  train, held_out = split_of(documents)
  assert held_out == [
      d for d in documents if is_held_out(document_digest(d), 0.5)
  ]
  assert len(train) + len(held_out) == 3000


@pytest.mark.parametrize("count", [25, 60])
def test_one_of_a_few_documents_is_held_out(count):
  documents = make(count)
  assert not any(is_held_out(document_digest(d), 0.01) for d in documents)
  train, held_out = split_of(documents, 0.01)
  assert len(held_out) == 1 and sorted(train + held_out) == sorted(documents)
  other = random.Random(0).sample(documents, count)
  assert split_of(other, 0.01)[1] == held_out  # Whatever the order.


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_end_of_one_of_very_few(count):
  documents = make(count, lines=50)
  train, held_out = split_of(documents, 0.01)
  assert len(held_out) == 1 and len(train) == count
  assert len(held_out[0].split("\n")) == 1
  joined = [d for d in documents if d.endswith("\n" + held_out[0])]
  assert joined == [t + "\n" + held_out[0] for t in train if t not in documents]
  # A larger share is more lines, and never more than half of the document.
  assert len(split_of(make(1, 50), 10.0)[1][0].split("\n")) in (5, 6)
  assert len(split_of(make(1, 50), 90.0)[1][0].split("\n")) == 25


def test_a_document_of_one_line_or_word():
  line = " ".join(f"w{i}" for i in range(200))
  [head], [tail] = split_of([line])
  assert f"{head} {tail}" == line and tail.endswith("w199")
  assert len(tail) < 10
  assert split_of(["word"]) == (["word"], [])
  assert split_of(["a\na"]) == (["a\na"], [])  # Both halves are the same.
  assert split_of([]) == ([], [])


def test_equal_documents_are_one():
  [document] = make(1)
  train, held_out = split_of([document] * 7)
  assert len(train) == len(held_out) == 7
  assert f"{train[0]}\n{held_out[0]}" == document


def test_the_only_document_is_not_held_out_whole():
  chosen = next(d for d in make(1000) if is_held_out(document_digest(d), 5.0))
  train, held_out = split_of([chosen], 5.0)
  assert train and held_out and f"{train[0]}\n{held_out[0]}" == chosen


def test_no_share_holds_out_nothing():
  assert split_of(make(3), 0.0) == (make(3), [])
