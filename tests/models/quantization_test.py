"""Rounding of weights and of what they are multiplied by, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.products import affine, matmul
from electra_jax.models.quantization import (
    round_rows,
    round_weights,
    rounded_table_rows,
)

RNG = np.random.default_rng(0)
ROWS = RNG.normal(0.3, 1, (6, 32)).astype(np.float32)
KERNEL = RNG.normal(0, 0.1, (32, 5)).astype(np.float32)
BIAS = RNG.normal(0, 0.1, 5).astype(np.float32)


def numpy_rows(rows):
  low = np.minimum(rows.min(1, keepdims=True), 0)
  high = np.maximum(rows.max(1, keepdims=True), 0)
  step = (high - low) / 255
  zero = np.round(-128 - low / step)
  return (np.clip(np.round(rows / step) + zero, -128, 127) - zero) * step


def numpy_kernel(kernel, largest):
  step = np.abs(kernel).max(0, keepdims=True) / largest
  return np.round(kernel / step) * step


def test_weights_by_hand():
  kernel = jnp.asarray([[7.0, 0.51, 0.0], [-2.4, -1.0, 0.0], [3.6, 0.2, 0.0]])
  whole, step = round_weights(kernel, "int4")
  np.testing.assert_allclose(step, [[1.0, 1 / 7, 1.0]])
  np.testing.assert_array_equal(whole, [[7, 4, 0], [-2, -7, 0], [4, 1, 0]])
  whole, step = round_weights(kernel, "int8")
  np.testing.assert_allclose(step, [[7 / 127, 1 / 127, 1.0]])
  assert float(jnp.abs(whole).max()) == 127
  whole, step = round_weights(kernel, "int4", axis=1)
  np.testing.assert_allclose(step[:, 0], [1.0, 2.4 / 7, 3.6 / 7], rtol=1e-6)


def test_rows_by_hand():
  # Bounds -1 and 1.55: a step of 0.01, and 0 stands for 0.
  rows = jnp.asarray([[-1.0, 0.0, 0.124, 1.55], [0.0, 0.0, 0.0, 0.0]])
  whole, step = round_rows(rows)
  np.testing.assert_allclose(step, [[0.01], [1.0]], rtol=1e-6)
  np.testing.assert_array_equal(whole, [[-100, 0, 12, 155], [0, 0, 0, 0]])
  # Of a row above 0 the bound is 0: all 255 steps are on one side.
  whole, _ = round_rows(jnp.asarray([[2.55, 1.0]]))
  np.testing.assert_array_equal(whole, [[255, 100]])


@pytest.mark.parametrize(
    ("quantization", "largest"), [("int8", 127), ("int4", 7)]
)
def test_products_are_of_rounded_values(quantization, largest):
  expected = numpy_rows(ROWS) @ numpy_kernel(KERNEL, largest)
  given = jnp.asarray(ROWS), jnp.asarray(KERNEL)
  found = matmul(*given, quantization)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  assert np.abs(found - ROWS @ KERNEL).max() > 1e-3
  found = affine(*given, jnp.asarray(BIAS), quantization)
  np.testing.assert_allclose(found, expected + BIAS, rtol=1e-4, atol=1e-6)


def test_bfloat16_multiplies_the_same_whole_numbers():
  rows = jnp.asarray(ROWS, jnp.bfloat16)
  whole = np.asarray(rows, np.float32)
  found = matmul(rows, jnp.asarray(KERNEL), "int8")
  assert found.dtype == jnp.float32
  expected = numpy_rows(whole) @ numpy_kernel(KERNEL, 127)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_gradients_pass_straight_through():
  """They are those of the product of rounded values."""
  weights = jnp.asarray(RNG.normal(0, 1, (6, 5)), jnp.float32)

  def loss(rows, kernel, bias):
    return jnp.sum(affine(rows, kernel, bias, "int4") * weights)

  given = map(jnp.asarray, (ROWS, KERNEL, BIAS))
  of_rows, of_kernel, of_bias = jax.grad(loss, (0, 1, 2))(*given)
  np.testing.assert_allclose(
      of_rows, weights @ numpy_kernel(KERNEL, 7).T, rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(
      of_kernel, numpy_rows(ROWS).T @ weights, rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(of_bias, weights.sum(0), rtol=1e-5)


def test_rows_of_a_table_are_rounded_one_by_one():
  rows = jnp.asarray(ROWS).reshape(2, 3, 32)
  found = rounded_table_rows(rows, "int4")
  expected = numpy_kernel(ROWS.T, 7).T.reshape(2, 3, 32)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  grads = jax.grad(lambda x: jnp.sum(rounded_table_rows(x, "int4") * rows))
  np.testing.assert_array_equal(grads(rows), rows)
  assert rounded_table_rows(rows, "") is rows


def test_what_cannot_be_rounded_alike_is_refused():
  with pytest.raises(UserError, match="quantization 'int2' is not"):
    encoder_config(100, 1, 64, 32, quantization="int2")
  encoder = encoder_config(100, 1, 64, 32, quantization="int8")
  generator = generator_config(encoder, 0.5)
  assert generator.quantization == "int8"
  with pytest.raises(UserError, match="whose word table is a sum"):
    ElectraConfig(encoder, generator, "gradient_disentangled")
