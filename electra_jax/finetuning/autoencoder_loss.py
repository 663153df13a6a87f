"""The loss of a text that is written again from a few numbers."""

from typing import NamedTuple

import jax.numpy as jnp

from electra_jax.errors import UserError
from electra_jax.models.autoencoder import Autoencoder
from electra_jax.models.dropout import fold_seeds
from electra_jax.objectives.sequence_to_sequence import TargetLoss, target_loss
from electra_jax.objectives.variational import cyclic_weight, with_free_bits
from electra_jax.runs.finetune_config import AutoencoderConfig, FinetuneConfig
from electra_jax.shapes import Array, Float, Int, Params, RowSeeds, Scalar
from electra_jax.tasks.generation_batches import GenerationBatch

_NOISE_PLACE = 2  # Encoder and decoder draw at 0 and 1; see seq2seq.py.


class DrawnLoss(NamedTuple):
  """What a batch of texts costs where z is drawn.

  Attributes:
    target: of each text's tokens.
    divergences: of each text's Gaussian, in nats of each dimension.
    means: of the Gaussians.
    deviations: of the Gaussians.
    latents: z as drawn.
  """

  target: TargetLoss
  divergences: Float[Array, "B K"]
  means: Float[Array, "B K"]
  deviations: Float[Array, "B K"]
  latents: Float[Array, "B K"]


def drawn_loss(
    model: Autoencoder,
    params: Params,
    batch: GenerationBatch,
    seeds: RowSeeds,
    *,
    has_dropout: bool = False,
) -> DrawnLoss:
  """Draws z of each text, and scores the text.

  Args:
    model: the network.
    params: of it.
    batch: of the texts.
    seeds: one of each text: z depends on it and the text alone.
    has_dropout: whether the network drops what training drops.
  """
  (label, total, is_best), posterior, latents = model.apply(
      {"params": params},
      batch.source_ids,
      batch.source_mask,
      batch.target_ids,
      batch.target_mask,
      batch.labels,
      noise_seeds=fold_seeds(seeds, _NOISE_PLACE),
      dropout_seeds=seeds if has_dropout else None,
      method="drawn_label_scores",
  )
  vocab_size = model.config.vocab_size
  return DrawnLoss(
      target_loss(label, total, is_best, batch.weights, vocab_size),
      posterior.divergences,
      posterior.mean,
      posterior.deviation,
      latents,
  )


def autoencoder_loss(
    found: DrawnLoss,
    weights: Float[Array, "B T"],
    how: AutoencoderConfig,
    tokens: Scalar,
    beta: Scalar,
    name: str,
) -> tuple[Scalar, dict[str, tuple[Scalar, Scalar]]]:
  """Adds up reconstruction and divergence of the texts of a batch.

  Args:
    found: of `drawn_loss`.
    weights: 1.0 for tokens; a row without one only fills the batch up.
    how: free bits.
    tokens: of the whole step, that the loss is divided by: nats a token.
    beta: of the divergence.
    name: of the task, before the names of the metrics.

  Returns:
    The loss, and sums with their weights: nats a token, and, a text, the nats
    of all its tokens and of the divergence as it is, without free bits.
  """
  is_text = (jnp.sum(weights, axis=1) > 0).astype(jnp.float32)
  nats, count, correct = map(jnp.sum, found.target)
  texts = jnp.sum(is_text)
  paid = jnp.sum(with_free_bits(found.divergences, how.free_bits) * is_text)
  kl = jnp.sum(jnp.sum(found.divergences, axis=1) * is_text)
  sums = {
      f"{name}_loss": (nats, count),
      f"{name}_token_accuracy": (correct, count),
      f"{name}_reconstruction": (nats, texts),
      f"{name}_kl": (kl, texts),
      f"{name}_beta": (jnp.asarray(beta, jnp.float32), jnp.ones(())),
  }
  return (nats + beta * paid) / tokens, sums


def beta_at(
    how: AutoencoderConfig, num_steps: int, step: Int[Array, ""]
) -> Scalar:
  """Returns β of a step of a run."""
  return cyclic_weight(
      step,
      num_steps,
      weight=how.beta,
      cycles=how.cycles,
      rise_proportion=how.rise_proportion,
  )


def check_cycles(config: FinetuneConfig, num_steps: int) -> None:
  """Raises a UserError where a run has fewer steps than cycles of β."""
  cycles = config.autoencoder.cycles
  if cycles > num_steps:
    raise UserError(
        f"config.autoencoder.cycles is {cycles} and the run has {num_steps}"
        f" steps; set --config.autoencoder.cycles={min(num_steps, 4)} or fewer,"
        " or more --config.train.num_epochs"
    )


def text_seeds(numbers: Int[Array, " B"]) -> RowSeeds:
  """Returns seeds of the texts of a split by their numbers, for evaluation."""
  return numbers.astype(jnp.uint32)
