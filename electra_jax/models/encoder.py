"""The encoder: projection of the embeddings and the stack of layers."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.attention import AttentionConfig, attend
from electra_jax.models.config import EncoderConfig
from electra_jax.models.dropout import Seeds, dropout, fold_seeds, token_seeds
from electra_jax.models.layers import PROJECTIONS, EncoderLayer, Linear
from electra_jax.shapes import Array, Float, Hidden, Int, TokenMask

_REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "layer": jax.checkpoint_policies.nothing_saveable,
}


class EncoderOutput(NamedTuple):
  """States of an encoder.

  Attributes:
    sequence: [B, L, D] states of the last layer.
    layers: the encoder's input and the states of every layer but the last.
  """

  sequence: Hidden
  layers: tuple[Hidden, ...]


class Projections(NamedTuple):
  """What the attention of one layer works on, of all heads side by side.

  Attributes:
    query: [B, L, N * H].
    key: [B, L, N * H].
    value: [B, L, N * H].
  """

  query: Hidden
  key: Hidden
  value: Hidden


def projections_of(collections: Mapping[str, Any], layer: int) -> Projections:
  """Returns those of one layer of the discriminator.

  Args:
    collections: what `apply` gives back with mutable=[PROJECTIONS].
    layer: its number, from 0.
  """
  return _projections(collections[PROJECTIONS]["discriminator"], layer)


def projections_of_stack(kept: Mapping[str, Any]) -> tuple[Projections, ...]:
  """Returns those of every layer of an encoder that was applied alone.

  Args:
    kept: the collection PROJECTIONS that `apply` gives back.
  """
  return tuple(_projections(kept, layer) for layer in range(len(kept)))


def _projections(kept, layer):
  attention = kept[f"layer_{layer}"]["attention"]
  return Projections(
      *(attention[name][0] for name in ("queries", "keys", "values"))
  )


class Encoder(nn.Module):
  """Projects embeddings to the model width and runs the layers.

  The layers are unrolled: their backward pass runs 1.6 times faster on a CPU
  than a scanned stack's.

  Attributes:
    config: the shapes.
    constrain: applied to the states at every layer edge; the place where the
      caller pins how activations lie on devices.
    attend: how attention is computed; `attention.attend`, or what does the
      same.
    direction: which tokens are seen; see `AttentionConfig`.
    between: (number of the layer, states, seeds) -> states, applied in every
      layer between attention and feed-forward, or None; the place of a
      decoder's attention to its source.
  """

  config: EncoderConfig
  constrain: Callable[[Hidden], Hidden] = lambda x: x
  attend: Callable[..., Hidden] = attend
  direction: str = "both"
  between: Callable[..., Hidden] | None = None

  @nn.compact
  def __call__(
      self,
      embeddings: Float[Array, "B L E"],
      input_mask: TokenMask,
      *,
      positions: Int[Array, "B L"] | None = None,
      dropout_seeds: Seeds | None = None,
  ) -> EncoderOutput:
    """Encodes rows of one text each, or of several packed behind each other.

    Args:
      embeddings: normalised sums of the tables, before dropout.
      input_mask: 1 for tokens, 0 for padding; in packed rows the number of
        the token's text in its row, from 1. Texts do not see each other.
      positions: of each token in its text, or None where rows are not packed.
      dropout_seeds: [B] one of each row, or [B, L] one of each token's text,
        or None for no dropout.
    """
    config = self.config
    is_packed = positions is not None
    if not is_packed:
      positions = jnp.arange(embeddings.shape[1])[None]
    if dropout_seeds is not None:
      dropout_seeds = token_seeds(dropout_seeds, positions)
    hidden = dropout(
        embeddings, config.hidden_dropout, fold_seeds(dropout_seeds, 0)
    )
    if config.embedding_size != config.hidden_size:
      hidden = Linear(
          config.hidden_size,
          config.dtype,
          nn.initializers.glorot_uniform(),
          config.quantization,
          name="embeddings_project",
      )(hidden)
    hidden = self.constrain(hidden)
    attention = AttentionConfig(
        config.num_heads, config.attention_dropout, is_packed, self.direction
    )
    attend = functools.partial(self.attend, attention)
    layer_class = EncoderLayer
    if config.remat != "none":
      layer_class = nn.remat(EncoderLayer, policy=_REMAT_POLICIES[config.remat])
    layers = []
    for i in range(config.num_layers):
      layers.append(hidden)
      between = self.between and functools.partial(self.between, i)
      hidden = layer_class(config, attend, between, name=f"layer_{i}")(
          hidden, input_mask, positions, fold_seeds(dropout_seeds, i + 1)
      )
      hidden = self.constrain(hidden)
    return EncoderOutput(hidden, tuple(layers))
