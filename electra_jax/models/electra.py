"""Electra: generator and discriminator, and what they share."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.attention import attend
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
    Params,
    Positions,
    RowSeeds,
    TokenIds,
    TokenMask,
)

# Each encoder draws its own dropout.
_GENERATOR_PLACE, _DISCRIMINATOR_PLACE, _RIGHT_TO_LEFT_PLACE = 0, 1, 2


class Electra(nn.Module):
  """Both networks of replaced-token detection.

  Shared embeddings are one submodule that both encoders read, so they stand
  once in `params`.

  Source: ELECTRA §2 and §3.2 (weight sharing); release
  run_pretraining.py:PretrainingModel and TwoTowerClozeTransformer; gradient
  disentangled sharing: DeBERTaV3 (He et al., 2021), §3.3.

  Attributes:
    config: the shapes, and what is shared.
    constrain: see `Encoder`.
    attend: see `Encoder`.
  """

  config: ElectraConfig
  constrain: Callable[[Hidden], Hidden] = lambda x: x
  attend: Callable[..., Hidden] = attend

  def setup(self):
    config = self.config
    generator = config.generator or config.discriminator
    self.embeddings = Embeddings(
        config.discriminator, is_delta=config.is_disentangled
    )
    if config.has_generator_embeddings:
      self.generator_embeddings = Embeddings(generator)
    encoder = functools.partial(
        Encoder, constrain=self.constrain, attend=self.attend
    )
    self.discriminator = encoder(config.discriminator)
    self.discriminator_head = ReplacedTokenHead(config.discriminator)
    self.token_head = MaskedLMHead(config.discriminator)
    if config.has_two_towers:
      self.generator_ltr = encoder(generator, direction="left_to_right")
      self.generator_rtl = encoder(generator, direction="right_to_left")
      self.cloze_head = MaskedLMHead(generator)
    else:
      self.generator_head = MaskedLMHead(generator)
      if config.generator is not None:
        self.generator = encoder(generator)

  def masked_lm_logits(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
      positions: Positions,
      *,
      dropout_seeds: RowSeeds | None = None,
  ) -> Float[Array, "B K V"]:
    """The generator's logits at K positions of each row, in float32.

    Two towers do not see the token that stands at the position; a masked LM
    sees what `input_ids` has there.
    """
    output = self.generate(
        input_ids, input_mask, segment_ids, dropout_seeds=dropout_seeds
    )
    return self.generator_logits(output.sequence, positions)

  def generator_logits(
      self, states: Hidden, positions: Positions
  ) -> Float[Array, "B K V"]:
    """Logits at K positions of the states of `generate`, in float32."""
    return self._generator_head()(
        _gather(states, positions), self._generator_table()
    )

  def generator_log_probabilities(
      self, states: Hidden, ids: Int[Array, "B L M"]
  ) -> Float[Array, "B L M"]:
    """What the states of `generate` give M ids at every position, in nats."""
    return self._generator_head().log_probabilities(
        states, self._generator_table(), ids
    )

  def generate(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
      *,
      dropout_seeds: RowSeeds | None = None,
  ) -> EncoderOutput:
    """The generator's states; of two towers, both side by side."""
    config = self.config
    embeddings = self._generator_tables()(input_ids, segment_ids)

    def encode(encoder, place):
      seeds = fold_seeds(dropout_seeds, place)
      return encoder(embeddings, input_mask, dropout_seeds=seeds)

    if not config.has_two_towers:
      is_own = config.generator is not None
      encoder = self.generator if is_own else self.discriminator
      return encode(encoder, _GENERATOR_PLACE)
    before = encode(self.generator_ltr, _GENERATOR_PLACE).sequence
    behind = encode(self.generator_rtl, _RIGHT_TO_LEFT_PLACE).sequence
    # The first and the last place see around the end of the row, as in the
    # release; [CLS] and [SEP] or padding stand there, which are no candidates.
    both = [jnp.roll(before, 1, axis=1), jnp.roll(behind, -1, axis=1)]
    return EncoderOutput(jnp.concatenate(both, axis=-1), ())

  def discriminate(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
      *,
      dropout_seeds: RowSeeds | None = None,
  ) -> EncoderOutput:
    """The discriminator's states."""
    added = None
    if self.config.is_disentangled:
      added = jax.lax.stop_gradient(
          self.generator_embeddings.sum_of_tables(input_ids, segment_ids)
      )
    return self.discriminator(
        self.embeddings(input_ids, segment_ids, added=added),
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
    return self.detection_logits(output.sequence)

  def detection_logits(self, states: Hidden) -> Float[Array, "B L"]:
    """The same from the states of `discriminate`."""
    return self.discriminator_head(states)

  def token_logits(
      self, states: Hidden, positions: Positions
  ) -> Float[Array, "B K V"]:
    """Masked-LM logits of the states of `discriminate` at K positions."""
    return self.token_head(
        _gather(states, positions), self._discriminator_table()
    )

  def token_log_probabilities(
      self, states: Hidden, ids: Int[Array, "B L M"]
  ) -> Float[Array, "B L M"]:
    """What that head gives M ids at every position, in nats."""
    return self.token_head.log_probabilities(
        states, self._discriminator_table(), ids
    )

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
    if config.has_discriminator_head or config.has_token_head:
      states = self.discriminate(input_ids, input_mask, segment_ids).sequence
      if config.has_discriminator_head:
        rtd_logits = self.discriminator_head(states)
      if config.has_token_head:
        self.token_logits(states, positions)
    return mlm_logits, rtd_logits

  def _generator_tables(self) -> Embeddings:
    if self.config.has_generator_embeddings:
      return self.generator_embeddings
    return self.embeddings

  def _generator_table(self) -> Float[Array, "V E"]:
    return self._generator_tables().word_table()

  def _discriminator_table(self) -> Float[Array, "V E"]:
    table = self.embeddings.word_table()
    if self.config.is_disentangled:
      table += jax.lax.stop_gradient(self._generator_table())
    return table

  def _generator_head(self) -> MaskedLMHead:
    if self.config.has_two_towers:
      return self.cloze_head
    return self.generator_head


def discriminator_embeddings(params: Params, config: ElectraConfig) -> Params:
  """Returns the embeddings as the discriminator sees them.

  Args:
    params: of both networks.
    config: theirs.

  Returns:
    params["embeddings"]; where the networks are disentangled, its tables with
    the generator's added.
  """
  own = params["embeddings"]
  if not config.is_disentangled:
    return own
  tables = {name: x for name, x in own.items() if name != "layer_norm"}
  others = params["generator_embeddings"]
  sums = jax.tree.map(
      lambda x, y: x + y, tables, {name: others[name] for name in tables}
  )
  return {**sums, "layer_norm": own["layer_norm"]}


def own_embeddings(
    seen: Params, params: Params, config: ElectraConfig
) -> Params:
  """Undoes `discriminator_embeddings`.

  Args:
    seen: the embeddings as the discriminator is to see them.
    params: with the generator's embeddings, if it has its own.
    config: the networks.
  """
  if not config.is_disentangled:
    return seen
  others = params["generator_embeddings"]
  return {
      name: part
      if name == "layer_norm"
      else jax.tree.map(jnp.subtract, part, others[name])
      for name, part in seen.items()
  }


def _gather(states: Hidden, positions: Positions) -> Float[Array, "B K D"]:
  return jnp.take_along_axis(states, positions[..., None], axis=1)
