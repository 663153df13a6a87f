"""What each network costs in a training step, as a program of its own.

Rows, micro-batches and shards are those of the step. A program runs one
network forward and backward through its own loss, and takes the norm of the
gradient, without which nothing would need it. Masking, sampling and the
update are in neither: the discriminator is given what the generator would
hand on.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from electra_jax.devices import sharding
from electra_jax.devices.reduction import sum_over_devices
from electra_jax.objectives.generators import Generated
from electra_jax.objectives.masking import mask_rows, unpack_rows
from electra_jax.pretraining import trainer as programs
from electra_jax.runs import config as settings
from electra_jax.shapes import Params
from electra_jax.store.feed import Batch
from electra_jax.training.step import LossFn, TrainState, make_train_step


def network_programs(
    config: ConfigDict,
    vocabulary: settings.Vocabulary,
    parts: programs.Programs,
    params: Params,
    batch: Batch,
) -> dict[str, Callable[[], Any]]:
  """Returns what runs each network once: "generator", "discriminator".

  What is no network, or is not there, has no program. A loss of factor 0 has
  no backward pass, as in the step.

  Args:
    config: as of configs/pretrain.py.
    vocabulary: of `settings.vocabulary_of`.
    parts: of `programs.build`.
    params: in their shards.
    batch: of `sharding.to_global`.
  """
  recipe = settings.recipe_of(config)
  masking = settings.masking_config(config, vocabulary)
  options = settings.objective_options(config, vocabulary)

  def networks_of(params, masked):
    return programs.bind(parts.model, params, masked.dropout_seeds)

  def generate(params, masked):
    networks = networks_of(params, masked)
    return recipe.generator.function(networks, masked, options)

  def prepare(params, batch):
    rng = jax.random.key(config.seed)
    masked = mask_rows(rng, unpack_rows(*batch), masking)
    shapes = jax.eval_shape(lambda: generate(params, masked).states)
    states = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    # Which ids are handed on changes no time.
    generated = Generated(masked.masked_lm_ids, states, {}, {})
    return (masked, generated), recipe.weigh(masked)

  def generator_loss(params, examples, weights):
    masked, _ = examples
    losses = generate(params, masked).losses
    return programs.total_loss(parts.loss_weights, losses, weights), losses

  def discriminator_loss(params, examples, weights):
    masked, generated = examples
    networks = networks_of(params, masked)
    outcome = recipe.objective.function(networks, masked, options, generated)
    loss = programs.total_loss(parts.loss_weights, outcome.losses, weights)
    return loss, {**outcome.losses, **outcome.metrics}

  rows = sharding.batch_sharding(parts.mesh)
  whole = NamedSharding(parts.mesh, PartitionSpec())
  prepared = jax.jit(prepare, out_shardings=(rows, whole))(params, batch)

  def program_of(loss_fn):
    program = _without_update(loss_fn, parts, config.train.accumulation_steps)
    return functools.partial(program, params, prepared)

  found = {}
  if recipe.generator.is_network:
    found["generator"] = program_of(generator_loss)
  if recipe.objective.has_discriminator:
    found["discriminator"] = program_of(discriminator_loss)
  return found


def _without_update(
    loss_fn: LossFn, parts: programs.Programs, accumulation_steps: int
):
  step = make_train_step(
      lambda rng, prepared: prepared,
      loss_fn,
      optax.identity(),
      lambda step: jnp.zeros(()),
      root_key=lambda prepared: jax.random.key(0),
      accumulation_steps=accumulation_steps,
      spread=functools.partial(
          sum_over_devices,
          mesh=parts.mesh,
          shardings=parts.shardings.params,
      ),
  )

  def program(params, prepared):
    state = TrainState(jnp.zeros((), jnp.int32), params, optax.EmptyState())
    _, sums = step(state, prepared)
    return sums

  return jax.jit(program)
