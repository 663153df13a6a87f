"""The programs that answer a task by a head on the encoder, and score it."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from electra_jax.devices import sharding
from electra_jax.finetuning.predictor import Predictor
from electra_jax.finetuning.trainer import make_predict_step
from electra_jax.models.bottleneck import (
    Bottleneck,
    BottleneckOutput,
    without_rate,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.task_heads import HeadConfig
from electra_jax.runs.buckets import Buckets
from electra_jax.runs.finetune_config import FinetuneConfig
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
from electra_jax.tasks.features import Features
from electra_jax.tasks.predictions import Predictions
from electra_jax.tasks.task import Task
from electra_jax.tasks.text_windows import pool
from electra_jax.text.tokenizer import Tokenizer


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


class TaskPredictor(Predictor):
  """The programs that answer; compiled once for each task and row count."""

  def __init__(
      self,
      config: FinetuneConfig,
      encoder: EncoderConfig,
      tokenizer: Tokenizer,
      mesh: Mesh,
      buckets: Buckets | None = None,
  ):
    super().__init__(config, tokenizer, mesh)
    self._encoder, self._buckets = encoder, buckets
    self._steps: dict[str, Callable[..., Any]] = {}

  def predict(
      self,
      params: Params,
      task: Task,
      examples: Sequence[Example],
      features: Features | None = None,
  ) -> Predictions:
    """Answers every example; `features` spares making them again."""
    if features is None:
      features = self._told_features(task, examples)
    outputs = self.outputs(params, task, features)
    found = self.decode(task, examples, features, without_rate(outputs))
    if not isinstance(outputs, BottleneckOutput):
      return found
    # A long text counts once, whatever the number of its windows.
    rates = pool(outputs.rate[:, None], features.examples, "mean")
    return found._replace(rate=float(rates.mean()))

  def decode(
      self,
      task: Task,
      examples: Sequence[Example],
      features: Features,
      outputs: Any,
  ) -> Predictions:
    """Says in words what outputs mean, those of a bottleneck without rate."""
    return predictions.decode(
        task, examples, features, outputs, self.decode_options
    )

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


def _smallest_example(task: Task) -> Example:
  if task.kind == "tagging":
    return TaggedExample("", ("a",), None)
  if task.kind == "questions":
    return QuestionExample("", "a", "a", (), has_gold=False)
  if task.kind == "embedding":
    return PairExample("", "a", "a", None, None)
  return TextExample("", "a", "a" if task.takes_pairs else None, None)
