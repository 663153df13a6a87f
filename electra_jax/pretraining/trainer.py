"""Compiles the programs of a pre-training config: initialise, train, evaluate.

Everything that knows both the networks and the objective stands here, so that
pre-training, evaluation, planning and benchmarks compile the same programs.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from electra_jax.compress.relations import RELATION_LOSS
from electra_jax.compress.teacher import Seen, Teacher, taught
from electra_jax.devices import sharding
from electra_jax.devices.attention import make_attend
from electra_jax.devices.chips import memory_of, reduction_options
from electra_jax.devices.reduction import sum_over_devices
from electra_jax.errors import UserError
from electra_jax.models.config import ElectraConfig
from electra_jax.models.electra import Electra
from electra_jax.objectives.generators import Networks, ObjectiveOptions
from electra_jax.objectives.losses import WeightedSum, total_loss
from electra_jax.objectives.masking import (
    MaskedRows,
    MaskingConfig,
    mask_rows,
    unpack_rows,
)
from electra_jax.objectives.objective import Method, Outcome
from electra_jax.pretraining import held_out
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.networks import (
    Vocabulary,
    electra_config,
    learns_by_itself,
    masking_config,
    method_of,
    objective_options,
    own_loss_weights,
    training_flops,
)
from electra_jax.shapes import Params
from electra_jax.store.feed import Batch
from electra_jax.training import metrics
from electra_jax.training.optimizer import (
    OptimizerConfig,
    learning_rate_schedule,
    make_optimizer,
)
from electra_jax.training.step import (
    TrainState,
    abstract_state,
    init_state,
    make_train_step,
    map_parts,
)

# Streams of fold_in(key(seed), …) that no step number reaches.
_INIT_STREAM, _EVAL_STREAM = 2**32 - 1, 2**32 - 2


class EvalSums(NamedTuple):
  """What a held-out batch gave; of several batches they are added up.

  Attributes:
    sums: losses and metrics with their weights, by name.
    histogram: of `metrics.ranking_histogram`, or None without a discriminator.
    bands: of `held_out.band_counts`, or None.
    judged: of `held_out.judged_rows`, or None; of the first batch alone.
  """

  sums: Any
  histogram: jax.Array | None
  bands: jax.Array | None
  judged: held_out.JudgedRows | None


@dataclasses.dataclass(frozen=True)
class Trainer:
  """What a config compiles to on a mesh.

  Attributes:
    config: what was compiled.
    vocabulary: of the rows.
    method: objective and generator.
    masking: how tokens are chosen.
    options: numbers of the objective.
    model: the networks.
    mesh: the devices.
    abstract: shapes and dtypes of the train state.
    shardings: where each array of the state lies.
    train_step: jitted (state, batch) -> (state, sums); donates the state.
    eval_step: jitted (params, batch, index) -> EvalSums.
    init: () -> fresh state in its shards.
    loss_weights: factor of each loss in the total.
    teacher: whose relations are learnt as well, or None.
  """

  config: PretrainConfig
  vocabulary: Vocabulary
  method: Method
  masking: MaskingConfig
  options: ObjectiveOptions
  model: Electra
  mesh: Mesh
  abstract: TrainState
  shardings: TrainState
  train_step: Callable[[TrainState, Batch], tuple[TrainState, Any]]
  eval_step: Callable[[Params, Batch, jax.Array], "EvalSums"]
  init: Callable[[], TrainState]
  loss_weights: dict[str, float]
  teacher: Teacher | None = None

  @property
  def flops_per_step(self) -> int:
    """Model FLOPs of one training step; see models/flops.py."""
    flops = 0
    if self.teacher is None or learns_by_itself(self.config):
      flops = training_flops(self.config, self.vocabulary)
    if self.teacher is not None:
      student, length = self.model.config.discriminator, self.config.data.length
      more = self.teacher.training_flops_per_row(student, length)
      flops += self.config.train.batch_size * more
    return flops


def make_mesh(
    config: PretrainConfig,
    vocabulary: Vocabulary,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """Arranges devices as a pre-training config has it.

  Args:
    config: as of configs/pretrain.py; with mesh.fsdp = 0 a replica is split
      over the devices that the other axes leave or, where mesh.data = -1 leaves
      that open, over as few as its size asks for.
    vocabulary: of `vocabulary_of`.
    devices: the devices, or None for all of all processes.

  Raises:
    UserError: the sizes of the axes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else list(devices)
  axes = dataclasses.asdict(config.mesh)
  if axes["fsdp"] == 0:
    others = abs(axes["data"] * axes["tensor"]) or 1
    axes["fsdp"] = max(len(devices) // others, 1)
    if axes["data"] == -1 and axes["fsdp"] > 1:
      memory_bytes = memory_of(devices[0])
      axes["fsdp"] = 1
      if memory_bytes is not None:
        networks = electra_config(config, vocabulary.size)
        axes["fsdp"] = sharding.fewest_shards(
            abstract_params(networks), len(devices) // others, memory_bytes
        )
  return sharding.make_mesh(**axes, devices=devices)


def make_trainer(
    config: PretrainConfig,
    vocabulary: Vocabulary,
    mesh: Mesh,
    teacher: Teacher | None = None,
) -> Trainer:
  """Builds the programs of a pre-training config.

  Args:
    config: as of configs/pretrain.py.
    vocabulary: of `vocabulary_of`.
    mesh: of `make_mesh`.
    teacher: of `find_teacher`; without one the networks learn by themselves,
      whatever the config says of a teacher.

  Raises:
    UserError: values that do not fit each other; all are checked here, before
      anything is compiled.
  """
  method = method_of(config)
  masking = masking_config(config, vocabulary)
  options = objective_options(config, vocabulary)
  method.check(options)
  _check_batches(config, mesh)
  networks = electra_config(config, vocabulary.size)
  num_heads = networks.discriminator.num_heads
  sharding.check_divisible(
      mesh, "number of attention heads", num_heads, ("tensor",)
  )
  model = Electra(
      networks,
      sharding.constrain_hidden(mesh),
      make_attend(config.model.attention, mesh),
  )
  optimizer_config = OptimizerConfig(
      num_train_steps=config.train.num_steps,
      **dataclasses.asdict(config.optimizer),
  )
  optimizer = make_optimizer(optimizer_config)
  loss_weights = own_loss_weights(config)
  if teacher is not None:
    loss_weights[RELATION_LOSS] = config.distill.relation_weight
  learns = teacher is None or learns_by_itself(config)

  def init_params():
    # Initial values do not depend on the mesh: no constraint is needed.
    return init_params_of(Electra(networks), config.seed)

  abstract = abstract_state(init_params, optimizer)
  shardings = sharding.state_shardings(mesh, optimizer, abstract)
  whole = NamedSharding(mesh, PartitionSpec())
  pin = sharding.constrain_params(mesh, shardings.params)
  reduce_over_devices = functools.partial(
      sum_over_devices, mesh=mesh, shardings=shardings.params
  )

  def prepare(rng, batch, parts=config.train.accumulation_steps):
    rows = unpack_rows(*(batch if teacher is None else batch.batch))
    masked = mask_rows(rng, rows, masking)
    weights, seen = method.weigh(masked), None
    if teacher is not None:
      look = functools.partial(teacher.look, batch.teacher)
      seen = map_parts(look, rows, parts)  # Outside of the gradient.
      weights[RELATION_LOSS] = jnp.sum(rows.input_mask, dtype=float)
    return Seen(masked, seen), weights

  def outcome_of(params, examples, dropout_seeds, learns=True):
    masked, outcome = examples.batch, Outcome({}, {})
    if learns:
      outcome = method.run(bind(model, params, dropout_seeds), masked, options)
    if teacher is None:
      return outcome
    loss = teacher.loss(model, params, examples, dropout_seeds)
    losses = {**outcome.losses, RELATION_LOSS: WeightedSum(*loss)}
    return outcome._replace(losses=losses)

  def loss_fn(params, examples, weights):
    seeds = examples.batch.dropout_seeds
    outcome = outcome_of(pin(params), examples, seeds, learns)
    sums = {**outcome.losses, **outcome.metrics}
    return total_loss(loss_weights, outcome.losses, weights), sums

  def evaluate(params, examples, _):
    examples, slots = examples
    outcome = outcome_of(params, examples, None)
    return _eval_sums(vocabulary, slots, examples.batch, outcome)

  def eval_step(params, batch, index):
    rng = jax.random.fold_in(jax.random.key(config.seed), _EVAL_STREAM)
    examples, _ = prepare(jax.random.fold_in(rng, index), batch, 1)
    slots = held_out.slots_of(
        len(examples.batch.rows.input_ids), config.train.eval_batch_size
    )
    sums_of = reduce_over_devices(evaluate, has_gradients=False)
    return sums_of(params, (examples, slots), ())

  train_step = make_train_step(
      prepare,
      loss_fn,
      optimizer,
      learning_rate_schedule(optimizer_config),
      root_key=lambda batch: jax.random.key(config.seed),
      accumulation_steps=config.train.accumulation_steps,
      reduce_over_devices=reduce_over_devices,
  )
  return Trainer(
      config=config,
      vocabulary=vocabulary,
      method=method,
      masking=masking,
      options=options,
      model=model,
      mesh=mesh,
      abstract=abstract,
      shardings=shardings,
      train_step=taught(
          jax.jit(
              train_step,
              donate_argnums=0,
              out_shardings=(shardings, whole),
              compiler_options=_compiler_options(config, mesh),
          ),
          teacher,
      ),
      eval_step=taught(jax.jit(eval_step, out_shardings=whole), teacher),
      init=lambda: init_state(init_params, optimizer, shardings),
      loss_weights=loss_weights,
      teacher=teacher,
  )


def abstract_params(config: ElectraConfig) -> Params:
  """Returns the shapes of the parameters of some networks."""
  model = Electra(config)
  return jax.eval_shape(lambda: init_params_of(model, 0))


def init_params_of(model: Electra, seed: int) -> Params:
  """Initialises the parameters as released; run it under jit."""
  rng = jax.random.fold_in(jax.random.key(seed), _INIT_STREAM)
  ids = jnp.zeros((1, 2), jnp.int32)
  return model.init(rng, ids, ids, ids, ids[:, :1])["params"]


def bind(
    model: Electra, params: Params, dropout_seeds: jax.Array | None
) -> Networks:
  """Returns both networks as functions of masked rows.

  Args:
    model: the networks.
    params: their parameters.
    dropout_seeds: [B], or None for no dropout.
  """

  variables = {"params": params}

  def encode(method, input_ids, masked: MaskedRows):
    _, input_mask, segment_ids = masked.rows
    return model.apply(
        variables,
        input_ids,
        input_mask,
        segment_ids,
        dropout_seeds=dropout_seeds,
        method=method,
    ).sequence

  encoders = {
      name: functools.partial(encode, name)
      for name in ("generate", "discriminate")
  }
  heads = {
      name: functools.partial(model.apply, variables, method=name)
      for name in Networks._fields
      if name not in encoders
  }
  return Networks(**encoders, **heads)


def _eval_sums(
    vocabulary: Vocabulary,
    slots: jax.Array,
    masked: MaskedRows,
    outcome: Outcome,
) -> EvalSums:
  sums = {**outcome.losses, **outcome.metrics}
  if outcome.replaced is None:
    return EvalSums(sums, None, None, None)
  return EvalSums(
      sums,
      metrics.ranking_histogram(*outcome.replaced),
      held_out.band_counts(vocabulary, masked, outcome),
      held_out.judged_rows(slots, masked, outcome),
  )


def _compiler_options(config: PretrainConfig, mesh: Mesh) -> dict[str, str]:
  if config.train.overlap_reductions and mesh.size > 1:
    return reduction_options(mesh.devices.flat[0])
  return {}


def _check_batches(config: PretrainConfig, mesh: Mesh) -> None:
  train = config.train
  sharding.check_batch(mesh, train.batch_size, train.accumulation_steps)
  if config.data.length > config.model.max_position_embeddings:
    raise UserError(
        f"config.data.length {config.data.length} exceeds"
        " config.model.max_position_embeddings"
        f" {config.model.max_position_embeddings}; raise the latter"
    )
