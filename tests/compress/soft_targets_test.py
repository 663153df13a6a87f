"""Divergences from a teacher's logits, by hand and by numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from electra_jax.compress.soft_targets import class_divergence, odds_divergence


def test_two_classes_by_hand():
  # At temperature 2 the teacher's (2 ln 3, 0) are shares of 3/4 and 1/4.
  teacher = jnp.asarray([[2 * math.log(3), 0.0]])
  student = jnp.zeros((1, 2))
  nats = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
  np.testing.assert_allclose(
      class_divergence(student, teacher, 2.0), [4 * nats], rtol=1e-6
  )
  # One logit of yes or no is the same as two classes.
  np.testing.assert_allclose(
      odds_divergence(student[:, 0], teacher[:, 0], 2.0), [4 * nats], rtol=1e-6
  )


def test_the_same_logits_cost_nothing_and_any_shift_of_them():
  logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5)))
  shifted = logits + 7.0
  np.testing.assert_allclose(
      class_divergence(shifted, logits, 3.0), 0, atol=1e-5
  )


def test_the_gradient_is_the_difference_of_the_shares():
  # Of T² KL by a logit: T (softmax(s / T) - softmax(t / T)).
  rng = np.random.default_rng(0)
  ours, theirs = (jnp.asarray(rng.normal(size=5), jnp.float32) for _ in "st")
  gradient = jax.grad(lambda x: class_divergence(x, theirs, 2.0))(ours)
  expected = 2 * (jax.nn.softmax(ours / 2) - jax.nn.softmax(theirs / 2))
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_logits_of_masked_places_are_finite():
  never = jnp.asarray([1.0, -1e30, -1e30])
  loss = class_divergence(jnp.asarray([2.0, -1e30, -1e30]), never, 2.0)
  np.testing.assert_allclose(loss, 0, atol=1e-6)
