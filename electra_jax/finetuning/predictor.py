"""What the programs that answer a task have in common."""

import logging
from collections.abc import Sequence

from jax.sharding import Mesh

from electra_jax.finetuning import task_data
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.tasks import predictions
from electra_jax.tasks.examples import Example
from electra_jax.tasks.features import Features, cut_note, make_features
from electra_jax.tasks.predictions import Predictions
from electra_jax.tasks.task import Task
from electra_jax.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


class Predictor:
  """Turns examples into numbers, and scores what is answered.

  Attributes:
    decode_options: how answers are chosen.
    mesh: the devices.
  """

  def __init__(self, config: FinetuneConfig, tokenizer: Tokenizer, mesh: Mesh):
    self.decode_options = task_data.decode_options(config)
    self.mesh = mesh
    self._config, self._tokenizer = config, tokenizer

  def features(self, task: Task, examples: Sequence[Example]) -> Features:
    """Turns examples into numbers, as in evaluation."""
    options = task_data.feature_options(self._config)
    return make_features(task, examples, self._tokenizer, options)

  def score(
      self, task: Task, examples: Sequence[Example], answers: Predictions
  ) -> dict[str, float]:
    """Scores predictions by the task's metrics."""
    return predictions.score(task, examples, answers, self.decode_options)

  def _told_features(self, task: Task, examples: Sequence[Example]) -> Features:
    """Does the same as `features`, and warns of texts that lose their end."""
    features = self.features(task, examples)
    if note := cut_note(features, task_data.feature_options(self._config)):
      _log.warning("%s: %s, as in fine-tuning", task.name, note)
    return features
