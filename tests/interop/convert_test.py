"""Conversion of models: every format to every other, under any recipe."""

import json

import jax
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.interop import google, huggingface
from electra_jax.interop.convert import convert
from electra_jax.interop.workdir import config_of, read_pretrained
from electra_jax.models.electra import discriminator_embeddings
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.text.tokenizer import load_tokenizer
from tests import google_models, helpers


def recipe(size="small_pp"):
  return helpers.load_config(f"configs/pretrain.py:{size}")


def files_of(folder) -> dict[str, bytes]:
  """The checkpoint's files alone."""
  return {
      path.name: path.read_bytes()
      for path in folder.iterdir()
      if path.name.startswith(("model.ckpt", "checkpoint"))
  }


FAMILY = {
    "own tables": {"sharing": "none"},
    "all tied": {"sharing": "all"},
    "two towers": {"has_two_towers": True},
    "token head": {"has_token_head": True},
}


@pytest.mark.parametrize(
    "name",
    [name if name == "two towers" else helpers.slow(name) for name in FAMILY],
)
def test_in_and_out_again_is_the_same_bytes(name, tmp_path):
  model = google_models.make_model(**FAMILY[name])
  source = google_models.write(tmp_path / "google", model)
  done = convert(source, tmp_path / "run", to="workdir", config=recipe())
  assert (done.source_format, done.step, done.has_moments) == (
      "google",
      7,
      True,
  )
  convert(tmp_path / "run", tmp_path / "again", to="google")
  assert files_of(tmp_path / "again") == files_of(source)
  again = load_tokenizer(tmp_path / "again")
  assert again.digest == load_tokenizer(google_models.VOCABULARY).digest
  # What is written is found again, its vocabulary beside it.
  done = convert(tmp_path / "again", tmp_path / "hf", to="huggingface")
  there = huggingface.read_model(tmp_path / "hf", 0).params
  expected = {n: x for n, x in model.params.items() if n not in done.left_out}
  assert bool(done.left_out) == (name in ("two towers", "token head"))
  helpers.assert_equal_trees(there, expected)


def test_disentangled_tables_are_carried_as_their_sums(tmp_path):
  original = google_models.make_model(sharing="gradient_disentangled")
  source = google_models.write(tmp_path / "google", original)
  convert(source, tmp_path / "run", to="workdir", config=recipe())
  run = workdirs.load(tmp_path / "run")
  assert run.config.model.embedding_sharing == "gradient_disentangled"
  model = read_pretrained(tmp_path / "run", run)
  helpers.assert_equal_trees(model.moments, original.moments)
  tables = discriminator_embeddings(original.params, original.config)
  again = discriminator_embeddings(model.params, model.config)
  for x, y in zip(jax.tree.leaves(again), jax.tree.leaves(tables), strict=True):
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)


def test_moments_are_those_of_any_optimizer(tmp_path):
  source = google_models.write(tmp_path / "google", google_models.make_model())
  lamb = recipe("base,staged")
  convert(source, tmp_path / "run", to="workdir", config=lamb)
  assert workdirs.load(tmp_path / "run").config.optimizer.name == "lamb"
  convert(tmp_path / "run", tmp_path / "again", to="google")
  assert files_of(tmp_path / "again") == files_of(source)


def test_the_recipe_keeps_its_values_and_takes_the_shapes(tmp_path):
  source = google_models.write(
      tmp_path / "google", google_models.make_model(ratio=1.0)
  )
  convert(source, tmp_path / "run", to="workdir", config=recipe("large"))
  run = workdirs.load(tmp_path / "run")
  config = run.config
  assert config.objective.mask_prob == 0.25
  assert config.objective.name == "electra"
  assert config.model.generator_width_ratio == 1.0
  assert (config.model.hidden_size, config.model.num_layers) == (128, 1)
  assert config.data.length == config.model.max_position_embeddings == 64
  assert config.model.num_heads is None
  assert run.facts == {
      "rows_digest": "",
      "tokenizer_digest": run.tokenizer.digest,
      "sources": [str(source)],
      "start": f"converted from {source}",
      "unigram_entropy": None,
  }


@pytest.mark.parametrize(
    ("network", "objective"),
    [
        ("discriminator", ("electra", "uniform")),
        ("generator", ("masked_lm", "masked_lm")),
    ],
)
def test_one_network_alone_gets_an_objective_that_needs_no_other(
    network, objective, tmp_path
):
  source = google_models.write(tmp_path / "google", google_models.make_model())
  convert(source, tmp_path / "hf", to="huggingface")
  folder = tmp_path / "hf" / network
  convert(folder, tmp_path / "run", to="workdir", config=recipe())
  run = workdirs.load(tmp_path / "run")
  asked = run.config.objective
  assert (asked.name, asked.generator) == objective
  predictor = PretrainedModel(tmp_path / "run")
  if network == "generator":
    assert len(predictor.fill("we the [MASK]")[0].tokens) == 5
  else:
    assert len(predictor.detect(["we the people"])) == 1


NO_GENERATOR = {"has_generator_head": False}
TOKENS_ALONE = {"has_discriminator_head": False, "has_token_head": True}


@pytest.mark.parametrize(
    ("parts", "asked", "found"),
    [
        ({}, "electric two_tower", "electra masked_lm"),
        ({}, "electra_15 masked_lm", "electra_15 masked_lm"),
        (NO_GENERATOR, "electra masked_lm", "electra uniform"),
        (NO_GENERATOR, "electra_15 random", "electra_15 random"),
        (NO_GENERATOR, "electra unigram", "electra uniform"),
        ({"has_two_towers": True}, "electra masked_lm", "electric two_tower"),
        ({"has_two_towers": True}, "electra two_tower", "electra two_tower"),
        (TOKENS_ALONE, "electra masked_lm", "replace_mlm masked_lm"),
        (
            {"has_two_towers": True, **TOKENS_ALONE},
            "electra two_tower",
            "replace_mlm two_tower",
        ),
        (
            {**NO_GENERATOR, **TOKENS_ALONE},
            "electra masked_lm",
            "replace_mlm uniform",
        ),
        (
            {"has_token_head": True},
            "electra masked_lm",
            "all_tokens_mlm masked_lm",
        ),
        (
            {"has_discriminator_head": False, "sharing": "all"},
            "electra masked_lm",
            "masked_lm masked_lm",
        ),
    ],
)
def test_the_recipe_decides_what_shapes_do_not(parts, asked, found):
  config = recipe("small,two_stage")
  name, generator = asked.split()
  learned = {
      "objective.name": name,
      "objective.generator": generator,
      "objective.temperature": 1.5,
  }
  config = helpers.override(config, learned)
  config = config_of(google_models.make_model(**parts), config, "float32")
  objective = config.objective
  assert f"{objective.name} {objective.generator}" == found
  # Electric's noise must be of the generator's own distribution.
  is_electric = objective.name == "electric"
  assert objective.temperature == (1.0 if is_electric else 1.5)
  assert not config.phases


def test_heads_of_another_width_are_kept(tmp_path):
  source = google_models.write(tmp_path / "google", google_models.make_model())
  convert(source, tmp_path / "hf", to="huggingface")
  path = tmp_path / "hf/discriminator/config.json"
  told = json.loads(path.read_text())
  path.write_text(json.dumps({**told, "num_attention_heads": 8}))
  convert(path.parent, tmp_path / "run", to="workdir", config=recipe())
  run = workdirs.load(tmp_path / "run")
  model = read_pretrained(tmp_path / "run", run)
  assert run.config.model.num_heads == model.encoder.num_heads == 8
  path = tmp_path / "hf/generator/config.json"
  told = json.loads(path.read_text())
  path.write_text(json.dumps({**told, "num_attention_heads": 8}))
  with pytest.raises(UserError, match="generator has num_heads 8, and beside"):
    convert(tmp_path / "hf", tmp_path / "no", to="workdir", config=recipe())
  assert not (tmp_path / "no").exists()


def test_a_sentencepiece_vocabulary_goes_out_and_comes_back(tmp_path):
  source = tmp_path / "google"
  source.mkdir()
  google.write_model(source, google_models.make_model(vocab_size=300))
  model = tmp_path / "spiece.model"
  model.write_bytes(helpers.sentencepiece_model())
  convert(source, tmp_path / "hf", to="huggingface", tokenizer=model)
  convert(tmp_path / "hf", tmp_path / "again", to="google")
  again = load_tokenizer(tmp_path / "again")
  assert again.digest == load_tokenizer(model).digest
  model.write_bytes(helpers.sentencepiece_model(model_type="bpe"))
  with pytest.raises(UserError, match="no unigram model"):
    convert(source, tmp_path / "no", to="huggingface", tokenizer=model)
  assert not (tmp_path / "no").exists()
