"""Encoders without some layers, heads and columns, against those that have them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.compress import pruning
from electra_jax.compress.pruning import Kept
from electra_jax.compress.teacher import Student, check_teacher
from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    EncoderConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.models.flops import encoder_flops
from electra_jax.objectives.masking import unpack_rows
from electra_jax.runs.config import DistillConfig
from tests import helpers

# Heads of 8, so that two of four do not fill the width.
ENCODER = EncoderConfig(helpers.VOCAB_SIZE, 16, 32, 3, 4, 24)
KEPT = Kept(
    (0, 1, 2),
    heads=((0, 3), (1, 2), (0, 1)),
    columns=((0, 5, 23), (1, 2, 3), (7, 8, 9)),
)


def networks(encoder):
  return ElectraConfig(encoder, None, has_generator_head=False)


def rows():
  return unpack_rows(*map(jnp.asarray, helpers.batch_of(rows=3, length=12)))


def run(encoder, params, method="replaced_token_logits"):
  model = Electra(networks(encoder))
  apply = jax.jit(lambda p: model.apply({"params": p}, *rows(), method=method))
  return apply(params)


def pruned(params, kept):
  part = pruning.pruned_params(params["discriminator"], ENCODER, kept)
  return {**params, "discriminator": part}


@pytest.fixture(scope="module", name="params")
def fixture_params():
  return jax.device_get(helpers.lively_params(networks(ENCODER)))


def without(params, kept):
  """Zeroes the rows that read what is not kept."""
  layers = dict(params["discriminator"])
  for i, (heads, columns) in enumerate(
      zip(kept.heads, kept.columns, strict=True)
  ):
    layer = jax.tree.map(np.copy, layers[f"layer_{i}"])
    for head in set(range(4)) - set(heads):
      layer["attention"]["output"]["kernel"][8 * head : 8 * head + 8] = 0
    gone = sorted(set(range(24)) - set(columns))
    layer["output"]["kernel"][gone] = 0
    layers[f"layer_{i}"] = layer
  return {**params, "discriminator": layers}


def test_what_nothing_reads_changes_no_logit(params):
  config = pruning.pruned_config(ENCODER, KEPT)
  assert (config.num_heads, config.intermediate_size) == (2, 3)
  assert (config.head_width, config.attention_width) == (8, 16)
  small = pruned(params, KEPT)
  layer = small["discriminator"]["layer_1"]
  assert layer["attention"]["query"]["kernel"].shape == (32, 16)
  assert layer["attention"]["output"]["kernel"].shape == (16, 32)
  expected = run(ENCODER, without(params, KEPT))
  assert np.max(np.abs(expected - run(ENCODER, params))) > 0.01
  np.testing.assert_allclose(run(config, small), expected, atol=1e-6, rtol=1e-6)


def test_without_the_last_layers_the_states_are_those_below(params):
  kept = pruning.everything(ENCODER, without=(2,))
  config = pruning.pruned_config(ENCODER, kept)
  assert config == dataclasses.replace(ENCODER, num_layers=2)
  whole = run(ENCODER, params, "discriminate")
  found = run(config, pruned(params, kept), "discriminate")
  np.testing.assert_allclose(found.sequence, whole.layers[2], atol=1e-6)


def test_layers_that_stay_are_renumbered(params):
  kept = pruning.everything(ENCODER, without=(0, 1))
  small = pruned(params, kept)["discriminator"]
  before = params["discriminator"]
  assert sorted(small) == ["embeddings_project", "layer_0"]
  helpers.assert_equal_trees(small["layer_0"], before["layer_2"])


def test_heads_of_zeros_answer_the_same(params):
  config = pruning.pruned_config(ENCODER, KEPT)
  small = pruned(params, KEPT)
  whole = pruning.filled_up_config(config)
  assert (whole.num_heads, whole.head_size) == (4, None)
  part = pruning.filled_up_params(small["discriminator"], config)
  filled = {**small, "discriminator": part}
  np.testing.assert_allclose(run(whole, filled), run(config, small), atol=1e-6)


@pytest.mark.parametrize(("num_heads", "head_size"), [(2, 12), (5, 8)])
def test_heads_that_no_width_tells_cannot_be_filled_up(num_heads, head_size):
  odd = dataclasses.replace(ENCODER, num_heads=num_heads, head_size=head_size)
  with pytest.raises(
      UserError, match=f"has {num_heads} heads of {head_size} in"
  ):
    pruning.filled_up_config(odd)


def test_the_width_of_a_head_is_as_usual_unless_it_is_told():
  usual = encoder_config(10, 1, 128, 32)
  assert (usual.head_width, usual.attention_width) == (64, 128)
  told = dataclasses.replace(usual, num_heads=3, head_size=64)
  assert (told.head_width, told.attention_width) == (64, 192)
  assert generator_config(told, 0.5).head_size is None
  with pytest.raises(UserError, match="does not divide into num_heads 3"):
    dataclasses.replace(usual, num_heads=3)


def test_flops_are_those_of_the_products_that_are_left():
  config = pruning.pruned_config(ENCODER, KEPT)
  length, attention, inner = 10, 2 * 8, 3
  layer = 2 * (4 * 32 * attention + 2 * 32 * inner) + 4 * length * attention
  assert encoder_flops(config, length) == length * (3 * layer + 2 * 16 * 32)


def test_relations_are_of_the_width_of_attention():
  """Three heads of 8 in a width of 32 divide by 3, and not by 16 or 5."""
  encoder = dataclasses.replace(ENCODER, num_heads=3, head_size=8)
  student = Student(encoder, None, 8, "config.data.length")
  for heads, fits in ((3, True), (16, False), (5, False)):
    distill = DistillConfig(teacher="big", relation_heads=heads)
    if fits:
      assert check_teacher(distill, encoder, student) == 2
      continue
    with pytest.raises(
        UserError, match=f"{heads} does not divide the width 24"
    ):
      check_teacher(distill, encoder, student)
