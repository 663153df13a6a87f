"""The loss of a text that is written token by token."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from electra_jax.shapes import Array, Bool, Float


class TargetLoss(NamedTuple):
  """Sums of each text; what divides them is the caller's.

  Attributes:
    sums: cross-entropy in nats.
    counts: sum of the weights.
    correct: weighted number of labels that no other id is likelier than.
  """

  sums: Float[Array, " B"]
  counts: Float[Array, " B"]
  correct: Float[Array, " B"]


def target_loss(
    label: Float[Array, "B T"],
    total: Float[Array, "B T"],
    is_best: Bool[Array, "B T"],
    weights: Float[Array, "B T"],
    vocab_size: int,
    label_smoothing: float = 0.0,
) -> TargetLoss:
  """Sums the cross-entropy of each text's labels.

  With smoothing ε a label has 1 - ε, and each of the V - 1 other ids has
  ε / (V - 1); what this costs a model that predicts just that is taken off, so
  that the least loss is 0.

  Args:
    label: log-probability of each label, in nats.
    total: sum of the log-probabilities of all ids.
    is_best: whether no id is likelier than the label.
    weights: 1.0 for tokens that count, 0.0 for padding.
    vocab_size: V, at least 2 with smoothing.
    label_smoothing: ε, in [0, 1).

  Source: Szegedy et al. (2016), §7; flax's examples/wmt,
  train.py:compute_weighted_cross_entropy, which takes the constant off.
  """
  nats = -label
  if label_smoothing:
    sure, low = 1 - label_smoothing, label_smoothing / (vocab_size - 1)
    constant = -sure * math.log(sure) - label_smoothing * math.log(low)
    nats = -sure * label - low * (total - label) - constant
  return TargetLoss(
      jnp.sum(nats * weights, axis=1),
      jnp.sum(weights, axis=1),
      jax.lax.stop_gradient(jnp.sum(is_best * weights, axis=1)),
  )
