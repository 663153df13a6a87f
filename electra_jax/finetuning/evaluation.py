"""Predictions and scores of the held-out splits of all tasks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from electra_jax.finetuning.task_data import TaskData
from electra_jax.finetuning.task_predictor import TaskPredictor
from electra_jax.finetuning.text_writer import TextWriter
from electra_jax.tasks import autoencoding
from electra_jax.tasks.generation_scoring import describe_baselines
from electra_jax.tasks.prediction_files import write_outputs
from electra_jax.tasks.predictions import Predictions
from electra_jax.tasks.score_words import explain_scores

Split = tuple[str, str]  # Names of a task and of one of its splits.


class Evaluator:
  """Predicts and scores the held-out splits of all tasks.

  Attributes:
    dev_splits: those that are scored.
    test_splits: those that are predicted only.
    main_metrics: names of the scores that select the best seed.
    features: by split.
  """

  def __init__(
      self,
      tasks: Sequence[TaskData],
      predictor: TaskPredictor | TextWriter,
  ):
    """Turns the held-out texts into numbers.

    Raises:
      UserError: a label that training does not know.
    """
    self._data = {data.task.name: data for data in tasks}
    self._predictor = predictor
    self.dev_splits: list[Split] = []
    self.test_splits: list[Split] = []
    for data in tasks:
      name, splits = data.task.name, data.splits
      self.dev_splits += [(name, split) for split in data.task.dev_splits]
      self.test_splits += [
          (name, split) for split in data.task.test_splits if split in splits
      ]
    self.features = {
        (name, split): predictor.features(*self._task_and_examples(name, split))
        for name, split in (*self.dev_splits, *self.test_splits)
    }
    self.main_metrics = [
        f"{data.task.name}/{data.task.dev_splits[0]}/{data.task.metrics[0]}"
        for data in tasks
    ]

  def predict(
      self, params: Any, splits: Sequence[Split]
  ) -> dict[Split, Predictions]:
    """Answers every example of some splits."""
    return {
        split: self._predictor.predict(
            params, *self._task_and_examples(*split), self.features[split]
        )
        for split in splits
    }

  def scores(
      self, predictions: Mapping[Split, Predictions]
  ) -> dict[str, float]:
    """Returns the scores of the dev splits, named "rte/dev/accuracy"."""
    scores = {}
    for name, split in self.dev_splits:
      found = self._predictor.score(
          *self._task_and_examples(name, split), predictions[name, split]
      )
      scores |= {f"{name}/{split}/{metric}": v for metric, v in found.items()}
    return scores

  def explain(self, names: Iterable[str]) -> list[str]:
    """Returns a line on each of some scores, and on what no model gives."""
    lines = explain_scores(
        list(names),
        {name: data.task for name, data in self._data.items()},
        {
            (name, split): self._data[name].splits[split]
            for name, split in self.dev_splits
        },
    )
    for name, split in self.dev_splits:
      data = self._data[name]
      # What copies a source is no baseline where it is the target.
      is_own_target = data.task.name == autoencoding.NAME
      if data.task.kind == "generation" and not is_own_target:
        told = describe_baselines(
            data.task.metrics, data.splits["train"], data.splits[split]
        )
        lines += [f"{name}/{split}: {line}" for line in told]
    return lines

  def write(
      self, folder: epath.Path, predictions: Mapping[Split, Predictions]
  ) -> None:
    """Writes predictions, for people and for leaderboards, into a folder."""
    for (name, split), answers in predictions.items():
      task, examples = self._task_and_examples(name, split)
      options = self._predictor.decode_options
      write_outputs(folder, task, split, examples, answers, options)

  def _task_and_examples(self, name: str, split: str):
    data = self._data[name]
    return data.task, data.splits[split]
