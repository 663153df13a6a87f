"""Workdirs of runs with random weights, which nobody has trained."""

import json

import jax
import jax.numpy as jnp

from electra_jax.disk.scratch import open_scratch
from electra_jax.finetuning import finetune, task_data
from electra_jax.finetuning.model import abstract_params
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.interop.model import PretrainedState
from electra_jax.interop.workdir import facts_of_copy, write_pretrained
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import electra_config
from electra_jax.tasks.synthetic import make_task
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState
from tests import helpers

TEXTS = ("The Senate and the House of Representatives", "we the people", "a")


def pretrained(workdir, tokenizer, **overrides):
  """A pretrain run without a store; lively_params says how it answers."""
  config = helpers.store_config("", **{"data.length": 32} | overrides)
  networks = electra_config(config, tokenizer.vocab_size)
  state = PretrainedState(networks, helpers.lively_params(networks), step=7)
  facts = facts_of_copy(tokenizer, "made up")
  write_pretrained(workdir, state, config, tokenizer, facts)
  return workdir


def finetuned(workdir, *names, **overrides):
  """A finetune run of one seed on made-up tasks, with their files beside it."""
  data = workdir.with_name(f"{workdir.name}_data")
  with open_scratch(data) as scratch:
    make_task(list(names), scratch.folder)
    scratch.publish()
  values = {
      "data.synthetic": False,
      "data.folder": str(data),
      "data.tokenizer": str(data / "vocab.txt"),
      "random_init": True,
      "model.dtype": "float32",
      "questions.beam_size": 4,
  }
  config = helpers.finetune_config("+".join(names), **values | overrides)
  return random_run(workdir, config)


def random_run(workdir, config):
  """A finished run of one seed of any tasks, with random weights."""
  start = find_encoder(config)
  source = task_data.source_of(config)
  tasks = [
      task_data.read_task(task, source) for task in task_data.find_tasks(config)
  ]
  facts = finetune.facts_of(start, tasks)
  workdirs.begin(workdir, workdirs.FINETUNING, config, start.tokenizer, facts)
  abstract = abstract_params(
      [data.task for data in tasks], config, start.encoder
  )
  params = jax.tree_util.tree_map_with_path(
      lambda path, x: 0.2 * x + (1 if path[-1].key == "scale" else 0),
      helpers.random_tree(abstract),
  )
  seed = workdir / "seed_0"
  state = TrainState(jnp.int32(3), jax.tree.map(jnp.asarray, params), ())
  with Checkpointer(workdirs.checkpoints(seed)) as checkpointer:
    checkpointer.save(state, 3)
  (seed / "scores.json").write_text("{}")
  (workdir / "scores.json").write_text(json.dumps({"best_seed": 0}))
  return workdir
