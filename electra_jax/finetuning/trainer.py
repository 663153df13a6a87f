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

from electra_jax.compress.teacher import taught
from electra_jax.devices import sharding
from electra_jax.devices.attention import make_attend
from electra_jax.finetuning import diffcse
from electra_jax.finetuning.forward import apply
from electra_jax.finetuning.taught import (
    TaskTeacher,
    TrainingExamples,
)
from electra_jax.finetuning.total_loss import (
    LossWeights,
    loss_weights,
    plain_loss,
    taught_loss,
)
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
    map_parts,
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
    teacher: TaskTeacher | None = None,
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
    teacher: of `find_task_teacher`, or None.
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
  optimizing = optimizer_config(config, num_steps, detection)
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
  rates = _rate_factors(abstract_params, encoder, optimizing)
  optimizer = make_optimizer(optimizing, rates)

  def loss_fn(params, examples, weights):
    given = (config, heads, model, params, examples, weights)
    if teacher is not None:
      return taught_loss(*given)
    return plain_loss(*given, group=group, detection=detection)

  def prepare(rng, batch):
    params = None
    if teacher is not None:
      batch, params = batch
    texts = batch.texts.starts.shape[0]
    seeds = jax.random.bits(rng, (texts,), jnp.uint32)
    weights = LossWeights(loss_weights(config, heads, batch, group))
    batch = batch._replace(seed=())
    if teacher is None:
      masked = ()
      if detection is not None:
        masked = detection.draw(jax.random.fold_in(rng, 1), batch.texts)
      return TrainingExamples(batch, seeds, masked=masked), weights
    # Before the gradient is taken, and so without one.
    answers = map_parts(
        lambda part: teacher.answer(params, part),
        batch,
        config.train.accumulation_steps,
    )
    tokens = jnp.sum(batch.texts.owners >= 0, dtype=float)
    weights = weights._replace(tokens=tokens)
    return TrainingExamples(batch, seeds, answers), weights

  def root_key(batch):
    return jax.random.key((batch if teacher is None else batch.batch).seed)

  train_step = make_train_step(
      prepare,
      loss_fn,
      optimizer,
      learning_rate_schedule(optimizing),
      root_key=root_key,
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
      train_step=taught(
          jax.jit(
              train_step, donate_argnums=0, out_shardings=(shardings, whole)
          ),
          teacher,
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


def optimizer_config(
    config: FinetuneConfig,
    num_steps: int,
    detection: diffcse.Detection | None = None,
) -> OptimizerConfig:
  """Returns the numbers of a config's optimizer for a run of so many steps."""
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


def _rate_factors(
    params: Params, encoder: EncoderConfig, config: OptimizerConfig
) -> Params:
  """Returns each parameter's factor; that of a detector is 1."""
  beside = {n: x for n, x in params.items() if n in diffcse.PARTS}
  own = {name: part for name, part in params.items() if name not in beside}
  rates = layerwise_rates(own, encoder.num_layers, config)
  return rates | jax.tree.map(lambda _: 1.0, beside)
