"""What a decoder of Transformer layers has besides an encoder's layers.

A decoder runs the very layers of `encoder.Encoder`, with another attention and
with attention to the source between self-attention and feed-forward, LayerNorm
after the residual like the others.

Source: Rothe, Narayan and Severyn (2020), "Leveraging pre-trained checkpoints
for sequence generation tasks", §3.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.attention import (
    MASKED_SCORE,
    Attended,
    AttentionConfig,
    join_heads,
    mix,
    split_heads,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.dropout import attention_dropout, dropout, fold_seeds
from electra_jax.models.encoder import Encoder
from electra_jax.models.layers import layer_norm, linear
from electra_jax.shapes import (
    Array,
    Float,
    Hidden,
    Int,
    TokenMask,
    TokenSeeds,
)


class Past(NamedTuple):
  """What one layer keeps of the target that has been written.

  The M = T K tokens of K beams stand place by place, so that a step writes one
  block of each head, where it lies.

  Attributes:
    key: of each head.
    value: the same.
  """

  key: Float[Array, "B N M H"]
  value: Float[Array, "B N M H"]


class CrossAttention(nn.Module):
  """Attention of the target to the source, with residual and LayerNorm."""

  config: EncoderConfig

  def setup(self):
    config = self.config
    self.query, self.key, self.value = (
        linear(config.attention_width, config, None) for _ in range(3)
    )
    self.output = linear(config.hidden_size, config, None)
    self.layer_norm = layer_norm(config, None)

  def read(
      self, states: Float[Array, "B S D"], bias: Float[Array, "B 1 1 S"]
  ) -> Attended:
    """Returns keys and values of the encoder's states, once for a text."""
    heads = self.config.num_heads
    key, value = (
        split_heads(layer(states), heads) for layer in (self.key, self.value)
    )
    return Attended(key, value, bias)

  def __call__(
      self, hidden: Hidden, source: Attended, dropout_seeds: TokenSeeds | None
  ) -> Hidden:
    config = self.config
    rate, places = config.attention_dropout, jnp.arange(source.key.shape[2])

    def drop(probabilities):
      seeds = fold_seeds(dropout_seeds, 0)
      return attention_dropout(probabilities, rate, seeds, places[None])

    query = split_heads(self.query(hidden), config.num_heads)
    output = self.output(join_heads(mix(query, [source], drop)))
    output = dropout(
        output, config.hidden_dropout, fold_seeds(dropout_seeds, 1)
    )
    return self.layer_norm(hidden + output)


class Decoder(nn.Module):
  """Holds the parameters that a decoder does not share with the encoder.

  Attributes:
    config: the shapes.
    has_layers: whether self-attention and feed-forward are its own; they then
      have an encoder's names.
  """

  config: EncoderConfig
  has_layers: bool

  def setup(self):
    layers = range(self.config.num_layers)
    self.cross = [CrossAttention(self.config) for _ in layers]
    if self.has_layers:
      self.stack = Encoder(self.config)
      nn.share_scope(self, self.stack)

  def __call__(
      self, embeddings: Float[Array, "B L E"], mask: TokenMask, states: Hidden
  ) -> None:
    """Runs each part once, for its parameters."""
    if self.has_layers:
      self.stack(embeddings, mask)
    for cross in self.cross:
      cross(states, cross.read(states, padding_bias(mask)), None)


def padding_bias(mask: Int[Array, "B S"]) -> Float[Array, "B 1 1 S"]:
  """0 for the source's tokens, a large negative number for its padding."""
  return jnp.where(mask > 0, 0.0, MASKED_SCORE)[:, None, None]


def empty_past(
    config: EncoderConfig, batch: int, beam_size: int, max_length: int
) -> tuple[Past, ...]:
  """Returns what the layers keep before the first token."""
  tokens = max_length * beam_size
  shape = (batch, config.num_heads, tokens, config.head_width)

  def empty():  # An array each, as a step may be given them for good.
    return jnp.zeros(shape, config.dtype)

  return tuple(Past(empty(), empty()) for _ in range(config.num_layers))


def ancestors_bias(
    ancestry: Int[Array, "B K T"], place: Int[Array, ""]
) -> Float[Array, "B 1 K M"]:
  """Says which of the T K kept tokens stand before each beam's newest one.

  Nothing that is kept moves when beams are reordered: a beam finds its own
  tokens by the beam that wrote each of them.

  Args:
    ancestry: which beam wrote the token at each place, before `place`.
    place: of the newest token, which each beam has written itself.
  """
  batch, beams, length = ancestry.shape
  places, beam = jnp.arange(length), jnp.arange(beams)
  is_now = (places == place)[None, None, :]
  writer = jnp.where(is_now, beam[None, :, None], ancestry)
  seen = writer[..., None] == beam[None, None, None]  # [B, K, T, K]
  seen &= (places <= place)[None, None, :, None]
  bias = jnp.where(seen, 0.0, MASKED_SCORE)
  return bias.reshape(batch, 1, beams, length * beams)


class CachedAttention:
  """Attention of each beam's newest token, one call a layer in their order.

  Attributes:
    past: of the layers that have run, with the newest tokens in it.
  """

  def __init__(
      self,
      past: Sequence[Past],
      place: Int[Array, ""],
      bias: Float[Array, "B 1 K M"],
      sources: Sequence[Attended] = (),
  ):
    """Takes what was kept.

    Args:
      past: of every layer.
      place: of the newest token.
      bias: of `ancestors_bias`.
      sources: for each layer what else is seen, if anything.
    """
    self.past: list[Past] = []
    self._before, self._place = past, place
    self._bias, self._sources = bias, sources

  def __call__(
      self, config: AttentionConfig, query, key, value, *rest
  ) -> Float[Array, "B K D"]:
    del rest  # Padding, positions and dropout of a whole row.
    layer = len(self.past)
    query, key, value = (
        split_heads(x, config.num_heads) for x in (query, key, value)
    )
    kept = Past(*map(self._write, self._before[layer], (key, value)))
    self.past.append(kept)
    parts = [*self._sources[layer : layer + 1], Attended(*kept, self._bias)]
    return join_heads(mix(query, parts))

  def _write(self, kept, new):  # [B, N, K, H] into [B, N, T K, H].
    zero = jnp.zeros((), self._place.dtype)
    where = (zero, zero, self._place * new.shape[2], zero)
    return jax.lax.dynamic_update_slice(kept, new, where)
