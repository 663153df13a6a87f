"""Compiles the programs of a fine-tuning config: initialise, train, predict.

All that knows both the networks and the losses of the tasks stands here.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from electra_jax.devices import sharding
from electra_jax.devices.attention import make_attend
from electra_jax.finetuning import losses as finetuning
from electra_jax.models.bottleneck import BottleneckOutput
from electra_jax.models.config import EncoderConfig
from electra_jax.models.task_heads import HeadConfig
from electra_jax.models.task_model import TaskModel
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Array, Int, Params, Scalar
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


class LossWeights(NamedTuple):
  """Factors in the total loss.

  Attributes:
    tasks: by task, of its summed loss.
    rate: of a bottleneck's rate beside the loss of its task, β.
  """

  tasks: dict[str, Scalar]
  rate: Scalar | float


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
) -> TaskTrainer:
  """Builds the training programs of a fine-tuning config.

  Args:
    config: as of configs/finetune.py.
    encoder: shapes of the discriminator.
    heads: one for each task.
    mesh: of `sharding.make_mesh`.
    num_steps: updates of a run, T.

  Raises:
    UserError: values that do not fit each other.
  """
  train = config.train
  sharding.check_batch(mesh, train.batch_size, train.accumulation_steps)
  sharding.check_divisible(
      mesh, "number of attention heads", encoder.num_heads, ("tensor",)
  )
  optimizer_config = _optimizer_config(config, num_steps)
  model = TaskModel(
      encoder,
      tuple(heads),
      sharding.constrain_hidden(mesh),
      make_attend(config.model.attention, mesh),
  )

  def fresh_params(seed):
    return init_params(encoder, heads, seed)

  abstract_params = jax.eval_shape(lambda: fresh_params(0))
  rates = layerwise_rates(abstract_params, encoder.num_layers, optimizer_config)
  optimizer = make_optimizer(optimizer_config, rates)

  def loss_fn(params, examples, weights):
    batch, dropout_seeds = examples
    outputs = apply(model, params, batch, dropout_seeds=dropout_seeds)
    losses = _losses(heads, outputs, batch, config.questions.answerable_weight)
    rates = _rates(heads, outputs, batch)
    total = sum(
        (losses[name] + weights.rate * rates.get(name, 0.0)) * weight
        for name, weight in weights.tasks.items()
    )
    counts = _counts(heads, batch)
    return total, {
        f"{name}_{what}": (value, counts[name])
        for what, found in (("loss", losses), ("rate", rates))
        for name, value in found.items()
    }

  def prepare(rng, batch):
    texts = batch.texts.starts.shape[0]
    seeds = jax.random.bits(rng, (texts,), jnp.uint32)
    weights = LossWeights(_loss_weights(config, heads, batch), 0.0)
    return (batch._replace(seed=()), seeds), weights

  train_step = make_train_step(
      prepare,
      loss_fn,
      optimizer,
      learning_rate_schedule(optimizer_config),
      root_key=lambda batch: jax.random.key(batch.seed),
      accumulation_steps=config.train.accumulation_steps,
      weights_at=lambda weights, step: weights._replace(
          rate=rate_weight(config, num_steps, step)
      ),
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


def rate_weight(
    config: FinetuneConfig, num_steps: int, step: Int[Array, ""]
) -> Scalar:
  """Returns β of a step: it rises from 0 and then stays."""
  beta = jnp.float32(config.bottleneck.beta)
  warmup_steps = config.bottleneck.warmup_proportion * num_steps
  if not warmup_steps:
    return beta
  return beta * jnp.minimum(step / warmup_steps, 1.0)


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
    config: FinetuneConfig, num_steps: int
) -> OptimizerConfig:
  numbers = dataclasses.asdict(config.optimizer)
  # Not cut to whole steps: release model/optimization.py:create_optimizer.
  warmup_steps = numbers.pop("warmup_proportion") * num_steps
  return OptimizerConfig(
      num_train_steps=num_steps, warmup_steps=warmup_steps, **numbers
  )


def _smallest_call(heads) -> tuple[tuple, dict]:
  row, text = jnp.zeros((1, 2), jnp.int32), jnp.zeros(1, jnp.int32)
  tagging = {h.name: row for h in heads if h.kind == "tagging"}
  questions = {h.name: text for h in heads if h.kind == "questions"}
  args = (row, row, text, jnp.full((1, 2), 2, jnp.int32))
  return args, {"word_places": tagging, "answer_starts": questions}


def _losses(heads, outputs, batch, answerable_weight) -> dict[str, Scalar]:
  """Returns each task's loss, summed over its texts."""
  losses = {}
  for head in heads:
    output, targets = outputs[head.name], batch.targets[head.name]
    if head.kind == "questions":
      loss = finetuning.span_loss(
          *output, **targets, answerable_weight=answerable_weight
      )
    elif head.kind == "tagging":
      loss = finetuning.tagging_loss(
          output, targets["labels"], targets["weights"]
      )
    elif isinstance(output, BottleneckOutput):
      of_sample = functools.partial(_text_loss, head.kind, targets)
      loss = jnp.mean(jax.vmap(of_sample)(output.logits), axis=0)
    else:
      loss = _text_loss(head.kind, targets, output)
    losses[head.name] = jnp.sum(loss * batch.weights[head.name])
  return losses


def _text_loss(kind, targets, logits):
  if kind == "regression":
    return finetuning.regression_loss(logits, targets["ratings"])
  if kind == "multilabel":
    return finetuning.multilabel_loss(logits, targets["labels"])
  return finetuning.classification_loss(logits, targets["labels"])


def _rates(heads, outputs, batch) -> dict[str, Scalar]:
  """Returns the rate of each task's bottleneck, summed over its texts."""
  return {
      head.name: jnp.sum(outputs[head.name].rate * batch.weights[head.name])
      for head in heads
      if head.bottleneck is not None
  }


def _counts(heads, batch) -> dict[str, Scalar]:
  """Returns how many texts each task has; of tags, how many words.

  A window counts as its share of a text.
  """
  counts = {}
  for head in heads:
    each = batch.weights[head.name]
    if head.kind == "tagging":
      each *= jnp.sum(batch.targets[head.name]["weights"], axis=-1)
    counts[head.name] = jnp.sum(each)
  return counts


def _loss_weights(config, heads, batch) -> dict[str, Scalar]:
  """Returns the factor of each task's summed loss in the total.

  The mean is over texts, and over words where tags are learned; of several
  tasks each counts by its texts. The released sum takes every text (of tags:
  every word) as it is, so that clipping bites nearly always.

  Source: release finetune/run_finetuning.py:model_fn_builder.
  """
  if config.train.loss_reduction == "sum":
    return {head.name: jnp.ones(()) for head in heads}
  texts = {h.name: jnp.sum(batch.weights[h.name]) for h in heads}
  all_texts = sum(texts.values())
  shares = {}
  for name, count in _counts(heads, batch).items():
    # Not max(…, 1): windows of long texts may be less than one text together.
    whole = all_texts * count
    shares[name] = texts[name] / jnp.where(whole > 0, whole, 1.0)
  return shares
