"""Vectors of texts: which layer's states they are of, and how they are pooled.

Layers are counted as in transformers' `hidden_states`: 0 is the input of the
first layer, k the output of layer k, and negative numbers count from the last.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.errors import UserError
from electra_jax.models.config import EncoderConfig
from electra_jax.models.encoder import Encoder
from electra_jax.models.layers import Embeddings
from electra_jax.shapes import Array, Float, Hidden, Int, TokenIds, TokenMask

POOLINGS = ("mean", "cls", "max")
_LEAST_NORM = 1e-12  # Below it a vector stays as short as it is.
_NEVER = -1e30  # What padding has in place of states that are compared.


class TextEncoder(nn.Module):
  """The discriminator's encoder up to a layer, pooled to a vector a text.

  Attributes:
    config: the discriminator's, with as many layers as are computed.
    pooling: one of POOLINGS.
  """

  config: EncoderConfig
  pooling: str

  def setup(self):
    self.embeddings = Embeddings(self.config)
    self.discriminator = Encoder(self.config)

  def __call__(
      self,
      input_ids: TokenIds,
      input_mask: TokenMask,
      segment_ids: Int[Array, "B L"],
  ) -> Float[Array, "B D"]:
    """Returns a vector of each row, in float32."""
    states = self.discriminator(
        self.embeddings(input_ids, segment_ids), input_mask
    )
    return pool_tokens(states.sequence, input_mask, self.pooling)


def pool_tokens(
    states: Hidden, input_mask: TokenMask, pooling: str
) -> Float[Array, "B D"]:
  """Pools the states of a row's tokens, special ones among them.

  Args:
    states: of every token.
    input_mask: 1 for tokens, 0 for padding, which has no part in the vector.
    pooling: "mean" or "max" over the tokens, or "cls", the first one's.

  Returns:
    A vector of each row in float32; zeros of a row without a token.
  """
  states = states.astype(jnp.float32)
  if pooling == "cls":
    return states[:, 0]
  is_token = (input_mask > 0)[..., None]
  count = jnp.sum(is_token, axis=1)  # [B, 1]
  if pooling == "max":
    largest = jnp.max(jnp.where(is_token, states, _NEVER), axis=1)
    return jnp.where(count > 0, largest, 0.0)
  total = jnp.sum(jnp.where(is_token, states, 0.0), axis=1)
  return total / jnp.maximum(count, 1).astype(jnp.float32)


def unit_vectors(vectors: Float[Array, "B D"]) -> Float[Array, "B D"]:
  """Returns vectors of length 1, whose products are their cosines."""
  squares = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
  return vectors * jax.lax.rsqrt(jnp.maximum(squares, _LEAST_NORM**2))


def layers_below(layer: int, num_layers: int, key: str) -> int:
  """Returns how many layers must be computed for the states of one.

  >>> layers_below(-2, 12, "--layer")
  11

  Args:
    layer: as of the top of this file.
    num_layers: that the encoder has.
    key: what a user calls the layer.

  Raises:
    UserError: there is no such layer.
  """
  if not -num_layers - 1 <= layer <= num_layers:
    raise UserError(
        f"{key} is {layer} and this model has {num_layers} layers; choose"
        f" {-num_layers - 1} to {num_layers}: 0 is what the first layer reads,"
        " -1 what the last one gives"
    )
  return layer if layer >= 0 else num_layers + 1 + layer


def check_dimensions(dimensions: int, width: int, key: str) -> int:
  """Returns how many numbers a vector keeps.

  Args:
    dimensions: asked for; 0 for all.
    width: that the encoder has.
    key: what a user calls them.

  Raises:
    UserError: the vectors have fewer.
  """
  if not 0 <= dimensions <= width:
    raise UserError(
        f"{key} is {dimensions} and this model's vectors have {width} numbers;"
        f" choose 1 to {width}, or 0 for all"
    )
  return dimensions or width
