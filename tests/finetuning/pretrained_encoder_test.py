"""Starting points: whose shapes, whose words, whose weights."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning.finetune import facts_of
from electra_jax.finetuning.pretrained_encoder import (
    PretrainedEncoder,
    find_encoder,
)
from electra_jax.finetuning.trainer import init_params
from electra_jax.models.electra import Electra
from electra_jax.models.task_heads import HeadConfig
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import electra_config
from electra_jax.runs.weights import encoder_of, seed_folder
from electra_jax.text.tokenizer import load_tokenizer
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState
from electra_jax.trees import path_names
from tests import helpers

VOCABULARY = helpers.GOLDEN / "vocab.txt"
TOKENIZER = load_tokenizer(VOCABULARY)
HEADS = (HeadConfig("rte", "classification", 2),)


def config_of(**overrides):
  config = helpers.load_config("configs/finetune.py:task=rte,size=small")
  return helpers.override(config, helpers.NARROW_ENCODER | overrides)


def save(folder, abstract, seed=0):
  """Writes a checkpoint of random weights and returns them by path."""
  params = jax.tree.map(jnp.asarray, helpers.random_tree(abstract, seed))
  checkpointer = Checkpointer(workdirs.checkpoints(folder))
  checkpointer.save(TrainState(jnp.asarray(2), params, {}), 2)
  checkpointer.close()
  return dict(path_names(params))


def pretrained(folder, **overrides):
  """A workdir as pre-training leaves it, and its weights."""
  config = helpers.tiny_config(
      **{
          "model.num_layers": 1,
          "model.max_position_embeddings": 48,
          **overrides,
      }
  )
  workdirs.begin(
      folder,
      workdirs.PRETRAINING,
      config,
      TOKENIZER,
      helpers.store_facts(TOKENIZER),
  )
  shapes = electra_config(config, TOKENIZER.vocab_size)
  return save(folder, helpers.abstract_params(Electra(shapes)))


@pytest.fixture(scope="module", name="run")
def a_pretrained_run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pretrained")
  return folder, pretrained(folder)


def finetuned(folder, start, seeds=(0, 1), best_seed=1):
  """A workdir as fine-tuning leaves it, and the weights of each seed."""
  facts = facts_of(start, [])
  config = config_of()
  workdirs.begin(folder, workdirs.FINETUNING, config, TOKENIZER, facts)
  weights = {}
  for seed in seeds:
    weights[seed] = save(folder / f"seed_{seed}", abstract_of(start), seed)
    (folder / f"seed_{seed}" / "scores.json").write_text("{}")
  (folder / "scores.json").write_text(json.dumps({"best_seed": best_seed}))
  return weights


def abstract_of(start):
  return jax.eval_shape(lambda: init_params(start.encoder, HEADS, 0))


def restore(start):
  abstract = abstract_of(start)
  mesh = sharding.make_mesh()
  return start.restore(abstract, sharding.params_shardings(mesh, abstract))


def assert_weights_are(params, saved):
  found = dict(path_names(params))
  assert {name.split("/")[0] for name in found} == {
      "embeddings", "discriminator",
  }  # fmt: skip
  for name, value in found.items():
    np.testing.assert_array_equal(value, saved[name], err_msg=name)


# --- A pre-training run ---


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"model.embedding_sharing": "all"},
        {"model.embedding_sharing": "none"},
        {"objective.name": "masked_lm"},
    ],
)
def test_the_encoder_of_a_pretrained_run(tmp_path, overrides):
  saved = pretrained(tmp_path, **overrides)
  start = find_encoder(config_of(init_from=str(tmp_path)))
  assert start.tokenizer.digest == TOKENIZER.digest
  assert start.encoder.vocab_size == TOKENIZER.vocab_size
  assert start.checkpoints == workdirs.checkpoints(tmp_path)
  assert_weights_are(restore(start), saved)


def test_the_encoder_of_disentangled_networks(tmp_path):
  sharing = {"model.embedding_sharing": "gradient_disentangled"}
  saved = pretrained(tmp_path, **sharing)
  for name in saved:
    if name.startswith("embeddings/") and name.endswith("/embedding"):
      saved[name] = saved[name] + saved[f"generator_{name}"]
  start = find_encoder(config_of(init_from=str(tmp_path)))
  assert_weights_are(restore(start), saved)


def test_shapes_are_the_runs_and_dropout_the_configs(tmp_path):
  pretrained(tmp_path, **{"model.initializer_range": 0.1})
  asked = {
      "model.hidden_dropout": 0.25,
      "model.attention_dropout": 0.5,
      "model.dtype": "bfloat16",
      "model.remat": "dots",
  }
  encoder = find_encoder(config_of(init_from=str(tmp_path), **asked)).encoder
  run = encoder_of(workdirs.load(tmp_path))
  assert (run.hidden_dropout, run.dtype, run.remat) == (0.1, "float32", "none")
  assert run.max_position_embeddings == 48
  assert run.initializer_range == 0.1
  assert encoder == dataclasses.replace(
      run,
      hidden_dropout=0.25,
      attention_dropout=0.5,
      dtype="bfloat16",
      remat="dots",
  )


def test_a_runs_shapes_without_its_weights(run):
  folder, _ = run
  start = find_encoder(config_of(init_from=str(folder), random_init=True))
  assert start.encoder.max_position_embeddings == 48
  assert start.checkpoints is None
  assert restore(start) is None


@pytest.mark.parametrize(
    ("name", "value", "own"),
    [
        ("num_layers", 12, 1),
        ("hidden_size", 256, 64),
        ("embedding_size", 64, 32),
    ],
)
def test_another_size_is_refused(run, name, value, own):
  config = config_of(init_from=str(run[0]), **{f"model.{name}": value})
  with pytest.raises(UserError) as error:
    find_encoder(config)
  message = str(error.value)
  assert f"config.model.{name} is {value}" in message
  assert f"has {own}" in message and ",from_init" in message
  assert str(run[0]) in message


def test_shapes_may_come_from_the_run(run):
  config = helpers.load_config("configs/finetune.py:size=base,from_init")
  assert config.optimizer.learning_rate == 1e-4  # The recipe of a size.
  values = {"init_from": str(run[0]), "model.dtype": "float32"}
  encoder = find_encoder(helpers.override(config, values)).encoder
  own = encoder_of(workdirs.load(run[0]))
  for name in ("num_layers", "hidden_size", "num_heads", "embedding_size"):
    assert getattr(encoder, name) == getattr(own, name)
  random = {"random_init": True, "data.tokenizer": str(VOCABULARY)}
  with pytest.raises(UserError, match=r"num_layers is 0.*init_from, and that"):
    find_encoder(helpers.override(config, random))


def test_another_vocabulary_is_refused(run, tmp_path):
  folder = str(run[0])
  own = {"init_from": folder, "data.tokenizer": str(VOCABULARY)}
  assert find_encoder(config_of(**own)).tokenizer.digest == TOKENIZER.digest
  other = tmp_path / "vocab.txt"
  other.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
  config = config_of(**own | {"data.tokenizer": str(other)})
  with pytest.raises(UserError) as error:
    find_encoder(config)
  assert f"{other} has 6 pieces" in str(error.value)
  assert f"vocabulary of 1966 that {folder}" in str(error.value)


def test_a_folder_that_is_no_run(tmp_path):
  with pytest.raises(UserError, match="is not a workdir"):
    find_encoder(config_of(init_from=str(tmp_path)))


def test_a_run_without_a_checkpoint(run, tmp_path):
  pretrained(tmp_path)
  workdirs.checkpoints(tmp_path).rmtree()
  start = find_encoder(config_of(init_from=str(tmp_path)))
  with pytest.raises(UserError, match="there is no checkpoint in"):
    restore(start)


def test_a_checkpoint_of_other_shapes(run):
  start = find_encoder(config_of(init_from=str(run[0])))
  wider = dataclasses.replace(start.encoder, intermediate_size=512)
  with pytest.raises(
      UserError,
      match=r"holds 'params/discriminator/.* as float32.*this model needs",
  ):
    restore(dataclasses.replace(start, encoder=wider))


# --- A fine-tuned run ---


def test_the_best_seed_of_a_finetuned_run(run, tmp_path):
  first = find_encoder(config_of(init_from=str(run[0])))
  weights = finetuned(tmp_path, first)
  start = find_encoder(config_of(init_from=str(tmp_path)))
  assert start.encoder == first.encoder
  assert_weights_are(restore(start), weights[1])
  assert seed_folder(tmp_path, None) == seed_folder(tmp_path, 1)
  other = workdirs.checkpoints(seed_folder(tmp_path, 0))
  start = PretrainedEncoder(start.encoder, start.tokenizer, other)
  assert_weights_are(restore(start), weights[0])


def test_an_unfinished_finetuning(run, tmp_path):
  finetuned(tmp_path, find_encoder(config_of(init_from=str(run[0]))), seeds=())
  (tmp_path / "scores.json").unlink()
  with pytest.raises(
      UserError, match=r"no seed of the fine-tuning in .* is fin"
  ):
    find_encoder(config_of(init_from=str(tmp_path)))
  # Its shapes can be had all the same.
  config = config_of(init_from=str(tmp_path), random_init=True)
  assert find_encoder(config).encoder.max_position_embeddings == 48


def test_seeds_without_a_model(run, tmp_path):
  finetuned(tmp_path, find_encoder(config_of(init_from=str(run[0]))))
  message = "there is no model of seed {} in .*; choose one of the seeds"
  with pytest.raises(UserError, match=message.format(2)):
    seed_folder(tmp_path, 2)
  # A seed in the middle of its training is no model either.
  (tmp_path / "seed_0" / "scores.json").unlink()
  with pytest.raises(UserError, match=message.format(0)):
    seed_folder(tmp_path, 0)
  # Nor one whose model was not kept.
  workdirs.checkpoints(tmp_path / "seed_1").rmtree()
  with pytest.raises(UserError, match=message.format(1)):
    seed_folder(tmp_path, None)


# --- Random weights ---


def test_random_weights_of_any_vocabulary():
  config = config_of(random_init=True, **{"data.tokenizer": str(VOCABULARY)})
  start = find_encoder(config)
  encoder = start.encoder
  assert (encoder.vocab_size, encoder.num_layers) == (1966, 1)
  assert (encoder.hidden_size, encoder.embedding_size) == (64, 32)
  assert (encoder.dtype, encoder.hidden_dropout) == ("bfloat16", 0.1)
  assert start.tokenizer.digest == TOKENIZER.digest
  assert restore(start) is None


def test_nothing_to_start_from():
  with pytest.raises(
      UserError, match=r"init_from is empty; give the --workdir"
  ):
    find_encoder(config_of())
  tokenizer = {"data.tokenizer": str(VOCABULARY)}
  with pytest.raises(UserError, match=r"by --config.random_init=true"):
    find_encoder(config_of(**tokenizer))
  with pytest.raises(UserError, match="need one of them for a vocabulary"):
    find_encoder(config_of(random_init=True))
