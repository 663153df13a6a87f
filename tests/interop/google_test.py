"""The released code's checkpoints as models, of every shape it writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.interop import google, tf_checkpoint
from electra_jax.interop.states import abstract_params
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.training.optimizer import AdamState
from tests import helpers


def make_networks(
    hidden_size=64, embedding_size=32, layers=2, ratio=1.0, sharing="embeddings"
) -> ElectraConfig:
  encoder = encoder_config(
      50, layers, hidden_size, embedding_size, max_position_embeddings=16
  )
  generator = generator_config(encoder, ratio, own_embeddings=sharing == "none")
  return ElectraConfig(
      encoder, None if sharing == "all" else generator, sharing
  )


def random_params(config: ElectraConfig, seed: int = 0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda x: rng.normal(size=x.shape).astype(np.float32),
      abstract_params(config),
  )


def assert_equal(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


NETWORKS = {
    "projected": make_networks(hidden_size=128, ratio=0.5),
    "equal widths": make_networks(hidden_size=64, embedding_size=64),
    "as released small": make_networks(hidden_size=256, embedding_size=128),
    "as large": make_networks(128, 128, layers=24, ratio=0.5),
    "own tables": make_networks(hidden_size=128, ratio=0.5, sharing="none"),
    "all tied": make_networks(sharing="all"),
    "masked LM": ElectraConfig(
        make_networks().discriminator, None, has_discriminator_head=False
    ),
    "discriminator alone": ElectraConfig(
        make_networks().discriminator, None, has_generator_head=False
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_and_values_come_back(name, tmp_path):
  config = NETWORKS[name]
  params = random_params(config)
  moments = AdamState(random_params(config, 1), random_params(config, 2))
  google.write_params(tmp_path, params, moments, 4_000_000)
  model = google.read_model(tmp_path / "model.ckpt-4000000")
  assert model.config == config
  assert model.step == 4_000_000
  assert_equal(model.params, params)
  assert_equal(model.moments, moments)


def test_the_released_codes_checkpoint_gives_its_logits(tmp_path):
  weights = np.load(helpers.TINY / "weights.npz")
  variables = {name: weights[name] for name in weights.files}
  # The released checkpoints have this scalar beside the networks.
  variables["generator_predictions/temperature"] = np.float32(1)
  tf_checkpoint.write_variables(tmp_path / "electra_tiny", variables)
  model = google.read_model(tmp_path / "electra_tiny")
  assert model.step == 200
  assert model.moments is None
  assert model.config == helpers.golden_model().config
  arrays = helpers.golden_forward()
  rows = helpers.golden_rows()
  logits = Electra(model.config).apply(
      {"params": jax.tree.map(jnp.asarray, model.params)},
      arrays["corrupted_input_ids"].astype(jnp.int32),
      rows.input_mask,
      rows.segment_ids,
      method="replaced_token_logits",
  )
  np.testing.assert_allclose(
      logits, arrays["discriminator_logits"], atol=5e-5, rtol=0
  )


def rewrite(tmp_path, change):
  """Writes a small checkpoint, changed, and returns its prefix."""
  config = NETWORKS["projected"]
  params = random_params(config)
  google.write_params(tmp_path, params, AdamState(params, params), 3)
  prefix = tmp_path / "model.ckpt-3"
  variables = tf_checkpoint.read_variables(prefix)
  change(variables)
  tf_checkpoint.write_variables(prefix, variables)
  return prefix


LAYER = "electra/encoder/layer_1/output/dense"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop(f"{LAYER}/bias"), f"no variable '{LAYER}/bias'"),
        (lambda v: v.pop(f"{LAYER}/bias/adam_v"), f"no variable '{LAYER}/bias/adam_v'"),
        (
            lambda v: v.update({"extra/kernel": np.ones(3, np.float32)}),
            r"no place for 1 variables .*'extra/kernel'",
        ),
        (
            lambda v: v.update({f"{LAYER}/bias": np.ones(3, np.float32)}),
            rf"'{LAYER}/bias' has shape \(3,\)",
        ),
        (
            lambda v: v.update({"generator_ltr/x": np.ones(3, np.float32)}),
            "is a two-tower generator's checkpoint",
        ),
        (
            lambda v: v.update({"task_specific/x": np.ones(3, np.float32)}),
            "is a fine-tuned model's checkpoint",
        ),
        (
            lambda v: v.pop("electra/embeddings/word_embeddings"),
            "holds no ELECTRA",
        ),
        (
            lambda v: v.pop("electra/embeddings/position_embeddings"),
            "no variable 'electra/embeddings/position_embeddings'; it is not",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, message, tmp_path):
  prefix = rewrite(tmp_path, change)
  with pytest.raises(UserError, match=message):
    google.read_model(prefix)
