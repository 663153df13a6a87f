"""The information bottleneck against numpy and numbers by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.models.bottleneck import (
    Bottleneck,
    BottleneckHead,
    divergence,
    fold_bottlenecks,
    gaussian_noise,
)
from electra_jax.models.config import encoder_config
from electra_jax.models.dropout import fold_seeds
from electra_jax.models.task_heads import DenseSequenceHead

RNG = np.random.default_rng(0)
CONFIG = encoder_config(100, 1, 64, 32, hidden_dropout=0.0)
SEEDS = jnp.asarray([3, 1 << 31, 9, 3], jnp.uint32)
VECTORS = jnp.asarray(RNG.normal(0, 1, (4, 64)), jnp.float32)


def head_and_params(prior="learned", samples=3):
  head = BottleneckHead(2, Bottleneck(5, samples, prior), CONFIG)
  params = head.init(jax.random.key(0), VECTORS, None)["params"]
  params = jax.tree.map(
      lambda x: jnp.asarray(RNG.normal(0, 0.3, x.shape), jnp.float32), params
  )
  return head, params


def test_the_rate_by_hand():
  # From N(0, 1): of N(0, 1) nothing; of N(2, 1) 2²/2; of N(0, e) the rest.
  mean = jnp.asarray([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
  deviation = jnp.asarray([[1.0, 1.0], [1.0, 1.0], [math.e, 1.0]])
  zeros = jnp.zeros(2)
  rates = divergence(mean, deviation, zeros, zeros)
  expected = [0.0, 2.0, 0.5 * (math.e**2 - 1) - 1]
  np.testing.assert_allclose(rates, expected, rtol=1e-6)
  # From N(2, e) that same tells nothing.
  prior = jnp.asarray([2.0, 0.0]), jnp.asarray([1.0, 0.0])
  same = jnp.asarray([[2.0, 0.0]]), jnp.asarray([[math.e, 1.0]])
  np.testing.assert_allclose(divergence(*same, *prior), [0.0], atol=1e-6)


def test_the_rate_is_the_formula():
  mean, prior_mean = RNG.normal(0, 2, (6, 4)), RNG.normal(0, 1, 4)
  deviation = RNG.uniform(0.05, 3, (6, 4))
  prior_deviation = RNG.uniform(0.5, 2, 4)
  expected = 0.5 * np.sum(
      (deviation**2 + (mean - prior_mean) ** 2) / prior_deviation**2
      - 1
      + np.log(prior_deviation**2)
      - np.log(deviation**2),
      axis=-1,
  )
  given = (mean, deviation, prior_mean, np.log(prior_deviation))
  found = divergence(*(jnp.asarray(x, jnp.float32) for x in given))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_a_head_computes_what_numpy_does(prior):
  head, params = head_and_params(prior)
  own = {"prior_mean", "prior_log_deviation"}
  assert own <= set(params) if prior == "learned" else own.isdisjoint(params)
  output = head.apply({"params": params}, VECTORS, SEEDS)

  def layer(name, x):
    kernel, bias = (np.asarray(params[name][n]) for n in ("kernel", "bias"))
    return x @ kernel + bias

  hidden = layer("hidden", np.asarray(VECTORS))
  hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
  mean, deviation = layer("mean", hidden), layer("deviation", hidden)
  deviation = np.log1p(np.exp(deviation)) + 1e-6
  noise = output_noise(head)
  logits = layer("dense", mean[None] + deviation[None] * noise)
  assert output.logits.shape == (3, 4, 2)
  np.testing.assert_allclose(output.logits, logits, rtol=2e-4, atol=2e-5)
  prior_mean = np.asarray(params.get("prior_mean", np.zeros(5)))
  prior_deviation = np.exp(params.get("prior_log_deviation", np.zeros(5)))
  rate = 0.5 * np.sum(
      (deviation**2 + (mean - prior_mean) ** 2) / prior_deviation**2
      - 1
      + np.log(prior_deviation**2)
      - np.log(deviation**2),
      axis=-1,
  )
  np.testing.assert_allclose(output.rate, rate, rtol=1e-4)
  plain = head.apply({"params": params}, VECTORS, None)
  np.testing.assert_allclose(
      plain.logits, layer("dense", mean), rtol=2e-4, atol=2e-5
  )
  np.testing.assert_allclose(plain.rate, rate, rtol=1e-4)


def output_noise(head):
  seeds = fold_seeds(SEEDS, 1)
  shape = head.bottleneck.samples, head.bottleneck.dimensions
  return np.asarray(gaussian_noise(seeds, *shape))


def test_noise_is_of_the_text_alone_and_normal():
  noise = gaussian_noise(SEEDS, 3, 5)
  assert noise.shape == (3, 4, 5)
  np.testing.assert_array_equal(noise[:, 0], noise[:, 3])  # One seed.
  np.testing.assert_array_equal(noise[:, 1:2], gaussian_noise(SEEDS[1:2], 3, 5))
  many = np.asarray(gaussian_noise(jnp.arange(2000, dtype=jnp.uint32), 4, 4))
  assert abs(many.mean()) < 0.02 and abs(many.std() - 1) < 0.02
  flat = many.transpose(1, 0, 2).reshape(2000, 16)
  others = np.corrcoef(flat.T) - np.eye(16)
  assert np.abs(others).max() < 0.1  # Samples and dimensions are apart.


def test_gradients_stay_finite_where_the_deviation_vanishes():
  head, params = head_and_params()
  params["deviation"]["bias"] = jnp.full(5, -200.0)

  def loss(params):
    output = head.apply({"params": params}, VECTORS, SEEDS)
    return jnp.sum(output.logits) + jnp.sum(output.rate)

  value, grads = jax.value_and_grad(loss)(params)
  for leaf in jax.tree.leaves((value, grads)):
    assert np.isfinite(leaf).all()


def test_the_folded_head_is_the_mean_of_the_other():
  head, params = head_and_params()
  other = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}}
  folded = fold_bottlenecks(
      {"embeddings": 1, "task_specific": {"sst": params, "sts": other}}
  )
  assert folded["embeddings"] == 1
  assert folded["task_specific"]["sts"] is other
  plain = DenseSequenceHead(2, CONFIG)
  own = jax.tree.map(jnp.asarray, folded["task_specific"]["sst"])
  logits = plain.apply({"params": own}, VECTORS, None)
  expected = head.apply({"params": params}, VECTORS, None).logits
  np.testing.assert_allclose(logits, expected, atol=1e-5)
