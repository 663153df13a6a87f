"""A fine-tuned model: opens a finetune workdir, scores splits, answers."""

import dataclasses
import logging
import math
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning import task_data
from electra_jax.finetuning.trainer import init_params, make_predict_step
from electra_jax.models.bottleneck import (
    Bottleneck,
    BottleneckOutput,
    without_rate,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.task_heads import HeadConfig
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.buckets import Buckets
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.vectors import EmbedsTexts, VectorOptions
from electra_jax.runs.weights import encoder_of, seed_folder
from electra_jax.shapes import Params
from electra_jax.tasks import predictions
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.examples import (
    Example,
    PairExample,
    QuestionExample,
    TaggedExample,
    TextExample,
)
from electra_jax.tasks.features import Features, cut_note, make_features
from electra_jax.tasks.prediction_files import write_outputs
from electra_jax.tasks.predictions import Predictions, has_gold
from electra_jax.tasks.task import Source, Task
from electra_jax.tasks.text_windows import pool
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.training.checkpoint import Checkpointer

_log = logging.getLogger(__name__)


def head_of(
    task: Task, shape: str = "released", bottleneck: Bottleneck | None = None
) -> HeadConfig:
  """Returns the head that a task trains, of a shape of `task_heads.SHAPES`."""
  size = 1 if task.kind == "regression" else len(task.labels)
  if task.kind == "embedding":
    return HeadConfig(
        task.name,
        task.kind,
        size,
        layer=task.vectors.layer,
        pooling=task.vectors.pooling,
        has_projection=task.vectors.has_projection,
        has_condition=task.vectors.method == "diffcse",
    )
  return HeadConfig(task.name, task.kind, size, shape, bottleneck)


def heads_of(tasks: Iterable[Task], config: FinetuneConfig) -> list[HeadConfig]:
  """Returns the heads that a config puts on the encoder."""
  own, bottleneck = config.bottleneck, None
  if own.dimensions:
    bottleneck = Bottleneck(own.dimensions, own.samples, own.prior)
  return [head_of(task, config.model.head, bottleneck) for task in tasks]


class TaskPredictor:
  """The programs that answer; compiled once for each task and row count.

  Attributes:
    decode_options: how answers are chosen.
    mesh: the devices.
  """

  def __init__(
      self,
      config: FinetuneConfig,
      encoder: EncoderConfig,
      tokenizer: Tokenizer,
      mesh: Mesh,
      buckets: Buckets | None = None,
  ):
    self._buckets = buckets
    self._config = config
    self._encoder = encoder
    self._tokenizer = tokenizer
    self.mesh = mesh
    self.decode_options = task_data.decode_options(config)
    self._steps: dict[str, Callable[..., Any]] = {}

  def features(self, task: Task, examples: Sequence[Example]) -> Features:
    """Turns examples into numbers, as in evaluation."""
    options = task_data.feature_options(self._config)
    return make_features(task, examples, self._tokenizer, options)

  def predict(
      self,
      params: Params,
      task: Task,
      examples: Sequence[Example],
      features: Features | None = None,
  ) -> Predictions:
    """Answers every example; `features` spares making them again."""
    if features is None:
      features = self.features(task, examples)
      if note := cut_note(features, task_data.feature_options(self._config)):
        _log.warning("%s: %s, as in fine-tuning", task.name, note)
    outputs = self.outputs(params, task, features)
    found = predictions.decode(
        task, examples, features, without_rate(outputs), self.decode_options
    )
    if not isinstance(outputs, BottleneckOutput):
      return found
    # A long text counts once, whatever the number of its windows.
    rates = pool(outputs.rate[:, None], features.examples, "mean")
    return found._replace(rate=float(rates.mean()))

  def score(
      self, task: Task, examples: Sequence[Example], answers: Predictions
  ) -> dict[str, float]:
    """Scores predictions by the task's metrics."""
    return predictions.score(task, examples, answers, self.decode_options)

  def batches(self, task: Task, features: Features) -> Batches:
    """Returns the batches of a split; of few texts, no larger than they."""
    shards = sharding.batch_shards(self.mesh)
    size = min(self._config.train.eval_batch_size, len(features))
    multiple = math.lcm(shards, features.group)
    return Batches(
        {task.name: features},
        batch_size=-(-size // multiple) * multiple,
        row_length=self._config.data.max_length,
        pad_id=self._tokenizer.special.pad,
        is_packed=self._config.data.packing,
        row_multiple=shards,
    )

  def warm_up(self, params: Params, task: Task, rows: int, length: int) -> None:
    """Compiles the program of a task on one of the buckets' shapes."""
    features = self.features(task, [_smallest_example(task)])
    self.outputs(params, task, features, Buckets((length,), (rows,)))

  def outputs(
      self,
      params: Params,
      task: Task,
      features: Features,
      buckets: Buckets | None = None,
  ) -> Any:
    """Returns what the network says of every text, as `TaskModel` has it."""
    predict_step = self.step_of(task)
    buckets = buckets or self._buckets
    if buckets is None:
      batches = self.batches(task, features)
    else:
      batches = self._bucketed(task, features, buckets)
    outputs = []
    for batch in batches.in_order():
      # At most two batches are in flight: what is queued stays bounded.
      if len(outputs) > 1:
        outputs[-2] = jax.device_get(outputs[-2])
      batch = sharding.rows_to_global(self.mesh, batch)
      found = predict_step(params, batch)[task.name]
      # Of an embedding what training alone needs is left out.
      outputs.append(found.vector if task.kind == "embedding" else found)
    outputs = jax.device_get(outputs)
    return jax.tree.map(
        lambda *parts: np.concatenate(parts)[: len(features)], *outputs
    )

  def step_of(self, task: Task) -> Callable[..., Any]:
    """Returns jitted (parameters, batch) -> outputs by task."""
    if task.name not in self._steps:
      self._steps[task.name] = make_predict_step(
          self._encoder,
          heads_of([task], self._config),
          self.mesh,
          self._config.questions.beam_size,
          self._config.questions.max_answer_length,
      )
    return self._steps[task.name]

  def _bucketed(
      self, task: Task, features: Features, buckets: Buckets
  ) -> Batches:
    """Returns the batches of a split in one of few shapes, a text a row."""
    shards = sharding.batch_shards(self.mesh)
    length = buckets.length(max(map(len, features.texts)))
    targets = features.targets
    if task.kind == "tagging":  # No text has more words than tokens.
      targets = {
          name: np.pad(x, ((0, 0), (0, length - x.shape[1])))
          for name, x in targets.items()
      }
    return Batches(
        {task.name: dataclasses.replace(features, targets=targets)},
        batch_size=-(-buckets.num_rows(len(features)) // shards) * shards,
        row_length=length,
        pad_id=self._tokenizer.special.pad,
        is_packed=False,
        row_multiple=shards,
    )


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
    mesh = sharding.make_mesh()
    self.predictor = TaskPredictor(
        run.config, encoder, run.tokenizer, mesh, buckets
    )
    heads = heads_of(self.tasks.values(), run.config)
    abstract = jax.eval_shape(lambda: init_params(encoder, heads, 0))
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
      options = {**source.options, "train": "", "dev": "", "test": ""}
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

  def _embedding_parts(self):
    length = self.config.data.max_length
    parts = self._encoder, self.params, self.tokenizer, length
    learned = [task.vectors for task in self.tasks.values() if task.vectors]
    options = [
        VectorOptions(one.layer, one.pooling, one.dimensions) for one in learned
    ]
    return *parts, next(iter(options), VectorOptions())

  def warm_up(self, rows: int, length: int) -> None:
    """Compiles every task's program on one of the buckets' shapes."""
    for task in self.tasks.values():
      self.predictor.warm_up(self.params, task, rows, length)


def _smallest_example(task: Task) -> Example:
  if task.kind == "tagging":
    return TaggedExample("", ("a",), None)
  if task.kind == "questions":
    return QuestionExample("", "a", "a", (), has_gold=False)
  if task.kind == "embedding":
    return PairExample("", "a", "a", None, None)
  return TextExample("", "a", "a" if task.takes_pairs else None, None)
