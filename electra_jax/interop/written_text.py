"""Models that write text: read from a workdir, or written as one."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
from etils import epath

from electra_jax.errors import UserError
from electra_jax.files import to_json, write_whole
from electra_jax.finetuning import task_data
from electra_jax.finetuning.generation_checks import (
    check_generation,
)
from electra_jax.finetuning.model import abstract_params
from electra_jax.interop.model import cut_vocabulary
from electra_jax.interop.workdir import write_finetuned
from electra_jax.models.config import EncoderConfig
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.weights import SCORES, encoder_of, seed_folder
from electra_jax.shapes import Params
from electra_jax.tasks.task import Task
from electra_jax.tasks.text_to_text import METRICS
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.training.checkpoint import Checkpointer


class TextState(NamedTuple):
  """A network that writes text, and how far it was trained.

  Attributes:
    encoder: its shapes.
    architecture: see `models.seq2seq`.
    params: of `models.seq2seq.Seq2Seq`.
    task: that it has learned.
    step: updates done.
    moments: none: what a fine-tuning leaves of its optimizer is no use.
    fresh: nothing: all of it was trained.
    left_out: nothing.
  """

  encoder: EncoderConfig
  architecture: str
  params: Params
  task: Task
  step: int

  moments = None
  fresh = ()
  left_out = ()


def learned_to_write(run: workdirs.Run) -> bool:
  """Says whether a run has learned to write a text from another.

  An autoencoder of text, which writes from numbers, is not one.
  """
  return run.kind is workdirs.FINETUNING and run.config.task in METRICS


def read_text_state(
    workdir: epath.PathLike, run: workdirs.Run, seed: int | None
) -> TextState:
  """Reads the model of one seed of such a run, of the best by default.

  Raises:
    UserError: that seed has no model.
  """
  encoder, tasks = encoder_of(run), _tasks(run)
  abstract = abstract_params(tasks, run.config, encoder)
  folder = seed_folder(workdir, seed)
  with Checkpointer(workdirs.checkpoints(folder)) as checkpointer:
    params = jax.device_get(checkpointer.read_params(abstract))
    step = checkpointer.restored_step
  architecture = run.config.generation.architecture
  return TextState(encoder, architecture, params, tasks[0], step)


def text_config_of(
    encoder: EncoderConfig,
    architecture: str,
    recipe: FinetuneConfig,
    how: Mapping[str, int],
    dtype: str,
) -> FinetuneConfig:
  """Returns a recipe with the shapes of a model in place of its own.

  Args:
    encoder: of the model.
    architecture: see `models.seq2seq`.
    recipe: what else a config holds; its task is one that writes text.
    how: values of config.generation that the model brings along.
    dtype: of activations.

  Raises:
    UserError: the task of the recipe writes no text.
  """
  longest = encoder.max_position_embeddings
  generation = dataclasses.replace(
      recipe.generation, architecture=architecture, **how
  )
  room = min(generation.max_target_length, longest)
  generation = dataclasses.replace(
      generation,
      decoder_from="discriminator",
      max_target_length=room,
      min_length=min(generation.min_length, room - 1),
      method="beam" if generation.beam_size > 1 else "greedy",
  )
  shapes = {
      name: getattr(encoder, name)
      for name in (
          *("num_layers", "hidden_size", "embedding_size"),
          *("hidden_dropout", "attention_dropout"),
      )
  }
  data = dataclasses.replace(
      recipe.data,
      folder="",
      tokenizer="",
      synthetic=False,
      max_length=min(recipe.data.max_length, longest),
  )
  config = dataclasses.replace(
      recipe,
      init_from="",
      seeds=1,
      data=data,
      model=dataclasses.replace(recipe.model, dtype=dtype, **shapes),
      generation=generation,
  )
  tasks = task_data.find_tasks(config)
  if config.task not in METRICS:
    raise UserError(
        f"--config is a recipe for task={config.task}, and the model writes a text"
        f" from another; give one of {', '.join(METRICS)}, as in --config"
        " finetune:task=summarise"
    )
  check_generation(config, tasks)
  return config


def write_text_state(
    workdir: epath.PathLike,
    state: TextState,
    config: FinetuneConfig,
    tokenizer: Tokenizer,
    source: str,
) -> None:
  """Writes a workdir of one seed, which has no scores yet.

  Args:
    workdir: a new folder.
    state: what it is to hold.
    config: of `text_config_of`.
    tokenizer: of the model's vocabulary.
    source: where the model comes from, for people.
  """
  facts = {
      "start": f"converted from {source}",
      "examples_digest": "",
      "tasks": [task_data.task_to_json(state.task)],
      "examples": {},
      "tokenizer_digest": tokenizer.digest,
      "encoder": dataclasses.asdict(
          dataclasses.replace(state.encoder, dtype=config.model.dtype)
      ),
  }
  seed = write_finetuned(workdir, state, config, tokenizer, facts)
  write_whole(seed / SCORES, [to_json({}, indent=1)])
  parts = ("median", "mean", "standard_deviation", "min", "max")
  summary = {part: {} for part in parts}
  summary |= {"selected_by": [], "best_seed": 0, "seeds": {"0": {}}}
  write_whole(epath.Path(workdir) / SCORES, [to_json(summary, indent=1)])


def with_pieces(state: TextState, size: int) -> TextState:
  """Returns a model with the first rows of its vocabulary."""
  params = cut_vocabulary(state.params, size)
  encoder = dataclasses.replace(state.encoder, vocab_size=size)
  return state._replace(encoder=encoder, params=params)


def _tasks(run: workdirs.Run) -> list[Task]:
  return [
      task_data.task_from_json(record, run.config)
      for record in run.facts["tasks"]
  ]
