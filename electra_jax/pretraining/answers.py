"""What a pre-trained model answers of a text."""

from typing import NamedTuple


class Fill(NamedTuple):
  """The generator's guesses for one [MASK].

  Attributes:
    tokens: the likeliest first.
    probabilities: of each.
  """

  tokens: list[str]
  probabilities: list[float]


class MaskedRow(NamedTuple):
  """A row in which the generator fills one place.

  Attributes:
    input_ids: with the special tokens, and [MASK] in that place.
    place: of it in the row.
  """

  input_ids: list[int]
  place: int


class Score(NamedTuple):
  """How likely a text is.

  Attributes:
    tokens: of the text.
    log_likelihoods: of each given all others, in nats; of an 'electric' run
      they are unnormalised.
    total: their sum, the pseudo-log-likelihood.
  """

  tokens: list[str]
  log_likelihoods: list[float]
  total: float
