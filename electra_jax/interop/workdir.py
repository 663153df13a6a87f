"""Workdirs: their newest checkpoint read, or a new one written."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax
from etils import epath

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning import task_data
from electra_jax.finetuning.task_predictor import heads_of
from electra_jax.finetuning.trainer import init_params
from electra_jax.interop.model import FinetunedState, PretrainedState
from electra_jax.models.config import ElectraConfig, encoder_config
from electra_jax.pretraining.trainer import Trainer, make_trainer
from electra_jax.runs import history
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import (
    DataConfig,
    DistillConfig,
    PretrainConfig,
)
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.networks import electra_config, method_of, vocabulary_of
from electra_jax.runs.weights import encoder_of, seed_folder
from electra_jax.tasks.text_to_text import METRICS
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.optimizer import AdamState
from electra_jax.training.step import TrainState
from electra_jax.training.weights_file import write_weights_file

# Of an encoder, what its parameters and their meaning depend on.
_SHAPES = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_layers",
    "num_heads",
    "head_width",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_OBJECTIVES = {  # By the discriminator's heads: of replacement, of tokens.
    (True, False): "electra",
    (False, True): "replace_mlm",
    (True, True): "all_tokens_mlm",
    (False, False): "masked_lm",
}


def read_pretrained(
    workdir: epath.PathLike, run: workdirs.Run
) -> PretrainedState:
  """Reads the newest state of a pretrain run.

  Raises:
    UserError: there is no checkpoint, or none can be read.
  """
  trainer = _build(run.config, run.tokenizer)
  with Checkpointer(workdirs.checkpoints(workdir)) as checkpointer:
    if checkpointer.has_weights_alone:
      params = jax.device_get(checkpointer.read_params(trainer.abstract.params))
      step = checkpointer.restored_step
      return PretrainedState(trainer.model.config, params, step=step)
    state = checkpointer.read_latest(trainer.abstract, trainer.shardings)
  state = jax.device_get(state)
  moments = (
      optax.tree_utils.tree_get(state.opt_state, name)
      for name in AdamState._fields
  )
  return PretrainedState(
      trainer.model.config, state.params, AdamState(*moments), int(state.step)
  )


def read_finetuned(
    workdir: epath.PathLike, run: workdirs.Run, seed: int | None
) -> FinetunedState:
  """Reads the model of one seed of a finetune run, of the best by default.

  Raises:
    UserError: that seed has no model.
  """
  encoder = encoder_of(run)
  tasks = tuple(
      task_data.task_from_json(record, run.config)
      for record in run.facts["tasks"]
  )
  for task in tasks:
    if task.kind == "generation":
      is_from_text = task.name in METRICS
      verbs = (
          "prune takes" if is_from_text else "convert, export and prune take"
      )
      others = ", convert or export it" if is_from_text else ""
      raise UserError(
          f"{workdir} has learned to write text ({task.name}), and {verbs} no"
          f" such network; ask it by electra-jax predict{others}"
      )
  heads = heads_of(tasks, run.config)
  abstract = jax.eval_shape(lambda: init_params(encoder, heads, 0))
  folder = seed_folder(workdir, seed)
  with Checkpointer(workdirs.checkpoints(folder)) as checkpointer:
    params = jax.device_get(checkpointer.read_params(abstract))
    step = checkpointer.restored_step
  data, head = run.config.data, run.config.model.head
  return FinetunedState(
      encoder,
      tasks,
      params,
      step,
      data.max_length,
      head,
      data.windows,
      run.config.bottleneck.dimensions,
  )


def config_of(
    model: PretrainedState, recipe: PretrainConfig, dtype: str
) -> PretrainConfig:
  """Returns a recipe with the shapes of a model in place of its own.

  It keeps its objective and generator if they need the very parts that the
  model has; else it gets the plainest that do.

  Args:
    model: the networks.
    recipe: what else a config holds.
    dtype: of activations.

  Raises:
    UserError: no config describes such networks.
  """
  encoder, generator = model.config.discriminator, model.config.generator
  usual = encoder_config(
      encoder.vocab_size,
      encoder.num_layers,
      encoder.hidden_size,
      encoder.embedding_size,
  )
  shapes = {
      name: getattr(encoder, name)
      for name in (
          "num_layers",
          "hidden_size",
          "embedding_size",
          "max_position_embeddings",
          "initializer_range",
          "hidden_dropout",
          "attention_dropout",
      )
  }
  for name in ("num_heads", "head_size", "intermediate_size"):
    value = getattr(encoder, name)
    shapes[name] = None if value == getattr(usual, name) else value
  if generator is not None:
    width, depth = generator.hidden_size, generator.num_layers
    shapes["generator_width_ratio"] = width / encoder.hidden_size
    shapes["generator_depth_ratio"] = depth / encoder.num_layers
  shapes["embedding_sharing"] = model.config.embedding_sharing
  objective, generator = _objective_of(model.config, recipe)
  learned = {"name": objective, "generator": generator}
  if objective == "electric":  # Its noise is of the towers themselves.
    learned |= {"temperature": 1.0, "disallow_correct": False}
  length = min(recipe.data.length, encoder.max_position_embeddings)
  config = dataclasses.replace(
      recipe,
      data=DataConfig(store="", length=length, synthetic=False),
      model=dataclasses.replace(recipe.model, dtype=dtype, **shapes),
      objective=dataclasses.replace(recipe.objective, **learned),
      phases={},
  )
  _check_shapes(model.config, config)
  return config


def write_pretrained(
    workdir: epath.PathLike,
    model: PretrainedState,
    config: PretrainConfig,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
) -> None:
  """Writes a workdir with one checkpoint.

  Args:
    workdir: a new folder.
    model: what it is to hold.
    config: of its networks.
    tokenizer: of the model's vocabulary.
    facts: about start and data; `facts_of_copy` of a model without a store.
  """
  trainer = _build(config, tokenizer)
  opt_state = trainer.init().opt_state
  step = np.int32(model.step)
  moments = model.moments._asdict() if model.moments is not None else {}
  opt_state = optax.tree_utils.tree_set(opt_state, count=step, **moments)
  state = TrainState(step, model.params, opt_state)
  workdirs.begin(workdir, workdirs.PRETRAINING, config, tokenizer, facts)
  with Checkpointer(workdirs.checkpoints(workdir)) as checkpointer:
    checkpointer.save(jax.device_put(state, trainer.shardings), model.step)


def write_finetuned(
    workdir: epath.PathLike,
    model: FinetunedState | Any,
    config: FinetuneConfig,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
) -> epath.Path:
  """Writes a workdir with the weights of one seed, which has no scores yet.

  Args:
    workdir: a new folder.
    model: with `params` and `step`.
    config: of one seed, of a model of these shapes.
    tokenizer: of the model's vocabulary.
    facts: about start, tasks and encoder.

  Returns:
    The folder of the seed.
  """
  workdirs.begin(workdir, workdirs.FINETUNING, config, tokenizer, facts)
  folder = epath.Path(workdir) / "seed_0"
  folder.mkdir()
  # There is no optimizer's state: such a run is not resumed.
  state = TrainState(np.int32(model.step), model.params, ())
  with Checkpointer(workdirs.checkpoints(folder)) as checkpointer:
    checkpointer.save(jax.device_put(state), model.step)
  return folder


def write_weights(
    workdir: epath.PathLike,
    model: PretrainedState,
    config: PretrainConfig,
    tokenizer: Tokenizer,
    source: str,
) -> None:
  """Writes a workdir of weights alone, in bfloat16, to be passed on.

  It tells nothing of the machine that it was made on.

  Args:
    workdir: a folder, which is there.
    model: what it is to hold.
    config: of the run, or of `config_of`.
    tokenizer: of the model's vocabulary.
    source: where the model comes from, for the record.
  """
  weights = workdirs.checkpoints(workdir)
  weights.mkdir(parents=True)
  write_weights_file(weights, model.params, model.step)
  data = dataclasses.replace(config.data, store="", synthetic=False)
  config = dataclasses.replace(
      config, data=data, init_from="", phases={}, distill=DistillConfig()
  )
  facts = facts_of_copy(tokenizer, source)
  workdirs.begin(workdir, workdirs.PRETRAINING, config, tokenizer, facts)
  for name in (workdirs.ENVIRONMENT_FILE, history.HISTORY_FILE):
    (epath.Path(workdir) / name).unlink()


def facts_of_copy(tokenizer: Tokenizer, source: str) -> dict[str, Any]:
  """Returns what a workdir tells of a model from elsewhere, named for people."""
  return {
      "rows_digest": "",
      "tokenizer_digest": tokenizer.digest,
      "sources": [source],
      "start": f"converted from {source}",
      "unigram_entropy": None,
  }


def _build(config: PretrainConfig, tokenizer: Tokenizer) -> Trainer:
  mesh = sharding.make_mesh(devices=jax.local_devices()[:1])
  return make_trainer(config, vocabulary_of(tokenizer), mesh)


def _objective_of(
    model: ElectraConfig, recipe: PretrainConfig
) -> tuple[str, str]:
  """Returns names of an objective and a generator that have these parts."""
  asked, generator = method_of(recipe), recipe.objective.generator
  objective = asked.objective
  is_fit = (
      model.has_generator_head == asked.generator.is_network
      and model.has_discriminator_head == (objective.detect is not None)
      and model.has_token_head == objective.has_token_head
      and model.has_two_towers == (generator == "two_tower")
  )
  # Counts of a unigram generator stand in a store, which there is none of.
  if is_fit and generator != "unigram":
    return recipe.objective.name, generator
  name = _OBJECTIVES[model.has_discriminator_head, model.has_token_head]
  if model.has_two_towers:
    return "electric" if name == "electra" else name, "two_tower"
  return name, "masked_lm" if model.has_generator_head else "uniform"


def _check_shapes(wanted: ElectraConfig, config: PretrainConfig) -> None:
  built = electra_config(config, wanted.discriminator.vocab_size)
  for name in ("discriminator", "generator"):
    ours, theirs = getattr(built, name), getattr(wanted, name)
    if theirs is None:
      continue
    for field in _SHAPES:
      if getattr(ours, field) != getattr(theirs, field):
        raise UserError(
            f"the {name} has {field} {getattr(theirs, field)}, and beside the"
            f" other shapes a config can only say {getattr(ours, field)}; such"
            " a model cannot become a workdir"
        )
