"""Layers of a shallow run, repeated for a deep one."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.pretraining.stacking import deeper, stacked


def networks(layers, *, generator_layers=None):
  encoder = encoder_config(11, layers, 16, 16, max_position_embeddings=8)
  if generator_layers is None:
    return ElectraConfig(encoder, None, "all")
  generator = generator_config(encoder, 1.0, own_embeddings=False)
  generator = dataclasses.replace(generator, num_layers=generator_layers)
  return ElectraConfig(encoder, generator, "embeddings")


def encoder_of(layers, name):
  """Stands for an encoder's parameters: a word for each."""
  named = {f"layer_{i}": f"{name} {i}" for i in range(layers)}
  return {"embeddings_project": name} | named


@given(few=st.integers(1, 6), many=st.integers(1, 20))
def test_layer_i_is_layer_i_modulo_their_number(few, many):
  source = networks(few)
  params = {"embeddings": "table", "discriminator": encoder_of(few, "d")}
  if many <= few:
    with pytest.raises(UserError, match=f"the {few} layers of the run in RUN"):
      deeper(source, networks(many), "RUN")
    return
  whole = deeper(source, networks(many), "RUN")
  assert whole == networks(many)
  found = stacked(params, whole)
  assert found["embeddings"] == "table"
  assert found["discriminator"] == {"embeddings_project": "d"} | {
      f"layer_{i}": f"d {i % few}" for i in range(many)
  }
  assert stacked(params, source) == params


def test_each_network_is_repeated_to_its_own_depth():
  source = networks(2, generator_layers=1)
  whole = deeper(source, networks(5, generator_layers=3), "RUN")
  assert whole == networks(5, generator_layers=3)
  params = {
      "discriminator": encoder_of(2, "d"),
      "generator": encoder_of(1, "g"),
      "generator_head": {"output_bias": "b"},
  }
  found = stacked(params, whole)
  assert found["discriminator"]["layer_4"] == "d 0"
  assert "layer_5" not in found["discriminator"]
  assert found["generator"]["layer_2"] == "g 0"
  assert "layer_3" not in found["generator"]
  assert found["generator_head"] == params["generator_head"]
