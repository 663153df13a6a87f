"""The network of an autoencoder: what z is, and that nothing else is seen."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.texts import make_generate, make_generate_at
from electra_jax.devices.sharding import RULES
from electra_jax.errors import UserError
from electra_jax.models.autoencoder import Autoencoder
from electra_jax.models.bottleneck import gaussian_noise
from electra_jax.models.config import EncoderConfig
from electra_jax.models.pooling import TextEncoder
from electra_jax.models.seq2seq_params import init_params
from electra_jax.trees import match_rules, path_names

BEGIN, END, PAD = 1, 2, 0
CONFIG = EncoderConfig(
    vocab_size=11,
    embedding_size=8,
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    intermediate_size=32,
    max_position_embeddings=24,
)
SIZE = 3
IDS = {"begin_id": BEGIN, "end_id": END, "pad_id": PAD}
SEEDS = jnp.asarray([3, 7], jnp.uint32)


@functools.cache
def params_of(architecture):
  """Returns parameters that are all away from where they start."""
  params = init_params(CONFIG, architecture, 0, SIZE)
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(1)
  moved = [x + 0.3 * rng.normal(size=x.shape).astype(x.dtype) for x in leaves]
  return jax.tree.unflatten(structure, moved)


def rows():
  ids = jnp.asarray([[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]], jnp.int32)
  return ids, (ids != PAD).astype(jnp.int32)


def targets():
  ids = jnp.asarray([[1, 5, 6, 7], [1, 8, 9, 3]], jnp.int32)
  return ids, jnp.ones_like(ids)


def apply(architecture, *args, **options):
  model = Autoencoder(CONFIG, architecture, dimensions=SIZE)

  @jax.jit
  def run(params):
    return model.apply({"params": params}, *args, **options)

  return run(params_of(architecture))


def test_the_gaussian_is_what_numpy_computes():
  params = params_of("recurrent")
  encoder = TextEncoder(CONFIG, "mean")
  parts = {name: params[name] for name in ("embeddings", "discriminator")}
  given = (*rows(), jnp.zeros_like(rows()[0]))
  vector = jax.jit(encoder.apply)({"params": parts}, *given)

  def layer(name, x):
    kernel, bias = (params["latent_head"][name][n] for n in ("kernel", "bias"))
    return np.asarray(x) @ np.asarray(kernel) + np.asarray(bias)

  hidden = layer("hidden", vector)
  hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
  mean = layer("mean", hidden)
  deviation = np.log1p(np.exp(layer("deviation", hidden))) + 1e-6
  found = apply("recurrent", *rows(), method="posterior")
  np.testing.assert_allclose(found.mean, mean, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(found.deviation, deviation, rtol=1e-4)
  expected = 0.5 * (deviation**2 + mean**2 - 1 - np.log(deviation**2))
  np.testing.assert_allclose(found.divergences, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("architecture", ["shared", "separate", "recurrent"])
def test_the_decoder_sees_z_and_nothing_else_of_the_text(architecture):
  """Steps from z alone give what whole targets of the text give."""
  states = apply(architecture, *rows(), *targets())
  logits = apply(architecture, states, method="logits")
  latents = apply(architecture, *rows(), method="posterior").mean
  memory, kept = apply(architecture, latents, max_length=4, method="start_at")
  ancestry = jnp.zeros((2, 1, 4), jnp.int32)
  model = Autoencoder(CONFIG, architecture, dimensions=SIZE)
  variables = {"params": params_of(architecture)}
  step = jax.jit(functools.partial(model.apply, variables, method="step"))
  for place in range(4):
    tokens = targets()[0][:, place : place + 1]
    found, kept = step(memory, kept, tokens, ancestry, jnp.int32(place))
    np.testing.assert_allclose(found[:, 0], logits[:, place], atol=2e-4)
  # Another z gives other words.
  other = apply(architecture, latents + 1.0, max_length=4, method="start_at")
  tokens = targets()[0][:, :1]
  moved, _ = step(*other, tokens, ancestry, jnp.int32(0))
  assert np.abs(moved[:, 0] - logits[:, 0]).max() > 1e-2


def test_a_draw_is_mean_and_noise_of_the_seed():
  labels = targets()[0]
  asked = functools.partial(
      apply, "recurrent", *rows(), *targets(), labels,
      method="drawn_label_scores",
  )  # fmt: skip
  scores, posterior, latents = asked(noise_seeds=SEEDS)
  (noise,) = gaussian_noise(SEEDS, 1, SIZE)
  np.testing.assert_allclose(
      latents, posterior.mean + posterior.deviation * noise, rtol=1e-6
  )
  again, _, others = asked(noise_seeds=SEEDS[::-1])
  assert not np.allclose(latents, others)
  assert not np.allclose(scores.label, again.label)


def test_texts_are_written_from_a_text_or_its_z():
  model = Autoencoder(CONFIG, "recurrent", dimensions=SIZE)
  how = DecodingConfig("greedy", max_length=5)
  params, numbers = params_of("recurrent"), jnp.arange(2)
  read = make_generate(model, how, **IDS)(params, *rows(), numbers)
  latents = apply("recurrent", *rows(), method="posterior").mean
  at = make_generate_at(model, how, **IDS)(params, latents, numbers)
  np.testing.assert_array_equal(read.tokens, at.tokens)
  np.testing.assert_allclose(read.scores, at.scores, rtol=1e-5)


def test_every_parameter_has_a_place_on_a_mesh():
  shapes = jax.eval_shape(lambda: init_params(CONFIG, "separate", 0, SIZE))
  specs = dict(path_names(match_rules(RULES, shapes, "sharding")))
  assert specs["latent_head/mean/kernel"] == PartitionSpec()
  assert shapes["latent_head"]["memory"]["kernel"].shape == (SIZE, 16)


def test_one_stack_is_refused():
  with pytest.raises(UserError, match="'unilm', and task=autoencode writes"):
    init_params(CONFIG, "unilm", 0, SIZE)
