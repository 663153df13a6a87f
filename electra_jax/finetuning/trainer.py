"""Compiles the programs of a fine-tuning config: initialise, train, predict.

All that knows both the networks and the losses of the tasks stands here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from electra_jax.devices import sharding
from electra_jax.devices.attention import make_attend
from electra_jax.finetuning import diffcse
from electra_jax.finetuning import losses as finetuning
from electra_jax.finetuning.contrast import contrastive_loss
from electra_jax.models.config import EncoderConfig
from electra_jax.models.task_heads import HeadConfig
from electra_jax.models.task_model import TaskModel
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Params, Scalar
from electra_jax.tasks.batches import TaskBatch
from electra_jax.training.optimizer import (
    OptimizerConfig,
    layerwise_rates,
    learning_rate_schedule,
    make_optimizer,
)
from electra_jax.training.step import (
    TrainState,
    abstract_state,
    make_state,
    make_train_step,
)

_INIT_STREAM = 2**32 - 1  # Of fold_in(key(seed), …); no step number is that.


@dataclasses.dataclass(frozen=True)
class TaskTrainer:
  """What a config compiles to on a mesh; one for all seeds.

  Attributes:
    config: what was compiled.
    mesh: the devices.
    abstract: shapes and dtypes of the train state.
    shardings: where each array of the state lies.
    train_step: jitted (state, batch) -> (state, sums); donates the state.
    init: (seed, encoder parameters or None) -> fresh state in its shards.
    num_steps: updates of a run.
  """

  config: FinetuneConfig
  mesh: Mesh
  abstract: TrainState
  shardings: TrainState
  train_step: Callable[[TrainState, TaskBatch], tuple[TrainState, Any]]
  init: Callable[[int, Params | None], TrainState]
  num_steps: int


def make_task_trainer(
    config: FinetuneConfig,
    encoder: EncoderConfig,
    heads: Sequence[HeadConfig],
    mesh: Mesh,
    num_steps: int,
    *,
    detection: diffcse.Detection | None = None,
    group: int = 1,
) -> TaskTrainer:
  """Builds the training programs of a fine-tuning config.

  Args:
    config: as of configs/finetune.py.
    encoder: shapes of the discriminator.
    heads: one for each task.
    mesh: of `sharding.make_mesh`.
    num_steps: updates of a run, T.
    detection: what learns beside a text's vector, or None.
    group: texts of a batch that belong together.

  Raises:
    UserError: values that do not fit each other.
  """
  train = config.train
  sharding.check_batch(mesh, train.batch_size, train.accumulation_steps)
  sharding.check_divisible(
      mesh, "number of attention heads", encoder.num_heads, ("tensor",)
  )
  optimizer_config = _optimizer_config(config, num_steps, detection)
  model = TaskModel(
      encoder,
      tuple(heads),
      sharding.constrain_hidden(mesh),
      make_attend(config.model.attention, mesh),
  )

  def fresh_params(seed):
    params = init_params(encoder, heads, seed)
    return params | detection.init_params() if detection else params

  abstract_params = jax.eval_shape(lambda: fresh_params(0))
  rates = _rates(abstract_params, encoder, optimizer_config)
  optimizer = make_optimizer(optimizer_config, rates)

  def loss_fn(params, examples, weights):
    batch, dropout_seeds, masked = examples
    outputs = apply(model, params, batch, dropout_seeds=dropout_seeds)
    losses = _losses(config, heads, outputs, batch, group)
    total = sum(losses[h.name] * weights[h.name] for h in heads)
    counts = _counts(heads, batch, group)
    sums = {f"{h.name}_loss": (losses[h.name], counts[h.name]) for h in heads}
    if detection is not None:
      (head,) = heads
      condition = outputs[head.name].condition[::group]
      sums["rtd_loss"] = detection.loss(params, masked, condition)
      mean = sums["rtd_loss"].sum / jnp.maximum(sums["rtd_loss"].weight, 1.0)
      share = counts[head.name] * weights[head.name]  # 1 where means are.
      total += detection.weight * mean * share
    return total, sums

  def prepare(rng, batch):
    texts = batch.texts.starts.shape[0]
    seeds = jax.random.bits(rng, (texts,), jnp.uint32)
    weights = _loss_weights(config, heads, batch, group)
    masked = ()
    if detection is not None:
      masked = detection.draw(jax.random.fold_in(rng, 1), batch.texts)
    return (batch._replace(seed=()), seeds, masked), weights

  train_step = make_train_step(
      prepare,
      loss_fn,
      optimizer,
      learning_rate_schedule(optimizer_config),
      root_key=lambda batch: jax.random.key(batch.seed),
      accumulation_steps=config.train.accumulation_steps,
  )
  abstract = abstract_state(lambda: fresh_params(0), optimizer)
  shardings = sharding.state_shardings(mesh, optimizer, abstract)
  whole = NamedSharding(mesh, PartitionSpec())

  def init_state(seed, encoder_params):
    return make_state(
        lambda: {**fresh_params(seed), **encoder_params}, optimizer
    )

  jitted_init = jax.jit(init_state, out_shardings=shardings)
  return TaskTrainer(
      config=config,
      mesh=mesh,
      abstract=abstract,
      shardings=shardings,
      train_step=jax.jit(
          train_step, donate_argnums=0, out_shardings=(shardings, whole)
      ),
      init=lambda seed, params: jitted_init(np.uint32(seed), params or {}),
      num_steps=num_steps,
  )


def init_params(
    encoder: EncoderConfig, heads: Sequence[HeadConfig], seed: int | jax.Array
) -> Params:
  """Initialises encoder and heads as released; run it under jit."""
  rng = jax.random.fold_in(jax.random.key(seed), _INIT_STREAM)
  args, kwargs = _smallest_call(heads)
  # Initial values do not depend on the mesh: no constraint is needed.
  return TaskModel(encoder, tuple(heads)).init(rng, *args, **kwargs)["params"]


def make_predict_step(
    encoder: EncoderConfig,
    heads: Sequence[HeadConfig],
    mesh: Mesh,
    beam_size: int,
    max_answer_length: int,
) -> Callable[[Params, TaskBatch], dict[str, Any]]:
  """Returns jitted (params, batch) -> outputs by task, whole on each device."""
  model = TaskModel(encoder, tuple(heads), sharding.constrain_hidden(mesh))

  def predict_step(params, batch):
    return apply(
        model,
        params,
        batch,
        search=True,
        beam_size=beam_size,
        max_answer_length=max_answer_length,
    )

  whole = NamedSharding(mesh, PartitionSpec())
  return jax.jit(predict_step, out_shardings=whole)


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
  targets = {
      head.name: batch.targets.get(head.name, {}) for head in model.heads
  }
  return model.apply(
      {"params": params},
      *batch.texts,
      word_places={
          h.name: targets[h.name]["word_places"]
          for h in model.heads
          if h.kind == "tagging"
      },
      answer_starts=None
      if search
      else {
          h.name: targets[h.name]["starts"]
          for h in model.heads
          if h.kind == "questions"
      },
      beam_size=beam_size,
      max_answer_length=max_answer_length,
      dropout_seeds=dropout_seeds,
  )


def _optimizer_config(
    config: FinetuneConfig,
    num_steps: int,
    detection: diffcse.Detection | None,
) -> OptimizerConfig:
  numbers = dataclasses.asdict(config.optimizer)
  # Not cut to whole steps: release model/optimization.py:create_optimizer.
  warmup_steps = numbers.pop("warmup_proportion") * num_steps
  return OptimizerConfig(
      num_train_steps=num_steps,
      warmup_steps=warmup_steps,
      frozen="" if detection is None else diffcse.FROZEN,
      **numbers,
  )


def _smallest_call(heads) -> tuple[tuple, dict]:
  row, text = jnp.zeros((1, 2), jnp.int32), jnp.zeros(1, jnp.int32)
  tagging = {h.name: row for h in heads if h.kind == "tagging"}
  questions = {h.name: text for h in heads if h.kind == "questions"}
  args = (row, row, text, jnp.full((1, 2), 2, jnp.int32))
  return args, {"word_places": tagging, "answer_starts": questions}


def _rates(
    params: Params, encoder: EncoderConfig, config: OptimizerConfig
) -> Params:
  """Returns each parameter's factor; that of a detector is 1."""
  beside = {n: x for n, x in params.items() if n in diffcse.PARTS}
  own = {name: part for name, part in params.items() if name not in beside}
  rates = layerwise_rates(own, encoder.num_layers, config)
  return rates | jax.tree.map(lambda _: 1.0, beside)


def _losses(config, heads, outputs, batch, group) -> dict[str, Scalar]:
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
    elif head.kind == "regression":
      loss = finetuning.regression_loss(output, targets["ratings"])
    elif head.kind == "multilabel":
      loss = finetuning.multilabel_loss(output, targets["labels"])
    else:
      loss = finetuning.classification_loss(output, targets["labels"])
    losses[head.name] = jnp.sum(loss * weights)
  return losses


def _counts(heads, batch, group) -> dict[str, Scalar]:
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


def _loss_weights(config, heads, batch, group) -> dict[str, Scalar]:
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
