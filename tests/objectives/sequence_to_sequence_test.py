"""The loss of target tokens against values by hand and a plain definition."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.objectives.sequence_to_sequence import target_loss

# Three ids with probabilities 1/2, 1/4, 1/4: ln 2 is one bit.
BIT = math.log(2)
HALVES = np.log([0.5, 0.25, 0.25])


def loss_of(labels, weights, **options):
  log_probabilities = np.broadcast_to(HALVES, (*np.shape(labels), 3))
  label = np.take_along_axis(
      log_probabilities, np.array(labels)[..., None], axis=-1
  )[..., 0]
  total = log_probabilities.sum(-1)
  is_best = label >= log_probabilities.max(-1)
  return target_loss(
      *map(jnp.asarray, (label, total, is_best)),
      jnp.asarray(weights, jnp.float32),
      vocab_size=3,
      **options,
  )


def test_sums_are_those_by_hand():
  loss = loss_of([[0, 1, 2], [0, 0, 1]], [[1, 1, 0], [1, 1, 1]])
  np.testing.assert_allclose(loss.sums, [3 * BIT, 4 * BIT], rtol=1e-6)
  np.testing.assert_array_equal(loss.counts, [2, 3])
  np.testing.assert_array_equal(loss.correct, [1, 2])


def test_smoothing_by_hand():
  # 0.8 on the label and 0.1 on each other id; bits: 0.8 * 1 + 0.2 * 2.
  constant = -0.8 * math.log(0.8) - 0.2 * math.log(0.1)
  loss = loss_of([[0]], [[1]], label_smoothing=0.2)
  np.testing.assert_allclose(loss.sums, [1.2 * BIT - constant], rtol=1e-5)
  # Label 1: 0.8 * 2 + 0.1 * 1 + 0.1 * 2.
  loss = loss_of([[1]], [[1]], label_smoothing=0.2)
  np.testing.assert_allclose(loss.sums, [1.9 * BIT - constant], rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_a_model_that_predicts_the_smoothed_labels_has_no_loss(smoothing):
  size = 7
  wanted = np.full(size, smoothing / (size - 1))
  wanted[3] = 1 - smoothing

  def loss(logits):
    log_probabilities = jax.nn.log_softmax(logits)
    return target_loss(
        log_probabilities[None, None, 3],
        jnp.sum(log_probabilities)[None, None],
        jnp.ones((1, 1), bool),
        jnp.ones((1, 1)),
        size,
        smoothing,
    ).sums[0]

  value, gradient = jax.value_and_grad(loss)(jnp.log(wanted))
  np.testing.assert_allclose(value, 0, atol=1e-6)
  np.testing.assert_allclose(gradient, np.zeros(size), atol=1e-6)
