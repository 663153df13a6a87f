"""What comes of comparing an exported file with the run's own model."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from electra_jax.errors import UserError

TOLERANCE = 1e-4  # Of a logit, between a file in float32 and our own model.


class Finding(NamedTuple):
  """How far the answers of one file are from those of our own model.

  Attributes:
    largest: difference of a logit, or of a log-probability of spans.
    differing: how many answers differ: verdicts on tokens, likeliest tokens,
      nearest texts, classes, sets of labels, ratings by over 1 % of their range, tags of
      words, answers to questions.
    answers: how many were compared.
    scores: of a fine-tuned model on what was compared, by name; empty where
      the answers are not known.
  """

  largest: float
  differing: int
  answers: int
  scores: Mapping[str, float] = {}

  def __add__(self, other: "Finding") -> "Finding":
    """Joins what was found on two sets of rows."""
    return Finding(
        float(np.maximum(self.largest, other.largest)),  # NaN stays NaN.
        self.differing + other.differing,
        self.answers + other.answers,
        {**self.scores, **other.scores},
    )


NOTHING = Finding(0.0, 0, 0)


def check_finding(name: str, found: Finding) -> None:
  """Raises a UserError where a file in float32 does not answer as it must."""
  if not found.largest <= TOLERANCE:  # Nor where it is not a number.
    raise UserError(
        f"the logits of the exported {name} differ from the run's by up to"
        f" {found.largest:.2g}, more than {TOLERANCE:g}, so that it was not"
        " kept; check the run by electra-jax evaluate, or choose another --to"
    )
