"""Training with the rounding that an exported int8 or int4 file computes with.

Weights are rounded to whole multiples of a step, one step for each output of a
product and each row of the word table: the largest weight is the largest whole
number, 127 or 7. What a product reads is rounded to 8 bits in either case, row
by row as it comes, between the row's least and greatest value. Both are what
LiteRT's kernels do with a file of `export --to litert`; products are computed
on the whole numbers. The gradient is that of the product of the rounded values,
passed on as if nothing had been rounded.

Source: Jacob et al., "Quantization and training of neural networks for
efficient integer-arithmetic-only inference" (2018); of the numbers
ai-edge-quantizer's min-max algorithm and XNNPACK's
xnn_f32_qd8_asymmetric_quantization_params.
"""

import functools

import jax
import jax.numpy as jnp

from electra_jax.shapes import Array, Float

QUANTIZATIONS = ("", "int8", "int4")
_LARGEST = {"int8": 127, "int4": 7}  # Of a weight; its negative is the least.
_LOW, _HIGH = -128, 127  # Of what a product reads.


def round_weights(
    kernel: Float[Array, "M O"], quantization: str, axis: int = 0
) -> tuple[Float[Array, "M O"], Float[Array, "..."]]:
  """Rounds weights to whole numbers.

  Args:
    kernel: the weights.
    quantization: "int8" or "int4".
    axis: over which weights share a step: 0 for each output of a product, 1
      for each row of a table.

  Returns:
    Whole numbers, and the step that each stands for.
  """
  largest = _LARGEST[quantization]
  top = jnp.max(jnp.abs(kernel), axis=axis, keepdims=True)
  step = jnp.where(top > 0, top / largest, 1.0)
  return jnp.clip(jnp.round(kernel / step), -largest, largest), step


def round_rows(
    rows: Float[Array, "R M"],
) -> tuple[Float[Array, "R M"], Float[Array, "R 1"]]:
  """Rounds what a product reads to 256 values between its row's bounds and 0.

  Returns:
    Whole numbers, 0 for 0, of at most 255 in size; and each row's step.
  """
  rows = rows.astype(jnp.float32)
  low = jnp.minimum(jnp.min(rows, axis=1, keepdims=True), 0.0)
  high = jnp.maximum(jnp.max(rows, axis=1, keepdims=True), 0.0)
  step = jnp.where(high > low, (high - low) / (_HIGH - _LOW), 1.0)
  zero = jnp.clip(jnp.round(_LOW - low / step), _LOW, _HIGH)
  whole = jnp.clip(jnp.round(rows / step) + zero, _LOW, _HIGH)
  return whole - zero, step


def rounded_table_rows(
    rows: Float[Array, "*rows E"], quantization: str
) -> Float[Array, "*rows E"]:
  """Rounds rows of a table; the gradient passes as if it had not."""
  if not quantization:
    return rows
  flat = rows.reshape(-1, rows.shape[-1])
  whole, step = round_weights(flat, quantization, axis=1)
  rounded = (whole * step).reshape(rows.shape)
  return rows + jax.lax.stop_gradient(rounded - rows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def rounded_matmul(
    rows: Float[Array, "R M"], kernel: Float[Array, "M O"], quantization: str
) -> Float[Array, "R O"]:
  """Multiplies rounded rows by rounded weights; returns float32.

  Args:
    rows: of any dtype.
    kernel: float32.
    quantization: of the weights, "int8" or "int4".
  """
  whole_rows, row_step = round_rows(rows)
  whole_kernel, step = round_weights(kernel, quantization)
  # bfloat16 holds whole numbers to 256: the product is exact in either dtype.
  product = jnp.matmul(
      whole_rows.astype(rows.dtype),
      whole_kernel.astype(rows.dtype),
      preferred_element_type=jnp.float32,
  )
  return product * row_step * step


def _forward(rows, kernel, quantization):
  return rounded_matmul(rows, kernel, quantization), (rows, kernel)


def _backward(quantization, saved, gradient):
  rows, kernel = saved
  # Rounded again, which costs less than keeping both for the backward pass.
  whole, step = round_rows(rows)
  rounded_rows = (whole * step).astype(rows.dtype)
  whole, step = round_weights(kernel, quantization)
  gradient = gradient.astype(rows.dtype)
  return (
      jnp.matmul(gradient, (whole * step).astype(rows.dtype).T),
      jnp.matmul(rounded_rows.T, gradient, preferred_element_type=kernel.dtype),
  )


rounded_matmul.defvjp(_forward, _backward)
