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

from electra_jax.devices import sharding
from electra_jax.devices.reduction import sum_over_devices
from electra_jax.objectives.generators import Generated
from electra_jax.objectives.losses import total_loss
from electra_jax.objectives.masking import mask_rows, unpack_rows
from electra_jax.pretraining.trainer import Trainer, bind
from electra_jax.shapes import Params
from electra_jax.store.feed import Batch
from electra_jax.training.step import LossFn, TrainState, make_train_step


def network_steps(
    trainer: Trainer,
    params: Params,
    batch: Batch,
) -> dict[str, Callable[[], Any]]:
  """Returns what runs each network once: "generator", "discriminator".

  What is no network, or is not there, has no program. A loss of factor 0 has
  no backward pass, as in the step.

  Args:
    trainer: of `make_trainer`.
    params: in their shards.
    batch: of `sharding.to_global`.
  """
  config, method = trainer.config, trainer.method
  options = trainer.options

  def networks_of(params, masked):
    return bind(trainer.model, params, masked.dropout_seeds)

  def generate(params, masked):
    networks = networks_of(params, masked)
    return method.generator.function(networks, masked, options)

  def prepare(params, batch):
    rng = jax.random.key(config.seed)
    masked = mask_rows(rng, unpack_rows(*batch), trainer.masking)
    shapes = jax.eval_shape(lambda: generate(params, masked).states)
    states = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    # Which ids are handed on changes no time.
    generated = Generated(masked.masked_lm_ids, states, {}, {})
    return (masked, generated), method.weigh(masked)

  def generator_loss(params, examples, weights):
    masked, _ = examples
    losses = generate(params, masked).losses
    return total_loss(trainer.loss_weights, losses, weights), losses

  def discriminator_loss(params, examples, weights):
    masked, generated = examples
    networks = networks_of(params, masked)
    outcome = method.objective.function(networks, masked, options, generated)
    loss = total_loss(trainer.loss_weights, outcome.losses, weights)
    return loss, {**outcome.losses, **outcome.metrics}

  rows = sharding.batch_sharding(trainer.mesh)
  whole = NamedSharding(trainer.mesh, PartitionSpec())
  prepared = jax.jit(prepare, out_shardings=(rows, whole))(params, batch)

  def program_of(loss_fn):
    program = _without_update(loss_fn, trainer, config.train.accumulation_steps)
    return functools.partial(program, params, prepared)

  found = {}
  if method.generator.is_network:
    found["generator"] = program_of(generator_loss)
  if method.objective.has_discriminator:
    found["discriminator"] = program_of(discriminator_loss)
  return found


def _without_update(loss_fn: LossFn, trainer: Trainer, accumulation_steps: int):
  step = make_train_step(
      lambda rng, prepared: prepared,
      loss_fn,
      optax.identity(),
      lambda step: jnp.zeros(()),
      root_key=lambda prepared: jax.random.key(0),
      accumulation_steps=accumulation_steps,
      reduce_over_devices=functools.partial(
          sum_over_devices,
          mesh=trainer.mesh,
          shardings=trainer.shardings.params,
      ),
  )

  def program(params, prepared):
    state = TrainState(jnp.zeros((), jnp.int32), params, optax.EmptyState())
    _, sums = step(state, prepared)
    return sums

  return jax.jit(program)
