"""Two towers, disentangled embeddings, and logits by chunks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra, discriminator_embeddings
from electra_jax.trees import path_names
from tests import helpers

VOCAB_SIZE, LENGTH = 100, 40


@functools.cache
def make(sharing="embeddings", **options):
  encoder = encoder_config(VOCAB_SIZE, 2, 64, 32)
  generator = generator_config(encoder, 0.5, own_embeddings=sharing == "none")
  config = ElectraConfig(encoder, generator, sharing, **options)
  return Electra(config), helpers.lively_params(config)


def rows(seed=0):
  rng = np.random.default_rng(seed)
  ids = rng.integers(5, VOCAB_SIZE, (3, LENGTH)).astype(np.int32)
  mask = (np.arange(LENGTH)[None] < np.array([[40], [30], [5]])).astype(
      np.int32
  )
  return jnp.asarray(ids * mask), jnp.asarray(mask), jnp.zeros_like(ids)


def apply(model, params, method, *args):
  run = jax.jit(functools.partial(model.apply, method=method))
  return run({"params": params}, *args)


def test_towers_see_all_tokens_but_their_own():
  model, params = make(has_two_towers=True)
  ids, mask, segments = rows()
  states = apply(model, params, "generate", ids, mask, segments).sequence
  place = 12
  changed = apply(
      model, params, "generate", ids.at[0, place].set(7), mask, segments
  ).sequence
  before, behind = np.split(np.abs(changed - states)[0], 2, axis=-1)
  is_changed = np.max(before, axis=-1) > 1e-4
  # The tower from the left shows a token to the places behind it.
  np.testing.assert_array_equal(
      is_changed, [p > place or p == 0 for p in range(LENGTH)]
  )
  is_changed = np.max(behind, axis=-1) > 1e-4
  np.testing.assert_array_equal(
      is_changed, [p < place or p == LENGTH - 1 for p in range(LENGTH)]
  )


def test_towers_do_not_see_padding():
  model, params = make(has_two_towers=True)
  ids, mask, segments = rows()
  states = apply(model, params, "generate", ids, mask, segments).sequence
  other = jnp.where(mask > 0, ids, 9)
  changed = apply(model, params, "generate", other, mask, segments).sequence
  np.testing.assert_allclose(changed[1, 1:29], states[1, 1:29], atol=1e-5)


def test_towers_are_two_encoders_and_one_head():
  _, params = make(has_two_towers=True)
  assert set(params) == {
      "embeddings",
      "discriminator",
      "discriminator_head",
      "generator_ltr",
      "generator_rtl",
      "cloze_head",
  }
  assert params["cloze_head"]["dense"]["kernel"].shape == (2 * 32, 32)


def test_towers_cannot_be_one_encoder_with_the_discriminator():
  with pytest.raises(UserError, match="embedding_sharing is 'all'"):
    ElectraConfig(
        encoder_config(9, 1, 64, 64), None, "all", has_two_towers=True
    )


def test_an_unknown_sharing():
  with pytest.raises(UserError, match="embedding_sharing is 'some'"):
    ElectraConfig(encoder_config(9, 1, 64, 64), None, "some")


@pytest.mark.parametrize("length", [7, 32, 40, 64])
def test_log_probabilities_by_chunks_are_those_of_all_logits(length):
  model, params = make()
  states = jax.random.normal(jax.random.key(1), (2, length, 32))
  ids = jax.random.randint(jax.random.key(2), (2, length, 3), 0, VOCAB_SIZE)
  every = jnp.broadcast_to(jnp.arange(length)[None], (2, length))

  def chunked(params, states):
    return model.apply(
        {"params": params}, states, ids, method="generator_log_probabilities"
    )

  def whole(params, states):
    logits = model.apply(
        {"params": params}, states, every, method="generator_logits"
    )
    return jnp.take_along_axis(jax.nn.log_softmax(logits), ids, axis=-1)

  def value_and_gradients(function):
    weights = jnp.arange(1.0, 4.0)[None, None]
    return jax.jit(
        jax.value_and_grad(
            lambda *args: jnp.sum(function(*args) * weights), argnums=(0, 1)
        )
    )(params, states)

  found = dict(path_names(value_and_gradients(chunked)))
  for path, expected in path_names(value_and_gradients(whole)):
    scale = np.abs(expected).max() + 1e-6
    np.testing.assert_allclose(
        found[path], expected, atol=1e-5 * scale, rtol=1e-5, err_msg=path
    )


def test_disentangled_tables_start_as_the_generators():
  model, _ = make("gradient_disentangled")
  ids = jnp.zeros((1, 4), jnp.int32)
  params = jax.jit(model.init)(jax.random.key(0), ids, ids, ids, ids)["params"]
  own, others = params["embeddings"], params["generator_embeddings"]
  for name in (
      "word_embeddings",
      "position_embeddings",
      "token_type_embeddings",
  ):
    assert not np.any(own[name]["embedding"])
    assert np.any(others[name]["embedding"])
  whole = discriminator_embeddings(params, model.config)
  np.testing.assert_array_equal(
      whole["word_embeddings"]["embedding"],
      others["word_embeddings"]["embedding"],
  )


def test_the_sum_of_both_tables_is_what_the_discriminator_reads():
  model, params = make("gradient_disentangled")
  shared, _ = make()
  whole = {
      name: params[name] for name in ("discriminator", "discriminator_head")
  }
  whole["embeddings"] = discriminator_embeddings(params, model.config)
  np.testing.assert_allclose(
      apply(model, params, "replaced_token_logits", *rows()),
      apply(shared, whole, "replaced_token_logits", *rows()),
      atol=1e-5,
  )


def test_the_discriminator_does_not_train_the_generators_tables():
  model, params = make("gradient_disentangled")

  @functools.partial(jax.jit, static_argnums=1)
  @jax.grad
  def gradients(params, method, *args):
    output = model.apply({"params": params}, *rows(), *args, method=method)
    return jnp.sum(jnp.square(output))

  grads = gradients(params, "replaced_token_logits")
  assert not any(map(np.any, jax.tree.leaves(grads["generator_embeddings"])))
  assert np.any(grads["embeddings"]["word_embeddings"]["embedding"])
  positions = jnp.ones((3, 2), jnp.int32)
  grads = gradients(params, "masked_lm_logits", positions)
  assert not any(map(np.any, jax.tree.leaves(grads["embeddings"])))
  assert np.any(grads["generator_embeddings"]["word_embeddings"]["embedding"])


def test_shared_embeddings_are_returned_as_they_are():
  model, params = make()
  assert discriminator_embeddings(params, model.config) is params["embeddings"]
