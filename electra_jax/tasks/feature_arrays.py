"""One split of one task as numbers, and how texts are cut for it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from electra_jax.tasks.alignment import TextPieces
from electra_jax.tasks.span_features import SpanFeature


@dataclasses.dataclass(frozen=True)
class FeatureOptions:
  """How texts are cut.

  Attributes:
    max_length: tokens of a text at most, special tokens included.
    max_query_length: pieces of a question at most.
    doc_stride: pieces from one window of a context, or of a text, to the next.
    double_unordered: whether training pairs without an order are used both
      ways round, in the tasks that ask for it.
    windows: what becomes of a text to classify or to rate that is too long;
      one of `text_windows.WINDOWS`.
    released_answer_spans: whether answers are learnt where the release finds
      them; see `make_span_features`.
    max_target_length: tokens of a text that is written at most, its end
      included.
  """

  max_length: int = 128
  max_query_length: int = 64
  doc_stride: int = 128
  double_unordered: bool = True
  windows: str = "first"
  released_answer_spans: bool = False
  max_target_length: int = 64


@dataclasses.dataclass(frozen=True)
class Features:
  """One split of one task as numbers; n texts.

  Attributes:
    texts: ids of each, special tokens included.
    first_lengths: [n] tokens of segment 0, which come first.
    examples: [n] which example each is of.
    targets: what the loss compares with, by name, each [n, ...]; zeros where
      the example has no label.
    spans: of questions, what decoding needs.
    contexts: of questions, one for each example.
    weights: [n] how much each text counts in the loss, so that the windows of
      one example count once together; None where each counts once.
    group: texts that belong together and stand behind each other: of an
      embedding a text, its partner and, where there is one, its negative.
    cut_pieces: [m] how many pieces of each example are in none of the texts:
      of a text to classify or to rate, of a question, or of a source; None for
      tags.
    cut_target_pieces: [m] the same of targets that are written; else None.
  """

  texts: list[np.ndarray]
  first_lengths: np.ndarray
  examples: np.ndarray
  targets: Mapping[str, np.ndarray]
  spans: Sequence[SpanFeature] = ()
  contexts: Sequence[TextPieces] = ()
  weights: np.ndarray | None = None
  cut_pieces: np.ndarray | None = None
  group: int = 1
  cut_target_pieces: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.texts)
