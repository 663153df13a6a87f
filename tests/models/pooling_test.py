"""Pooling: values by hand, padding, layers and dimensions that do not exist."""

import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.models.pooling import (
    check_dimensions,
    layers_below,
    pool_tokens,
    unit_vectors,
)

STATES = jnp.array(
    [
        [[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]],
        [[5.0, 6.0], [7.0, 7.0], [8.0, 8.0]],
    ]
)
MASK = jnp.array([[1, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[2.0, -3.0], [5.0, 6.0]]),
        ("max", [[3.0, -2.0], [5.0, 6.0]]),
        ("cls", [[1.0, -4.0], [5.0, 6.0]]),
    ],
)
def test_padding_has_no_part_in_a_vector(pooling, expected):
  np.testing.assert_allclose(pool_tokens(STATES, MASK, pooling), expected)
  worse = jnp.where(MASK[..., None] > 0, STATES, jnp.nan)
  np.testing.assert_allclose(pool_tokens(worse, MASK, pooling), expected)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_row_without_tokens_has_zeros(pooling):
  vectors = pool_tokens(STATES, jnp.zeros_like(MASK), pooling)
  np.testing.assert_array_equal(vectors, np.zeros((2, 2)))


def test_unit_vectors_have_length_one_and_zeros_stay():
  vectors = unit_vectors(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
  np.testing.assert_allclose(vectors, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


def test_layers_are_counted_from_both_ends():
  counts = [layers_below(n, 3, "--layer") for n in range(-4, 4)]
  assert counts == [0, 1, 2, 3, 0, 1, 2, 3]
  for layer in (-5, 4):
    with pytest.raises(UserError, match=f"--layer is {layer} and .* 3 layers"):
      layers_below(layer, 3, "--layer")


def test_dimensions_are_no_more_than_there_are():
  assert [check_dimensions(n, 8, "--dimensions") for n in (0, 3, 8)] == [
      8,
      3,
      8,
  ]
  with pytest.raises(UserError, match=r"--dimensions is 9 .* have 8 numbers"):
    check_dimensions(9, 8, "--dimensions")
