"""What is put on top of an encoder for pre-training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.config import EncoderConfig
from electra_jax.models.layers import Linear, gelu, layer_norm, linear
from electra_jax.models.products import matmul
from electra_jax.shapes import Array, Bool, Float, Hidden, Int

_CHUNK_POSITIONS = 32  # Of a row, whose logits exist at a time.


class LabelScores(NamedTuple):
  """What a head says of one id at every position.

  Attributes:
    label: log-probability of the id, in nats.
    total: sum of the log-probabilities of all ids.
    is_best: whether no id is likelier.
  """

  label: Float[Array, "B L"]
  total: Float[Array, "B L"]
  is_best: Bool[Array, "B L"]


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

    def of_logits(logits, ids):
      total = jax.nn.logsumexp(logits, axis=-1)
      return [x - total for x in _chosen(logits, ids)]

    return self._in_chunks(hidden, word_table, ids, of_logits)

  def label_scores(
      self,
      hidden: Hidden,
      word_table: Float[Array, "V E"],
      labels: Int[Array, "B L"],
  ) -> LabelScores:
    """What a smoothed cross-entropy needs of every position, in chunks."""

    def of_logits(logits, ids):
      total = jax.nn.logsumexp(logits, axis=-1)
      (label,) = _chosen(logits, ids)
      everything = jnp.sum(logits, axis=-1) - logits.shape[-1] * total
      is_best = label >= jnp.max(logits, axis=-1)
      return [label - total, everything, is_best.astype(total.dtype)]

    scores = self._in_chunks(hidden, word_table, labels[..., None], of_logits)
    return LabelScores(scores[..., 0], scores[..., 1], scores[..., 2] > 0)

  def _in_chunks(self, hidden, word_table, ids, of_logits):
    hidden = self.layer_norm(gelu(self.dense(hidden)))  # [B, L, E]
    bias, quantization = self.output_bias, self.config.quantization

    @jax.checkpoint
    def of_chunk(carry, chunk):
      hidden, ids = chunk
      logits = matmul(hidden, word_table.T, quantization)  # [B, C, V]
      logits += bias[None, None]
      return carry, jnp.stack(of_logits(logits, ids), axis=-1)

    length = hidden.shape[1]
    chunk = min(length, _CHUNK_POSITIONS)
    padding = -length % chunk

    def split(x):  # [B, L, …] -> [chunks, B, C, …]
      x = jnp.pad(x, ((0, 0), (0, padding), (0, 0)))
      x = x.reshape(x.shape[0], -1, chunk, x.shape[-1])
      return x.swapaxes(0, 1)

    _, values = jax.lax.scan(of_chunk, (), (split(hidden), split(ids)))
    values = values.swapaxes(0, 1)  # [B, chunks, C, …]
    return values.reshape(ids.shape[0], -1, values.shape[-1])[:, :length]


def _chosen(logits, ids):
  # Comparing beats gathering, whose gradient is a scatter.
  every = jnp.arange(logits.shape[-1], dtype=ids.dtype)[None, None]
  return [
      jnp.sum(logits, axis=-1, where=every == ids[..., i, None])
      for i in range(ids.shape[-1])
  ]


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
