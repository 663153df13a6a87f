"""A variational autoencoder of text: encoder, Gaussian, decoder.

The mean of the encoder's states over a text's tokens becomes a Gaussian of Z
dimensions. The decoder of `seq2seq.Seq2Seq` writes the text again and sees z, a
draw from that Gaussian, in place of the encoder's states: one state that it
attends to, so that each of its layers adds a linear function of z (a recurrent
decoder reads it at every step). The prior is N(0, I).

Source: Bowman et al., "Generating sentences from a continuous space" (2016);
Li et al., "Optimus" (2020), who also start the encoder from a pre-trained one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.errors import UserError
from electra_jax.models.attention import attend
from electra_jax.models.bottleneck import (
    SMALLEST_DEVIATION,
    divergences,
    gaussian_noise,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.dropout import fold_seeds
from electra_jax.models.encoder import Encoder
from electra_jax.models.heads import LabelScores
from electra_jax.models.layers import Embeddings, Linear, gelu
from electra_jax.models.pooling import pool_tokens
from electra_jax.models.seq2seq import ENCODER_PLACE, Kept, Memory, Seq2Seq
from electra_jax.shapes import Array, Float, Hidden, Int, RowSeeds

ARCHITECTURES = ("shared", "separate", "recurrent")


class Posterior(NamedTuple):
  """The Gaussian of each text.

  Attributes:
    mean: of z.
    deviation: standard deviation of z in each dimension.
    divergences: from N(0, I), in nats of each dimension.
  """

  mean: Float[Array, "B Z"]
  deviation: Float[Array, "B Z"]
  divergences: Float[Array, "B Z"]


class LatentHead(nn.Module):
  """Turns a text's vector into a Gaussian, and z into what a decoder reads.

  Attributes:
    config: of the encoder.
    dimensions: Z.
  """

  config: EncoderConfig
  dimensions: int

  def setup(self):
    width = self.config.hidden_size
    self.hidden, self.memory = (self._linear(width) for _ in range(2))
    self.mean, self.deviation = (
        self._linear(self.dimensions) for _ in range(2)
    )

  def __call__(self, vector: Float[Array, "B D"]) -> Posterior:
    hidden = gelu(self.hidden(vector))
    mean = self.mean(hidden)
    deviation = jax.nn.softplus(self.deviation(hidden)) + SMALLEST_DEVIATION
    zeros = jnp.zeros(self.dimensions)
    return Posterior(
        mean, deviation, divergences(mean, deviation, zeros, zeros)
    )

  def state(self, latents: Float[Array, "B Z"]) -> Float[Array, "B 1 D"]:
    """Returns the one state that the decoder attends to."""
    return self.memory(latents)[:, None].astype(self.config.dtype)

  def _linear(self, features: int) -> Linear:
    # In float32, as the logarithm of a deviation needs the digits.
    return Linear(features, "float32", nn.initializers.glorot_uniform())


class LatentEncoder(nn.Module):
  """The half of an `Autoencoder` that reads, with its parameters' names.

  Attributes:
    config: of the encoder.
    dimensions: of z, Z.
  """

  config: EncoderConfig
  dimensions: int

  def setup(self):
    self.embeddings = Embeddings(self.config)
    self.discriminator = Encoder(self.config)
    self.latent_head = LatentHead(self.config, self.dimensions)

  def __call__(
      self,
      input_ids: Int[Array, "B S"],
      input_mask: Int[Array, "B S"],
      segment_ids: Int[Array, "B S"],
  ) -> Float[Array, "B Z"]:
    """Returns the mean of z of each text, in float32."""
    embeddings = self.embeddings(input_ids, segment_ids)
    states = self.discriminator(embeddings, input_mask).sequence
    return self.latent_head(pool_tokens(states, input_mask, "mean")).mean


class Autoencoder(Seq2Seq):
  """`Seq2Seq` whose decoder sees z alone; without a draw, z is the mean.

  Attributes:
    dimensions: of z, Z.
  """

  dimensions: int = 32

  def setup(self):
    if self.architecture not in ARCHITECTURES:
      raise UserError(no_such_architecture(self.architecture))
    super().setup()
    self.latent_head = LatentHead(self.config, self.dimensions)

  def drawn_label_scores(
      self,
      source_ids: Int[Array, "B S"],
      source_mask: Int[Array, "B S"],
      target_ids: Int[Array, "B T"],
      target_mask: Int[Array, "B T"],
      labels: Int[Array, "B T"],
      *,
      noise_seeds: RowSeeds,
      dropout_seeds: RowSeeds | None = None,
  ) -> tuple[LabelScores, Posterior, Float[Array, "B Z"]]:
    """Scores every label where z is drawn.

    Args:
      source_ids: as of `Seq2Seq.__call__`, as are the next three.
      source_mask: the same.
      target_ids: the same.
      target_mask: the same.
      labels: the texts themselves.
      noise_seeds: one of each text; z depends on it and on the text alone.
      dropout_seeds: one of each text, or None for no dropout.

    Returns:
      What training needs of every label, the Gaussians, and the draws.
    """
    posterior = self.posterior(
        source_ids, source_mask, dropout_seeds=dropout_seeds
    )
    (noise,) = gaussian_noise(noise_seeds, 1, self.dimensions)
    latents = posterior.mean + posterior.deviation * noise
    state, mask = self._state_of(latents)
    states = self._decode(state, mask, target_ids, target_mask, dropout_seeds)
    scores = self.target_head.label_scores(states, self._table(), labels)
    return scores, posterior, latents

  def posterior(
      self,
      source_ids: Int[Array, "B S"],
      source_mask: Int[Array, "B S"],
      *,
      source_segments: Int[Array, "B S"] | None = None,
      dropout_seeds: RowSeeds | None = None,
  ) -> Posterior:
    """Returns the Gaussian of every text; see `Seq2Seq.__call__`."""
    if source_segments is None:
      source_segments = jnp.zeros_like(source_ids)
    seeds = fold_seeds(dropout_seeds, ENCODER_PLACE)
    return self._posterior(source_ids, source_mask, source_segments, seeds)

  def start_at(
      self,
      latents: Float[Array, "B Z"],
      *,
      beam_size: int = 1,
      max_length: int,
  ) -> tuple[Memory, Kept]:
    """Does what `start` does, for values of z in place of texts."""
    return self._memory(*self._state_of(latents), beam_size, max_length)

  def _encode(
      self, ids, mask, segments, seeds
  ) -> tuple[Hidden, Int[Array, "B 1"]]:
    posterior = self._posterior(ids, mask, segments, seeds)
    return self._state_of(posterior.mean)

  def _posterior(self, ids, mask, segments, seeds) -> Posterior:
    states, mask = super()._encode(ids, mask, segments, seeds)
    return self.latent_head(pool_tokens(states, mask, "mean"))

  def _state_of(self, latents):
    mask = jnp.ones((latents.shape[0], 1), jnp.int32)
    return self.latent_head.state(latents), mask


def no_such_architecture(architecture: str) -> str:
  """Says in a sentence that a decoder cannot read z alone."""
  why = ""
  if architecture == "unilm":
    why = " (its one stack sees the text itself, and so would not need z)"
  return (
      f"config.generation.architecture is {architecture!r}, and task=autoencode"
      f" writes from z alone{why}; choose one of {', '.join(ARCHITECTURES)}"
  )


def make_network(
    config: EncoderConfig,
    architecture: str,
    dimensions: int = 0,
    constrain: Callable[[Hidden], Hidden] = lambda x: x,
    attention: Callable[..., Any] = attend,
) -> Seq2Seq:
  """Returns the network of a task that writes text.

  Args:
    config: the encoder's.
    architecture: one of `seq2seq.ARCHITECTURES`, or, of an autoencoder, of
      ARCHITECTURES.
    dimensions: of z, for an autoencoder; 0 for a network that reads all of the
      encoder's states.
    constrain: see `Encoder`.
    attention: see `Encoder`.
  """
  given = (config, architecture, constrain, attention)
  return Autoencoder(*given, dimensions) if dimensions else Seq2Seq(*given)
