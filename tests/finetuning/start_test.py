"""Where fine-tuning starts: a pre-trained run, or a fine-tuned one."""

import numpy as np
import pytest

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.finetuning.task_data import find_tasks
from electra_jax.finetuning.task_predictor import head_of
from electra_jax.finetuning.trainer import make_task_trainer
from electra_jax.trees import path_names
from tests import helpers


def config_of(run, task="sst", **overrides):
  start = {"init_from": str(run), "model.embedding_size": 32}
  return helpers.finetune_config(task, **start | overrides)


def test_training_starts_from_the_pretrained_encoder(tiny_run):
  config = config_of(tiny_run)
  start = find_encoder(config)
  mesh = sharding.make_mesh()
  heads = [head_of(task) for task in find_tasks(config)]
  trainer = make_task_trainer(config, start.encoder, heads, mesh, 10)
  loaded = start.restore(trainer.abstract.params, trainer.shardings.params)
  params = trainer.init(3, loaded).params
  saved = helpers.read_params(tiny_run, 4)
  for part in ("embeddings", "discriminator"):
    for name, value in path_names(params[part]):
      np.testing.assert_array_equal(value, saved[f"params/{part}/{name}"])
  fresh = trainer.init(3, None).params
  kernel = fresh["discriminator"]["layer_0"]["output"]["kernel"]
  assert not np.array_equal(
      kernel, params["discriminator"]["layer_0"]["output"]["kernel"]
  )
  np.testing.assert_array_equal(
      fresh["task_specific"]["sst"]["dense"]["kernel"],
      params["task_specific"]["sst"]["dense"]["kernel"],
  )


@pytest.mark.slow
def test_a_finetuned_run_is_a_start_as_well(tmp_path, tiny_run):
  first = tmp_path / "first"
  finetune.finetune(config_of(tiny_run), first, quiet=True)
  config = config_of(first, "rte")
  result = finetune.finetune(config, tmp_path / "second", quiet=True)
  assert "rte/dev/accuracy" in result.summary["median"]


def test_another_size_and_another_vocabulary_are_named(
    tmp_path, tiny_run, synthetic_task
):
  folder = synthetic_task["data.folder"]
  given = {"data.synthetic": False, "data.folder": folder}
  config = config_of(tiny_run, **given, **{"model.hidden_size": 128})
  with pytest.raises(
      UserError, match=r"hidden_size is 128 and the run in .*64"
  ):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  config = config_of(
      tiny_run, **given, **{"data.tokenizer": f"{folder}/vocab.txt"}
  )
  with pytest.raises(UserError, match="is not the vocabulary of 256"):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()
