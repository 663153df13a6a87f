"""A config turned into programs: initialise, train one step, evaluate a batch.

Everything that knows both the networks and the objective stands here, so that
pre-training, evaluation, planning and benchmarks compile the same programs.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from electra_jax import workdir as workdirs
from electra_jax.attention_paths import make_attend
from electra_jax.data.feed import Batch
from electra_jax.data.store import Store, open_store
from electra_jax.data.tokenizer import SpecialIds, Tokenizer
from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.models.flops import training_flops_per_row
from electra_jax.objectives.generators import Networks, ObjectiveOptions
from electra_jax.objectives.losses import WeightedSum
from electra_jax.objectives.masking import (
    MaskedRows,
    MaskingConfig,
    mask_rows,
    unpack_rows,
)
from electra_jax.objectives.pretraining import (
    Recipe,
    every_token,
    find_recipe,
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


class Vocabulary(NamedTuple):
  """What programs know of a vocabulary.

  Attributes:
    size: V.
    special: ids of the special tokens.
    is_continuation: [V] whether an id goes on with the word before it, or
      None; for masking words.
    unigram_counts: [V] how often each id occurs in the training text, or
      None; for the unigram generator.
  """

  size: int
  special: SpecialIds
  is_continuation: np.ndarray | None = None
  unigram_counts: np.ndarray | None = None


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


def vocabulary_of(
    tokenizer: Tokenizer, store: Store | None = None
) -> Vocabulary:
  """Returns what programs know of a tokenizer, and of a store's text."""
  return Vocabulary(
      tokenizer.vocab_size,
      tokenizer.special,
      np.asarray(
          [tokenizer.is_continuation(i) for i in range(tokenizer.vocab_size)]
      ),
      None if store is None else store.unigram_counts(),
  )


def vocabulary_of_run(run: workdirs.Run) -> Vocabulary:
  """Returns what the programs of a finished run know of its vocabulary.

  Raises:
    UserError: the generator is the unigram one and the run's store is gone.
  """
  store = None
  if run.config.objective.generator == "unigram":
    store = open_store(run.config.data.store)
  return vocabulary_of(run.tokenizer, store)


def build(config: ConfigDict, vocabulary: Vocabulary, mesh: Mesh) -> Programs:
  """Builds the programs of a pre-training config.

  Args:
    config: as of configs/pretrain.py.
    vocabulary: of `vocabulary_of`.
    mesh: of `sharding.make_mesh`.

  Raises:
    UserError: values that do not fit each other; all are checked here, before
      anything is compiled.
  """
  recipe = recipe_of(config)
  masking = masking_config(config, vocabulary)
  options = objective_options(config, vocabulary)
  recipe.check(options)
  _check_batches(config, mesh)
  model_config = electra_config(config, vocabulary.size)
  sharding.check_divisible(
      mesh,
      "number of attention heads",
      model_config.discriminator.num_heads,
      ("tensor",),
  )
  model = Electra(
      model_config,
      sharding.constrain_hidden(mesh),
      make_attend(config.model.attention, mesh),
  )
  optimizer_config = OptimizerConfig(
      num_train_steps=config.train.num_steps, **config.optimizer
  )
  optimizer = make_optimizer(optimizer_config)
  loss_weights = {
      "mlm_loss": config.objective.gen_weight,
      "rtd_loss": config.objective.disc_weight,
      "token_loss": config.objective.token_weight,
  }
  loss_weights = {name: loss_weights[name] for name in recipe.losses}

  def init_params():
    # Initial values do not depend on the mesh: no constraint is needed.
    return init_params_of(Electra(model_config), config.seed)

  def prepare(rng, batch):
    masked = mask_rows(rng, unpack_rows(*batch), masking)
    return masked, recipe.weigh(masked)

  def outcome_of(params, masked, dropout_seeds):
    networks = bind(model, params, dropout_seeds)
    return recipe.run(networks, masked, options)

  def loss_fn(params, masked, weights):
    outcome = outcome_of(params, masked, masked.dropout_seeds)
    loss = total_loss(loss_weights, outcome.losses, weights)
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
    UserError: an unknown objective, generator or embedding_sharing.
  """
  model = config.model
  recipe = recipe_of(config)
  objective, has_generator = recipe.objective, recipe.generator.is_network
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
  generator = None
  if has_generator and objective.has_discriminator and sharing != "all":
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
      has_generator_head=has_generator,
      has_discriminator_head=objective.detect is not None,
      has_token_head=objective.has_token_head,
      has_two_towers=config.objective.generator == "two_tower",
  )


def recipe_of(config: ConfigDict) -> Recipe:
  """Returns objective and generator of a pre-training config.

  Raises:
    UserError: there is no such pair.
  """
  return find_recipe(config.objective.name, config.objective.generator)


def masking_config(config: ConfigDict, vocabulary: Vocabulary) -> MaskingConfig:
  """Returns the masking of a pre-training config."""
  special = vocabulary.special
  return MaskingConfig(
      mask_prob=config.objective.mask_prob,
      max_length=config.data.length,
      mask_id=special.mask,
      unmaskable_ids=(special.cls, special.sep, special.mask),
      draw=config.objective.masking_draw,
      unit=config.objective.masking_unit,
      is_continuation=vocabulary.is_continuation,
  )


def objective_options(
    config: ConfigDict, vocabulary: Vocabulary
) -> ObjectiveOptions:
  """Returns the knobs of a pre-training config's objective."""
  objective = config.objective
  return ObjectiveOptions(
      vocab_size=vocabulary.size,
      special_ids=tuple(vocabulary.special),
      unigram_counts=vocabulary.unigram_counts,
      mask_prob=objective.mask_prob,
      temperature=objective.temperature,
      disallow_correct=objective.disallow_correct,
      label_smoothing=objective.label_smoothing,
  )


def training_flops(config: ConfigDict, vocabulary: Vocabulary) -> int:
  """Returns the model FLOPs of one training step; see models/flops.py."""
  networks = electra_config(config, vocabulary.size)
  length = config.data.length
  slots = masking_config(config, vocabulary).num_slots
  token_positions = 0
  if networks.has_token_head:
    # The head sees what its loss stands on.
    weigh = recipe_of(config).losses["token_loss"]
    token_positions = length if weigh is every_token else slots
  return config.train.batch_size * training_flops_per_row(
      networks, length, slots, token_positions
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


def total_loss(
    loss_weights: Mapping[str, float],
    losses: Mapping[str, WeightedSum],
    weights: Mapping[str, Scalar],
) -> Scalar:
  """Adds up the means of losses.

  Args:
    loss_weights: factor of each; one of factor 0 is left out, so that nothing
      is computed for its gradient.
    losses: summed nats.
    weights: what each sum is divided by, of `Recipe.weigh`.
  """
  return sum(
      (
          loss_weights[name] * loss.sum / jnp.maximum(weights[name], 1.0)
          for name, loss in losses.items()
          if loss_weights[name]
      ),
      jnp.zeros(()),
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
