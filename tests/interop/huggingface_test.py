"""Hugging Face's folders without torch: what comes back, what is refused."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from electra_jax.errors import UserError
from electra_jax.interop import huggingface
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import discriminator_embeddings
from tests import helpers

WORDS = "electra.embeddings.word_embeddings.weight"


def make_networks(
    sharing="embeddings", embedding_size=32, **parts
) -> ElectraConfig:
  encoder = encoder_config(
      50, 2, 128, embedding_size, max_position_embeddings=16
  )
  generator = generator_config(encoder, 0.5, own_embeddings=sharing == "none")
  config = ElectraConfig(encoder, generator, sharing, **parts)
  has_both = config.has_generator_head and (
      config.has_discriminator_head or config.has_token_head
  )
  if sharing == "all" or not has_both:
    config = dataclasses.replace(config, generator=None)
  return config


REPLACE_MLM = {"has_discriminator_head": False, "has_token_head": True}


@pytest.fixture
def exported(tmp_path):
  """The folder of both networks."""
  config = make_networks()
  huggingface.write_model(tmp_path, config, helpers.random_params(config), 0)
  return tmp_path


def change_weights(folder, change):
  path = folder / "model.safetensors"
  tensors = safetensors.numpy.load_file(path)
  tensors = change(tensors) or tensors
  safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})


def change_config(folder, **values):
  path = folder / "config.json"
  config = json.loads(path.read_text())
  path.write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    "config",
    [
        make_networks("embeddings"),
        make_networks("none"),
        make_networks("all"),
        make_networks(has_generator_head=False),
        make_networks(has_discriminator_head=False),
        make_networks(**REPLACE_MLM),
        make_networks("all", **REPLACE_MLM),
    ],
)
def test_networks_come_back(config, tmp_path):
  params = helpers.random_params(config)
  written = huggingface.write_model(tmp_path, config, params, 7)
  assert written.left_out == ()
  assert list(written.folders) == huggingface.folders(tmp_path)
  model = huggingface.read_model(tmp_path, seed=0)
  assert model.config == config
  helpers.assert_equal_trees(model.params, params)
  assert (model.moments, model.step, model.fresh) == (None, 0, ())
  for folder in huggingface.folders(tmp_path):
    told = json.loads((folder / "config.json").read_text())
    assert told["pad_token_id"] == 7
    assert told["layer_norm_eps"] == 1e-12


@pytest.mark.parametrize("heads", [{}, REPLACE_MLM])
def test_disentangled_tables_go_out_as_sums_and_come_back(heads, tmp_path):
  config = make_networks("gradient_disentangled", **heads)
  params = helpers.random_params(config)
  assert huggingface.write_model(tmp_path, config, params, 0).left_out == ()
  alone = huggingface.read_model(tmp_path / "discriminator", seed=0)
  helpers.assert_equal_trees(
      alone.params["embeddings"], discriminator_embeddings(params, config)
  )
  alone = huggingface.read_model(tmp_path / "generator", seed=0)
  helpers.assert_equal_trees(
      alone.params["embeddings"], params["generator_embeddings"]
  )
  model = huggingface.read_model(tmp_path, seed=0)
  assert model.config == config
  own, original = dict(model.params), dict(params)
  tables, expected = own.pop("embeddings"), original.pop("embeddings")
  helpers.assert_equal_trees(own, original)
  assert jax.tree.structure(tables) == jax.tree.structure(expected)
  for x, y in zip(
      jax.tree.leaves(tables), jax.tree.leaves(expected), strict=True
  ):
    # A difference of sums has lost its last bits.
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)


def test_where_widths_allow_both_the_recipe_decides(tmp_path):
  config = make_networks("gradient_disentangled", embedding_size=64)
  huggingface.write_model(tmp_path, config, helpers.random_params(config), 0)
  for wanted, sharing in (
      (None, "none"),
      ("embeddings", "none"),
      ("gradient_disentangled", "gradient_disentangled"),
  ):
    found = huggingface.read_model(tmp_path, 0, wanted).config
    assert found == dataclasses.replace(config, embedding_sharing=sharing)


@pytest.mark.parametrize(
    ("config", "left_out"),
    [
        (
            make_networks(has_two_towers=True),
            ("cloze_head", "generator_ltr", "generator_rtl"),
        ),
        (
            make_networks("gradient_disentangled", has_two_towers=True),
            (
                *("cloze_head", "generator_embeddings"),
                *("generator_ltr", "generator_rtl"),
            ),
        ),
        (make_networks(has_token_head=True), ("token_head",)),
    ],
)
def test_parts_that_have_no_class_there_are_named(config, left_out, tmp_path):
  params = helpers.random_params(config)
  written = huggingface.write_model(tmp_path, config, params, 0)
  assert written.left_out == left_out
  model = huggingface.read_model(tmp_path, seed=0)
  helpers.assert_equal_trees(
      model.params["embeddings"], discriminator_embeddings(params, config)
  )
  helpers.assert_equal_trees(
      model.params["discriminator_head"], params["discriminator_head"]
  )
  assert ("generator_head" in model.params) == (not config.has_two_towers)


def test_networks_of_other_tables_do_not_belong_together(exported, tmp_path):
  other = tmp_path / "other"
  config = make_networks(embedding_size=128)
  huggingface.write_model(other, config, helpers.random_params(config), 0)
  (exported / "generator").rename(tmp_path / "unused")
  (other / "generator").rename(exported / "generator")
  with pytest.raises(UserError, match=r"are 32 and 128 wide: they were not"):
    huggingface.read_model(exported, seed=0)


def test_one_network_of_two_may_be_taken(exported):
  alone = huggingface.read_model(exported / "generator", seed=0)
  assert alone.config.discriminator.hidden_size == 64
  assert not alone.config.has_discriminator_head
  alone = huggingface.read_model(exported / "discriminator", seed=0)
  assert alone.config.discriminator.hidden_size == 128
  assert not alone.config.has_generator_head


def test_an_encoder_without_a_head_gets_a_fresh_one(exported):
  folder = exported / "discriminator"
  change_weights(
      folder,
      lambda t: {
          name.removeprefix("electra."): x
          for name, x in t.items()
          if name.startswith("electra.")
      },
  )
  models = [huggingface.read_model(folder, seed=seed) for seed in (0, 0, 1)]
  heads = [
      np.asarray(m.params["discriminator_head"]["dense"]["kernel"])
      for m in models
  ]
  assert models[0].fresh == ("discriminator_head",)
  assert np.array_equal(heads[0], heads[1])
  assert not np.array_equal(heads[0], heads[2])


def make_bert(folder, *, with_head):
  """Writes a BERT as older files of Hugging Face's have it."""
  encoder = encoder_config(50, 2, 64, 64, max_position_embeddings=16)
  config = ElectraConfig(encoder, None, has_discriminator_head=False)
  params = helpers.random_params(config)
  huggingface.write_model(folder, config, params, 0)
  (folder / "generator").rename(folder / "bert")
  folder = folder / "bert"

  def rename(tensors):
    renamed = {}
    for name, tensor in tensors.items():
      if "LayerNorm" in name:
        name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
      name = name.replace("generator_lm_head", "cls.predictions")
      name = name.replace("generator_predictions", "cls.predictions.transform")
      if with_head:
        name = name.replace("electra.", "bert.")
      elif name.startswith("cls."):
        continue
      renamed[name.removeprefix("electra.")] = tensor
    prefix = "bert." if with_head else ""
    renamed[f"{prefix}embeddings.position_ids"] = np.arange(16)[None]
    renamed[f"{prefix}pooler.dense.bias"] = np.ones(64, np.float32)
    if with_head:
      words = renamed["bert.embeddings.word_embeddings.weight"]
      renamed["cls.predictions.decoder.weight"] = words.copy()
      renamed["cls.predictions.decoder.bias"] = renamed["cls.predictions.bias"]
      renamed["cls.seq_relationship.bias"] = np.ones(2, np.float32)
    return renamed

  change_weights(folder, rename)
  change_config(folder, model_type="bert", num_attention_heads=4)
  return folder, params


@pytest.mark.parametrize("with_head", [True, False])
def test_berts_encoder_is_taken_and_its_head_if_it_has_one(with_head, tmp_path):
  folder, params = make_bert(tmp_path, with_head=with_head)
  model = huggingface.read_model(folder, seed=0)
  assert model.config.discriminator.num_heads == 4
  assert not model.config.has_discriminator_head
  assert model.fresh == (() if with_head else ("generator_head",))
  for part in ("embeddings", "discriminator"):
    helpers.assert_equal_trees(model.params[part], params[part])
  if with_head:
    helpers.assert_equal_trees(model.params, params)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_other_precisions_become_single(dtype, exported):
  folder = exported / "generator"
  original = huggingface.read_model(folder, seed=0).params
  change_weights(
      folder, lambda t: {name: x.astype(dtype) for name, x in t.items()}
  )
  params = huggingface.read_model(folder, seed=0).params
  helpers.assert_equal_trees(
      params,
      jax.tree.map(lambda x: x.astype(dtype).astype(np.float32), original),
  )
  assert {x.dtype.name for x in jax.tree.leaves(params)} == {"float32"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "roberta"}, "type 'roberta'; give one of type"),
        ({"hidden_act": "relu"}, "hidden_act 'relu', and this package runs"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps 1e-05"),
        ({"is_decoder": True}, "is_decoder True"),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type 'relative_key'",
        ),
        ({"num_attention_heads": 5}, "hidden_size 64 does not divide"),
    ],
)
def test_networks_that_cannot_run_are_refused(values, message, exported):
  change_config(exported / "generator", **values)
  with pytest.raises(UserError, match=message):
    huggingface.read_model(exported, seed=0)


HEAD = "discriminator_predictions.dense.bias"


@pytest.mark.parametrize(
    ("network", "change", "message"),
    [
        ("discriminator", lambda t: {n: x for n, x in t.items() if n != HEAD}, f"no variable '{HEAD}'"),
        ("discriminator", lambda t: {**t, HEAD: np.ones(3)}, rf"'{HEAD}' has shape \(3,\)"),
        ("discriminator", lambda t: {**t, "electra.more.bias": np.ones(2)}, "no place for 1 variables .*'electra.more.bias'"),
        ("generator", lambda t: {**t, "generator_lm_head.weight": t[WORDS] + 1}, "output embeddings of .*/generator are not"),
        ("generator", lambda t: {**t, "cls.predictions.decoder.bias": np.ones(50)}, "two different tensors for 'generator_lm_head.bias'"),
        ("generator", lambda t: {n: x for n, x in t.items() if n != WORDS}, f"generator has no '{WORDS}'"),
        ("generator", lambda t: {n: x for n, x in t.items() if n.startswith("electra.")} | {HEAD: np.ones(3)}, "generator is not what its name says"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(network, change, message, exported):
  change_weights(exported / network, change)
  with pytest.raises(UserError, match=message):
    huggingface.read_model(exported, seed=0)


def test_broken_folders_are_named(exported, monkeypatch):
  folder = exported / "generator"
  weights = folder / "model.safetensors"
  weights.write_bytes(weights.read_bytes()[:-9])
  with pytest.raises(UserError, match=r"model.safetensors is damaged"):
    huggingface.read_model(folder, seed=0)
  safetensors.numpy.save_file({"flags": np.ones(3, np.uint8)}, weights)
  with pytest.raises(UserError, match="holds 'flags' as uint8 where weights"):
    huggingface.read_model(folder, seed=0)
  weights.rename(folder / "pytorch_model.bin")
  monkeypatch.setitem(sys.modules, "torch", None)
  with pytest.raises(UserError, match="PyTorch alone; run pip install torch"):
    huggingface.read_model(folder, seed=0)
  (folder / "pytorch_model.bin").unlink()
  with pytest.raises(UserError, match=r"neither model.safetensors nor"):
    huggingface.read_model(folder, seed=0)
  (folder / "config.json").write_text("{")
  with pytest.raises(UserError, match=r"config.json is damaged"):
    huggingface.read_model(folder, seed=0)


def test_a_missing_package_is_named(exported, monkeypatch):
  monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
  with pytest.raises(UserError, match=r"install 'electra-jax\[interop\]'"):
    huggingface.read_model(exported, seed=0)


def test_there_may_be_no_model(tmp_path):
  assert huggingface.folders(tmp_path) == []
  (tmp_path / "config.json").write_text("{}")  # A workdir's, say.
  assert huggingface.folders(tmp_path) == []
