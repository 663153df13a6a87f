"""One task's answers to many texts, computed in batches sorted by length."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from electra_jax.devices import sharding
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.models.bottleneck import without_rate
from electra_jax.tasks.examples import Example
from electra_jax.tasks.features import Features
from electra_jax.tasks.predictions import Predictions
from electra_jax.tasks.sorted_batches import make_shapes, sorted_batches
from electra_jax.tasks.task import Task

_IN_FLIGHT = 2  # Batches: one is computed while the next waits for it.


class ManyTexts:
  """Answers in three stages, which a caller may overlap.

  Attributes:
    task: the texts are of.
  """

  def __init__(self, model: FinetunedModel, task: Task, batch_tokens: int):
    """Chooses the shapes of batches; nothing is compiled yet.

    Args:
      model: that answers.
      task: one of its tasks.
      batch_tokens: tokens of a batch on each device.
    """
    self.task = task
    self._model = model
    self._mesh = model.predictor.mesh
    shards = sharding.batch_shards(self._mesh)
    length = model.config.data.max_length
    self._shapes = make_shapes(length, batch_tokens * shards, shards)
    if task.kind == "questions":  # What a search finds must have one shape.
      self._shapes = self._shapes._replace(lengths=(length,))

  def features(self, examples: Sequence[Example]) -> Features:
    """Turns examples into numbers, as in evaluation."""
    return self._model.predictor.features(self.task, examples)

  def outputs(
      self,
      features: Features,
      on_batch: Callable[[int], None] = lambda texts: None,
  ) -> Any:
    """Returns what the network says of every text, as `decode` takes it.

    The rate of a bottleneck is left out.

    Args:
      features: of the texts.
      on_batch: is told how many texts have been answered, batch by batch.
    """
    if self.task.kind == "generation":
      return self._model.predictor.outputs(
          self._model.params, self.task, features, on_batch
      )
    predict_step = self._model.predictor.step_of(self.task)
    pad_id = self._model.tokenizer.special.pad
    waiting: collections.deque[tuple[np.ndarray, Any]] = collections.deque()
    whole, done = None, 0

    def take() -> None:
      nonlocal whole, done
      numbers, found = waiting.popleft()
      found = jax.device_get(found)
      if whole is None:
        whole = _room_for(self.task, features, found)
      jax.tree.map(functools.partial(_put, numbers), whole, found)
      done += len(numbers)
      on_batch(done)

    for numbers, batch in sorted_batches(
        self.task.name, features, self._shapes, pad_id
    ):
      batch = sharding.rows_to_global(self._mesh, batch)
      found = predict_step(self._model.params, batch)[self.task.name]
      waiting.append((numbers, without_rate(found)))
      if len(waiting) > _IN_FLIGHT:
        take()
    while waiting:
      take()
    return whole

  def decode(
      self, examples: Sequence[Example], features: Features, outputs: Any
  ) -> Predictions:
    """Says in words what the outputs mean."""
    return self._model.predictor.decode(self.task, examples, features, outputs)


def _room_for(task: Task, features: Features, outputs: Any) -> Any:
  """Returns empty arrays for the outputs of all texts, as a batch's are."""
  count = len(features)
  if task.kind == "tagging":  # Of a batch, as many as its rows have tokens.
    words = features.targets["word_places"].shape[1]
    return np.zeros((count, words, outputs.shape[2]), outputs.dtype)
  return jax.tree.map(
      lambda x: np.zeros((count, *x.shape[1:]), x.dtype), outputs
  )


def _put(numbers: np.ndarray, whole: np.ndarray, part: np.ndarray) -> None:
  """Writes a batch's outputs to the places of its texts."""
  if part.shape[1:] == whole.shape[1:]:
    whole[numbers] = part[: len(numbers)]
  else:  # Tags; there are no words where one of the two ends.
    words = min(whole.shape[1], part.shape[1])
    whole[numbers, :words] = part[: len(numbers), :words]
