"""Losses of the tasks against numpy in float64 and numbers by hand."""

import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from electra_jax.finetuning.losses import (
    classification_loss,
    multilabel_loss,
    regression_loss,
    span_loss,
    tagging_loss,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (6, 5)).astype(np.float32)
LABELS = np.asarray([0, 4, 2, 2, 1, 3], np.int32)
MASKED = -1000.0  # What the heads put where no answer can start.


def cross_entropy(logits, labels):
  logits = np.asarray(logits, np.float64)
  log_sums = np.log(np.exp(logits).sum(-1))
  return log_sums - np.take_along_axis(logits, labels[..., None], -1)[..., 0]


def binary_cross_entropy(logits, labels):
  p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
  return -(labels * np.log(p) + (1 - labels) * np.log(1 - p))


def close(actual, expected):
  assert actual.dtype == jnp.float32
  np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=1e-6)


def assert_finite(loss, *logits):
  """The loss and its gradients."""

  def total(logits):
    return jnp.sum(loss(*logits))

  value, grads = jax.value_and_grad(total)(tuple(map(jnp.asarray, logits)))
  for array in (value, *grads):
    assert np.isfinite(array).all()
  return grads


def test_classification():
  close(
      classification_loss(jnp.asarray(LOGITS), jnp.asarray(LABELS)),
      cross_entropy(LOGITS, LABELS),
  )
  logits = jnp.log(jnp.asarray([[1.0, 2.0, 1.0]]))
  close(classification_loss(logits, jnp.asarray([0])), [math.log(4)])
  close(classification_loss(logits, jnp.asarray([1])), [math.log(2)])


def test_classification_gradient_is_probability_less_label():
  (grads,) = assert_finite(
      lambda x: classification_loss(x, jnp.asarray(LABELS)), LOGITS
  )
  probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
  np.testing.assert_allclose(
      grads, probabilities - np.eye(5)[LABELS], atol=1e-6
  )


def test_multilabel():
  labels = RNG.integers(0, 2, LOGITS.shape).astype(np.float32)
  close(
      multilabel_loss(jnp.asarray(LOGITS), jnp.asarray(labels)),
      binary_cross_entropy(LOGITS, labels).mean(-1),
  )
  # -log 3/4 of the one that holds, -log 1/2 of the one that does not.
  logits = jnp.asarray([[math.log(3), 0.0]])
  expected = (math.log(4 / 3) + math.log(2)) / 2
  close(multilabel_loss(logits, jnp.asarray([[1.0, 0.0]])), [expected])


def test_regression():
  predictions = jnp.asarray([[0.5], [-1.0], [0.25]])
  targets = jnp.asarray([0.25, 1.0, 0.25])
  close(regression_loss(predictions, targets), [0.0625, 4.0, 0.0])


def test_tagging_sums_over_the_words_there_are():
  logits = RNG.normal(0, 3, (3, 4, 5)).astype(np.float32)
  labels = jnp.asarray(RNG.integers(0, 5, (3, 4)), jnp.int32)
  is_word = np.asarray([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
  weights = jnp.asarray(is_word, jnp.float32)
  loss = tagging_loss(jnp.asarray(logits), labels, weights)
  each = cross_entropy(logits, np.asarray(labels))
  close(loss, [each[0].sum(), each[1, :2].sum(), 0.0])
  # What stands behind the last word makes no difference, and gets no gradient.
  other = np.where(is_word[..., None], logits, np.float32(1e4))
  np.testing.assert_array_equal(
      tagging_loss(jnp.asarray(other), labels, weights), loss
  )
  (grads,) = assert_finite(lambda x: tagging_loss(x, labels, weights), other)
  np.testing.assert_array_equal(np.abs(grads).sum(-1) > 0, is_word)


STARTS = RNG.normal(0, 2, (3, 6)).astype(np.float32)
ENDS = RNG.normal(0, 2, (3, 6)).astype(np.float32)
IMPOSSIBLE = np.asarray([-2.0, 0.5, 3.0], np.float32)
GOLD = (
    np.asarray([2, 0, 5], np.int32),
    np.asarray([4, 0, 5], np.int32),
    np.asarray([0, 1, 0], np.int32),
)


@pytest.mark.parametrize("weight", [0.5, 0.0, 2.0])
def test_spans(weight):
  loss = span_loss(*map(jnp.asarray, (STARTS, ENDS, IMPOSSIBLE, *GOLD)), weight)
  spans = cross_entropy(STARTS, GOLD[0]) + cross_entropy(ENDS, GOLD[1])
  close(loss, spans / 2 + weight * binary_cross_entropy(IMPOSSIBLE, GOLD[2]))


def test_a_span_by_hand():
  # Start likely by 1/2, end by 1/8, no answer by 1/4.
  start = jnp.log(jnp.asarray([[1.0, 1.0]]))
  end = jnp.log(jnp.asarray([[7.0, 1.0]]))
  impossible = -jnp.log(jnp.asarray([3.0]))
  gold = jnp.asarray([1]), jnp.asarray([1]), jnp.asarray([0])
  expected = (math.log(2) + math.log(8)) / 2 + 0.5 * math.log(4 / 3)
  close(span_loss(start, end, impossible, *gold, 0.5), [expected])


def test_gradients_are_finite_where_logits_are_extreme():
  extreme = np.asarray([[MASKED, 0.0, 1e4], [1e4, MASKED, -1e4]], np.float32)
  labels = jnp.asarray([0, 2])
  assert_finite(lambda x: classification_loss(x, labels), extreme)
  classes = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
  assert_finite(lambda x: multilabel_loss(x, classes), extreme)
  gold = labels, labels, jnp.asarray([1, 0])
  assert_finite(
      lambda *x: span_loss(*x, *gold, 0.5),
      extreme,
      np.full((2, 3), MASKED, np.float32),
      np.asarray([-1e4, 1e4], np.float32),
  )


def test_bfloat16_logits_are_summed_in_float32():
  logits = jnp.asarray(LOGITS, jnp.bfloat16)
  labels = jnp.asarray(LABELS)
  rounded = np.asarray(logits, np.float32)
  close(classification_loss(logits, labels), cross_entropy(rounded, LABELS))
  classes = jnp.asarray(np.eye(5, dtype=np.float32)[LABELS])
  close(
      multilabel_loss(logits, classes),
      binary_cross_entropy(rounded, np.asarray(classes)).mean(-1),
  )


def test_shapes_are_checked():
  logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
  for call in (
      lambda: classification_loss(logits, labels[:3]),
      lambda: classification_loss(logits, logits[:, 0]),
      lambda: multilabel_loss(logits, logits[:, :2]),
      lambda: regression_loss(logits, logits[:, 0]),
      lambda: tagging_loss(logits[None], labels[None], logits),
      lambda: span_loss(
          logits, logits[:, :2], logits[:, 0], labels, labels, labels, 0.5
      ),
  ):
    with pytest.raises(jaxtyping.TypeCheckError):
      call()
