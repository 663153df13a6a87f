"""Shapes that a config leaves to the run it starts from."""

import dataclasses
import json
import shutil

import pytest

from electra_jax.errors import UserError
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import electra_config
from electra_jax.runs.start_shapes import with_shapes_of_start
from electra_jax.text.tokenizer import load_tokenizer
from tests import helpers

TOKENIZER = load_tokenizer(helpers.GOLDEN / "vocab.txt")
SHAPES = {
    "model.num_layers": 3,
    "model.hidden_size": 96,
    "model.embedding_size": 48,
    "model.max_position_embeddings": 40,
    "model.num_heads": 3,
    "model.generator_width_ratio": 0.5,
    "model.embedding_sharing": "none",
}


def source(folder):
  """A workdir of odd shapes, without weights."""
  config = helpers.tiny_config(**SHAPES)
  facts = helpers.store_facts(TOKENIZER)
  workdirs.begin(folder, workdirs.PRETRAINING, config, TOKENIZER, facts)
  return config


def asked(argument="base,from_init", **overrides):
  config = helpers.load_config(f"configs/pretrain.py:{argument}")
  return helpers.override(config, overrides)


@pytest.mark.parametrize("argument", ["base,from_init", "from_init,runlocal"])
def test_the_networks_are_those_of_the_start(tmp_path, argument):
  theirs = source(tmp_path)
  config = asked(argument, init_from=str(tmp_path))
  ours = with_shapes_of_start(config)
  for name in ("init_from", "train", "objective", "optimizer", "data"):
    assert getattr(ours, name) == getattr(config, name)
  same = {"dtype", "remat", "hidden_dropout", "attention_dropout"}
  expected = dataclasses.replace(
      theirs.model, **{name: getattr(ours.model, name) for name in same}
  )
  assert ours.model == expected
  networks = electra_config(ours, 10)
  assert networks.discriminator.num_heads == 3
  assert networks.generator.hidden_size == 48


def test_what_is_typed_goes_before_the_start(tmp_path):
  source(tmp_path)
  typed = {"model.max_position_embeddings": 64, "model.num_heads": 6}
  config = asked(init_from=str(tmp_path), **typed)
  model = with_shapes_of_start(config).model
  assert (model.max_position_embeddings, model.num_heads) == (64, 6)
  assert model.hidden_size == 96


def test_a_config_with_all_shapes_reads_nothing():
  config = asked("base", init_from="/nowhere")
  assert with_shapes_of_start(config) is config


def test_a_shipped_model_gives_its_shapes():
  model = with_shapes_of_start(asked("tiny,from_init", init_from="tiny-en"))
  assert model.model.hidden_size and model.model.embedding_sharing == "all"


def test_a_run_that_has_begun_needs_its_start_no_more(tmp_path):
  theirs = source(tmp_path / "source")
  config = asked(init_from=str(tmp_path / "source"))
  new = tmp_path / "new"
  ours = with_shapes_of_start(config, new)
  facts = helpers.store_facts(TOKENIZER)
  workdirs.begin(new, workdirs.PRETRAINING, ours, TOKENIZER, facts)
  shutil.rmtree(tmp_path / "source")
  assert with_shapes_of_start(config, new) == ours
  assert ours.model.hidden_size == theirs.model.hidden_size
  written = json.loads((new / "config.json").read_text())
  assert written["model"]["num_layers"] == 3


def test_an_encoder_alone_says_which_flags_are_missing(tmp_path):
  config = helpers.finetune_config("rte")
  encoder = electra_config(helpers.tiny_config(**SHAPES), 10).discriminator
  facts = {
      "start": "random weights",
      "examples_digest": "",
      "tasks": [],
      "examples": {},
      "tokenizer_digest": TOKENIZER.digest,
      "encoder": dataclasses.asdict(encoder),
  }
  workdirs.begin(tmp_path, workdirs.FINETUNING, config, TOKENIZER, facts)
  config = asked(init_from=str(tmp_path))
  with pytest.raises(
      UserError, match=r"no generator; give --config\.model\.gen"
  ):
    with_shapes_of_start(config)
  given = {
      "model.generator_width_ratio": 0.25,
      "model.generator_depth_ratio": 1.0,
      "model.embedding_sharing": "embeddings",
  }
  model = with_shapes_of_start(helpers.override(config, given)).model
  assert (model.num_layers, model.num_heads) == (3, 3)
  assert model.intermediate_size is None and model.generator_width_ratio == 0.25


def test_nothing_to_take_them_from():
  with pytest.raises(UserError, match="num_layers is 0, which takes it from"):
    with_shapes_of_start(asked())
  with pytest.raises(UserError, match="leave from_init out of --config"):
    electra_config(asked(), 10)
