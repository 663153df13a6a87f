"""What a fine-tuning learns from a teacher beside the labels of its texts."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from electra_jax.compress.soft_targets import class_divergence, odds_divergence
from electra_jax.models.encoder import Projections
from electra_jax.models.task_heads import HeadConfig, SpanLogits
from electra_jax.shapes import Array, Float, Params, Scalar
from electra_jax.tasks.batches import TaskBatch

IS_LABELLED = "is_labelled"  # A target: 0 of a text that has no label.


class Answers(NamedTuple):
  """What a teacher says of a batch.

  Attributes:
    outputs: by task, as of `TaskModel`.
    projections: what the attention of its layer works on.
  """

  outputs: Mapping[str, Any]
  projections: Projections


class TrainingExamples(NamedTuple):
  """What a training step computes on; rows and texts first.

  Attributes:
    batch: without its seed.
    dropout_seeds: [B] one of each text.
    answers: the teacher's, or None without one.
    masked: what a detection draws of the texts, or () without one.
  """

  batch: TaskBatch
  dropout_seeds: jax.Array
  answers: Answers | None = None
  masked: Any = ()


@dataclasses.dataclass(frozen=True, eq=False)
class TaskTeacher:
  """A fine-tuned run that a student learns from.

  Attributes:
    params: its parameters, on the mesh.
    origin: which weights those are, down to a digest of them.
    answer: (parameters, batch without a seed) -> what it says, by the student's
      tasks.
    description: of it, for people.
  """

  params: Params
  origin: str
  answer: Callable[[Params, TaskBatch], Answers]
  description: str


def logits_losses(
    heads: Sequence[HeadConfig],
    outputs: Mapping[str, Any],
    answers: Mapping[str, Any],
    batch: TaskBatch,
    *,
    temperature: float,
    answerable_weight: float,
) -> dict[str, Scalar]:
  """Returns each task's divergence from its teacher, summed over its texts.

  Of tags it is summed over words; of several labels at once it is a mean over
  them; of ratings it is the squared difference, which has no temperature.

  Args:
    heads: one for each task.
    outputs: the student's.
    answers: the teacher's.
    batch: what both are about.
    temperature: of both networks' logits.
    answerable_weight: of having an answer, as in the loss of the labels.
  """
  losses = {}
  for head in heads:
    ours, theirs = outputs[head.name], answers[head.name]
    if head.kind == "questions":
      loss = _span_divergence(ours, theirs, temperature, answerable_weight)
    elif head.kind == "tagging":
      each = class_divergence(ours, theirs, temperature)
      loss = jnp.sum(each * batch.targets[head.name]["weights"], axis=-1)
    elif head.kind == "regression":
      loss = jnp.square(ours[:, 0] - theirs[:, 0])
    elif head.kind == "multilabel":
      loss = jnp.mean(odds_divergence(ours, theirs, temperature), axis=-1)
    else:
      loss = class_divergence(ours, theirs, temperature)
    losses[head.name] = jnp.sum(loss * batch.weights[head.name])
  return losses


def labelled_weights(batch: TaskBatch) -> dict[str, Float[Array, " B"]]:
  """Returns the weights of a batch's texts, by task, 0 of those unlabelled."""
  return {
      name: weights * batch.targets[name].get(IS_LABELLED, 1.0)
      for name, weights in batch.weights.items()
  }


def _span_divergence(
    ours: SpanLogits,
    theirs: SpanLogits,
    temperature: float,
    answerable_weight: float,
) -> Float[Array, " B"]:
  spans = [
      class_divergence(x, y, temperature)
      for x, y in zip(ours[:2], theirs[:2], strict=True)
  ]
  loss = (spans[0] + spans[1]) / 2
  if ours.impossible is None:
    return loss
  answerable = odds_divergence(ours.impossible, theirs.impossible, temperature)
  return loss + answerable_weight * answerable
