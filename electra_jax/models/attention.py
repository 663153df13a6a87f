"""Multi-head attention between query, key and value, written for XLA.

What every way to compute it agrees on stands here: who sees whom, and which
probabilities dropout zeroes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from electra_jax.models.dropout import attention_dropout
from electra_jax.shapes import Array, Float, Hidden, Int, TokenMask, TokenSeeds

MASKED_SCORE = -10000.0  # Release, model/modeling.py:attention_layer.
SOURCE_TO_TARGET = "source_to_target"


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
  """What is the same for all rows.

  Attributes:
    num_heads: N; each has an equal share of the width.
    dropout: dropped share of the probabilities.
    is_packed: whether a row holds several texts, which do not see each other.
    direction: "both"; "left_to_right" sees itself and what stands before it,
      "right_to_left" itself and what stands behind it. "source_to_target" is
      for rows of a source and a target behind it, whose tokens are 1 and 2 in
      the mask: the source sees all of the source, the target the source,
      itself and the target before it; such rows are not packed.
  """

  num_heads: int
  dropout: float = 0.0
  is_packed: bool = False
  direction: str = "both"


class Attended(NamedTuple):
  """Some of the tokens that are attended to.

  Attributes:
    key: of each head.
    value: the same.
    bias: is added to scores; 0 or MASKED_SCORE.
  """

  key: Float[Array, "B N M H"]
  value: Float[Array, "B N M H"]
  bias: Float[Array, "B 1 _ M"]


def attend(
    config: AttentionConfig,
    query: Hidden,
    key: Hidden,
    value: Hidden,
    input_mask: TokenMask,
    positions: Int[Array, "_ L"],
    dropout_seeds: TokenSeeds | None,
) -> Hidden:
  """Mixes the values of each row by softmax(query · key / √H).

  Args:
    config: what is the same for all rows.
    query: of all heads, side by side.
    key: the same.
    value: the same.
    input_mask: 1 for tokens, 0 for padding; in packed rows the number of the
      token's text, from 1.
    positions: of each token in its text; one row of them serves all.
    dropout_seeds: one of each token, or None for no dropout.

  Returns:
    The mixed values, of all heads side by side.

  Source: release model/modeling.py:attention_layer.
  """
  query, key, value = (
      split_heads(x, config.num_heads) for x in (query, key, value)
  )
  bias = attention_score_bias(input_mask, config.is_packed, config.direction)

  def drop(probabilities):
    return attention_dropout(
        probabilities, config.dropout, dropout_seeds, positions
    )

  return join_heads(mix(query, [Attended(key, value, bias)], drop))


def split_heads(x: Hidden, num_heads: int) -> Float[Array, "B N L H"]:
  """Takes heads that stand side by side apart."""
  x = x.reshape(*x.shape[:2], num_heads, x.shape[2] // num_heads)
  return x.swapaxes(1, 2)


def join_heads(x: Float[Array, "B N L H"]) -> Hidden:
  """Undoes `split_heads`."""
  x = x.swapaxes(1, 2)
  return x.reshape(*x.shape[:2], -1)


def mix(
    query: Float[Array, "B N L H"],
    parts: Sequence[Attended],
    drop: Callable[[Array], Array] = lambda probabilities: probabilities,
) -> Float[Array, "B N L H"]:
  """Mixes values by softmax(query · key / √H + bias).

  Args:
    query: of each head.
    parts: what is attended to. One softmax goes over all of them, without
      their keys being copied to stand behind each other.
    drop: applied to the probabilities, of all parts behind each other.
  """
  scale = jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
  query = query * scale
  scores = [pair_scores(query, part.key) + part.bias for part in parts]
  probabilities = jax.nn.softmax(jnp.concatenate(scores, axis=-1), axis=-1)
  probabilities = drop(probabilities.astype(query.dtype))
  mixed, start = [], 0
  for part in parts:
    end = start + part.key.shape[2]
    share = probabilities[..., start:end]
    mixed.append(jnp.einsum("bnlm,bnmh->bnlh", share, part.value))
    start = end
  return sum(mixed[1:], mixed[0])


def attention_score_bias(
    input_mask: TokenMask, is_packed: bool = False, direction: str = "both"
) -> Float[Array, "B 1 _ L"]:
  """0 where a token may be attended to, a large negative number elsewhere.

  Args:
    input_mask: 0 for padding, 1 for tokens, or the numbers of packed texts,
      or 1 for the source and 2 for the target.
    is_packed: as of AttentionConfig.
    direction: as of AttentionConfig.
  """
  keys = input_mask[:, None, None, :]
  if direction == SOURCE_TO_TARGET:
    queries = input_mask[:, None, :, None]
    place = jnp.arange(input_mask.shape[1])
    is_before = (place[:, None] >= place[None])[None, None]
    seen = (keys == 1) | ((keys == 2) & (queries == 2) & is_before)
    return jnp.where(seen, 0.0, MASKED_SCORE)
  if is_packed:
    seen = keys == input_mask[:, None, :, None]
  elif direction == "both":
    return (1.0 - keys.astype(jnp.float32)) * MASKED_SCORE
  else:
    seen = keys > 0
  if direction != "both":
    place = jnp.arange(input_mask.shape[1])
    behind = place[:, None] - place[None]  # [L, L] of query and key.
    seen &= ((behind >= 0) if direction == "left_to_right" else (behind <= 0))[
        None, None
    ]
  return jnp.where(seen, 0.0, MASKED_SCORE)


@jax.custom_vjp
def pair_scores(
    query: Float[Array, "B N L H"], key: Float[Array, "B N M H"]
) -> Float[Array, "B N L M"]:
  """Multiplies every query by every key, in float32; gradients in their dtype."""
  return jnp.einsum(
      "bnlh,bnmh->bnlm", query, key, preferred_element_type=jnp.float32
  )


def _scores_forward(query, key):
  return pair_scores(query, key), (query, key)


def _scores_backward(saved, gradient):
  # Left to itself, the gradient of float32 scores multiplies in float32.
  query, key = saved
  gradient = gradient.astype(query.dtype)
  return (
      jnp.einsum("bnlm,bnmh->bnlh", gradient, key),
      jnp.einsum("bnlm,bnlh->bnmh", gradient, query),
  )


pair_scores.defvjp(_scores_forward, _scores_backward)
