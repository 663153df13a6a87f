"""Layers of the released encoder: BERT's, with LayerNorm after the residual.

Departures from the standard pre-norm Transformer: post-LayerNorm with epsilon
1e-12; the exact (erf) GELU; biases everywhere; padding is masked on the side
that is attended to, so the states of padding are computed and unused.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.config import LAYER_NORM_EPSILON, EncoderConfig
from electra_jax.models.dropout import dropout, fold_seeds
from electra_jax.models.products import affine
from electra_jax.models.quantization import rounded_table_rows
from electra_jax.shapes import (
    Array,
    Float,
    Hidden,
    Int,
    TokenIds,
    TokenMask,
    TokenSeeds,
)

LONGEST_WAVE = 100.0  # Over 2π, in tokens, of the sinusoidal positions.

# attention.attend with its config given.
Attend = Callable[..., Hidden]
# The collection that keeps what each layer's attention works on, as
# `encoder.projections_of` reads it. Where a caller does not make it mutable,
# nothing is kept, and nothing computed for it.
PROJECTIONS = "projections"


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """x Φ(x) with the exact normal distribution function.

  By erf, as the release writes it: on a CPU erfc, which jax.nn.gelu takes,
  costs two to three times as much.
  """
  return 0.5 * x * (1.0 + jax.lax.erf(x * jnp.asarray(0.5**0.5, x.dtype)))


class Linear(nn.Module):
  """A linear layer with a bias that starts at zero."""

  features: int
  dtype: str
  kernel_init: nn.initializers.Initializer
  quantization: str = ""

  @nn.compact
  def __call__(self, x: Float[Array, "*rows M"]) -> Float[Array, "*rows O"]:
    shape = (x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape)
    bias = self.param("bias", nn.initializers.zeros_init(), self.features)
    return affine(x.astype(self.dtype), kernel, bias, self.quantization)


def truncated_normal(config: EncoderConfig) -> nn.initializers.Initializer:
  """The released initialiser: cut at two deviations and not rescaled."""
  return nn.initializers.truncated_normal(config.initializer_range)


def linear(features: int, config: EncoderConfig, name: str | None) -> Linear:
  """A linear layer of the encoder, with the released initialisation."""
  return Linear(
      features,
      config.dtype,
      truncated_normal(config),
      config.quantization,
      name=name,
  )


def layer_norm(
    config: EncoderConfig, name: str | None = "layer_norm"
) -> nn.LayerNorm:
  """LayerNorm over the last axis with float32 statistics."""
  return nn.LayerNorm(
      epsilon=LAYER_NORM_EPSILON,
      use_fast_variance=False,  # E[x²]-E[x]² loses digits.
      dtype=config.dtype,
      name=name,
  )


class Embeddings(nn.Module):
  """Word, position and segment tables with one LayerNorm over their sum.

  Attributes:
    config: the shapes.
    is_delta: whether the tables start at zero, to be added to others.

  Source: release model/modeling.py:BertModel, embedding_postprocessor.
  """

  config: EncoderConfig
  is_delta: bool = False

  def setup(self):
    config = self.config
    width = config.embedding_size
    init, position_init = truncated_normal(config), _position_init(config)
    if self.is_delta:
      init = position_init = nn.initializers.zeros_init()
    self.word_embeddings = nn.Embed(
        config.vocab_size, width, embedding_init=init
    )
    self.position_embeddings = nn.Embed(
        config.max_position_embeddings, width, embedding_init=position_init
    )
    self.token_type_embeddings = nn.Embed(
        config.type_vocab_size, width, embedding_init=init
    )
    self.layer_norm = layer_norm(config, None)

  def __call__(
      self,
      input_ids: TokenIds,
      segment_ids: Int[Array, "B L"],
      positions: Int[Array, "B L"] | None = None,
      *,
      added: Float[Array, "B L E"] | None = None,
  ) -> Float[Array, "B L E"]:
    """Embeds rows.

    Args:
      input_ids: ids of the words.
      segment_ids: 0 or 1.
      positions: those of packed rows, else None.
      added: sum of other tables' rows, added before the LayerNorm, or None.
    """
    total = self.sum_of_tables(input_ids, segment_ids, positions)
    return self.layer_norm(total if added is None else total + added)

  def sum_of_tables(
      self,
      input_ids: TokenIds,
      segment_ids: Int[Array, "B L"],
      positions: Int[Array, "B L"] | None = None,
  ) -> Float[Array, "B L E"]:
    """The same before the LayerNorm."""
    first = self.token_type_embeddings.embedding[0]
    # The segment table has two rows: a product with 0 or 1 is a lookup whose
    # gradient is a sum, not a scatter.
    step = self.token_type_embeddings.embedding[1] - first
    words = self.word_embeddings(input_ids)  # [B, L, E]
    words = rounded_table_rows(words, self.config.quantization)
    if positions is None:
      length = input_ids.shape[1]
      places = self.position_embeddings.embedding[None, :length]
    else:
      places = self.position_embeddings(positions)
    segments = segment_ids[..., None].astype(words.dtype) * step[None, None]
    return words + places + segments + first[None, None]

  def word_table(self) -> Float[Array, "V E"]:
    """The table that also turns masked-LM states into logits."""
    return self.word_embeddings.embedding


class SelfAttention(nn.Module):
  """Multi-head attention with its projections, before the residual."""

  config: EncoderConfig
  attend: Attend

  @nn.compact
  def __call__(
      self,
      hidden: Hidden,
      input_mask: TokenMask,
      positions: Int[Array, "_ L"],
      dropout_seeds: TokenSeeds | None,
  ) -> Hidden:
    config = self.config
    init = truncated_normal(config)
    alike = init
    if config.initialization == "local" and self.is_initializing():
      rng = self.make_rng("params")
      alike = functools.partial(_draw_again, init, rng)

    def project(name, kernel_init):
      layer = Linear(
          config.attention_width,
          config.dtype,
          kernel_init,
          config.quantization,
          name=name,
      )
      return layer(hidden)

    query, key = project("query", alike), project("key", alike)
    value = project("value", init)
    if not self.is_initializing():
      for name, projected in zip(
          ("queries", "keys", "values"), (query, key, value), strict=True
      ):
        self.sow(PROJECTIONS, name, projected)
    mixed = self.attend(
        query,
        key,
        value,
        input_mask,
        positions,
        fold_seeds(dropout_seeds, 0),
    )
    return linear(config.hidden_size, config, "output")(mixed)


class EncoderLayer(nn.Module):
  """Attention and feed-forward, each: dropout, residual, LayerNorm.

  Attributes:
    config: the shapes.
    attend: as of `encoder.Encoder`.
    between: (states, seeds) -> states, applied between the two, or None.

  Source: release model/modeling.py:transformer_model.
  """

  config: EncoderConfig
  attend: Attend
  between: Callable[..., Hidden] | None = None

  @nn.compact
  def __call__(
      self,
      hidden: Hidden,
      input_mask: TokenMask,
      positions: Int[Array, "_ L"],
      dropout_seeds: TokenSeeds | None,
  ) -> Hidden:
    config = self.config
    attended = SelfAttention(config, self.attend, name="attention")(
        hidden, input_mask, positions, dropout_seeds
    )
    attended = dropout(
        attended, config.hidden_dropout, fold_seeds(dropout_seeds, 1)
    )
    hidden = layer_norm(config, "attention_layer_norm")(hidden + attended)
    if self.between is not None:
      hidden = self.between(hidden, fold_seeds(dropout_seeds, 3))
    widen = linear(config.intermediate_size, config, "intermediate")
    expanded = gelu(widen(hidden))  # [B, L, F]
    output = linear(config.hidden_size, config, "output")(expanded)
    output = dropout(
        output, config.hidden_dropout, fold_seeds(dropout_seeds, 2)
    )
    return layer_norm(config, "output_layer_norm")(hidden + output)


def _position_init(config: EncoderConfig) -> nn.initializers.Initializer:
  if config.initialization == "released":
    return truncated_normal(config)

  def sinusoidal(key, shape, dtype=jnp.float32):
    # Vaswani et al. (2017), §3.5, with shorter waves and twice the deviation
    # of the other tables: neighbours must differ within a few tokens.
    del key
    length, width = shape
    half = (width + 1) // 2
    rates = LONGEST_WAVE ** (-jnp.arange(half) / half)
    angles = jnp.arange(length)[:, None] * rates[None]
    table = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
    scale = 2 * 2**0.5 * config.initializer_range
    return (scale * table[:, :width]).astype(dtype)

  return sinusoidal


def _draw_again(init, rng, key, *shape):
  del key  # Every parameter is drawn from the one given before.
  return init(rng, *shape)
