"""What every way to decode takes and gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

from electra_jax.shapes import Array, Float, Int

# (what is kept, [B, K] tokens, [B, K, T] ancestry, place) -> ([B, K, V] logits
# of the next token, what is kept), as `seq2seq.Seq2Seq.step` has it.
Step = Callable[[Any, Array, Array, Array], tuple[Array, Any]]

NEVER = -1e9  # Of a logit or score that is never chosen.


class Ids(NamedTuple):
  """Ids that decoding knows.

  Attributes:
    begin: is read at the first place, and never written.
    end: ends a text.
    pad: stands behind the end, and is never written before it.
    others: are never written either.
  """

  begin: int
  end: int
  pad: int
  others: tuple[int, ...] = ()


class Generated(NamedTuple):
  """Texts that were written.

  Attributes:
    tokens: of each, with its end token if it came, then padding.
    lengths: tokens of each, the end token among them.
    scores: log-probability in nats, over the length penalty.
  """

  tokens: Int[Array, "B T"]
  lengths: Int[Array, " B"]
  scores: Float[Array, " B"]
