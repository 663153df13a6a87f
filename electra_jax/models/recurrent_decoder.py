"""A recurrent decoder: one GRU that attends to the encoder's states."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.attention import MASKED_SCORE
from electra_jax.models.config import EncoderConfig
from electra_jax.models.dropout import (
    Seeds,
    dropout,
    fold_seeds,
    token_seeds,
)
from electra_jax.models.layers import Linear
from electra_jax.shapes import Array, Float, Hidden, Int, RowSeeds


class RecurrentMemory(NamedTuple):
  """What the decoder reads of the source.

  Attributes:
    states: of the encoder.
    bias: 0 for tokens, a large negative number for padding.
  """

  states: Float[Array, "B S D"]
  bias: Float[Array, "B 1 S"]


class RecurrentDecoder(nn.Module):
  """A step attends by the state, then moves the state by word and context.

  The baseline that decoders of Transformer layers are compared with. Of its
  two sources the order is the first's, the bilinear score the second's.

  Source: Bahdanau, Cho and Bengio (2015), "Neural machine translation by
  jointly learning to align and translate", §3; Luong, Pham and Manning (2015),
  "Effective approaches to attention-based neural machine translation", §3.1.
  The GRU: Cho et al. (2014).
  """

  config: EncoderConfig

  def setup(self):
    width = self.config.hidden_size
    self.start, self.query, self.output = (
        self._linear(width) for _ in range(3)
    )
    self.input_gates = self._linear(3 * width)
    self.state_gates = self._linear(3 * width)

  def first_state(self, memory: RecurrentMemory) -> Float[Array, "B D"]:
    """Returns the state before the first word, of the mean of the source."""
    is_token = (memory.bias[:, 0, :, None] == 0).astype(memory.states.dtype)
    total = jnp.sum(memory.states * is_token, axis=1)
    mean = total / jnp.maximum(jnp.sum(is_token, axis=1), 1)
    return jnp.tanh(self.start(mean))

  def step(
      self,
      state: Float[Array, "B K D"],
      words: Float[Array, "B K E"],
      memory: RecurrentMemory,
  ) -> tuple[Float[Array, "B K D"], Float[Array, "B K D"]]:
    """Reads one word of each of K beams.

    Args:
      state: before it.
      words: embeddings.
      memory: of the source.

    Returns:
      The state after it, and what the head turns into logits.
    """
    scores = jnp.einsum(
        "bkd,bsd->bks",
        self.query(state),
        memory.states,
        preferred_element_type=jnp.float32,
    )
    weights = jax.nn.softmax(scores + memory.bias, axis=-1)
    context = jnp.einsum(
        "bks,bsd->bkd", weights.astype(state.dtype), memory.states
    )
    read = jnp.concatenate([words.astype(state.dtype), context], axis=-1)
    reset, update, new = jnp.split(self.input_gates(read), 3, axis=-1)
    old_reset, old_update, old = jnp.split(self.state_gates(state), 3, axis=-1)
    update = jax.nn.sigmoid(update + old_update)
    new = jnp.tanh(new + jax.nn.sigmoid(reset + old_reset) * old)
    state = update * state + (1 - update) * new
    both = jnp.concatenate([state, context], axis=-1)
    return state, jnp.tanh(self.output(both))

  def __call__(
      self,
      words: Float[Array, "B T E"],
      memory: RecurrentMemory,
      dropout_seeds: RowSeeds | None,
  ) -> Hidden:
    """Reads whole targets, each word after the one before it."""
    drop = functools.partial(_drop, self.config.hidden_dropout, dropout_seeds)
    words = drop(words, 0)
    state = self.first_state(memory)[:, None]
    if self.is_initializing():
      self.step(state, words[:, :1], memory)
    params = {"params": self.variables["params"]}
    # The parameters are given to a function: a loop of jax knows no module.
    step = functools.partial(
        RecurrentDecoder(self.config, parent=None).apply, params, method="step"
    )

    def read_one(state, word):
      return step(state, word[:, None], memory)

    _, outputs = jax.lax.scan(read_one, state, words.swapaxes(0, 1))
    return drop(outputs[:, :, 0].swapaxes(0, 1), 1)

  def _linear(self, features):
    config = self.config
    init = nn.initializers.glorot_uniform()
    return Linear(features, config.dtype, init, config.quantization)


def recurrent_memory(
    states: Float[Array, "B S D"], mask: Int[Array, "B S"]
) -> RecurrentMemory:
  """Returns what the decoder reads of an encoder's states."""
  return RecurrentMemory(
      states, jnp.where(mask > 0, 0.0, MASKED_SCORE)[:, None]
  )


def _drop(rate: float, seeds: Seeds | None, x, place: int):
  if seeds is None:
    return x
  tokens = token_seeds(seeds, jnp.arange(x.shape[1])[None])
  return dropout(x, rate, fold_seeds(tokens, place))
