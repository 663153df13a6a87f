"""What a fine-tuning runs: batches, the training step, start and evaluation.

There is one set for tasks that put a head on the encoder, and one for a task
that writes text.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from electra_jax.devices import sharding
from electra_jax.finetuning import diffcse, task_data
from electra_jax.finetuning.evaluation import Evaluator
from electra_jax.finetuning.generation_checks import check_lengths, writes_text
from electra_jax.finetuning.generation_trainer import (
    make_generation_trainer,
    restore_start,
)
from electra_jax.finetuning.pretrained_encoder import (
    PretrainedEncoder,
    check_length,
)
from electra_jax.finetuning.task_data import TaskData
from electra_jax.finetuning.task_predictor import TaskPredictor, heads_of
from electra_jax.finetuning.task_teacher import training_features
from electra_jax.finetuning.taught import TaskTeacher
from electra_jax.finetuning.text_autoencoder import make_writer
from electra_jax.finetuning.trainer import TaskTrainer, make_task_trainer
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Params
from electra_jax.tasks import generation_scoring, scoring
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.generation_batches import GenerationBatches
from electra_jax.tasks.task import Task


class Programs(NamedTuple):
  """What a fine-tuning runs.

  Attributes:
    batches: of training.
    trainer: initialises and trains.
    start: for `trainer.init`; None for random weights.
    evaluator: predicts and scores.
  """

  batches: Batches | GenerationBatches
  trainer: TaskTrainer
  start: Params | None
  evaluator: Evaluator


def check_scores(tasks: Sequence[Task]) -> None:
  """Raises a UserError unless what scores the tasks is installed."""
  for task in tasks:
    if task.kind == "generation":
      generation_scoring.check_packages(task.metrics)
    elif task.kind != "questions":
      scoring.check_packages()


def check_start(
    config: FinetuneConfig, start: PretrainedEncoder, tasks: Sequence[Task]
) -> None:
  """Raises a UserError where an encoder does not fit what is asked of it."""
  check_length(config, start)
  task_data.check_vectors(tasks, start.encoder)
  if writes_text(tasks):
    check_lengths(config, start.encoder)


def make_programs(
    config: FinetuneConfig,
    start: PretrainedEncoder,
    tasks: Sequence[TaskData],
    mesh: Mesh,
    teacher: TaskTeacher | None,
    detection: diffcse.Detection | None,
) -> Programs:
  """Builds what a config runs, and reads what it starts from.

  Args:
    config: as of configs/finetune.py.
    start: of `find_encoder`.
    tasks: with their examples.
    mesh: of `sharding.make_mesh`.
    teacher: of `find_task_teacher`, or None.
    detection: what learns beside a text's vector, or None.

  Raises:
    UserError: values that do not fit each other, or no checkpoint.
  """
  rest = (config, start.encoder, start.tokenizer, mesh)
  batches = training_batches(config, start, tasks, mesh)
  num_steps = batches.steps_of(config.train.num_epochs)
  if isinstance(batches, GenerationBatches):
    trainer = make_generation_trainer(config, start.encoder, mesh, num_steps)
    params: Any = restore_start(config, start, trainer)
    return Programs(
        batches, trainer, params, Evaluator(tasks, make_writer(*rest))
    )
  trainer = make_task_trainer(
      config,
      start.encoder,
      heads_of([data.task for data in tasks], config),
      mesh,
      num_steps,
      teacher,
      detection=detection,
      group=batches.group,
  )
  params = start.restore(trainer.abstract.params, trainer.shardings.params)
  if detection is not None:
    params |= diffcse.restore(detection, start, mesh)
  return Programs(
      batches, trainer, params, Evaluator(tasks, TaskPredictor(*rest))
  )


def training_batches(
    config: FinetuneConfig,
    start: PretrainedEncoder,
    tasks: Sequence[TaskData],
    mesh: Mesh,
) -> Batches | GenerationBatches:
  """Returns the batches of training; see `make_programs`."""
  options = task_data.feature_options(config)
  features = {
      data.task.name: training_features(data, start.tokenizer, options)
      for data in tasks
  }
  shards, special = sharding.batch_shards(mesh), start.tokenizer.special
  if writes_text([data.task for data in tasks]):
    return GenerationBatches(
        features,
        batch_size=config.train.batch_size,
        begin_id=special.cls,
        pad_id=special.pad,
        row_multiple=shards,
    )
  group = max(some.group for some in features.values())
  return Batches(
      features,
      batch_size=config.train.batch_size * group,
      row_length=config.data.max_length,
      pad_id=special.pad,
      is_packed=config.data.packing,
      accumulation_steps=config.train.accumulation_steps,
      row_multiple=shards,
  )
