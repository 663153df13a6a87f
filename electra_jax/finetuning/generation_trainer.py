"""Compiles the training step of a task that writes text, and its start."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from electra_jax.devices import sharding
from electra_jax.devices.attention import make_attend
from electra_jax.errors import UserError
from electra_jax.finetuning.autoencoder_loss import (
    autoencoder_loss,
    beta_at,
    check_cycles,
    drawn_loss,
)
from electra_jax.finetuning.generation_checks import latent_dimensions
from electra_jax.finetuning.pretrained_encoder import PretrainedEncoder
from electra_jax.finetuning.trainer import TaskTrainer, optimizer_config
from electra_jax.models.autoencoder import make_network
from electra_jax.models.config import EncoderConfig
from electra_jax.models.electra import Electra
from electra_jax.models.seq2seq import Seq2Seq
from electra_jax.models.seq2seq_params import init_params, start_from
from electra_jax.objectives.sequence_to_sequence import TargetLoss, target_loss
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Params, Scalar
from electra_jax.tasks.generation_batches import GenerationBatch
from electra_jax.tasks.text_to_text import METRICS
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.optimizer import (
    layerwise_rates,
    learning_rate_schedule,
    make_optimizer,
)
from electra_jax.training.step import (
    abstract_state,
    make_state,
    make_train_step,
)

# Parts of what is started from.
_ENCODER, _GENERATOR, _NETWORK = "encoder", "generator", "network"


class Examples(NamedTuple):
  """What a step computes on.

  Attributes:
    batch: without its seed.
    dropout_seeds: [B].
  """

  batch: GenerationBatch
  dropout_seeds: jax.Array


class BatchWeights(NamedTuple):
  """What the parts of a loss are divided and multiplied by.

  Attributes:
    tokens: of the batch.
    beta: of an autoencoder's divergence.
  """

  tokens: Scalar
  beta: Scalar | float = 0.0


def make_generation_trainer(
    config: FinetuneConfig, encoder: EncoderConfig, mesh: Mesh, num_steps: int
) -> TaskTrainer:
  """Builds the training programs of a task that writes text.

  Its `init` takes what `restore_start` returns in place of an encoder's
  parameters.

  Args:
    config: as of configs/finetune.py.
    encoder: shapes of the discriminator.
    mesh: of `sharding.make_mesh`.
    num_steps: updates of a run.

  Raises:
    UserError: values that do not fit each other.
  """
  steps, how = config.train.accumulation_steps, config.generation
  sharding.check_batch(mesh, config.train.batch_size, steps)
  sharding.check_divisible(
      mesh, "number of attention heads", encoder.num_heads, ("tensor",)
  )
  optimizing = optimizer_config(config, num_steps)
  dimensions = latent_dimensions(config)
  if dimensions:
    check_cycles(config, num_steps)
  model = make_network(
      encoder,
      how.architecture,
      dimensions,
      sharding.constrain_hidden(mesh),
      make_attend(config.model.attention, mesh),
  )

  def fresh_params(seed):
    return init_params(encoder, how.architecture, seed, dimensions)

  abstract_params = jax.eval_shape(lambda: fresh_params(0))
  rates = layerwise_rates(abstract_params, encoder.num_layers, optimizing)
  optimizer = make_optimizer(optimizing, rates)

  train_step = make_train_step(
      _prepare,
      (_make_latent_loss if dimensions else _make_loss)(config, model),
      optimizer,
      learning_rate_schedule(optimizing),
      root_key=lambda batch: jax.random.key(batch.seed),
      accumulation_steps=steps,
      weights_at=lambda weights, step: weights._replace(
          beta=beta_at(config.autoencoder, num_steps, step)
      ),
  )
  abstract = abstract_state(lambda: fresh_params(0), optimizer)
  shardings = sharding.state_shardings(mesh, optimizer, abstract)
  whole = NamedSharding(mesh, PartitionSpec())

  def init_state(seed, start):
    return make_state(
        lambda: _started(fresh_params(seed), start, how), optimizer
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
      init=lambda seed, start: jitted_init(np.uint32(seed), start or {}),
      num_steps=num_steps,
  )


def _prepare(
    rng: jax.Array, batch: GenerationBatch
) -> tuple[Examples, BatchWeights]:
  """Returns a step's examples, and the tokens that its loss is divided by."""
  seeds = jax.random.bits(rng, batch.labels.shape[:1], jnp.uint32)
  tokens = jnp.maximum(jnp.sum(batch.weights), 1.0)
  return Examples(batch._replace(seed=()), seeds), BatchWeights(tokens)


def _make_loss(config: FinetuneConfig, model: Seq2Seq):
  def loss_fn(params, examples, weights):
    found = loss_of_batch(
        model,
        params,
        examples.batch,
        label_smoothing=config.generation.label_smoothing,
        dropout_seeds=examples.dropout_seeds,
    )
    loss, count, correct = map(jnp.sum, found)
    sums = {
        f"{config.task}_loss": (loss, count),
        f"{config.task}_token_accuracy": (correct, count),
    }
    return loss / weights.tokens, sums

  return loss_fn


def _make_latent_loss(config: FinetuneConfig, model: Seq2Seq):
  def loss_fn(params, examples, weights):
    batch, seeds = examples
    found = drawn_loss(model, params, batch, seeds, has_dropout=True)
    return autoencoder_loss(
        *(found, batch.weights, config.autoencoder),
        *(weights.tokens, weights.beta, config.task),
    )

  return loss_fn


def loss_of_batch(
    model: Seq2Seq,
    params: Params,
    batch: GenerationBatch,
    *,
    label_smoothing: float = 0.0,
    dropout_seeds: jax.Array | None = None,
) -> TargetLoss:
  """Returns what each target of a batch costs where all before it is told."""
  scores = model.apply(
      {"params": params},
      batch.source_ids,
      batch.source_mask,
      batch.target_ids,
      batch.target_mask,
      batch.labels,
      source_segments=batch.source_segments,
      dropout_seeds=dropout_seeds,
      method="label_scores",
  )
  return target_loss(
      *scores, batch.weights, model.config.vocab_size, label_smoothing
  )


def restore_start(
    config: FinetuneConfig, start: PretrainedEncoder, trainer: TaskTrainer
) -> dict[str, Params] | None:
  """Reads what a network that writes text starts from.

  That is the encoder, what has learned to predict words where there is such,
  and the generator's layers if the decoder starts from them; of a run that
  writes text by the same architecture it is all of the network.

  Returns:
    Parameters by their part, for `TaskTrainer.init`; None for random weights.

  Raises:
    UserError: no checkpoint, or no generator where one is asked for.
  """
  asks = config.generation.decoder_from == "generator"
  if start.checkpoints is None:
    if asks:
      raise UserError(_no_generator("random weights"))
    return None
  if not asks and _has_written(config):
    with Checkpointer(start.checkpoints) as checkpointer:
      return {
          _NETWORK: checkpointer.read_params(
              trainer.abstract.params, trainer.shardings.params
          )
      }
  encoder = start.restore(trainer.abstract.params, trainer.shardings.params)
  networks, wanted = start.networks, []
  if networks.has_token_head:
    wanted.append("token_head")
  if networks.has_generator_head and not networks.has_two_towers:
    wanted.append("generator_head")
  if asks:
    if networks.generator is None or networks.has_two_towers:
      raise UserError(
          _no_generator(f"{config.init_from}, which has none apart")
      )
    wanted.append("generator")
  if not wanted:
    return {_ENCODER: encoder}
  row = jnp.zeros((1, 2), jnp.int32)
  abstract = jax.eval_shape(
      lambda: Electra(networks).init(jax.random.key(0), row, row, row, row)
  )["params"]
  abstract = {name: abstract[name] for name in wanted}
  with Checkpointer(start.checkpoints) as checkpointer:
    found = checkpointer.read_params(
        abstract, sharding.params_shardings(trainer.mesh, abstract)
    )
  if "token_head" in found:
    encoder["token_head"] = found.pop("token_head")
  return {_ENCODER: encoder, _GENERATOR: found}


def _has_written(config: FinetuneConfig) -> bool:
  """Says whether the run to start from is one of such a network."""
  run = workdirs.load(config.init_from)
  if run.kind is not workdirs.FINETUNING:
    return False
  # An autoencoder has other parameters.
  if not METRICS.keys() >= {config.task, run.config.task}:
    return False
  ours, theirs = config.generation, run.config.generation
  return ours.architecture == theirs.architecture


def _no_generator(where: str) -> str:
  return (
      "config.generation.decoder_from is 'generator', and the decoder starts from"
      f" {where}; name a pretrain run with a generator of its own by"
      " --config.init_from, or set --config.generation.decoder_from=discriminator"
  )


def _started(fresh: Params, start: Any, how: Any) -> Params:
  if not start:
    return fresh
  if _NETWORK in start:
    return start[_NETWORK]
  return start_from(
      fresh, start[_ENCODER], start.get(_GENERATOR), how.architecture
  )
