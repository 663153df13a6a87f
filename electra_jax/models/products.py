"""Products with matrices whose gradients take the form that devices like.

The rows of x are one axis: a product over [B, L, M] makes its gradient a
contraction over two axes, which XLA's CPU backend runs up to four times slower
than over one. The gradients of matrices and biases come out in float32, so
that devices add up float32 and not bfloat16.
"""

import jax
import jax.numpy as jnp

from electra_jax.models.quantization import rounded_matmul
from electra_jax.shapes import Array, Float


def matmul(
    x: Float[Array, "*rows M"],
    kernel: Float[Array, "M O"],
    quantization: str = "",
) -> Float[Array, "*rows O"]:
  """Multiplies by a float32 matrix in the dtype of x; returns float32.

  Args:
    x: any rows.
    kernel: the matrix.
    quantization: how both are rounded, one of `quantization.QUANTIZATIONS`.
  """
  rows = x.reshape(-1, x.shape[-1])
  if quantization:
    product = rounded_matmul(rows, kernel, quantization)
  else:
    product = _matmul(rows, kernel)
  return product.reshape(*x.shape[:-1], -1)


def affine(
    x: Float[Array, "*rows M"],
    kernel: Float[Array, "M O"],
    bias: Float[Array, " O"],
    quantization: str = "",
) -> Float[Array, "*rows O"]:
  """Multiplies by a float32 matrix and adds a bias, in the dtype of x.

  Sums are float32 inside the product. Its result and the bias are of x's
  dtype, as GPUs add the bias before a product leaves the chip only then.

  Args:
    x: any rows.
    kernel: the matrix.
    bias: is added as it is.
    quantization: as of `matmul`.
  """
  if quantization:
    product = matmul(x, kernel, quantization)
    bias = bias.reshape((1,) * (product.ndim - 1) + (-1,))
    return (product + bias).astype(x.dtype)
  rows = _affine(x.reshape(-1, x.shape[-1]), kernel, bias)
  return rows.reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _matmul(rows, kernel):
  return jnp.matmul(
      rows, kernel.astype(rows.dtype), preferred_element_type=jnp.float32
  )


def _matmul_forward(rows, kernel):
  return _matmul(rows, kernel), (rows, kernel)


def _matmul_backward(saved, gradient):
  rows, kernel = saved
  gradient = gradient.astype(rows.dtype)
  return (
      jnp.matmul(gradient, kernel.astype(rows.dtype).T),
      jnp.matmul(rows.T, gradient, preferred_element_type=kernel.dtype),
  )


_matmul.defvjp(_matmul_forward, _matmul_backward)


@jax.custom_vjp
def _affine(rows, kernel, bias):
  product = jnp.matmul(rows, kernel.astype(rows.dtype))
  return product + bias.astype(rows.dtype)[None]


def _affine_forward(rows, kernel, bias):
  return _affine(rows, kernel, bias), (rows, kernel)


def _affine_backward(saved, gradient):
  _, kernel = saved
  bias_gradient = jnp.sum(gradient, axis=0, dtype=kernel.dtype)
  return *_matmul_backward(saved, gradient), bias_gradient


_affine.defvjp(_affine_forward, _affine_backward)
