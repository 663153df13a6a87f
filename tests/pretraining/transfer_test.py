"""Parts of one run for another: what is taken, matched, fresh or refused."""

import dataclasses
import functools
import re

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
from electra_jax.models.electra import Electra
from electra_jax.pretraining.trainer import abstract_params
from electra_jax.pretraining.transfer import (
    carried_over,
    choose_parts,
    matched_rows,
    resized_positions,
    whole_networks,
)
from electra_jax.trees import path_names
from tests import helpers

IDS = jnp.asarray([[2, 5, 7, 9, 3, 0], [2, 8, 3, 0, 0, 0]], jnp.int32)
MASK = (IDS != 0).astype(jnp.int32)
SEGMENTS = jnp.zeros_like(IDS)
SHARED = "embeddings"


def networks(
    sharing=SHARED,
    *,
    ratio=1.0,
    layers=1,
    width=16,
    embedding=16,
    vocab=11,
    positions=8,
    **heads,
):
  encoder = encoder_config(
      vocab, layers, width, embedding, max_position_embeddings=positions
  )
  generator = None
  if sharing != "all":
    own = sharing == "none"
    generator = generator_config(encoder, ratio, own_embeddings=own)
  return ElectraConfig(encoder, generator, sharing, **heads)


def masked_lm(**shapes):
  config = networks("all", has_discriminator_head=False, **shapes)
  return dataclasses.replace(config, embedding_sharing=SHARED)


@functools.cache
def random_params(config, seed=0):
  return jax.tree.map(jnp.asarray, helpers.random_params(config, seed))


shapes = functools.cache(abstract_params)


def choose(source, target, fresh=(), unused=()):
  return choose_parts(
      shapes(source),
      shapes(target),
      source,
      target,
      fresh=fresh,
      unused=unused,
      place="SOURCE",
  )


def flags_of(error) -> dict[str, tuple[str, ...]]:
  found = re.findall(r"--config\.init\.(\w+)=(\S+)", str(error))
  return {option: tuple(names.split(",")) for option, names in found}


def follow_advice(source, target):
  """Returns the parts that come over, and the flags that this takes."""
  try:
    return choose(source, target), {}
  except UserError as error:
    flags = flags_of(error)
    return choose(source, target, **flags), flags


def go_on(source, target, params, fresh, taken, rows=None):
  return carried_over(
      params, fresh, source=source, target=target, taken=taken, rows=rows
  )


def states(config, params, network):
  return apply_of(config, network)(params)


@functools.cache
def apply_of(config, network):
  def apply(params):
    rows = (IDS, MASK, SEGMENTS)
    return Electra(config).apply({"params": params}, *rows, method=network)

  return jax.jit(lambda params: apply(params).sequence)


# --- Every shape of sharing from every other ---

KINDS = {
    "embeddings": networks(),
    "none": networks("none"),
    "all": networks("all"),
    "disentangled": networks("gradient_disentangled"),
    "masked_lm": masked_lm(),
    "token_head": networks(has_token_head=True),
    "no_generator": networks("all", has_generator_head=False),
    "two_towers": networks(has_two_towers=True),
}


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_networks_compute_the_same_in_another_shape(source, target):
  source, target = KINDS[source], KINDS[target]
  params, fresh = random_params(source), random_params(target, 1)
  taken, flags = follow_advice(source, target)
  result = go_on(source, target, params, fresh, taken)
  assert {n: x.shape for n, x in path_names(result)} == {
      n: x.shape for n, x in path_names(fresh)
  }
  np.testing.assert_allclose(
      states(target, result, "discriminate"),
      states(source, params, "discriminate"),
      rtol=1e-5,
      atol=1e-5,
  )
  # What the source has or can give is never left to chance.
  given = set(whole_networks(params, source)) - set(flags.get("unused", ()))
  assert taken == given & set(fresh)
  for name in set(fresh) - taken:
    helpers.assert_equal_trees(result[name], fresh[name])
  if "generator" in taken and "generator_embeddings" not in flags.get(
      "unused", ()
  ):
    np.testing.assert_allclose(
        states(target, result, "generate"),
        states(source, params, "generate"),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_networks_come_over_bit_by_bit(kind):
  config = KINDS[kind]
  params, fresh = random_params(config), random_params(config, 1)
  taken = choose(config, config)
  assert taken == set(params)
  result = go_on(config, config, params, fresh, taken)
  if config.is_disentangled:  # (a + b) - a is b but for rounding.
    result, params = dict(result), dict(params)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6),
        result.pop("embeddings"),
        params.pop("embeddings"),
    )
  helpers.assert_equal_trees(result, params)


def test_tables_that_were_shared_differ_by_nothing():
  source, target = networks(), networks("gradient_disentangled")
  params, fresh = random_params(source), random_params(target)
  result = go_on(source, target, params, fresh, choose(source, target))
  helpers.assert_equal_trees(
      result["generator_embeddings"], params["embeddings"]
  )
  tables = dict(result["embeddings"])
  helpers.assert_equal_trees(
      tables.pop("layer_norm"), params["embeddings"]["layer_norm"]
  )
  assert all(not np.any(x) for x in jax.tree.leaves(tables))


def test_the_second_stage_starts_from_one_network_twice():
  source, target = masked_lm(), networks("none")
  with pytest.raises(UserError, match="gives no discriminator_head") as error:
    choose(source, target)
  assert flags_of(error.value) == {"fresh": ("discriminator_head",)}
  taken = choose(source, target, fresh=("discriminator_head",))
  params, fresh = random_params(source), random_params(target, 1)
  result = go_on(source, target, params, fresh, taken)
  helpers.assert_equal_trees(result["generator"], params["discriminator"])
  helpers.assert_equal_trees(result["discriminator"], params["discriminator"])
  helpers.assert_equal_trees(
      result["generator_embeddings"], params["embeddings"]
  )
  helpers.assert_equal_trees(result["generator_head"], params["generator_head"])


def test_a_bert_and_a_small_generator():
  source, target = masked_lm(width=128), networks(width=128, ratio=0.5)
  with pytest.raises(UserError) as error:
    choose(source, target)
  message = str(error.value)
  assert "another generator (of hidden_size 128, here 64)" in message
  assert "set --config.model.generator_width_ratio=1, or" in message
  flags = flags_of(error.value)
  assert flags == {
      "fresh": ("discriminator_head", "generator", "generator_head"),
      "unused": ("generator_head",),
  }
  assert choose(source, target, **flags) == {"embeddings", "discriminator"}


# --- Lists that are not true ---


@pytest.mark.parametrize(
    ("source", "lists", "message"),
    [
        ("embeddings", {"fresh": ("generators",)},
         "'generators', which is no part of this run; there are discri"),
        ("embeddings", {"fresh": ("generator",)},
         "'generator', which the run in SOURCE has; .*unused=generator$"),
        ("embeddings", {"unused": ("token_head",)},
         "'token_head', which is no part of the run in SOURCE; there are"),
        ("embeddings", {"unused": ("generator",)},
         r"gives no generator; .*fresh=generator --config.init.unused=gen"),
        ("token_head", {},
         r"has token_head without a place here; .*unused=token_head$"),
        ("no_generator", {"fresh": ("generator",)},
         r"gives no generator_head; .*fresh=generator,generator_head$"),
    ],
)  # fmt: skip
def test_lists_that_are_not_true(source, lists, message):
  with pytest.raises(UserError, match=message):
    choose(KINDS[source], networks(), **lists)


def test_a_part_may_be_left_out_and_start_fresh():
  config = networks()
  taken = choose(config, config, fresh=("generator",), unused=("generator",))
  assert "generator" not in taken and "generator_head" in taken


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (networks(width=128, ratio=0.5), networks(width=128),
         r"set --config.model.generator_width_ratio=0.5, or let"),
        (networks("none", ratio=0.5), networks("none"),
         r"another generator_embeddings \(layer_norm/bias of shape \(8,\), h"),
        (networks(width=32), networks("none", width=32),
         r"another generator \(of embedding_size 16, here 32\).*; let these"),
    ],
)  # fmt: skip
def test_a_generator_of_other_shapes(source, target, message):
  with pytest.raises(UserError, match=message) as error:
    choose(source, target)
  assert choose(source, target, **flags_of(error.value))


def test_a_generator_of_another_depth():
  source, target = networks(layers=2), networks(layers=2)
  shallow = dataclasses.replace(source.generator, num_layers=1)
  source = dataclasses.replace(source, generator=shallow)
  with pytest.raises(UserError, match=r"set \S+generator_depth_ratio=0.5, or"):
    choose(source, target)


def test_heads_that_only_count_differently_are_other_shapes():
  source, target = networks(width=128), networks(width=128)
  one_head = dataclasses.replace(source.generator, num_heads=1)
  source = dataclasses.replace(source, generator=one_head)
  with pytest.raises(UserError, match=r"of num_heads 1, here 2\); let these"):
    choose(source, target)


# --- Positions and tokens ---


@pytest.mark.parametrize(("old", "new"), [(1, 3), (4, 2), (4, 4), (4, 11)])
def test_positions_are_cut_or_repeated(old, new):
  table = jnp.arange(old * 3, dtype=jnp.float32).reshape(old, 3)
  expected = np.resize(np.asarray(table), (new, 3))
  np.testing.assert_array_equal(resized_positions(table, new), expected)


def test_matched_rows():
  known, fresh = jnp.asarray([1.0, 2.0]), jnp.asarray([-1.0, -2.0, -3.0])
  rows = np.asarray([1, -1, 0], np.int32)
  assert matched_rows(known, fresh, rows).tolist() == [2.0, -2.0, 1.0]


@pytest.mark.parametrize("sharing", ["embeddings", "gradient_disentangled"])
def test_tokens_and_positions_in_every_table(sharing):
  heads = {"has_token_head": True}
  source = networks(sharing, **heads)
  target = networks(sharing, vocab=5, positions=20, **heads)
  params, fresh = random_params(source), random_params(target, 1)
  rows = np.asarray([7, -1, 0, 10, -1], np.int32)
  taken = choose(source, target)
  result = go_on(source, target, params, fresh, taken, rows)
  old, new = whole_networks(params, source), whole_networks(result, target)
  for name in ("embeddings", "generator_embeddings"):
    words = [x[name]["word_embeddings"]["embedding"] for x in (old, new)]
    np.testing.assert_allclose(
        words[1][np.asarray([0, 2, 3])],
        words[0][np.asarray([7, 0, 10])],
        rtol=1e-5,
        atol=1e-5,
    )
    places = [x[name]["position_embeddings"]["embedding"] for x in (old, new)]
    np.testing.assert_allclose(
        places[1], np.resize(places[0], (20, 16)), rtol=1e-5, atol=1e-5
    )
  # A new token of disentangled tables keeps the difference it began with.
  own, begun = (
      x["embeddings"]["word_embeddings"]["embedding"][1]
      for x in (result, fresh)
  )
  np.testing.assert_allclose(own, begun, rtol=1e-5, atol=1e-5)
  for name in ("generator_head", "token_head"):
    bias = result[name]["output_bias"]
    assert bias[0] == params[name]["output_bias"][7]
    assert bias[1] == fresh[name]["output_bias"][1]
