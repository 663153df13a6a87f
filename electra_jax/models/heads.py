"""What is put on top of an encoder for pre-training."""

import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.config import EncoderConfig
from electra_jax.models.layers import (
    Linear,
    gelu,
    layer_norm,
    linear,
    matmul,
)
from electra_jax.shapes import Array, Float, Hidden


class MaskedLMHead(nn.Module):
  """Logits over the vocabulary, by the word table that also embeds.

  Source: release pretrain/pretrain_helpers.py and
  run_pretraining.py:_get_masked_lm_output.
  """

  config: EncoderConfig

  @nn.compact
  def __call__(
      self, hidden: Float[Array, "B K D"], word_table: Float[Array, "V E"]
  ) -> Float[Array, "B K V"]:
    config = self.config
    hidden = gelu(linear(config.embedding_size, config, "dense")(hidden))
    hidden = layer_norm(config)(hidden)  # [B, K, E]
    bias = self.param(
        "output_bias", nn.initializers.zeros_init(), (config.vocab_size,)
    )
    logits = matmul(hidden, word_table.T)
    return logits + bias[None, None]


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
        name="prediction",
    )(hidden)
    return logits[..., 0].astype(jnp.float32)
