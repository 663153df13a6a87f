"""The contrastive loss of text vectors, with the batch's other texts as negatives.

All methods share it. "simcse": a text's partner is the text itself with another
dropout mask. "diffcse": the same, beside replaced-token detection, which must be
told the vector (diffcse.py). "pairs": the partner is the data's.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from electra_jax.models.pooling import unit_vectors
from electra_jax.shapes import Array, Float, Int

_NEVER = -1e9  # A logit that has no part in a softmax.


def contrastive_loss(
    vectors: Float[Array, "B D"],
    text_ids: Int[Array, " B"],
    weights: Float[Array, " B"],
    *,
    group: int,
    temperature: float,
    prefixes: Sequence[int] = (),
) -> Float[Array, " n"]:
  """Cross-entropy of each text's partner among all partners and negatives.

  -log(exp(cos(h_i, p_i) / T) / sum_j exp(cos(h_i, p_j) / T)), where j goes over
  the partners and the negatives of the whole batch, but for those whose text
  equals p_i's. With prefixes it is the sum of the losses of h[:m] and p[:m].

  Args:
    vectors: of B = n * group texts: each text, its partner and, in groups of
      three, its negative stand behind each other.
    text_ids: the same number where texts are equal.
    weights: 0 for a text that only fills up the batch, and is no negative.
    group: texts of an example, 2 or 3.
    temperature: T.
    prefixes: m, how many numbers of a vector are compared; all, if empty.

  Returns:
    The loss of each of n examples, in nats.

  Source: SimCSE (Gao et al., 2021), equations 1, 4 and 5; Matryoshka
  representation learning (Kusupati et al., 2022), equation 1, all c_m = 1.
  """
  width = vectors.shape[-1]
  sides = vectors.reshape(-1, group, width).swapaxes(0, 1)  # [g, n, D]
  ids = text_ids.reshape(-1, group).swapaxes(0, 1)
  counts = weights.reshape(-1, group).swapaxes(0, 1)[1:].reshape(-1) > 0
  candidates = ids[1:].reshape(-1)  # [m], partners before negatives.
  own = ids[1][:, None] == candidates[None]
  place = jnp.arange(ids.shape[1])
  is_own = place[:, None] == jnp.arange(candidates.shape[0])[None]
  is_compared = is_own | (~own & counts[None])
  losses = jnp.zeros(ids.shape[1], jnp.float32)
  for m in prefixes or (width,):
    anchors = unit_vectors(sides[0, :, :m])
    others = unit_vectors(sides[1:, :, :m].reshape(-1, m))
    logits = anchors @ others.T / temperature  # [n, m]
    logits = jnp.where(is_compared, logits, _NEVER)
    partner = jnp.sum(jnp.where(is_own, logits, 0.0), axis=1)
    losses += jax.nn.logsumexp(logits, axis=1) - partner
  return losses
