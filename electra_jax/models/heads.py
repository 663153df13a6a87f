"""What is put on top of an encoder for pre-training."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.config import EncoderConfig
from electra_jax.models.layers import Linear, gelu, layer_norm, linear
from electra_jax.models.products import matmul
from electra_jax.shapes import Array, Float, Hidden, Int

_CHUNK_POSITIONS = 32  # Of a row, whose logits exist at a time.


class MaskedLMHead(nn.Module):
  """Logits over the vocabulary, by the word table that also embeds.

  Source: release pretrain/pretrain_helpers.py and
  run_pretraining.py:_get_masked_lm_output.
  """

  config: EncoderConfig

  def setup(self):
    config = self.config
    self.dense = linear(config.embedding_size, config, None)
    self.layer_norm = layer_norm(config, None)
    self.output_bias = self.param(
        "output_bias", nn.initializers.zeros_init(), (config.vocab_size,)
    )

  def __call__(
      self, hidden: Float[Array, "B K D"], word_table: Float[Array, "V E"]
  ) -> Float[Array, "B K V"]:
    hidden = self.layer_norm(gelu(self.dense(hidden)))  # [B, K, E]
    logits = matmul(hidden, word_table.T, self.config.quantization)
    return logits + self.output_bias[None, None]

  def log_probabilities(
      self,
      hidden: Hidden,
      word_table: Float[Array, "V E"],
      ids: Int[Array, "B L M"],
  ) -> Float[Array, "B L M"]:
    """Log-probabilities of M ids at every position, in nats.

    Goes through the row in chunks and computes each again in the backward
    pass, so that logits exist for a chunk of positions at a time.
    """
    hidden = self.layer_norm(gelu(self.dense(hidden)))  # [B, L, E]
    bias, quantization = self.output_bias, self.config.quantization

    @jax.checkpoint
    def of_chunk(carry, chunk):
      hidden, ids = chunk
      logits = matmul(hidden, word_table.T, quantization)  # [B, C, V]
      logits += bias[None, None]
      total = jax.nn.logsumexp(logits, axis=-1)
      every = jnp.arange(logits.shape[-1], dtype=ids.dtype)[None, None]
      # Comparing beats gathering, whose gradient is a scatter.
      chosen = [
          jnp.sum(logits, axis=-1, where=every == ids[..., i, None])
          for i in range(ids.shape[-1])
      ]
      return carry, jnp.stack([x - total for x in chosen], axis=-1)

    length = hidden.shape[1]
    chunk = min(length, _CHUNK_POSITIONS)
    padding = -length % chunk

    def split(x):  # [B, L, …] -> [chunks, B, C, …]
      x = jnp.pad(x, ((0, 0), (0, padding), (0, 0)))
      x = x.reshape(x.shape[0], -1, chunk, x.shape[-1])
      return x.swapaxes(0, 1)

    _, values = jax.lax.scan(of_chunk, (), (split(hidden), split(ids)))
    values = values.swapaxes(0, 1).reshape(ids.shape[0], -1, ids.shape[-1])
    return values[:, :length]


class ReplacedTokenHead(nn.Module):
  """Log-odds, for every token, that it was replaced.

  Source: release run_pretraining.py:_get_discriminator_output.
  """

  config: EncoderConfig

  @nn.compact
  def __call__(self, hidden: Hidden) -> Float[Array, "B L"]:
    config = self.config
    hidden = gelu(linear(config.hidden_size, config, "dense")(hidden))
    logits = Linear(
        1,
        config.dtype,
        nn.initializers.glorot_uniform(),
        config.quantization,
        name="prediction",
    )(hidden)
    return logits[..., 0].astype(jnp.float32)
