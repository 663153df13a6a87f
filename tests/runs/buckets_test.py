"""Few shapes hold rows of every number and length."""

import pytest

from electra_jax.runs.buckets import make_buckets


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
