"""A fine-tuned model: opens a finetune workdir, scores splits, answers."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning import task_data
from electra_jax.finetuning.generation_checks import (
    latent_dimensions,
    writes_text,
)
from electra_jax.finetuning.task_predictor import TaskPredictor, heads_of
from electra_jax.finetuning.text_autoencoder import (
    TextAutoencoder,
    make_writer,
)
from electra_jax.finetuning.text_writer import TextWriter
from electra_jax.finetuning.trainer import init_params
from electra_jax.models import seq2seq_params
from electra_jax.models.config import EncoderConfig
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.buckets import Buckets
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.vectors import LATENT, EmbedsTexts, VectorOptions
from electra_jax.runs.weights import encoder_of, seed_folder
from electra_jax.shapes import Params
from electra_jax.tasks.examples import Example
from electra_jax.tasks.prediction_files import write_outputs
from electra_jax.tasks.predictions import Predictions, has_gold
from electra_jax.tasks.task import Source, Task
from electra_jax.training.checkpoint import Checkpointer


def make_predictor(
    tasks: Sequence[Task], config: FinetuneConfig, *rest: Any
) -> TaskPredictor | TextWriter:
  """Returns the programs that answer tasks; `rest` as of either class."""
  return (make_writer if writes_text(tasks) else TaskPredictor)(config, *rest)


def abstract_params(
    tasks: Sequence[Task], config: FinetuneConfig, encoder: EncoderConfig
) -> Params:
  """Returns the shapes of the parameters of tasks."""
  if writes_text(tasks):
    shapes = (config.generation.architecture, 0, latent_dimensions(config))
    return jax.eval_shape(lambda: seq2seq_params.init_params(encoder, *shapes))
  heads = heads_of(tasks, config)
  return jax.eval_shape(lambda: init_params(encoder, heads, 0))


class FinetunedModel(EmbedsTexts):
  """One seed's model of a finetune run, ready to answer.

  Attributes:
    config: of the run.
    tokenizer: of the run.
    tasks: by name, with their labels.
    predictor: the programs that answer.
    params: what they run with.
  """

  def __init__(
      self,
      workdir: epath.PathLike,
      *,
      seed: int | None = None,
      buckets: Buckets | None = None,
  ):
    """Loads the model of a seed, the best by default.

    Args:
      workdir: of the run.
      seed: whose model, or None for the best.
      buckets: shapes that batches are padded to, so that few programs are
        compiled; answers agree to rounding. None: shapes that fit the data.

    Raises:
      UserError: the folder holds no finetune run, or no such seed.
    """
    run = workdirs.load(workdir)
    if run.kind is not workdirs.FINETUNING:
      raise UserError(
          f"{workdir} holds a pretrain run; fine-tune it first, with"
          f" --config.init_from={workdir}"
      )
    self.config, self.tokenizer = run.config, run.tokenizer
    self.tasks = {
        record["name"]: task_data.task_from_json(record, run.config)
        for record in run.facts["tasks"]
    }
    encoder = self._encoder = encoder_of(run)
    tasks, mesh = list(self.tasks.values()), sharding.make_mesh()
    self.predictor = make_predictor(
        tasks, run.config, encoder, run.tokenizer, mesh, buckets
    )
    abstract = abstract_params(tasks, run.config, encoder)
    folder = seed_folder(workdir, seed)
    with Checkpointer(workdirs.checkpoints(folder)) as checkpointer:
      self.params = checkpointer.read_params(
          abstract, sharding.params_shardings(mesh, abstract)
      )
      self.step = checkpointer.restored_step

  def task(self, name: str | None = None) -> Task:
    """Returns one of the tasks; the name may be left out where there is one.

    Raises:
      UserError: no such task, or several to choose from.
    """
    if name is None and len(self.tasks) == 1:
      return next(iter(self.tasks.values()))
    if name is None:
      raise UserError(
          f"this model has learned {len(self.tasks)} tasks; choose --task of"
          f" {', '.join(self.tasks)}"
      )
    if name not in self.tasks:
      raise UserError(
          f"the task {name!r} is not one that this model has learned; choose"
          f" --task of {', '.join(self.tasks)}"
      )
    return self.tasks[name]

  def evaluate(
      self,
      *,
      task: str | None = None,
      split: str | None = None,
      folder: epath.PathLike | None = None,
      output: epath.PathLike | None = None,
  ) -> dict[str, float]:
    """Scores the dev splits, or one split.

    Args:
      task: one of the tasks, or None for all.
      split: as the task calls it, or None for its dev splits.
      folder: where the task's files lie, or None for the run's own source.
      output: a folder for predictions and leaderboard files, or None.

    Returns:
      Scores by name, as "rte/dev/accuracy"; none of a split that does not
      tell the answers.

    Raises:
      UserError: there is no such split, or it does not tell the answers and
        no output is asked for.
    """
    source = task_data.source_of(self.config)
    if folder is not None:
      named = ("train", "dev", "test", "dataset")
      options = {**source.options, **dict.fromkeys(named, "")}
      source = Source(pathlib.Path(folder), options=options)
    scores = {}
    tasks = self.tasks.values() if task is None else [self.task(task)]
    for one in tasks:
      self._check_split(one, split)
      for name in (split,) if split else one.dev_splits:
        examples = one.read(source, name)
        can_score = has_gold(examples)
        if not can_score and output is None:
          raise UserError(
              f"the split {name!r} of {one.name} does not tell the answers, so"
              " it cannot be scored; give --output for its predictions"
          )
        answers = self.predictor.predict(self.params, one, examples)
        if output is not None:
          write_outputs(
              epath.Path(output),
              one,
              name,
              examples,
              answers,
              self.predictor.decode_options,
          )
        if can_score:
          found = self.predictor.score(one, examples, answers)
          scores |= {f"{one.name}/{name}/{m}": v for m, v in found.items()}
    return scores

  def _check_split(self, task: Task, split: str | None) -> None:
    splits = ("train", *task.dev_splits, *task.test_splits)
    if split is not None and split not in splits:
      raise UserError(
          f"{task.name} has no split {split!r}; choose --split of"
          f" {', '.join(splits)}"
      )

  def predict(
      self, examples: Sequence[Example], task: str | None = None
  ) -> Predictions:
    """Answers examples of one task.

    Raises:
      UserError: no example, or several tasks to choose from.
    """
    if not examples:
      raise UserError("there is no text to predict on; give some")
    return self.predictor.predict(self.params, self.task(task), examples)

  def interpolate(
      self, first: str, last: str, steps: int = 5
  ) -> list[dict[str, Any]]:
    """Writes texts on the line between two; see `TextAutoencoder`.

        for one in open_run("latent").interpolate("a cat", "a dog"):
          print(one["place"], one["written"])

    Raises:
      UserError: the run is not of task=autoencode, or fewer steps than ends.
    """
    predictor = self._autoencoder("interpolate")
    return predictor.interpolate(self.params, self.task(), first, last, steps)

  def draw(self, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Writes texts of draws from the prior; see `TextAutoencoder`.

    Raises:
      UserError: the run is not of task=autoencode, or no text is asked for.
    """
    return self._autoencoder("draw").draw(self.params, count, seed)

  def _autoencoder(self, asked: str) -> TextAutoencoder:
    if not isinstance(self.predictor, TextAutoencoder):
      raise UserError(
          f"this run has learned {', '.join(self.tasks)} and no z; to {asked}"
          " texts, open a run of task=autoencode"
      )
    return self.predictor

  def _embedding_parts(self):
    length = self.config.data.max_length
    parts = self._encoder, self.params, self.tokenizer, length
    if latent_dimensions(self.config):
      return *parts, VectorOptions(pooling=LATENT)
    learned = [task.vectors for task in self.tasks.values() if task.vectors]
    options = [
        VectorOptions(one.layer, one.pooling, one.dimensions) for one in learned
    ]
    return *parts, next(iter(options), VectorOptions())

  def warm_up(self, rows: int, length: int) -> None:
    """Compiles every task's program on one of the buckets' shapes."""
    for task in self.tasks.values():
      self.predictor.warm_up(self.params, task, rows, length)
