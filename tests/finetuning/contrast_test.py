"""The contrastive loss against numpy, written down as the papers have it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.finetuning.contrast import contrastive_loss

ROUNDING = 3e-6  # Of logits up to 20 in float32.
RNG = np.random.default_rng(0)


def cosine(a, b):
  return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def by_hand(groups, temperature, prefix=None, left_out=()):
  """Loss of each example; left_out: pairs (i, candidate) with no part."""
  groups = groups[..., :prefix]
  anchors, candidates = groups[:, 0], groups[:, 1:].swapaxes(0, 1)
  candidates = candidates.reshape(-1, groups.shape[-1])
  losses = []
  for i, anchor in enumerate(anchors):
    scores = [
        np.exp(cosine(anchor, c) / temperature)
        for j, c in enumerate(candidates)
        if (i, j) not in left_out
    ]
    own = np.exp(cosine(anchor, candidates[i]) / temperature)
    losses.append(-np.log(own / np.sum(scores)))
  return np.array(losses)


def loss_of(groups, ids=None, weights=None, **options):
  count, group, width = groups.shape
  ids = np.arange(count * group) if ids is None else ids
  weights = np.ones(count * group) if weights is None else weights
  return contrastive_loss(
      jnp.asarray(groups.reshape(-1, width), jnp.float32),
      jnp.asarray(ids, jnp.int32),
      jnp.asarray(weights, jnp.float32),
      group=group,
      **{"temperature": 0.05} | options,
  )


@pytest.mark.parametrize("group", [2, 3])
def test_the_loss_is_that_of_simcse(group):
  groups = RNG.normal(size=(4, group, 8))
  for temperature in (0.05, 1.0):
    np.testing.assert_allclose(
        loss_of(groups, temperature=temperature),
        by_hand(groups, temperature),
        rtol=1e-4,
        atol=ROUNDING,
    )


def test_two_orthogonal_pairs_are_worth_what_a_hand_can_compute():
  groups = np.array([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]]])
  loss = loss_of(groups, temperature=1.0)
  np.testing.assert_allclose(loss, np.log(1 + np.exp(-1)), rtol=1e-6)


def test_prefixes_add_up():
  groups = RNG.normal(size=(3, 2, 8))
  expected = by_hand(groups, 0.05, 2) + by_hand(groups, 0.05, 8)
  np.testing.assert_allclose(
      loss_of(groups, prefixes=(2, 8)), expected, rtol=1e-4
  )


def test_equal_texts_and_those_that_fill_up_are_no_negatives():
  groups = RNG.normal(size=(4, 2, 8))
  # Partners of 0 and 2 are one text; group 3 only fills up the batch.
  ids, weights = [0, 1, 2, 3, 4, 1, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0]
  left_out = {(0, 2), (2, 0), *((i, 3) for i in range(3))}
  np.testing.assert_allclose(
      loss_of(groups, ids, weights, temperature=1.0)[:3],
      by_hand(groups, 1.0, left_out=left_out)[:3],
      rtol=1e-5,
  )


def test_vectors_of_zeros_have_a_gradient():
  groups = np.zeros((2, 2, 4))
  gradient = jax.grad(lambda x: jnp.sum(loss_of(x)))(jnp.asarray(groups))
  assert np.isfinite(gradient).all()
