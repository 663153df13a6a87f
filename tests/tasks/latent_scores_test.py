"""Scores of z against values by hand."""

import math

import numpy as np
import pytest

from electra_jax.tasks.latent_scores import (
    Costs,
    active_units,
    mutual_information,
    score_latents,
)


def test_units_are_active_whose_mean_varies():
  # Variances 1, 0.0001, 0.0121 and 0; the first and the third exceed 0.01.
  means = np.asarray([[1.0, 0.01, 0.11, 5.0], [-1.0, -0.01, -0.11, 5.0]])
  assert active_units(means) == 2


def test_apart_z_tells_which_text_it_is_of():
  means = np.asarray([[-100.0], [0.0], [100.0]])
  found = mutual_information(means, np.ones((3, 1)), means)
  assert found == pytest.approx(math.log(3))


def test_collapsed_z_tells_nothing():
  latents = np.random.default_rng(0).normal(size=(50, 4))
  zeros = np.zeros((50, 4))
  found = mutual_information(zeros, zeros + 1.0, latents)
  assert found == pytest.approx(0, abs=1e-12)


def test_mutual_information_by_hand():
  # Two texts, N(0, 1) and N(1, 2²); z is 0.5 of the one and 2 of the other.
  means, deviations = np.asarray([[0.0], [1.0]]), np.asarray([[1.0], [2.0]])
  latents = np.asarray([[0.5], [2.0]])

  def density(z, mean, deviation):
    shift = (z - mean) / deviation
    return math.exp(-(shift**2) / 2) / (deviation * math.sqrt(2 * math.pi))

  expected = np.mean(
      [
          math.log(
              density(z, m, s)
              / np.mean([density(z, 0.0, 1.0), density(z, 1.0, 2.0)])
          )
          for z, m, s in ((0.5, 0.0, 1.0), (2.0, 1.0, 2.0))
      ]
  )
  found = mutual_information(means, deviations, latents)
  assert found == pytest.approx(expected)


def test_many_texts_are_looked_at_in_parts():
  rng = np.random.default_rng(0)
  means, noise = rng.normal(size=(2, 600, 3))
  deviations = rng.uniform(0.1, 1.0, (600, 3))
  latents = means + deviations * noise
  logs = -0.5 * ((latents[:, None] - means[None]) / deviations[None]) ** 2
  logs = (logs - np.log(deviations)[None]).sum(axis=2)
  expected = np.mean(np.diag(logs) - np.log(np.exp(logs).mean(axis=1)))
  found = mutual_information(means, deviations, latents)
  assert found == pytest.approx(expected)


def test_the_bound_is_reconstruction_and_divergence_of_a_draw():
  costs = Costs(
      nats=np.asarray([9.0, 9.0]),
      tokens=np.asarray([2.0, 4.0]),
      drawn_nats=np.asarray([10.0, 14.0]),
      divergences=np.asarray([[1.0, 0.5], [2.0, 0.5]], np.float32),
      means=np.asarray([[1.0, 0.0], [-1.0, 0.0]]),
      deviations=np.ones((2, 2)),
      latents=np.asarray([[1.0, 0.0], [-1.0, 0.0]]),
  )
  found = score_latents(costs)
  mutual = 0.0 - math.log((1 + math.exp(-2.0)) / 2)
  assert found == pytest.approx(
      {
          "elbo": -14.0,
          "reconstruction": 12.0,
          "kl": 2.0,
          "active_units": 1.0,
          "mutual_information": mutual,
      }
  )
