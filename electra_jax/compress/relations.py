"""The loss of MiniLMv2: how the tokens of a text relate to each other.

Queries, keys and values of one layer are split anew into relation heads, whose
number is the same for teacher and student whatever their widths and attention
heads are. A relation is the softmax of a head's products of all tokens of a
text with each other; the student learns the teacher's relations.
"""

import jax
import jax.numpy as jnp

from electra_jax.models.attention import pair_scores
from electra_jax.models.encoder import Projections
from electra_jax.shapes import Array, Bool, Float, Hidden, Scalar, TokenMask

RELATION_LOSS = "relation_loss"  # Its name among losses and metrics.
_NEVER = -1e30  # A score that no softmax gives anything.
_MOST_SCORES = 1 << 25  # Of a network at a time: 134 MB of float32.


def relation_loss(
    student: Projections,
    teacher: Projections,
    text_numbers: TokenMask,
    num_heads: int,
) -> tuple[Scalar, Scalar]:
  """Sums the divergence of the student's relations from the teacher's.

  The loss of a token is the mean over queries, keys and values and over A
  relation heads of KL(R_teacher || R_student), with
  R = softmax(X_a X_aᵀ / √(D/A)) over the tokens of its text.

  Args:
    student: of its last layer; the gradient flows into it.
    teacher: of one of its layers, of any width.
    text_numbers: 0 for padding, which neither relates nor is related to; 1 for
      tokens, or the number of the token's text in its row, from 1.
    num_heads: A, which divides both widths.

  Returns:
    The sum over tokens in nats, and the number of tokens.

  Source: MiniLMv2 (Wang et al., 2021), §3, equations 1 to 6.
  """
  is_token = text_numbers > 0
  # Padding is related to padding alone, and is_token leaves it out.
  is_related = text_numbers[:, :, None] == text_numbers[:, None, :]
  total = jnp.zeros(())
  for ours, theirs in zip(student, teacher, strict=True):
    total += _divergence(
        ours, jax.lax.stop_gradient(theirs), is_related, is_token, num_heads
    )
  count = jnp.sum(is_token, dtype=jnp.float32)
  return total / (len(student) * num_heads), count


def _divergence(
    student: Hidden,
    teacher: Float[Array, "B L T"],
    is_related: Bool[Array, "B L L"],
    is_token: Bool[Array, "B L"],
    num_heads: int,
) -> Scalar:
  """Sums over tokens and heads, of few heads at a time."""
  together = _heads_together(num_heads, is_related.size)

  def of_some(pair):
    ours, theirs = (_log_relations(x, is_related) for x in pair)
    nats = jnp.sum(jnp.exp(theirs) * (theirs - ours), axis=-1)  # [B, n, L]
    return jnp.sum(jnp.where(is_token[:, None], nats, 0.0))

  heads = tuple(_split(x, num_heads, together) for x in (student, teacher))
  if together == num_heads:
    return of_some(jax.tree.map(lambda x: x[0], heads))
  # The backward pass computes the relations again: they are not kept.
  return jnp.sum(jax.lax.map(jax.checkpoint(of_some), heads))


def _heads_together(num_heads: int, scores_per_head: int) -> int:
  """Returns how many heads are computed at a time: a divisor of all."""
  return max(
      n
      for n in range(1, num_heads + 1)
      if num_heads % n == 0 and (n == 1 or n * scores_per_head <= _MOST_SCORES)
  )


def _split(x, num_heads: int, together: int):
  """Returns [A / n, B, n, L, d] of [B, L, A d]."""
  batch, length, width = x.shape
  parts = (num_heads // together, together, width // num_heads)
  return x.reshape(batch, length, *parts).transpose(2, 0, 3, 1, 4)


def _log_relations(x, is_related):
  scores = pair_scores(x, x) / x.shape[-1] ** 0.5  # [B, n, L, L], float32
  return jax.nn.log_softmax(jnp.where(is_related[:, None], scores, _NEVER))
