"""Parameters and examples -> predictions and scores of a task."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from electra_jax import task_data
from electra_jax.data.tokenizer import Tokenizer
from electra_jax.models.config import EncoderConfig
from electra_jax.models.task_heads import HeadConfig
from electra_jax.shapes import Params
from electra_jax.task_programs import make_predict_step
from electra_jax.tasks import predictions
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.examples import Example
from electra_jax.tasks.features import Features, make_features
from electra_jax.tasks.predictions import Predictions
from electra_jax.tasks.task import Task
from electra_jax.training import sharding


def head_of(task: Task) -> HeadConfig:
  """Returns the head that a task trains."""
  size = 1 if task.kind == "regression" else len(task.labels)
  return HeadConfig(task.name, task.kind, size)


class TaskPredictor:
  """The programs that answer; compiled once for each task and row count."""

  def __init__(
      self,
      config: ConfigDict,
      encoder: EncoderConfig,
      tokenizer: Tokenizer,
      mesh: Mesh,
  ):
    self._config = config
    self._encoder = encoder
    self._tokenizer = tokenizer
    self._mesh = mesh
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
    outputs = self._outputs(params, task, features)
    options = task_data.decode_options(self._config)
    return predictions.decode(task, examples, features, outputs, options)

  def score(
      self, task: Task, examples: Sequence[Example], answers: Predictions
  ) -> dict[str, float]:
    """Scores predictions by the task's metrics."""
    options = task_data.decode_options(self._config)
    return predictions.score(task, examples, answers, options)

  def batches(self, task: Task, features: Features) -> Batches:
    """Returns the batches of a split; of few texts, no larger than they."""
    shards = sharding.batch_shards(self._mesh)
    size = min(self._config.train.eval_batch_size, len(features))
    return Batches(
        {task.name: features},
        batch_size=-(-size // shards) * shards,
        row_length=self._config.data.max_length,
        pad_id=self._tokenizer.special.pad,
        is_packed=self._config.data.packing,
        row_multiple=shards,
    )

  def _outputs(self, params: Params, task: Task, features: Features) -> Any:
    if task.name not in self._steps:
      self._steps[task.name] = make_predict_step(
          self._encoder,
          [head_of(task)],
          self._mesh,
          self._config.questions.beam_size,
      )
    predict_step = self._steps[task.name]
    outputs = []
    for batch in self.batches(task, features).in_order():
      # At most two batches are in flight: what is queued stays bounded.
      if len(outputs) > 1:
        outputs[-2] = jax.device_get(outputs[-2])
      batch = sharding.rows_to_global(self._mesh, batch)
      outputs.append(predict_step(params, batch)[task.name])
    outputs = jax.device_get(outputs)
    return jax.tree.map(
        lambda *parts: np.concatenate(parts)[: len(features)], *outputs
    )
