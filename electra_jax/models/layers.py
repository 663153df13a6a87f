"""Layers of the released encoder: BERT's, with LayerNorm after the residual.

Departures from the standard pre-norm Transformer: post-LayerNorm with epsilon
1e-12; the exact (erf) GELU; biases everywhere; padding is masked on the side
that is attended to, so the states of padding are computed and unused.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.config import LAYER_NORM_EPSILON, EncoderConfig
from electra_jax.models.dropout import attention_dropout, dropout, fold_seeds
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
MASKED_SCORE = -10000.0  # Release, model/modeling.py:attention_layer.


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """x Φ(x) with the exact normal distribution function.

  By erf, as the release writes it: on a CPU erfc, which jax.nn.gelu takes,
  costs two to three times as much.
  """
  return 0.5 * x * (1.0 + jax.lax.erf(x * jnp.asarray(0.5**0.5, x.dtype)))


def matmul(
    x: Float[Array, "*rows M"], kernel: Float[Array, "M O"]
) -> Float[Array, "*rows O"]:
  """Multiplies by a float32 matrix in the dtype of x; returns float32.

  The rows are one axis: a product over [B, L, M] makes its gradient a
  contraction over two axes, which XLA's CPU backend runs up to four times
  slower than over one. The gradient of the matrix comes out in float32, so
  that devices add up float32 and not bfloat16.
  """
  product = _matmul(x.reshape(-1, x.shape[-1]), kernel)
  return product.reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _matmul(rows, kernel):
  return jnp.matmul(
      rows, kernel.astype(rows.dtype), preferred_element_type=jnp.float32
  )


def _matmul_forward(rows, kernel):
  return _matmul(rows, kernel), (rows, kernel)


def _matmul_backward(saved, gradient):
  rows, kernel = saved
  gradient = gradient.astype(rows.dtype)
  return (
      jnp.matmul(gradient, kernel.astype(rows.dtype).T),
      jnp.matmul(rows.T, gradient, preferred_element_type=kernel.dtype),
  )


_matmul.defvjp(_matmul_forward, _matmul_backward)


class Linear(nn.Module):
  """A linear layer with a bias that starts at zero."""

  features: int
  dtype: str
  kernel_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, x: Float[Array, "*rows M"]) -> Float[Array, "*rows O"]:
    shape = (x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape)
    bias = self.param("bias", nn.initializers.zeros_init(), self.features)
    y = matmul(x.astype(self.dtype), kernel)
    return (y + bias.reshape((1,) * (y.ndim - 1) + (-1,))).astype(self.dtype)


def truncated_normal(config: EncoderConfig) -> nn.initializers.Initializer:
  """The released initialiser: cut at two deviations and not rescaled."""
  return nn.initializers.truncated_normal(config.initializer_range)


def linear(features: int, config: EncoderConfig, name: str | None) -> Linear:
  """A linear layer of the encoder, with the released initialisation."""
  return Linear(features, config.dtype, truncated_normal(config), name=name)


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
  """Multi-head attention with its output projection, before the residual."""

  config: EncoderConfig

  @nn.compact
  def __call__(
      self,
      hidden: Hidden,
      score_bias: Float[Array, "B 1 _ L"],
      positions: Int[Array, "_ L"],
      dropout_seeds: TokenSeeds | None,
  ) -> Hidden:
    config = self.config
    batch, length, width = hidden.shape
    head_width = width // config.num_heads

    init = truncated_normal(config)
    alike = init
    if config.initialization == "local" and self.is_initializing():
      rng = self.make_rng("params")
      alike = functools.partial(_draw_again, init, rng)

    def heads(name, kernel_init):
      x = Linear(width, config.dtype, kernel_init, name=name)(hidden)
      x = x.reshape(batch, length, config.num_heads, head_width)
      return x.swapaxes(1, 2)  # [B, N, L, H]

    query, key = heads("query", alike), heads("key", alike)
    value = heads("value", init)
    scores = jnp.einsum(
        "bnlh,bnmh->bnlm",
        query * jnp.asarray(head_width**-0.5, query.dtype),
        key,
        preferred_element_type=jnp.float32,
    )
    probabilities = jax.nn.softmax(scores + score_bias, axis=-1)
    probabilities = attention_dropout(
        probabilities.astype(config.dtype),
        config.attention_dropout,
        fold_seeds(dropout_seeds, 0),
        positions,
    )
    context = jnp.einsum("bnlm,bnmh->bnlh", probabilities, value)
    context = context.swapaxes(1, 2).reshape(batch, length, width)
    return linear(width, config, "output")(context)


class EncoderLayer(nn.Module):
  """Attention and feed-forward, each: dropout, residual, LayerNorm.

  Source: release model/modeling.py:transformer_model.
  """

  config: EncoderConfig

  @nn.compact
  def __call__(
      self,
      hidden: Hidden,
      score_bias: Float[Array, "B 1 _ L"],
      positions: Int[Array, "_ L"],
      dropout_seeds: TokenSeeds | None,
  ) -> Hidden:
    config = self.config
    attended = SelfAttention(config, name="attention")(
        hidden, score_bias, positions, dropout_seeds
    )
    attended = dropout(
        attended, config.hidden_dropout, fold_seeds(dropout_seeds, 1)
    )
    hidden = layer_norm(config, "attention_layer_norm")(hidden + attended)
    widen = linear(config.intermediate_size, config, "intermediate")
    expanded = gelu(widen(hidden))  # [B, L, F]
    output = linear(config.hidden_size, config, "output")(expanded)
    output = dropout(
        output, config.hidden_dropout, fold_seeds(dropout_seeds, 2)
    )
    return layer_norm(config, "output_layer_norm")(hidden + output)


def attention_score_bias(
    input_mask: TokenMask, is_packed: bool = False, direction: str = "both"
) -> Float[Array, "B 1 _ L"]:
  """0 where a token may be attended to, a large negative number elsewhere.

  Args:
    input_mask: 0 for padding, 1 for tokens, or the numbers of packed texts.
    is_packed: whether a token sees its own text only.
    direction: "both"; "left_to_right" sees itself and what stands before it,
      "right_to_left" itself and what stands behind it.
  """
  keys = input_mask[:, None, None, :]
  if is_packed:
    seen = keys == input_mask[:, None, :, None]
  elif direction == "both":
    return (1.0 - keys.astype(jnp.float32)) * MASKED_SCORE
  else:
    seen = keys > 0
  if direction != "both":
    place = jnp.arange(input_mask.shape[1])
    behind = place[:, None] - place[None]  # [L, L] of query and key.
    seen &= ((behind >= 0) if direction == "left_to_right" else (behind <= 0))[
        None, None
    ]
  return jnp.where(seen, 0.0, MASKED_SCORE)


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
