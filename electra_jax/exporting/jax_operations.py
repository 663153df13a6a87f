"""The operations of a forward pass in JAX."""

import jax
import jax.numpy as jnp

from electra_jax.models.attention import attention_score_bias
from electra_jax.models.config import LAYER_NORM_EPSILON
from electra_jax.models.layers import gelu
from electra_jax.models.pooling import pool_tokens, unit_vectors


class JaxOperations:
  """See `forward.Operations`; values and parameters are JAX arrays."""

  def lookup(self, table, ids):
    return jnp.take(table, ids, axis=0, mode="clip")

  def first_rows(self, table, ids):
    return table[None, : ids.shape[1]]

  def scaled_rows(self, row, numbers):
    return numbers[..., None].astype(row.dtype) * row

  def add(self, x, y):
    return x + y

  def scale(self, x, factor):
    return x * jnp.asarray(factor, x.dtype)

  def affine(self, x, kernel, bias):
    # The rows are one axis, as every runtime likes a product with a matrix.
    rows = x.reshape(-1, x.shape[-1]) @ kernel
    if bias is not None:
      rows += bias[None]
    return rows.reshape(*x.shape[:-1], kernel.shape[1])

  def project(self, x, kernel, bias):
    return self.affine(x, kernel, bias)

  def tied_logits(self, x, table, bias):
    return self.affine(x, jnp.transpose(table), bias)

  def matmul(self, x, y):
    return x @ y

  def layer_norm(self, x, scale, bias):
    x -= jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(x * x, axis=-1, keepdims=True)
    rate = jax.lax.rsqrt(variance + LAYER_NORM_EPSILON)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return x * rate * scale.reshape(shape) + bias.reshape(shape)

  def gelu(self, x):
    return gelu(x)

  def softmax(self, x):
    return jax.nn.softmax(x, axis=-1)

  def log_softmax(self, x):
    return jax.nn.log_softmax(x, axis=-1)

  def heads(self, x, count, *, transposed=False):
    x = x.reshape(*x.shape[:2], count, x.shape[2] // count)
    return x.transpose((0, 2, 3, 1) if transposed else (0, 2, 1, 3))

  def join_heads(self, x):
    x = x.transpose(0, 2, 1, 3)
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])

  def attention_bias(self, mask):
    return attention_score_bias(mask)

  def context_bias(self, mask, segments, never):
    place = jnp.arange(mask.shape[1])[None]
    is_seen = (mask * segments > 0) | (place == 0)
    return jnp.where(is_seen, 0.0, -never)

  def squeeze(self, x):
    return x[..., 0]

  def first_token(self, x):
    return x[:, 0]

  def rows(self, x):
    return x[:, None]

  def gather(self, x, places):
    return jnp.take_along_axis(x, places[..., None], axis=1, mode="clip")

  def one_slot(self, x, slot):
    return x[:, slot : slot + 1]

  def top(self, x, count):
    values, index = jax.lax.top_k(x, count)
    return values, index.astype(jnp.int32)

  def join(self, x, y):
    return jnp.concatenate([x, y], axis=-1)

  def stack(self, parts):
    return jnp.stack(parts, axis=1)

  def mean_token(self, x, mask):
    return pool_tokens(x, mask, "mean")

  def largest_token(self, x, mask):
    return pool_tokens(x, mask, "max")

  def first_columns(self, x, count):
    return x[:, :count]

  def unit(self, x):
    return unit_vectors(x)
