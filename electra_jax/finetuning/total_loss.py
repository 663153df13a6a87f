"""The loss of a batch: what labels, rates and a teacher cost together."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from electra_jax.compress.relations import RELATION_LOSS, relation_loss
from electra_jax.finetuning import losses as finetuning
from electra_jax.finetuning.contrast import contrastive_loss
from electra_jax.finetuning.diffcse import Detection
from electra_jax.finetuning.forward import apply, apply_and_look
from electra_jax.finetuning.taught import labelled_weights, logits_losses
from electra_jax.models.bottleneck import BottleneckOutput
from electra_jax.shapes import Scalar


class LossWeights(NamedTuple):
  """Factors in the total loss.

  Attributes:
    tasks: by task, of its summed loss.
    rate: of a bottleneck's rate beside the loss of its task, β.
    tokens: of all texts, that a teacher's relations are divided by.
  """

  tasks: dict[str, Scalar]
  rate: Scalar | float = 0.0
  tokens: Scalar | float = 0.0


def summed_losses(config, heads, outputs, batch, group=1) -> dict[str, Scalar]:
  """Returns each task's loss, summed over its texts."""
  losses = {}
  for head in heads:
    output, targets = outputs[head.name], batch.targets[head.name]
    weights = batch.weights[head.name]
    if head.kind == "questions":
      answerable_weight = config.questions.answerable_weight
      loss = finetuning.span_loss(
          *output, **targets, answerable_weight=answerable_weight
      )
    elif head.kind == "embedding":
      loss = contrastive_loss(
          output.projected,
          targets["text_ids"],
          weights,
          group=group,
          temperature=config.embedding.temperature,
          prefixes=config.embedding.dimensions,
      )
      weights = weights[::group]
    elif head.kind == "tagging":
      loss = finetuning.tagging_loss(
          output, targets["labels"], targets["weights"]
      )
    elif isinstance(output, BottleneckOutput):
      of_sample = functools.partial(_text_loss, head.kind, targets)
      loss = jnp.mean(jax.vmap(of_sample)(output.logits), axis=0)
    else:
      loss = _text_loss(head.kind, targets, output)
    losses[head.name] = jnp.sum(loss * weights)
  return losses


def _text_loss(kind, targets, logits):
  if kind == "regression":
    return finetuning.regression_loss(logits, targets["ratings"])
  if kind == "multilabel":
    return finetuning.multilabel_loss(logits, targets["labels"])
  return finetuning.classification_loss(logits, targets["labels"])


def _bottleneck_rates(heads, outputs, batch) -> dict[str, Scalar]:
  """Returns the rate of each task's bottleneck, summed over its texts."""
  return {
      head.name: jnp.sum(outputs[head.name].rate * batch.weights[head.name])
      for head in heads
      if head.bottleneck is not None
  }


def plain_loss(
    config,
    heads,
    model,
    params,
    examples,
    weights,
    *,
    group: int = 1,
    detection: Detection | None = None,
):
  """Adds up what labels, rates of bottlenecks and a detection cost."""
  batch = examples.batch
  outputs = apply(model, params, batch, dropout_seeds=examples.dropout_seeds)
  losses = summed_losses(config, heads, outputs, batch, group)
  rates = _bottleneck_rates(heads, outputs, batch)
  total = sum(
      (losses[name] + weights.rate * rates.get(name, 0.0)) * weight
      for name, weight in weights.tasks.items()
  )
  counts = _counts(heads, batch, group)
  sums = {
      f"{name}_{what}": (value, counts[name])
      for what, found in (("loss", losses), ("rate", rates))
      for name, value in found.items()
  }
  if detection is not None:
    (head,) = heads
    condition = outputs[head.name].condition[::group]
    detected = detection.loss(params, examples.masked, condition)
    mean = detected.sum / jnp.maximum(detected.weight, 1.0)
    share = counts[head.name] * weights.tasks[head.name]  # 1 where means are.
    total += detection.weight * mean * share
    sums["rtd_loss"] = detected
  return total, sums


def taught_loss(config, heads, model, params, examples, weights):
  """Adds up what the labels, the teacher's logits and its relations cost."""
  batch, answers, distill = examples.batch, examples.answers, config.distill
  last = model.config.num_layers - 1
  outputs, ours = apply_and_look(
      model, params, batch, last, examples.dropout_seeds
  )
  factor = config.questions.answerable_weight
  labelled = batch._replace(weights=labelled_weights(batch))
  labels = summed_losses(config, heads, outputs, labelled)
  logits = logits_losses(
      heads,
      outputs,
      answers.outputs,
      batch,
      temperature=distill.temperature,
      answerable_weight=factor,
  )
  relations, tokens = relation_loss(
      ours,
      answers.projections,
      batch.texts.owners + 1,
      distill.relation_heads,
  )
  total = distill.relation_weight * relations / jnp.maximum(weights.tokens, 1.0)
  sums = {RELATION_LOSS: (relations, tokens)}
  known, counts = _counts(heads, labelled), _counts(heads, batch)
  for name, weight in weights.tasks.items():
    total += distill.label_weight * labels[name] * weight
    total += distill.logits_weight * logits[name] * weight
    sums[f"{name}_loss"] = labels[name], known[name]
    sums[f"{name}_logits_loss"] = logits[name], counts[name]
  return total, sums


def _counts(heads, batch, group=1) -> dict[str, Scalar]:
  """Returns how many texts each task has; of tags, how many words.

  A window counts as its share of a text.
  """
  counts = {}
  for head in heads:
    each = batch.weights[head.name][::group]
    if head.kind == "tagging":
      each *= jnp.sum(batch.targets[head.name]["weights"], axis=-1)
    counts[head.name] = jnp.sum(each)
  return counts


def loss_weights(config, heads, batch, group=1) -> dict[str, Scalar]:
  """Returns the factor of each task's summed loss in the total.

  The mean is over texts, and over words where tags are learned; of several
  tasks each counts by its texts. The released sum takes every text (of tags:
  every word) as it is, so that clipping bites nearly always.

  Source: release finetune/run_finetuning.py:model_fn_builder.
  """
  if config.train.loss_reduction == "sum":
    return {head.name: jnp.ones(()) for head in heads}
  texts = {h.name: jnp.sum(batch.weights[h.name][::group]) for h in heads}
  all_texts = sum(texts.values())
  shares = {}
  for name, count in _counts(heads, batch, group).items():
    # Not max(…, 1): windows of long texts may be less than one text together.
    whole = all_texts * count
    shares[name] = texts[name] / jnp.where(whole > 0, whole, 1.0)
  return shares
