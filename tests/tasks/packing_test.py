"""Packing: every text whole, in one row, alone in its place."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from electra_jax.tasks.packing import (
    choose_row_counts,
    one_text_a_row,
    pack,
    place_texts,
)

LENGTH, PAD = 12, 7
PLACEMENTS = [place_texts, one_text_a_row]

some_lengths = st.lists(st.integers(0, LENGTH), min_size=1, max_size=40)


def texts_of(lengths):
  """Texts of which no two tokens are the same, nor padding."""
  ends = 100 + np.cumsum(lengths)
  return [
      np.arange(end - n, end, dtype=np.int32)
      for end, n in zip(ends, lengths, strict=True)
  ]


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(some_lengths, st.integers(0, 3), st.sampled_from(PLACEMENTS))
def test_every_text_lies_whole_in_one_row(lengths, more_rows, place):
  lengths = np.asarray(lengths)
  texts, first_lengths = texts_of(lengths), lengths // 2
  starts, num_rows = place(lengths, LENGTH)
  assert num_rows <= len(texts)
  rows = num_rows + more_rows
  packed = pack(texts, first_lengths, starts, rows, LENGTH, PAD)
  assert packed.input_ids.shape == packed.owners.shape == (rows, LENGTH)
  ids, owners = packed.input_ids.ravel(), packed.owners.ravel()
  for number, text in enumerate(texts):
    start, (first, total) = packed.starts[number], packed.lengths[number]
    assert (first, total) == (len(text) // 2, len(text))
    if not total:
      continue  # It takes no place.
    assert start // LENGTH == (start + total - 1) // LENGTH
    np.testing.assert_array_equal(ids[start : start + total], text)
    places = np.flatnonzero(owners == number)
    np.testing.assert_array_equal(places, np.arange(start, start + total))
  # Nothing else is there: no text was written over another.
  assert (owners >= 0).sum() == lengths.sum()
  assert set(ids[owners < 0]) <= {PAD}


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(some_lengths)
def test_texts_go_where_they_fit(lengths):
  lengths = np.asarray(lengths)
  starts, num_rows = place_texts(lengths, LENGTH)
  taken = lengths > 0
  used = np.bincount(
      starts[taken] // LENGTH, weights=lengths[taken], minlength=num_rows
  )
  # The text that opened a row fitted into none of those before it.
  assert all(a + b > LENGTH for a, b in itertools.pairwise(used))
  assert num_rows >= -(-lengths.sum() // LENGTH)


def test_the_longest_come_first_and_each_takes_the_first_gap():
  starts, num_rows = place_texts(np.asarray([3, 7, 0, 5, 9, 5]), LENGTH)
  assert num_rows == 3
  # 9 + 3, 7 + 5, 5; of equals the earlier goes first.
  assert starts.tolist() == [9, 12, 0, 19, 0, 24]


def test_without_packing_each_has_a_row():
  starts, num_rows = one_text_a_row(np.asarray([3, 0, 5]), LENGTH)
  assert (starts.tolist(), num_rows) == ([0, 12, 24], 3)


def test_texts_that_fill_up_take_no_row():
  lengths = np.zeros(4, np.int64)
  starts, num_rows = place_texts(lengths, LENGTH)
  assert num_rows == 0
  packed = pack(texts_of(lengths), lengths, starts, 2, LENGTH, PAD)
  assert (packed.owners == -1).all() and (packed.input_ids == PAD).all()
  assert not packed.lengths.any()


def test_a_hand_packed_batch():
  texts = [np.asarray(t, np.int32) for t in ([1, 2], [3, 4, 5], [6])]
  starts, rows = place_texts(np.asarray([2, 3, 1]), 4)
  packed = pack(texts, np.asarray([2, 1, 0]), starts, rows, 4, PAD)
  assert packed.input_ids.tolist() == [[3, 4, 5, 6], [1, 2, PAD, PAD]]
  assert packed.owners.tolist() == [[1, 1, 1, 2], [0, 0, -1, -1]]
  assert packed.starts.tolist() == [4, 0, 3]
  assert packed.lengths.tolist() == [[2, 2], [1, 3], [0, 1]]
  assert {array.dtype for array in packed} == {np.dtype(np.int32)}


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.lists(st.integers(1, 64), min_size=1, max_size=20), st.integers(1, 8)
)
def test_row_counts_rise_and_hold_every_batch(needed, multiple):
  most = 64
  counts = choose_row_counts(needed, most, multiple)
  assert 1 <= len(counts) <= 3
  assert all(a < b for a, b in itertools.pairwise(counts))
  assert all(count % multiple == 0 for count in counts)
  assert most <= counts[-1] < most + multiple


@pytest.mark.parametrize(
    ("needed", "multiple", "expected"),
    [
        ([5, 6, 6, 9], 1, (6, 9, 16)),
        ([5, 6, 6, 9], 8, (8, 16)),
        ([16], 1, (16,)),
        ([3, 4], 3, (3, 6, 18)),
    ],
)
def test_the_usual_the_largest_seen_and_the_most(needed, multiple, expected):
  assert choose_row_counts(needed, 16, multiple) == expected
