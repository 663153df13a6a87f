"""Scores of starts and ends -> answers out of the contexts."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from electra_jax.errors import UserError
from electra_jax.tasks.alignment import TextPieces
from electra_jax.tasks.examples import QuestionExample
from electra_jax.tasks.span_features import SpanFeature


class SpanScores(NamedTuple):
  """What the model says of one window.

  S starts are kept, and T ends for each of them; positions are those of
  `SpanFeature.input_ids`.

  Attributes:
    start_log_probs: of the likeliest starts.
    start_index: their positions.
    end_log_probs: of the likeliest ends behind each start.
    end_index: their positions.
    answerable_logit: log-odds that the window has NO answer; the release's
      name, for all that. Of a head that chooses starts and ends apart, the log
      probability of [CLS] as both.
  """

  start_log_probs: Float[np.ndarray, " S"]
  start_index: Int[np.ndarray, " S"]
  end_log_probs: Float[np.ndarray, "S T"]
  end_index: Int[np.ndarray, "S T"]
  answerable_logit: float


class NBest(NamedTuple):
  """One candidate for an answer.

  Attributes:
    text: a slice of the context.
    start: its first character.
    end: the character behind its last.
    probability: among the candidates of the same question; of a head that
      chooses starts and ends apart, that of its start times that of its end.
    log_prob: of its start and its end together.
  """

  text: str
  start: int
  end: int
  probability: float
  log_prob: float


class QuestionAnswer(NamedTuple):
  """The answer to one question.

  Attributes:
    id: of the question.
    text: the best span, whether or not the question has an answer; empty only
      where no span was possible.
    start: its first character.
    end: the character behind its last.
    probability: of the span, as in `n_best`; 0 where it is empty.
    null_odds: log-odds that the question has no answer, in the window where
      they are lowest. Of a head that chooses starts and ends apart: the log
      probability of [CLS] as both, in the window where it is lowest, less that
      of the span.
    n_best: spans of different text, the likeliest first.
  """

  id: str | int
  text: str
  start: int
  end: int
  probability: float
  null_odds: float
  n_best: list[NBest]

  def final_text(self, threshold: float | None) -> str:
    """Returns the text, or "" where the null odds exceed the threshold.

    Args:
      threshold: in log-odds; None where every question has an answer.
    """
    is_null = threshold is not None and self.null_odds > threshold
    return "" if is_null else self.text


def decode_answers(
    examples: Sequence[QuestionExample],
    features: Sequence[SpanFeature],
    contexts: Sequence[TextPieces],
    scores: Sequence[SpanScores],
    *,
    n_best_size: int = 20,
    max_answer_length: int = 30,
    are_separate: bool = False,
) -> list[QuestionAnswer]:
  """Finds the best spans of each question over all its windows.

  A span starts where its window shows the most context, ends in the same window
  and not before its start, and has at most `max_answer_length` pieces. Equal
  scores keep the order of the windows and of the beam. Unlike the release,
  which realigns de-tokenised pieces, the text is always an exact slice of the
  context (see alignment.py), and no placeholder stands where no span is left.

  Args:
    examples: as given to `make_span_features`.
    features: what it made of them, with `for_training=False`.
    contexts: the second thing it returned.
    scores: one for each feature.
    n_best_size: the most candidates a question keeps.
    max_answer_length: in pieces.
    are_separate: whether the head chooses starts and ends apart. Then answers
      are those of transformers' pipeline: a span may start in any window.

  Returns:
    An answer to each example, in order.

  Raises:
    UserError: one of the two sizes is not positive.

  Source: release finetune/qa/qa_metrics.py:write_predictions.
  """
  if n_best_size < 1 or max_answer_length < 1:
    raise UserError(
        f"n_best_size={n_best_size} and max_answer_length={max_answer_length}"
        " must both be at least 1"
    )
  windows = zip(features, scores, strict=True)
  groups = itertools.groupby(windows, key=lambda window: window[0].example)
  answers = []
  for (i, group), example in zip(groups, examples, strict=True):
    group = list(group)
    candidates = [
        _candidates(
            feature, score, contexts[i], max_answer_length, are_separate
        )
        for feature, score in group
    ]
    n_best = _best(example.context, np.concatenate(candidates), n_best_size)
    null_odds = min(float(score.answerable_logit) for _, score in group)
    first = n_best[0] if n_best else NBest("", 0, 0, 0.0, 0.0)
    if are_separate:
      n_best = [x._replace(probability=math.exp(x.log_prob)) for x in n_best]
      first = n_best[0] if n_best else first
      null_odds -= first.log_prob
    answers.append(
        QuestionAnswer(
            id=example.id,
            text=first.text,
            start=first.start,
            end=first.end,
            probability=first.probability,
            null_odds=null_odds,
            n_best=n_best,
        )
    )
  return answers


_CANDIDATE = np.dtype(
    [("log_prob", np.float64), ("start", np.int64), ("end", np.int64)]
)


def _candidates(
    feature: SpanFeature,
    scores: SpanScores,
    context: TextPieces,
    max_answer_length: int,
    are_separate: bool,
) -> np.ndarray:
  """Returns the valid spans of one window, in characters."""
  # From positions in the row to pieces of the window.
  starts, ends = np.broadcast_arrays(
      np.asarray(scores.start_index)[:, None] - feature.first_length,
      np.asarray(scores.end_index) - feature.first_length,
  )
  num_pieces = len(feature.max_context)
  is_valid = (starts >= 0) & (ends < num_pieces) & (ends >= starts)
  is_valid &= ends - starts < max_answer_length
  if num_pieces and not are_separate:
    is_valid &= feature.max_context[np.clip(starts, 0, num_pieces - 1)]
  log_probs = np.asarray(scores.start_log_probs, np.float64)[:, None]
  log_probs = log_probs + np.asarray(scores.end_log_probs, np.float64)
  found = np.empty(is_valid.sum(), _CANDIDATE)
  found["log_prob"] = log_probs[is_valid]
  found["start"] = context.starts[starts[is_valid] + feature.context_offset]
  found["end"] = context.ends[ends[is_valid] + feature.context_offset]
  return found


def _best(
    context: str, candidates: np.ndarray, n_best_size: int
) -> list[NBest]:
  """Returns the likeliest candidates of different text."""
  order = np.argsort(-candidates["log_prob"], kind="stable")
  distinct = {}
  for log_prob, start, end in candidates[order].tolist():
    if len(distinct) == n_best_size:
      break
    distinct.setdefault(context[start:end], (start, end, log_prob))
  log_probs = np.array([log_prob for _, _, log_prob in distinct.values()])
  probabilities = np.exp(log_probs - log_probs[:1])  # The first is the largest.
  probabilities /= probabilities.sum()
  return [
      NBest(text, start, end, probability, log_prob)
      for (text, (start, end, log_prob)), probability in zip(
          distinct.items(), probabilities.tolist(), strict=True
      )
  ]
