"""Attention as one TPU kernel: scores and probabilities never leave the chip.

The same function as `attention.attend`, dropout included: it zeroes the same
probabilities. A grid step holds whole rows of a few heads in fast memory, so
softmax is one pass, and nothing is kept for the backward pass, which computes
the scores again. Query, key and value are read with their heads side by side,
as the projections leave them.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from electra_jax.models.attention import MASKED_SCORE, AttentionConfig
from electra_jax.models.dropout import keeps_probability
from electra_jax.shapes import Array, Hidden, Int, TokenMask, TokenSeeds

_LANES = 128  # Of a vector register: what is read side by side.
_SCORES_PER_STEP = 2 * 512 * 512  # Enough work to hide a grid step's start.
LONGEST = 512  # Tokens whose scores fit into fast memory.
MULTIPLE = 8  # Of tokens: registers hold as many.


def fits(length: int, width: int, num_heads: int) -> bool:
  """Whether the kernel can be compiled for rows of a length and a width."""
  head_width = width // num_heads
  whole = width <= _LANES or (width % _LANES == 0 and _LANES % head_width == 0)
  return whole and length <= LONGEST and length % MULTIPLE == 0


def fused_attend(
    config: AttentionConfig,
    query: Hidden,
    key: Hidden,
    value: Hidden,
    input_mask: TokenMask,
    positions: Int[Array, "_ L"],
    dropout_seeds: TokenSeeds | None,
    first_head: Int[Array, ""] | int = 0,
    *,
    interpret: bool = False,
) -> Hidden:
  """`attention.attend` for the rows and heads that lie on one device.

  Args:
    config: as of `attend`; num_heads counts the heads of this device.
    query: as of `attend`, like the five that follow.
    key: as of `attend`.
    value: as of `attend`.
    input_mask: as of `attend`.
    positions: as of `attend`.
    dropout_seeds: as of `attend`.
    first_head: which head of the model is the first one here; dropout counts
      them.
    interpret: whether to run without a TPU, slowly.
  """
  batch, length, _ = query.shape
  if dropout_seeds is None:
    config = dataclasses.replace(config, dropout=0.0)
    dropout_seeds = jnp.zeros((batch, length), jnp.uint32)
  tokens = (
      input_mask.astype(jnp.int32),
      jnp.broadcast_to(positions, (batch, length)).astype(jnp.int32),
      dropout_seeds,
  )
  # Rows of [1, L], so that a grid step may take any number of them.
  tokens = tuple(x[:, None] for x in tokens)
  first_head = jnp.asarray(first_head, jnp.int32).reshape(1)
  return _attend(config, interpret, query, key, value, *tokens, first_head)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(config, interpret, query, key, value, *rest):
  (mixed,) = _call(
      functools.partial(_forward_kernel, config),
      config,
      interpret,
      [query, key, value],
      rest,
      num_outputs=1,
  )
  return mixed


def _attend_forward(config, interpret, *arrays):
  return _attend(config, interpret, *arrays), arrays


def _attend_backward(config, interpret, arrays, gradient):
  query, key, value, *rest = arrays
  gradients = _call(
      functools.partial(_backward_kernel, config),
      config,
      interpret,
      [query, key, value, gradient],
      rest,
      num_outputs=3,
  )
  return *gradients, *(None for _ in rest)


_attend.defvjp(_attend_forward, _attend_backward)


def _call(kernel, config, interpret, hidden, rest, *, num_outputs):
  *tokens, first_head = rest
  batch, length, width = hidden[0].shape
  block_width = _LANES if width % _LANES == 0 else width
  heads = config.num_heads * block_width // width
  rows = _rows_per_step(batch, _SCORES_PER_STEP // (heads * length**2))
  wide = pl.BlockSpec(
      (rows, length, block_width), lambda row, block, _: (row, 0, block)
  )
  narrow = pl.BlockSpec((rows, 1, length), lambda row, block, _: (row, 0, 0))
  scores = batch * config.num_heads * length**2
  products = 2 if num_outputs == 1 else 5
  return pl.pallas_call(
      functools.partial(kernel, heads),
      grid_spec=pltpu.PrefetchScalarGridSpec(
          num_scalar_prefetch=1,
          grid=(batch // rows, width // block_width),
          in_specs=[wide] * len(hidden) + [narrow] * len(tokens),
          out_specs=[wide] * num_outputs,
      ),
      out_shape=[jax.ShapeDtypeStruct(hidden[0].shape, hidden[0].dtype)]
      * num_outputs,
      compiler_params=pltpu.CompilerParams(
          dimension_semantics=("parallel", "parallel")
      ),
      cost_estimate=pl.CostEstimate(
          flops=products * 2 * scores * width // config.num_heads,
          transcendentals=scores,
          bytes_accessed=sum(x.nbytes for x in hidden)
          + num_outputs * hidden[0].nbytes,
      ),
      interpret=interpret,
  )(first_head, *hidden, *tokens)


def _rows_per_step(batch: int, most: int) -> int:
  return max(n for n in range(1, max(1, most) + 1) if batch % n == 0)


def _forward_kernel(config, heads, first_head, query, key, value, *rest):
  *tokens, mixed = rest

  block_head = first_head[0] + pl.program_id(1) * heads

  @_each_row(query)
  def _(r):
    rules = _Rules(config, block_head, r, *tokens)
    outputs = []
    for head, part in enumerate(_parts(query, heads)):
      weights = rules.weigh(query[r, :, part], key[r, :, part])
      outputs.append(_matmul(rules.drop(head, weights), value[r, :, part]))
    mixed[r] = _side_by_side(outputs, mixed)


def _backward_kernel(config, heads, first_head, *refs):
  query, key, value, gradient, *tokens, d_query, d_key, d_value = refs

  block_head = first_head[0] + pl.program_id(1) * heads

  @_each_row(query)
  def _(r):
    rules = _Rules(config, block_head, r, *tokens)
    outputs = []
    for head, part in enumerate(_parts(query, heads)):
      q, k, v, g = (x[r, :, part] for x in (query, key, value, gradient))
      weights = rules.weigh(q, k)
      d_weights = rules.drop(head, _matmul(g, v.T))
      inner = jnp.sum(d_weights * weights, axis=-1, keepdims=True)
      d_scores = weights * (d_weights - inner) * _scale(q)
      d_scores = d_scores.astype(q.dtype)
      outputs.append(
          (
              _matmul(d_scores, k),
              _matmul(d_scores.T, q),
              _matmul(rules.drop(head, weights).astype(q.dtype).T, g),
          )
      )
    for ref, parts in zip(
        (d_query, d_key, d_value), zip(*outputs, strict=True), strict=True
    ):
      ref[r] = _side_by_side(parts, ref)


class _Rules(NamedTuple):
  """Which tokens of a row attend to which, and what dropout zeroes."""

  config: AttentionConfig
  first_head: Array
  row: Array
  input_mask: Any  # References, [R, 1, L].
  positions: Any
  seeds: Any

  def weigh(self, query, key):
    scores = _matmul(query * jnp.asarray(_scale(query), query.dtype), key.T)
    keys = self.input_mask[self.row]  # [1, L]
    if self.config.is_packed:
      seen = keys == _column(keys)
    else:
      seen = jnp.broadcast_to(keys > 0, scores.shape)
    if self.config.direction != "both":
      query_place, key_place = (
          jax.lax.broadcasted_iota(jnp.int32, scores.shape, i) for i in (0, 1)
      )
      if self.config.direction == "left_to_right":
        seen &= query_place >= key_place
      else:
        seen &= query_place <= key_place
    scores += jnp.where(seen, 0.0, MASKED_SCORE)
    weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    return weights / jnp.sum(weights, axis=-1, keepdims=True)

  def drop(self, head, x):
    rate = self.config.dropout
    if not rate:
      return x
    kept = keeps_probability(
        rate,
        self.first_head + head,
        self.positions[self.row],
        _column(self.seeds[self.row]),
    )
    return jnp.where(kept, x * (1 / (1 - rate)), 0.0)


def _each_row(ref):
  def run(body):
    jax.lax.fori_loop(0, ref.shape[0], lambda r, _: body(r), None)

  return run


def _parts(ref, heads):
  width = ref.shape[-1] // heads
  return [pl.ds(i * width, width) for i in range(heads)]


def _scale(query):
  return query.shape[-1] ** -0.5


def _matmul(x, y):
  return jnp.dot(x.astype(y.dtype), y, preferred_element_type=jnp.float32)


def _side_by_side(parts, ref):
  return jnp.concatenate(parts, axis=-1).astype(ref.dtype)


def _column(row):
  """[1, L] -> [L, 1]."""
  return jnp.broadcast_to(row, (row.shape[-1], row.shape[-1])).T[:, :1]
