"""The released code's checkpoints as models, of every shape it writes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.finetuning.trainer import init_params
from electra_jax.interop import google, tf_checkpoint
from electra_jax.interop.model import (
    FinetunedState,
    PretrainedState,
    seen_params,
)
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra, discriminator_embeddings
from electra_jax.models.task_heads import HeadConfig
from electra_jax.training.optimizer import AdamState
from tests import helpers


def make_networks(
    hidden_size=64,
    embedding_size=32,
    layers=2,
    ratio=1.0,
    sharing="embeddings",
    **parts,
) -> ElectraConfig:
  encoder = encoder_config(
      50, layers, hidden_size, embedding_size, max_position_embeddings=16
  )
  generator = generator_config(encoder, ratio, own_embeddings=sharing == "none")
  if sharing == "all" or not parts.get("has_generator_head", True):
    generator = None
  return ElectraConfig(encoder, generator, sharing, **parts)


def random_model(config: ElectraConfig) -> PretrainedState:
  params, *moments = (helpers.random_params(config, seed) for seed in range(3))
  return PretrainedState(config, params, AdamState(*moments), 4_000_000)


def assert_close(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)


NETWORKS = {
    "projected": make_networks(hidden_size=128, ratio=0.5),
    "equal widths": make_networks(hidden_size=64, embedding_size=64),
    "as released small": make_networks(hidden_size=256, embedding_size=128),
    "as large": make_networks(128, 128, layers=11, ratio=0.5),
    "own tables": make_networks(hidden_size=128, ratio=0.5, sharing="none"),
    "all tied": make_networks(sharing="all"),
    "masked LM": ElectraConfig(
        make_networks().discriminator, None, has_discriminator_head=False
    ),
    "discriminator alone": make_networks(has_generator_head=False),
    "two towers, projected": make_networks(
        128, 32, ratio=0.5, has_two_towers=True
    ),
    "two towers, equal": make_networks(64, 64, has_two_towers=True),
    "two towers, own tables": make_networks(
        128, ratio=0.5, sharing="none", has_two_towers=True
    ),
    "replace MLM": make_networks(
        has_discriminator_head=False, has_token_head=True
    ),
    "all-tokens MLM": make_networks(has_token_head=True),
    "all-tokens MLM, all tied": make_networks(
        sharing="all", has_token_head=True
    ),
    "tokens alone": make_networks(
        has_generator_head=False,
        has_discriminator_head=False,
        has_token_head=True,
    ),
}
DISENTANGLED = {
    "projected": make_networks(128, ratio=0.5, sharing="gradient_disentangled"),
    "two towers": make_networks(
        128, ratio=0.5, sharing="gradient_disentangled", has_two_towers=True
    ),
    "token head": make_networks(
        128,
        ratio=0.5,
        sharing="gradient_disentangled",
        has_discriminator_head=False,
        has_token_head=True,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_and_values_come_back(name, tmp_path):
  config = NETWORKS[name]
  original = random_model(config)
  google.write_model(tmp_path, original)
  model = google.read_model(tmp_path / "model.ckpt-4000000")
  assert model.config == config
  assert model.step == 4_000_000
  assert model.fresh == model.left_out == ()
  helpers.assert_equal_trees(model.params, original.params)
  helpers.assert_equal_trees(model.moments, original.moments)


@pytest.mark.parametrize("name", DISENTANGLED)
def test_disentangled_tables_go_out_as_sums_and_come_back(name, tmp_path):
  config = DISENTANGLED[name]
  original = random_model(config)
  google.write_model(tmp_path, original)
  prefix = tmp_path / "model.ckpt-4000000"
  table = "embeddings/word_embeddings"
  variables = tf_checkpoint.read_variables(prefix)
  sums = discriminator_embeddings(original.params, config)
  np.testing.assert_array_equal(
      variables[f"electra/{table}"], sums["word_embeddings"]["embedding"]
  )
  np.testing.assert_array_equal(
      variables[f"generator/{table}"],
      original.params["generator_embeddings"]["word_embeddings"]["embedding"],
  )
  model = google.read_model(prefix)
  assert model.config == config
  own, theirs = dict(model.params), dict(original.params)
  # A difference of sums has lost its last bits.
  assert_close(own.pop("embeddings"), theirs.pop("embeddings"))
  helpers.assert_equal_trees(own, theirs)
  helpers.assert_equal_trees(model.moments, original.moments)


def test_moments_of_what_is_added_are_those_of_the_sum():
  """So that they may stand beside the sum in a checkpoint."""
  config = make_networks(
      128, layers=1, ratio=0.5, sharing="gradient_disentangled"
  )
  separate = dataclasses.replace(config, embedding_sharing="none")
  params = jax.tree.map(lambda x: 0.1 * x, helpers.random_params(config))
  ids = jnp.array([[3, 5, 7, 9]])
  labels = jnp.array([[1.0, 0.0, 0.0, 1.0]])

  @functools.partial(jax.jit, static_argnums=1)
  @jax.grad
  def gradient(params, config):
    logits = Electra(config).apply(
        {"params": params},
        *(ids, jnp.ones_like(ids), jnp.zeros_like(ids)),
        method="replaced_token_logits",
    )
    return jnp.sum(jnp.square(logits - labels))

  added = gradient(params, config)["embeddings"]
  whole = gradient(seen_params(params, config), separate)["embeddings"]
  assert np.std(added["word_embeddings"]["embedding"]) > 1e-3
  assert_close(added, whole)


def test_proportions_that_are_not_released_survive(tmp_path):
  encoder = dataclasses.replace(
      make_networks(hidden_size=64).discriminator,
      num_heads=4,
      intermediate_size=96,
      hidden_dropout=0.0,
  )
  config = ElectraConfig(encoder, None, has_generator_head=False)
  model = random_model(config)
  google.write_model(tmp_path, model)
  settings = tmp_path / "networks.json"
  assert helpers.read_json(settings) == {
      "discriminator": {"num_heads": 4, "hidden_dropout": 0.0}
  }
  prefix = tmp_path / "model.ckpt-4000000"
  assert google.read_model(prefix).config == config
  for text, message in (
      ("[]", "networks.json is damaged: the whole must be an object"),
      ('{"generator": {}}', "says generator {}, which is no network"),
      ('{"discriminator": 3}', "says discriminator 3, which is no network"),
      ('{"discriminator": {"num_heads": 0}}', "discriminator.num_heads 0, which"),
      ('{"discriminator": {"num_heads": 5}}', "does not divide into num_heads"),
      ('{"discriminator": {"hidden_dropout": 2}}', "hidden_dropout 2, which"),
      ('{"discriminator": {"dtype": "int8"}}', "discriminator.dtype 'int8', wh"),
  ):  # fmt: skip
    settings.write_text(text)
    with pytest.raises(UserError, match=message):
      google.read_model(prefix)
  settings.unlink()
  assert google.read_model(prefix).config.discriminator.num_heads == 1


def test_released_proportions_need_no_settings(tmp_path):
  google.write_model(tmp_path, random_model(make_networks(ratio=0.5)))
  assert not (tmp_path / "networks.json").exists()


def test_where_widths_allow_both_the_recipe_decides(tmp_path):
  config = make_networks(64, 64, sharing="gradient_disentangled")
  google.write_model(tmp_path, random_model(config))
  prefix = tmp_path / "model.ckpt-4000000"
  for wanted, sharing in (
      (None, "none"),
      ("embeddings", "none"),
      ("none", "none"),
      ("gradient_disentangled", "gradient_disentangled"),
  ):
    found = google.read_model(prefix, sharing=wanted).config
    assert found.embedding_sharing == sharing
    assert found.generator == config.generator


def test_of_a_fine_tuned_checkpoint_the_encoder_is_taken(tmp_path):
  encoder = make_networks(layers=1).discriminator
  heads = [
      HeadConfig("rte", "classification", 2),
      HeadConfig("ner", "tagging", 5),
  ]
  abstract = jax.eval_shape(lambda: init_params(encoder, heads, 0))
  params = helpers.random_tree(abstract)
  google.write_model(tmp_path, FinetunedState(encoder, (), params, 30, 64))
  prefix = tmp_path / "model.ckpt-30"
  variables = tf_checkpoint.read_variables(prefix)
  # The released code's has slots as well.
  variables |= {f"{name}/adam_m": x for name, x in variables.items() if x.ndim}
  tf_checkpoint.write_variables(prefix, variables)
  model, other = (google.read_model(prefix, seed) for seed in (0, 1))
  assert model.config == ElectraConfig(encoder, None, has_generator_head=False)
  assert model.left_out == ("task_specific/ner", "task_specific/rte")
  assert model.fresh == ("discriminator_head",)
  assert (model.moments, model.step) == (None, 0)
  for part in ("embeddings", "discriminator"):
    helpers.assert_equal_trees(model.params[part], params[part])
  head, other = (x.params["discriminator_head"] for x in (model, other))
  assert not np.array_equal(head["dense"]["kernel"], other["dense"]["kernel"])


@pytest.mark.golden
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


@pytest.fixture(scope="module", name="variables")
def variables_of_a_model(tmp_path_factory):
  folder = tmp_path_factory.mktemp("google")
  google.write_model(folder, random_model(NETWORKS["projected"]))
  return tf_checkpoint.read_variables(folder / "model.ckpt-4000000")


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
            lambda v: v.update({"generator_ltr/embeddings/word_embeddings": np.ones((3, 3), np.float32)}),
            "each tower of the generator in .* has embeddings of its own",
        ),
        (
            lambda v: v.update({f"generator/embeddings/{kind}_embeddings": np.ones((50, 3), np.float32) for kind in ("word", "position")}),
            r"are 3 wide, neither as the generator \(64\) nor .* \(32\)",
        ),
        (
            lambda v: v.update({"cloze_predictions/output_bias": np.ones(50, np.float32)}),
            "no variable 'generator_ltr/encoder/layer_0/intermediate/dense/kernel'",
        ),
        (
            lambda v: v.pop("generator_predictions/output_bias"),
            "no place for 38 variables",
        ),
        (
            lambda v: v.pop("electra/embeddings/word_embeddings"),
            "holds no ELECTRA",
        ),
        (
            lambda v: v.pop("electra/embeddings/position_embeddings"),
            "no variable 'electra/embeddings/position_embeddings'; it is not",
        ),
        (
            lambda v: v.update({"electra/embeddings/word_embeddings": np.ones(50, np.float32)}),
            "has the shape .50,. where a matrix belongs",
        ),
        (
            lambda v: v.update({"electra/embeddings/word_embeddings": np.ones((50, 32), np.int32)}),
            "holds in 'electra/embeddings/word_embeddings' what is no finite",
        ),
        (
            lambda v: v.update({"electra/embeddings/word_embeddings": np.full((50, 32), np.nan, np.float32)}),
            "holds in 'electra/embeddings/word_embeddings' what is no finite",
        ),
        (
            lambda v: v.update(global_step=np.ones(2, np.int64)),
            "holds in 'global_step' what is no finite number or, of",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, message, variables, tmp_path):
  changed = dict(variables)
  change(changed)
  tf_checkpoint.write_variables(tmp_path / "model.ckpt-3", changed)
  with pytest.raises(UserError, match=message):
    google.read_model(tmp_path / "model.ckpt-3")
