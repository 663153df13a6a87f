"""Multi-head attention between query, key and value, written for XLA.

What every way to compute it agrees on stands here: who sees whom, and which
probabilities dropout zeroes.
"""

import dataclasses

import jax
import jax.numpy as jnp

from electra_jax.models.dropout import attention_dropout
from electra_jax.shapes import Array, Float, Hidden, Int, TokenMask, TokenSeeds

MASKED_SCORE = -10000.0  # Release, model/modeling.py:attention_layer.


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
  """What is the same for all rows.

  Attributes:
    num_heads: N; each has an equal share of the width.
    dropout: dropped share of the probabilities.
    is_packed: whether a row holds several texts, which do not see each other.
    direction: "both"; "left_to_right" sees itself and what stands before it,
      "right_to_left" itself and what stands behind it.
  """

  num_heads: int
  dropout: float = 0.0
  is_packed: bool = False
  direction: str = "both"


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
  batch, length, width = query.shape
  head_width = width // config.num_heads

  def heads(x):
    x = x.reshape(batch, length, config.num_heads, head_width)
    return x.swapaxes(1, 2)  # [B, N, L, H]

  scale = jnp.asarray(head_width**-0.5, query.dtype)
  scores = pair_scores(heads(query) * scale, heads(key))
  bias = attention_score_bias(input_mask, config.is_packed, config.direction)
  probabilities = jax.nn.softmax(scores + bias, axis=-1).astype(query.dtype)
  probabilities = attention_dropout(
      probabilities, config.dropout, dropout_seeds, positions
  )
  mixed = jnp.einsum("bnlm,bnmh->bnlh", probabilities, heads(value))
  return mixed.swapaxes(1, 2).reshape(batch, length, width)


def attention_score_bias(
    input_mask: TokenMask, is_packed: bool = False, direction: str = "both"
) -> Float[Array, "B 1 _ L"]:
  """0 where a token may be attended to, a large negative number elsewhere.

  Args:
    input_mask: 0 for padding, 1 for tokens, or the numbers of packed texts.
    is_packed: as of AttentionConfig.
    direction: as of AttentionConfig.
  """
  keys = input_mask[:, None, None, :]
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
