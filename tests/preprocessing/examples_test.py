"""Packing: the release id for id, and nothing lost with packing="full"."""

import itertools
import json
import random

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from electra_jax.preprocessing.examples import (
    ExampleBuilder,
    SegmentPair,
    full_examples,
    pack_examples,
    released_examples,
)
from electra_jax.text.tokenizer import SpecialIds

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
KEYS = [
    "L128_blanks_separate",
    "L128_blanks_ignored",
    "L64_blanks_separate",
    "L64_blanks_ignored",
]

# Lines of distinct ids above the special ones, as documents.
line_lengths = st.lists(
    st.lists(st.integers(0, 40), max_size=8), max_size=8
).filter(lambda documents: any(map(any, documents)))


def number_tokens(lengths):
  """Returns documents of such lines, every token a number of its own."""
  ids = iter(range(10, 10**9))
  return [[[next(ids) for _ in range(n)] for n in each] for each in lengths]


@pytest.mark.parametrize("key", KEYS)
def test_golden_examples(golden, tokenizer, key):
  cases = json.loads((golden / "small_examples.json").read_text())
  [case] = [c for c in cases if c["key"] == key]
  rng = random.Random(case["python_random_seed"])
  builder = ExampleBuilder(case["max_seq_length"], rng)
  text = (golden / "small_corpus.txt").read_text(encoding="utf-8")
  found = []
  for line in text.split("\n"):
    if line.strip():
      found.append(builder.add_line(tokenizer.encode(line)))
    elif case["blanks_separate_docs"]:
      found.append(builder.end_document())
  found.append(builder.end_document())
  rows = pack([e for e in found if e], case["max_seq_length"])
  length = case["max_seq_length"]
  position = np.arange(length)
  first, total = rows[:, length, None], rows[:, length + 1, None]
  arrays = np.load(golden / "small_examples.npz")
  assert len(rows) == case["n_examples"]
  np.testing.assert_array_equal(rows[:, :length], arrays[f"{key}/input_ids"])
  np.testing.assert_array_equal(
      position < total, arrays[f"{key}/input_mask"].astype(bool)
  )
  np.testing.assert_array_equal(
      (position >= first) & (position < total),
      arrays[f"{key}/segment_ids"].astype(bool),
  )


def test_released_examples_of_a_document_stand_alone():
  document = number_tokens([[30] * 50])[0]

  def make():
    return list(
        released_examples(document, max_length=64, rng=random.Random(3))
    )

  assert make() == make()
  other = list(released_examples(document, max_length=64, rng=random.Random(4)))
  assert make() != other
  assert not list(released_examples([], max_length=64, rng=random.Random(0)))


def test_released_statistics():
  # Short lines, so that nearly every row has lines enough for two segments.
  document = number_tokens([[5] * 40_000])[0]
  examples = list(
      released_examples(document, max_length=128, rng=random.Random(0))
  )
  single = np.mean([not e.second for e in examples])
  short = np.mean([len(e.first) + len(e.second) < 120 for e in examples])
  assert single == pytest.approx(0.1, abs=0.025)
  # One in twenty draws a target of 5 to 128 tokens.
  assert short == pytest.approx(0.05 * 115 / 124, abs=0.02)
  whole = [e for e in examples if len(e.first) + len(e.second) == 125]
  first = [len(e.first) for e in whole if e.second]
  # Lines of 5 go to A below 62, the one that reaches over it half of the time.
  assert np.isin(first, [60, 65]).mean() > 0.98  # Short targets vary a bit.
  assert np.mean(np.equal(first, 65)) == pytest.approx(0.5, abs=0.06)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(line_lengths, st.integers(8, 40), st.integers(0, 3))
def test_full_packing_keeps_every_token_in_order(lengths, max_length, seed):
  documents = number_tokens(lengths)
  examples = list(full(documents, max_length, seed))
  kept = [
      i
      for example in examples
      for segment in example
      for i in segment
      if i != SPECIAL.sep
  ]
  assert kept == [i for each in documents for line in each for i in line]


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(line_lengths, st.integers(8, 40), st.integers(0, 3))
def test_full_packing_fills_every_row_but_the_last(lengths, max_length, seed):
  examples = list(full(number_tokens(lengths), max_length, seed))
  rows = pack(examples, max_length, np.uint32)
  assert (rows[:-1, -1] == max_length).all()
  assert 3 <= rows[-1, -1] <= max_length
  assert (rows[:, max_length] >= 3).all()  # Segment A is never empty.


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(line_lengths, st.integers(8, 40), st.integers(0, 3))
def test_full_packing_marks_where_documents_meet(lengths, max_length, seed):
  documents = number_tokens(lengths)
  owner = {
      i: number
      for number, each in enumerate(documents)
      for line in each
      for i in line
  }
  for example in full(documents, max_length, seed):
    for segment in example:
      assert not segment or segment[0] != SPECIAL.sep
      for left, right in itertools.pairwise(segment):
        if SPECIAL.sep not in (left, right):
          assert owner[left] == owner[right]
      inner = list(zip(segment, segment[1:], segment[2:], strict=False))
      for left, middle, right in inner:
        if middle == SPECIAL.sep:
          assert owner[left] < owner[right]


def test_full_packing_by_hand():
  documents = [[[10, 11], [12]], [], [[20, 21, 22, 23, 24, 25, 26, 27]]]
  for seed in range(40):
    examples = list(full(documents, 10, seed))
    if len(examples[0].first) == 8:
      assert examples[0] == SegmentPair([10, 11, 12, 3, 20, 21, 22, 23], [])
    elif len(examples[0].first) == 2:
      assert examples[0] == SegmentPair([10, 11], [12, 3, 20, 21, 22])
    else:
      assert examples[0] == SegmentPair([10, 11, 12], [20, 21, 22, 23])


def test_full_statistics():
  documents = number_tokens([[5] * 4000] * 10)
  examples = list(full(documents, 128, seed=0))
  single = np.mean([not e.second for e in examples])
  assert single == pytest.approx(0.1, abs=0.025)
  first = [len(e.first) for e in examples if e.second]
  assert np.mean(first) == pytest.approx(62, abs=1)


def test_rows_by_hand():
  rows = pack([SegmentPair([7, 8], [9]), SegmentPair([6], [])], 8)
  assert rows.dtype == np.uint16
  assert rows.tolist() == [
      [2, 7, 8, 3, 9, 3, 0, 0, 4, 6],
      [2, 6, 3, 0, 0, 0, 0, 0, 3, 3],
  ]
  special = SpecialIds(pad=5, unk=1, cls=2, sep=3, mask=4)
  rows = pack_examples(
      [SegmentPair([6], [])],
      max_length=8,
      special=special,
      dtype=np.dtype("<u4"),
  )
  assert rows[0, 3:8].tolist() == [5] * 5
  assert pack([], 8).shape == (0, 10)


def full(documents, max_length, seed):
  return full_examples(
      documents,
      max_length=max_length,
      separator=SPECIAL.sep,
      rng=random.Random(seed),
  )


def pack(examples, max_length, dtype=np.uint16):
  return pack_examples(
      examples, max_length=max_length, special=SPECIAL, dtype=np.dtype(dtype)
  )
