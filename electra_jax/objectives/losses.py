"""Weighted sums of losses. Dividing by the weight is the caller's."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from electra_jax.shapes import Array, Bool, Float, Int, Scalar


class WeightedSum(NamedTuple):
  """A sum over weighted elements, and the sum of the weights."""

  sum: Scalar
  weight: Scalar


def masked_lm_loss(
    logits: Float[Array, "B K V"],
    labels: Int[Array, "B K"],
    weights: Float[Array, "B K"],
) -> tuple[WeightedSum, WeightedSum]:
  """Sums the cross-entropy of the original ids, and the correct guesses.

  A guess is correct if no logit is larger than the original id's.

  Returns:
    The loss in nats and the number of correct guesses, each with the weight.

  Source: ELECTRA §2; release run_pretraining.py:_get_masked_lm_output.
  """
  logits = logits.astype(jnp.float32)
  ids = jnp.arange(logits.shape[-1], dtype=labels.dtype)
  is_label = ids[None, None] == labels[..., None]
  label_logits = jnp.sum(jnp.where(is_label, logits, 0.0), axis=-1)
  largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1))
  total = jnp.sum(jnp.exp(logits - largest[..., None]), axis=-1)
  nats = jnp.log(total) + largest - label_logits
  weight = jnp.sum(weights)
  correct = jnp.sum((label_logits >= largest) * weights)
  return WeightedSum(jnp.sum(nats * weights), weight), WeightedSum(
      jax.lax.stop_gradient(correct), weight
  )


def replaced_token_loss(
    logits: Float[Array, "B L"],
    is_replaced: Bool[Array, "B L"],
    weights: Float[Array, "B L"],
    label_smoothing: float = 0.0,
) -> WeightedSum:
  """Sums the discriminator's binary cross-entropy over weighted tokens.

  Args:
    logits: log-odds that a token was replaced by the generator.
    is_replaced: True where the corrupted id differs from the original.
    weights: 1.0 for tokens that count and 0.0 for padding.
    label_smoothing: s, in [0, 1): a label y counts as y (1 - s) + s / 2.

  Returns:
    The summed loss in nats and the summed weight.

  Source: ELECTRA §2; release run_pretraining.py:_get_discriminator_output.
  """
  logits = logits.astype(jnp.float32)  # bfloat16 costs up to 0.016 nats.
  nats = jnp.where(
      is_replaced, -jax.nn.log_sigmoid(logits), -jax.nn.log_sigmoid(-logits)
  )
  if label_smoothing:
    # The wrong label's nats are the right one's plus or minus the logit.
    wrong = nats + jnp.where(is_replaced, logits, -logits)
    nats = (1 - label_smoothing / 2) * nats + label_smoothing / 2 * wrong
  return WeightedSum(jnp.sum(nats * weights), jnp.sum(weights))


def total_loss(
    loss_weights: Mapping[str, float],
    losses: Mapping[str, WeightedSum],
    weights: Mapping[str, Scalar],
) -> Scalar:
  """Adds up the means of losses.

  Args:
    loss_weights: factor of each; one of factor 0 is left out, so that nothing
      is computed for its gradient.
    losses: summed nats.
    weights: what each sum is divided by, of `Method.weigh`.
  """
  return sum(
      (
          loss_weights[name] * loss.sum / jnp.maximum(weights[name], 1.0)
          for name, loss in losses.items()
          if loss_weights[name]
      ),
      jnp.zeros(()),
  )
