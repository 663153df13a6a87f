"""Electra: generator and discriminator, and what they share."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.config import ElectraConfig
from electra_jax.models.dropout import fold_seeds
from electra_jax.models.encoder import Encoder, EncoderOutput
from electra_jax.models.heads import MaskedLMHead, ReplacedTokenHead
from electra_jax.models.layers import Embeddings
from electra_jax.shapes import (
    Array,
    Float,
    Hidden,
    Int,
    Positions,
    RowSeeds,
    TokenIds,
    TokenMask,
)

_GENERATOR_PLACE, _DISCRIMINATOR_PLACE = 0, 1  # Each draws its own dropout.


class Electra(nn.Module):
  """Both networks of replaced-token detection.

  Shared embeddings are one submodule that both encoders read, so they stand
  once in `params`.

  Source: ELECTRA §2 and §3.2 (weight sharing); release
  run_pretraining.py:PretrainingModel.
  """

  config: ElectraConfig
  constrain: Callable[[Hidden], Hidden] = lambda x: x

  def setup(self):
    config = self.config
    self.embeddings = Embeddings(config.discriminator)
    self.discriminator = Encoder(config.discriminator, self.constrain)
    self.discriminator_head = ReplacedTokenHead(config.discriminator)
    generator = config.generator or config.discriminator
    self.generator_head = MaskedLMHead(generator)
    if config.generator is not None:
      self.generator = Encoder(config.generator, self.constrain)
      if config.embedding_sharing == "none":
        self.generator_embeddings = Embeddings(config.generator)

  def masked_lm_logits(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
      positions: Positions,
      *,
      dropout_seeds: RowSeeds | None = None,
  ) -> Float[Array, "B K V"]:
    """The generator's logits at K positions of each row, in float32."""
    output = self.generate(
        input_ids, input_mask, segment_ids, dropout_seeds=dropout_seeds
    )
    hidden = jnp.take_along_axis(
        output.sequence, positions[..., None], axis=1
    )  # [B, K, D]
    return self.generator_head(hidden, self._generator_tables().word_table())

  def generate(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
      *,
      dropout_seeds: RowSeeds | None = None,
  ) -> EncoderOutput:
    """The generator's states."""
    encoder = self.discriminator
    if self.config.generator is not None:
      encoder = self.generator
    return encoder(
        self._generator_tables()(input_ids, segment_ids),
        input_mask,
        dropout_seeds=fold_seeds(dropout_seeds, _GENERATOR_PLACE),
    )

  def discriminate(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
      *,
      dropout_seeds: RowSeeds | None = None,
  ) -> EncoderOutput:
    """The discriminator's states."""
    return self.discriminator(
        self.embeddings(input_ids, segment_ids),
        input_mask,
        dropout_seeds=fold_seeds(dropout_seeds, _DISCRIMINATOR_PLACE),
    )

  def replaced_token_logits(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
      *,
      dropout_seeds: RowSeeds | None = None,
  ) -> Float[Array, "B L"]:
    """Log-odds that each token was replaced, in float32."""
    output = self.discriminate(
        input_ids, input_mask, segment_ids, dropout_seeds=dropout_seeds
    )
    return self.discriminator_head(output.sequence)

  def __call__(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
      positions: Positions,
  ) -> tuple[Float[Array, "B K V"] | None, Float[Array, "B L"] | None]:
    """Runs every head the configuration has; the way to initialise."""
    config = self.config
    mlm_logits = rtd_logits = None
    if config.has_generator_head:
      mlm_logits = self.masked_lm_logits(
          input_ids, input_mask, segment_ids, positions
      )
    if config.has_discriminator_head:
      rtd_logits = self.replaced_token_logits(
          input_ids, input_mask, segment_ids
      )
    return mlm_logits, rtd_logits

  def _generator_tables(self) -> Embeddings:
    if self.config.embedding_sharing == "none":
      return self.generator_embeddings
    return self.embeddings
