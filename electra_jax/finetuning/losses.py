"""Losses of the tasks: one number per text, in nats.

What the batch makes of them (mean, or the released sum) is decided where the
batch is known.
"""

import jax
import jax.numpy as jnp

from electra_jax.shapes import Array, Float, Int


def classification_loss(
    logits: Float[Array, "B C"], labels: Int[Array, " B"]
) -> Float[Array, " B"]:
  """Cross-entropy of each text's class.

  Source: release classification_tasks.py:get_prediction_module.
  """
  return _cross_entropy(logits, labels)


def multilabel_loss(
    logits: Float[Array, "B C"], labels: Float[Array, "B C"]
) -> Float[Array, " B"]:
  """Binary cross-entropy of each text, averaged over the classes."""
  return jnp.mean(_binary_cross_entropy(logits, labels), axis=-1)


def regression_loss(
    predictions: Float[Array, "B 1"], targets: Float[Array, " B"]
) -> Float[Array, " B"]:
  """Squared error of each text's rating, targets in [0, 1].

  Source: release classification_tasks.py:RegressionTask.
  """
  return jnp.square(predictions[:, 0] - targets)


def tagging_loss(
    logits: Float[Array, "B W C"],
    labels: Int[Array, "B W"],
    weights: Float[Array, "B W"],
) -> Float[Array, " B"]:
  """Cross-entropy of each text's tags, summed over its words.

  Args:
    logits: of each word's tag.
    labels: ids of the tags.
    weights: 1 for a word, 0 for none.

  Source: release tagging_tasks.py:get_prediction_module.
  """
  return jnp.sum(_cross_entropy(logits, labels) * weights, axis=-1)


def span_loss(
    start_logits: Float[Array, "B L"],
    end_logits: Float[Array, "B L"],
    impossible_logits: Float[Array, " B"] | None,
    starts: Int[Array, " B"],
    ends: Int[Array, " B"],
    is_impossible: Int[Array, " B"],
    answerable_weight: float,
) -> Float[Array, " B"]:
  """Mean cross-entropy of start and end, plus that of having an answer.

  Args:
    start_logits: of the first token.
    end_logits: of the last token; as released, given the gold start.
    impossible_logits: log-odds that there is no answer, or None for a head
      whose start and end at 0 say so: the mean of both is the whole loss then.
    starts: places of the first tokens, 0 where there is no answer.
    ends: places of the last tokens.
    is_impossible: 1 where there is no answer.
    answerable_weight: factor of the last part; 0.5 as released.

  Source: release qa_tasks.py:get_prediction_module; without
  `impossible_logits` transformers, ElectraForQuestionAnswering.
  """
  start = _cross_entropy(start_logits, starts)
  end = _cross_entropy(end_logits, ends)
  if impossible_logits is None:
    return (start + end) / 2
  answerable = _binary_cross_entropy(
      impossible_logits, is_impossible.astype(jnp.float32)
  )
  return (start + end) / 2 + answerable_weight * answerable


def _cross_entropy(logits, labels):
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
  return -jnp.take_along_axis(log_probs, labels[..., None], axis=-1)[..., 0]


def _binary_cross_entropy(logits, labels):
  logits = logits.astype(jnp.float32)
  return -(
      labels * jax.nn.log_sigmoid(logits)
      + (1.0 - labels) * jax.nn.log_sigmoid(-logits)
  )
