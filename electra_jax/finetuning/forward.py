"""Encoder and heads on a batch, in training and in evaluation."""

from typing import Any

import jax

from electra_jax.models.encoder import Projections, projections_of
from electra_jax.models.layers import PROJECTIONS
from electra_jax.models.task_model import TaskModel
from electra_jax.shapes import Params
from electra_jax.tasks.batches import TaskBatch


def apply(
    model: TaskModel,
    params: Params,
    batch: TaskBatch,
    *,
    dropout_seeds: jax.Array | None = None,
    search: bool = False,
    beam_size: int = 1,
    max_answer_length: int = 1,
) -> dict[str, Any]:
  """Runs encoder and heads on a batch.

  Args:
    model: the networks.
    params: their parameters.
    batch: of `tasks.batches.Batches`.
    dropout_seeds: [B], or None for no dropout.
    search: whether answers are searched for, in place of the gold start's end.
    beam_size: of the search.
    max_answer_length: of the search, in tokens.
  """
  return model.apply(
      {"params": params},
      *batch.texts,
      **_targets_of(model, batch, search=search),
      beam_size=beam_size,
      max_answer_length=max_answer_length,
      dropout_seeds=dropout_seeds,
  )


def apply_and_look(
    model: TaskModel,
    params: Params,
    batch: TaskBatch,
    layer: int,
    dropout_seeds: jax.Array | None = None,
) -> tuple[dict[str, Any], Projections]:
  """Does the same in training; returns what a layer's attention works on, too.

  Args:
    model: the networks.
    params: their parameters.
    batch: of `tasks.batches.Batches`.
    layer: its number, from 0.
    dropout_seeds: [B], or None for no dropout.
  """
  outputs, kept = model.apply(
      {"params": params},
      *batch.texts,
      **_targets_of(model, batch, search=False),
      dropout_seeds=dropout_seeds,
      mutable=[PROJECTIONS],
  )
  return outputs, projections_of(kept, layer)


def _targets_of(model: TaskModel, batch: TaskBatch, *, search: bool):
  """Returns where words and gold answers start, as `TaskModel` takes them."""
  targets = {
      head.name: batch.targets.get(head.name, {}) for head in model.heads
  }

  def of_kind(kind, key):
    return {h.name: targets[h.name][key] for h in model.heads if h.kind == kind}

  return {
      "word_places": of_kind("tagging", "word_places"),
      "answer_starts": None if search else of_kind("questions", "starts"),
  }
