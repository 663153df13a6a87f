"""Predictions and scores of the held-out splits of all tasks."""

import json
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from electra_jax.files import write_whole
from electra_jax.finetuning import task_data
from electra_jax.finetuning.model import TaskPredictor
from electra_jax.finetuning.task_data import TaskData
from electra_jax.runs.weights import SCORES
from electra_jax.tasks.prediction_files import write_outputs
from electra_jax.tasks.predictions import Predictions


class Evaluator:
  """Predicts and scores the held-out splits of all tasks."""

  def __init__(self, tasks: Sequence[TaskData], predictor: TaskPredictor):
    self._tasks = tasks
    self._predictor = predictor
    # Made now: a label that no one knows is found before anything is trained.
    self._features = {
        (data.task.name, split): predictor.features(data.task, examples)
        for data in tasks
        for split, examples in data.splits.items()
        if split != "train"
    }
    self._params, self._answers = None, {}  # The last ones judged.
    self.main_metrics = [
        f"{data.task.name}/{data.task.dev_splits[0]}/{data.task.metrics[0]}"
        for data in tasks
    ]

  def scores(self, params: Any) -> dict[str, float]:
    """Returns the dev scores, named "rte/dev/accuracy"."""
    scores = {}
    for data in self._tasks:
      for split in data.task.dev_splits:
        answers = self._predict(params, data, split)
        scores |= self._named(data, split, answers)
    return scores

  def finish(
      self, params: Any, folder: epath.Path, config: ConfigDict
  ) -> dict[str, float]:
    """Writes the predictions of every split, then the dev scores."""
    scores = {}
    for data in self._tasks:
      for split in (*data.task.dev_splits, *data.task.test_splits):
        if split not in data.splits:
          continue
        answers = self._predict(params, data, split)
        if split in data.task.dev_splits:
          scores |= self._named(data, split, answers)
        if jax.process_index() == 0:
          options = task_data.decode_options(config)
          write_outputs(
              folder, data.task, split, data.splits[split], answers, options
          )
    self._params, self._answers = None, {}
    if jax.process_index() == 0:  # Last: the sign that the seed is finished.
      write_whole(folder / SCORES, [json.dumps(scores, indent=1)])
    return scores

  def _predict(self, params, data: TaskData, split: str) -> Predictions:
    key, examples = (data.task.name, split), data.splits[split]
    if params is not self._params:
      self._params, self._answers = params, {}
    if key not in self._answers:
      self._answers[key] = self._predictor.predict(
          params, data.task, examples, self._features[key]
      )
    return self._answers[key]

  def _named(self, data, split, answers) -> dict[str, float]:
    scores = self._predictor.score(data.task, data.splits[split], answers)
    return {f"{data.task.name}/{split}/{n}": v for n, v in scores.items()}
