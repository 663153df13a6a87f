"""A config turned into programs: initialise, train one step, evaluate a batch.

Everything that knows both the networks and the objective stands here, so that
pre-training, evaluation, planning and benchmarks compile the same programs.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from electra_jax.data.feed import Batch
from electra_jax.data.tokenizer import SpecialIds
from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.objectives.masking import (
    MaskedRows,
    MaskingConfig,
    mask_rows,
    unpack_rows,
)
from electra_jax.objectives.pretraining import (
    OBJECTIVES,
    Networks,
    Objective,
    ObjectiveOptions,
)
from electra_jax.shapes import Params, Scalar
from electra_jax.training import metrics, sharding
from electra_jax.training.optimizer import (
    OptimizerConfig,
    learning_rate_schedule,
    make_optimizer,
)
from electra_jax.training.state import TrainState, abstract_state, init_state
from electra_jax.training.step import make_train_step

# Streams of fold_in(key(seed), …) that no step number reaches.
_INIT_STREAM, _EVAL_STREAM = 2**32 - 1, 2**32 - 2


@dataclasses.dataclass(frozen=True)
class Programs:
  """What a config compiles to on a mesh.

  Attributes:
    model: the networks.
    mesh: the devices.
    abstract: shapes and dtypes of the train state.
    shardings: where each array of the state lies.
    train_step: jitted (state, batch) -> (state, sums); donates the state.
    eval_step: jitted (params, batch, index) -> (sums, ranking histogram).
    init: () -> fresh state in its shards.
    loss_weights: factor of each loss in the total.
  """

  model: Electra
  mesh: Mesh
  abstract: TrainState
  shardings: TrainState
  train_step: Callable[[TrainState, Batch], tuple[TrainState, Any]]
  eval_step: Callable[[Params, Batch, jax.Array], tuple[Any, Any]]
  init: Callable[[], TrainState]
  loss_weights: dict[str, float]


def build(
    config: ConfigDict, vocab_size: int, special: SpecialIds, mesh: Mesh
) -> Programs:
  """Builds the programs of a pre-training config.

  Args:
    config: as of configs/pretrain.py.
    vocab_size: V.
    special: ids of the special tokens.
    mesh: of `sharding.make_mesh`.

  Raises:
    UserError: values that do not fit each other; all are checked here, before
      anything is compiled.
  """
  objective = _objective(config)
  masking = masking_config(config, special)
  options = objective_options(config, vocab_size)
  _check_batches(config, mesh)
  model_config = electra_config(config, vocab_size)
  sharding.check_divisible(
      mesh,
      "number of attention heads",
      model_config.discriminator.num_heads,
      ("tensor",),
  )
  model = Electra(model_config, sharding.constrain_hidden(mesh))
  optimizer_config = OptimizerConfig(
      num_train_steps=config.train.num_steps, **config.optimizer
  )
  optimizer = make_optimizer(optimizer_config)
  loss_weights = {
      "mlm_loss": config.objective.gen_weight,
      "rtd_loss": config.objective.disc_weight,
  }
  loss_weights = {name: loss_weights[name] for name in objective.losses}

  def init_params():
    # Initial values do not depend on the mesh: no constraint is needed.
    return init_params_of(Electra(model_config), config.seed)

  def prepare(rng, batch):
    masked = mask_rows(rng, unpack_rows(*batch), masking)
    return masked, objective.weigh(masked)

  def outcome_of(params, masked, dropout_seeds):
    networks = bind(model, params, dropout_seeds)
    return objective.function(networks, masked, options)

  def loss_fn(params, masked, weights):
    outcome = outcome_of(params, masked, masked.dropout_seeds)
    loss = _total(loss_weights, outcome.losses, weights)
    return loss, {**outcome.losses, **outcome.metrics}

  def eval_step(params, batch, index):
    rng = jax.random.fold_in(jax.random.key(config.seed), _EVAL_STREAM)
    masked, _ = prepare(jax.random.fold_in(rng, index), batch)
    outcome = outcome_of(params, masked, None)
    histogram = None
    if outcome.replaced is not None:
      histogram = metrics.ranking_histogram(*outcome.replaced)
    return {**outcome.losses, **outcome.metrics}, histogram

  train_step = make_train_step(
      prepare,
      loss_fn,
      optimizer,
      learning_rate_schedule(optimizer_config),
      root_key=lambda batch: jax.random.key(config.seed),
      accumulation_steps=config.train.accumulation_steps,
  )
  abstract = abstract_state(init_params, optimizer)
  shardings = sharding.state_shardings(mesh, optimizer, abstract)
  whole = NamedSharding(mesh, PartitionSpec())
  return Programs(
      model=model,
      mesh=mesh,
      abstract=abstract,
      shardings=shardings,
      train_step=jax.jit(
          train_step, donate_argnums=0, out_shardings=(shardings, whole)
      ),
      eval_step=jax.jit(eval_step, out_shardings=whole),
      init=lambda: init_state(init_params, optimizer, shardings),
      loss_weights=loss_weights,
  )


def electra_config(config: ConfigDict, vocab_size: int) -> ElectraConfig:
  """Returns the networks of a pre-training config.

  Raises:
    UserError: an unknown embedding_sharing.
  """
  model = config.model
  objective = _objective(config)
  discriminator = encoder_config(
      vocab_size,
      model.num_layers,
      model.hidden_size,
      model.embedding_size,
      max_position_embeddings=model.max_position_embeddings,
      initializer_range=model.initializer_range,
      initialization=model.initialization,
      hidden_dropout=model.hidden_dropout,
      attention_dropout=model.attention_dropout,
      dtype=model.dtype,
      remat=model.remat,
  )
  # Converted models may differ here from the released proportions.
  own = ("num_heads", "intermediate_size")
  discriminator = dataclasses.replace(
      discriminator, **{name: model[name] for name in own if name in model}
  )
  sharing = model.embedding_sharing
  if sharing not in ("embeddings", "none", "all"):
    raise UserError(
        f"config.model.embedding_sharing is {sharing!r}; it must be"
        " 'embeddings', 'none' or 'all'"
    )
  generator = None
  if (
      objective.has_generator
      and objective.has_discriminator
      and sharing != "all"
  ):
    generator = generator_config(
        discriminator,
        model.generator_width_ratio,
        model.generator_depth_ratio,
        own_embeddings=sharing == "none",
    )
  return ElectraConfig(
      discriminator,
      generator,
      sharing,
      has_generator_head=objective.has_generator,
      has_discriminator_head=objective.has_discriminator,
  )


def masking_config(config: ConfigDict, special: SpecialIds) -> MaskingConfig:
  """Returns the masking of a pre-training config."""
  return MaskingConfig(
      mask_prob=config.objective.mask_prob,
      max_length=config.data.length,
      mask_id=special.mask,
      unmaskable_ids=(special.cls, special.sep, special.mask),
      draw=config.objective.masking_draw,
  )


def objective_options(config: ConfigDict, vocab_size: int) -> ObjectiveOptions:
  """Returns how a pre-training config samples replacements."""
  return ObjectiveOptions(
      vocab_size=vocab_size,
      temperature=config.objective.temperature,
      disallow_correct=config.objective.disallow_correct,
  )


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

  def masked_lm_logits(input_ids, masked: MaskedRows, positions):
    rows = masked.rows
    return model.apply(
        {"params": params},
        input_ids,
        rows.input_mask,
        rows.segment_ids,
        positions,
        dropout_seeds=dropout_seeds,
        method="masked_lm_logits",
    )

  def replaced_token_logits(input_ids, masked: MaskedRows):
    rows = masked.rows
    return model.apply(
        {"params": params},
        input_ids,
        rows.input_mask,
        rows.segment_ids,
        dropout_seeds=dropout_seeds,
        method="replaced_token_logits",
    )

  return Networks(masked_lm_logits, replaced_token_logits)


def _objective(config: ConfigDict) -> Objective:
  name = config.objective.name
  if name not in OBJECTIVES:
    raise UserError(
        f"config.objective.name is {name!r}; it must be one of"
        f" {', '.join(OBJECTIVES)}"
    )
  return OBJECTIVES[name]


def _total(loss_weights, losses, weights) -> Scalar:
  return sum(
      factor * losses[name].sum / jnp.maximum(weights[name], 1.0)
      for name, factor in loss_weights.items()
  )


def _check_batches(config: ConfigDict, mesh: Mesh) -> None:
  train = config.train
  sharding.check_batch(mesh, train.batch_size, train.accumulation_steps)
  sharding.check_divisible(
      mesh,
      "config.train.eval_batch_size",
      train.eval_batch_size,
      sharding.BATCH_AXES,
  )
  if config.data.length > config.model.max_position_embeddings:
    raise UserError(
        f"config.data.length {config.data.length} exceeds"
        " config.model.max_position_embeddings"
        f" {config.model.max_position_embeddings}; raise the latter"
    )
