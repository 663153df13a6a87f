"""The loss of the relations: by hand, by numpy, padding, heads, gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.compress import relations
from electra_jax.compress.relations import relation_loss
from electra_jax.models.encoder import Projections


def projections_of(seed, width, batch=2, length=5, dtype=np.float32):
  rng = np.random.default_rng(seed)
  shape = (batch, length, width)
  return Projections(
      *(jnp.asarray(rng.normal(size=shape), dtype) for _ in "qkv")
  )


def by_numpy(student, teacher, texts, num_heads):
  """Token by token and head by head, in float64."""
  total, tokens = 0.0, 0
  for row, numbers in enumerate(np.asarray(texts)):
    for i, own in enumerate(numbers):
      if own == 0:
        continue
      tokens += 1
      others = [j for j, other in enumerate(numbers) if other == own]
      for ours, theirs in zip(student, teacher, strict=True):
        for head in range(num_heads):
          shares = []
          for x in (theirs, ours):
            x = np.asarray(x, np.float64)[row]
            d = x.shape[1] // num_heads
            part = x[:, head * d : (head + 1) * d]
            scores = [part[i] @ part[j] / math.sqrt(d) for j in others]
            exps = np.exp(np.asarray(scores) - max(scores))
            shares.append(exps / exps.sum())
          p, q = shares
          total += float(np.sum(p * np.log(p / q)))
  return total / (3 * num_heads), tokens


def test_two_tokens_by_hand():
  # One head of width 1: the scores of a token with x are x·x', no root.
  # Teacher (1, 0): token 0 has scores (1, 0), token 1 has (0, 0).
  # Student (0, 0): every relation is (1/2, 1/2).
  teacher = Projections(*[jnp.asarray([[[1.0], [0.0]]])] * 3)
  student = Projections(*[jnp.zeros((1, 2, 1))] * 3)
  p = math.e / (1 + math.e)
  by_hand = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
  loss, tokens = relation_loss(student, teacher, jnp.ones((1, 2), int), 1)
  assert tokens == 2
  np.testing.assert_allclose(loss, by_hand, rtol=1e-6)
  np.testing.assert_allclose(loss, 0.11094407167172735, rtol=1e-6)


@pytest.mark.parametrize("most", [1 << 25, 1])
def test_of_other_widths_and_packed_texts_as_numpy_has_it(monkeypatch, most):
  # With the second bound every head is computed by itself.
  monkeypatch.setattr(relations, "_MOST_SCORES", most)
  student, teacher = projections_of(0, 8), projections_of(1, 12)
  texts = jnp.asarray([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]])
  expected, tokens = by_numpy(student, teacher, texts, 4)
  loss, weight = relation_loss(student, teacher, texts, 4)
  assert weight == tokens == 9
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_the_gradient_is_the_same_however_many_heads_at_a_time(monkeypatch):
  teacher, texts = projections_of(1, 12), jnp.asarray(
      [[1] * 5, [1, 1, 1, 0, 0]]
  )

  def gradient():
    student = projections_of(0, 8)
    return jax.grad(lambda x: relation_loss(x, teacher, texts, 4)[0])(student)

  at_once = gradient()
  monkeypatch.setattr(relations, "_MOST_SCORES", 1)
  for x, y in zip(at_once, gradient(), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


def test_a_teacher_of_itself_costs_nothing():
  same, texts = projections_of(0, 8), jnp.ones((2, 5), int)
  loss, gradient = jax.value_and_grad(
      lambda x: relation_loss(x, same, texts, 2)[0]
  )(same)
  assert abs(loss) < 1e-5
  for part in gradient:
    np.testing.assert_allclose(part, 0, atol=1e-6)
  assert relation_loss(projections_of(3, 8), same, texts, 2)[0] > 1e-2


def test_padding_changes_nothing():
  student, teacher = projections_of(0, 8), projections_of(1, 12)
  texts = jnp.asarray([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])

  def loss_of(student, teacher, texts):
    return relation_loss(student, teacher, texts, 4)[0]

  loss, gradient = jax.value_and_grad(loss_of)(student, teacher, texts)
  is_padding = (texts == 0)[..., None]
  others = [
      jax.tree.map(lambda x: jnp.where(is_padding, 99.0 + x, x), both)
      for both in (student, teacher)
  ]
  np.testing.assert_allclose(loss_of(*others, texts), loss, rtol=1e-6)
  shorter = jax.tree.map(lambda x: x[:, :3], (student, teacher, texts))
  np.testing.assert_allclose(loss_of(*shorter), loss, rtol=1e-6)
  for part in gradient:
    np.testing.assert_array_equal(np.where(is_padding, part, 0), 0)


def test_the_teacher_gets_no_gradient_and_the_student_does():
  student, teacher = projections_of(0, 8), projections_of(1, 12)
  texts = jnp.ones((2, 5), int)
  ours, theirs = jax.grad(
      lambda x, y: relation_loss(x, y, texts, 4)[0], argnums=(0, 1)
  )(student, teacher)
  for part in ours:
    assert np.abs(part).max() > 1e-4
  for part in theirs:
    np.testing.assert_array_equal(part, 0)


def test_rows_of_padding_alone_are_finite():
  student, teacher = projections_of(0, 8), projections_of(1, 12)
  loss, gradient = jax.value_and_grad(
      lambda x: relation_loss(x, teacher, jnp.zeros((2, 5), int), 4)[0]
  )(student)
  assert loss == 0
  assert all(np.isfinite(part).all() for part in gradient)


def test_bfloat16_is_compared_in_float32():
  student, teacher = projections_of(0, 8), projections_of(1, 12)
  rough = [
      jax.tree.map(lambda x: x.astype(jnp.bfloat16), both)
      for both in (student, teacher)
  ]
  texts = jnp.ones((2, 5), int)
  exact = relation_loss(
      *[jax.tree.map(lambda x: x.astype(jnp.float32), x) for x in rough],
      texts,
      4,
  )[0]
  loss = relation_loss(*rough, texts, 4)[0]
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, exact, rtol=1e-5)
