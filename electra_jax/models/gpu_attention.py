"""Attention as kernels for NVIDIA GPUs: scores never leave the chip.

The same function as `attention.attend`, dropout included: it zeroes the same
probabilities. A program of the forward kernel owns a block of one head's
queries and meets the keys block by block, with a softmax that is corrected as
it goes. It keeps the logarithm of each query's total, from which the backward
kernels compute the probabilities again: one kernel owns queries, one owns
keys, and a row of a single block needs but one. Query, key and value are read
with their heads side by side, as the projections leave them. No sum depends on
the order in which programs run.

Source: Dao et al., FlashAttention-2 (arXiv 2307.08691), §3.1.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pltriton

from electra_jax.models.attention import MASKED_SCORE, AttentionConfig
from electra_jax.models.dropout import keeps_probability
from electra_jax.shapes import Array, Hidden, Int, TokenMask, TokenSeeds

LONGEST = 1024  # Tokens; longer rows have not been tried.
MULTIPLE = 16  # Of tokens: the least that tensor cores multiply.
_HEAD_WIDTHS = (16, 32, 64, 128)  # What tensor cores take and registers hold.
_LARGEST_BLOCK = 128
_LOG2E = math.log2(math.e)  # The hardware has powers of two only.


def fits(length: int, width: int, num_heads: int) -> bool:
  """Whether the kernels can be compiled for rows of a length and a width."""
  return (
      width // num_heads in _HEAD_WIDTHS
      and length <= LONGEST
      and length % MULTIPLE == 0
  )


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
  """`attention.attend` for the rows and heads that lie on one GPU.

  Arguments are those of `tpu_attention.fused_attend`.
  """
  batch, length, _ = query.shape
  if dropout_seeds is None:
    config = dataclasses.replace(config, dropout=0.0)
    dropout_seeds = jnp.zeros((batch, length), jnp.uint32)
  first_head = jnp.asarray(first_head, jnp.int32).reshape(1)
  tokens = input_mask.astype(jnp.int32), positions.astype(jnp.int32)
  rest = first_head, *tokens, dropout_seeds
  return _attend(config, interpret, query, key, value, *rest)


class _Tiling(NamedTuple):
  """How a kernel is cut: as large as leaves all values in an H100's registers.

  Attributes:
    own: most queries or keys that one program owns.
    warps: threads of a program, in 32s.
    stages: 2 loads the next block ahead of time.
  """

  own: int
  warps: int
  stages: int = 2


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(config, interpret, *arrays):
  return _attend_forward(config, interpret, *arrays)[0]


def _attend_forward(config, interpret, *arrays):
  query, key, value, *rest = arrays
  mixed, log_total = _call(
      _forward_kernel,
      _Tiling(own=128, warps=8),
      config,
      interpret,
      rest,
      inputs={"block": [query], "row": [key, value]},
      outputs=["block", "block_totals"],
  )
  return mixed, (*arrays, mixed, log_total)


def _attend_backward(config, interpret, arrays, gradient):
  query, key, value, *rest, mixed, log_total = arrays
  call = functools.partial(_call, config=config, interpret=interpret, rest=rest)
  if _largest_block(query.shape[1]) == query.shape[1]:
    gradients = call(
        _key_kernel,
        _Tiling(own=_LARGEST_BLOCK, warps=8, stages=1),
        inputs={
            "row": [query, gradient],
            "block": [key, value, mixed],
            "row_totals": [log_total],
        },
        outputs=["block"] * 3,
    )
    return *gradients, *(None for _ in rest)
  d_query, inner = call(
      _query_kernel,
      _Tiling(own=64, warps=4),
      inputs={
          "block": [query, gradient, mixed],
          "block_totals": [log_total],
          "row": [key, value],
      },
      outputs=["block", "block_totals"],
  )
  d_key, d_value = call(
      _key_kernel,
      _Tiling(own=64, warps=4),
      inputs={
          "row": [query, gradient],
          "block": [key, value],
          "row_totals": [inner, log_total],
      },
      outputs=["block"] * 2,
  )
  return d_query, d_key, d_value, *(None for _ in rest)


_attend.defvjp(_attend_forward, _attend_backward)


def _call(kernel, tiling, config, interpret, rest, inputs, outputs):
  like = inputs["block"][0]
  batch, length, width = like.shape
  head_width = width // config.num_heads
  own = min(tiling.own, _largest_block(length))
  step = min(64, 8192 // (head_width * like.dtype.itemsize), own)
  totals = jax.ShapeDtypeStruct((batch, config.num_heads, length), jnp.float32)
  specs = {
      "block": ((None, own, head_width), lambda i, n, b: (b, i, n)),
      "row": ((None, length, head_width), lambda i, n, b: (b, 0, n)),
      "block_totals": ((None, None, own), lambda i, n, b: (b, n, i)),
      "row_totals": ((None, None, length), lambda i, n, b: (b, n, 0)),
      "tokens": ((None, length), lambda i, n, b: (b, 0)),
      "tokens_of_all": ((None, length), lambda i, n, b: (0, 0)),
      "one": ((1,), lambda i, n, b: (0,)),
  }
  first_head, *tokens = rest
  inputs = [(kind, x) for kind, arrays in inputs.items() for x in arrays]
  inputs.append(("one", first_head))
  for x in tokens:
    inputs.append(("tokens" if len(x) == batch else "tokens_of_all", x))
  make_rules = functools.partial(
      _make_rules, config, head_width**-0.5, jnp.exp2 if interpret else _exp2
  )
  return pl.pallas_call(
      functools.partial(kernel, make_rules, step),
      grid=(length // own, config.num_heads, batch),
      in_specs=[pl.BlockSpec(*specs[kind]) for kind, _ in inputs],
      out_specs=[pl.BlockSpec(*specs[kind]) for kind in outputs],
      out_shape=[
          totals
          if kind == "block_totals"
          else jax.ShapeDtypeStruct(like.shape, like.dtype)
          for kind in outputs
      ],
      compiler_params=pltriton.CompilerParams(
          num_warps=tiling.warps, num_stages=tiling.stages
      ),
      interpret=interpret,
  )(*(x for _, x in inputs))


def _largest_block(length: int) -> int:
  """Blocks are powers of two that divide the row."""
  return min(length & -length, _LARGEST_BLOCK)


def _forward_kernel(make_rules, step, query, key, value, *rest):
  *rest, mixed, log_total = rest
  rules = make_rules(*rest)
  rows = _own(query)
  q = query[...]

  def meet(i, state):
    peak, total, sums = state
    columns = pl.ds(i * step, step)
    scores = rules.scores(_dot(q, key[columns, :].T), rows, columns)
    new_peak = jnp.maximum(peak, jnp.max(scores, axis=1))
    shrink = rules.exp2(peak - new_peak)
    weights = rules.exp2(scores - new_peak[:, None])
    total = total * shrink + jnp.sum(weights, axis=1)
    weights = rules.drop(rules.kept(rows, columns), weights)
    sums = sums * shrink[:, None] + _dot(weights, value[columns, :])
    return new_peak, total, sums

  state = (
      jnp.full(q.shape[:1], -jnp.inf, jnp.float32),
      jnp.zeros(q.shape[:1], jnp.float32),
      jnp.zeros(q.shape, jnp.float32),
  )
  peak, total, sums = jax.lax.fori_loop(0, key.shape[0] // step, meet, state)
  rules.write(mixed, sums, 1 / total[:, None])
  log_total[...] = peak + jnp.log2(total)


def _query_kernel(
    make_rules, step, query, gradient, mixed, log_total, key, value, *rest
):
  *rest, d_query, inner = rest
  rules = make_rules(*rest)
  rows = _own(query)
  q, g, log_totals = query[...], gradient[...], log_total[...]
  inners = _inner(g, mixed[...])
  inner[...] = inners

  def meet(i, d_q):
    columns = pl.ds(i * step, step)
    k, v = key[columns, :], value[columns, :]
    _, d_scores = rules.gradients(
        _dot(q, k.T), _dot(g, v.T), log_totals, inners, rows, columns
    )
    return d_q + _dot(d_scores, k)

  d_q = jnp.zeros(q.shape, jnp.float32)
  d_q = jax.lax.fori_loop(0, key.shape[0] // step, meet, d_q)
  rules.write(d_query, d_q, rules.scale)


def _key_kernel(
    make_rules, step, query, gradient, key, value, inner, log_total, *rest
):
  """Where one block is the whole row, this kernel is all there is.

  `inner` is then what the forward kernel mixed, and the gradient of the query
  is the first output.
  """
  is_whole = len(inner.shape) == 2
  *rest, d_key, d_value = rest
  *rest, d_query = rest if is_whole else (*rest, None)
  rules = make_rules(*rest, query_axis=1)
  columns = _own(key)
  k, v = key[...], value[...]

  def meet(i, state):
    d_k, d_v = state
    rows = pl.ds(i * step, step)
    q, g = query[rows, :], gradient[rows, :]
    inners = _inner(g, inner[rows, :]) if is_whole else None
    products = _dot(k, q.T), _dot(v, g.T)
    log_totals = log_total[rows]
    if not is_whole:
      inners = inner[rows]  # Late, as registers are few.
    weights, d_scores = rules.gradients(
        *products, log_totals, inners, rows, columns
    )
    if is_whole:
      rules.write(d_query.at[rows, :], _dot(d_scores.T, k), rules.scale)
    return d_k + _dot(d_scores, q), d_v + _dot(weights, g)

  state = (jnp.zeros(k.shape, jnp.float32),) * 2
  d_k, d_v = jax.lax.fori_loop(0, query.shape[0] // step, meet, state)
  rules.write(d_key, d_k, rules.scale)
  rules.write(d_value, d_v)


class _Rules(NamedTuple):
  """Which tokens attend to which, and what dropout zeroes, in blocks of one head's scores.

  Attributes:
    config: what is the same for all rows.
    scale: of the scores.
    exp2: 2 to the power of an array.
    head: number of the head.
    input_mask: [L], like the two that follow.
    positions: of the keys in their texts.
    seeds: of the queries.
    query_axis: which axis of a block the queries are on. A product's left side
      is best made of what registers hold: weights by query for the gradient
      of the query, by key for those of key and value.
  """

  config: AttentionConfig
  scale: float
  exp2: Callable
  head: Array
  input_mask: Any
  positions: Any
  seeds: Any
  query_axis: int

  def scores(self, products, rows, columns):
    """In base 2, so that no exponential needs another factor."""
    keys = self.of_keys(self.input_mask[columns])
    if self.config.is_packed:
      seen = self.of_queries(self.input_mask[rows]) == keys
    else:
      seen = keys > 0
    if self.config.direction != "both":
      behind = self.of_queries(_places(rows)) - self.of_keys(_places(columns))
      if self.config.direction == "left_to_right":
        seen &= behind >= 0
      else:
        seen &= behind <= 0
    bias = jnp.where(seen, 0.0, MASKED_SCORE * _LOG2E)
    return products * (self.scale * _LOG2E) + bias

  def kept(self, rows, columns):
    if not self.config.dropout:
      return None
    return keeps_probability(
        self.config.dropout,
        self.head,
        self.of_keys(self.positions[columns]),
        self.of_queries(self.seeds[rows]),
    )

  def drop(self, kept, x):
    """`write` makes up for the share that is dropped."""
    return x if kept is None else jnp.where(kept, x, 0.0)

  def gradients(self, products, d_weights, log_total, inner, rows, columns):
    """Returns the weights after dropout and the gradient by the scores."""
    scores = self.scores(products, rows, columns)
    weights = self.exp2(scores - self.of_queries(log_total))
    kept = self.kept(rows, columns)
    inner = self.of_queries(inner * (1 - self.config.dropout))
    d_scores = weights * (self.drop(kept, d_weights) - inner)
    return self.drop(kept, weights), d_scores

  def write(self, ref, x, scale=1.0):
    ref[...] = (x * (scale / (1 - self.config.dropout))).astype(ref.dtype)

  def of_queries(self, x):
    return jnp.expand_dims(x, 1 - self.query_axis)

  def of_keys(self, x):
    return jnp.expand_dims(x, self.query_axis)


def _make_rules(config, scale, exp2, first_head, *tokens, query_axis=0):
  # Here, as a program that is interpreted has no number inside a loop.
  head = first_head[0] + pl.program_id(1)
  return _Rules(config, scale, exp2, head, *tokens, query_axis)


def _exp2(x):
  # The usual one takes four instructions, to be right below 2^-126.
  (y,) = pltriton.elementwise_inline_asm(
      "ex2.approx.ftz.f32 $0, $1;",
      args=[x],
      constraints="=f,f",
      pack=1,
      result_shape_dtypes=[jax.ShapeDtypeStruct(x.shape, x.dtype)],
  )
  return y


def _own(block):
  size = block.shape[0]
  return pl.ds(pl.program_id(0) * size, size)


def _places(part):
  return part.start + jnp.arange(part.size)


def _inner(gradient, mixed):
  x, y = (x.astype(jnp.float32) for x in (gradient, mixed))
  return jnp.sum(x * y, axis=1)


def _dot(x, y):
  return jnp.dot(x.astype(y.dtype), y, preferred_element_type=jnp.float32)
