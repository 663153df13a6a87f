"""A replaced-token detector that is told the vector of the original text."""

from flax import linen as nn

from electra_jax.models.config import EncoderConfig
from electra_jax.models.encoder import Encoder
from electra_jax.models.heads import ReplacedTokenHead
from electra_jax.shapes import Array, Float, RowSeeds, TokenMask


class ConditionedDetector(nn.Module):
  """The discriminator's layers and head on embeddings that it is given.

  Source: DiffCSE (Chuang et al., 2022), §3.
  """

  config: EncoderConfig

  def setup(self):
    self.discriminator = Encoder(self.config)
    self.discriminator_head = ReplacedTokenHead(self.config)

  def __call__(
      self,
      embeddings: Float[Array, "B L E"],
      condition: Float[Array, "B E"],
      input_mask: TokenMask,
      dropout_seeds: RowSeeds | None,
  ) -> Float[Array, "B L"]:
    """Returns log-odds that each token was replaced.

    Args:
      embeddings: of the corrupted text.
      condition: stands in the place of the first token's.
      input_mask: 1 for tokens, 0 for padding.
      dropout_seeds: one of each row, or None for no dropout.
    """
    embeddings = embeddings.at[:, 0].set(condition.astype(embeddings.dtype))
    states = self.discriminator(
        embeddings, input_mask, dropout_seeds=dropout_seeds
    )
    return self.discriminator_head(states.sequence)
