"""Few shapes hold rows of every number and length."""

import numpy as np
import pytest

from electra_jax.runs.buckets import make_buckets, make_fine_buckets


@pytest.mark.parametrize("length", [8, 16, 64, 128, 500])
@pytest.mark.parametrize("max_rows", [1, 3, 16, 20])
def test_every_row_fits_the_smallest_shape_that_holds_it(length, max_rows):
  buckets = make_buckets(length, max_rows)
  assert buckets.lengths[-1] == length and buckets.rows[-1] == max_rows
  assert len(buckets.shapes()) <= 8
  for tokens in range(1, length + 1):
    chosen = buckets.length(tokens)
    assert chosen >= tokens
    assert not any(tokens <= n < chosen for n in buckets.lengths)
  for count in range(1, max_rows + 1):
    chosen = buckets.num_rows(count)
    assert chosen >= count
    assert not any(count <= n < chosen for n in buckets.rows)
  assert buckets.num_rows(max_rows + 5) == max_rows


@pytest.mark.parametrize(
    "buckets", [make_buckets(64, 16), make_fine_buckets(128, 1024, 8)]
)
def test_rows_are_dealt_by_length(buckets):
  longest = buckets.lengths[-1]
  lengths = np.random.default_rng(0).integers(1, longest + 1, 500).tolist()
  seen, shapes = [], set()
  for numbers, rows, length in buckets.parts(lengths):
    assert len(numbers) <= rows
    assert max(lengths[number] for number in numbers) <= length
    seen += numbers
    shapes.add((rows, length))
  assert sorted(seen) == list(range(500))
  assert [lengths[n] for n in seen] == sorted(lengths, reverse=True)
  assert len(shapes) <= max(len(buckets.shapes()), len(buckets.lengths))


def test_fine_buckets_waste_little():
  buckets = make_fine_buckets(128, 1024, 8)
  assert buckets.lengths == (16, 24, 32, 48, 64, 96, 128)
  for length in buckets.lengths:
    rows = buckets.most_rows(length)
    assert rows % 8 == 0 and rows * length <= 1024
    assert buckets.num_rows(1, length) == rows  # One program a length.
