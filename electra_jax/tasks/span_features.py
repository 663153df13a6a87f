"""Questions about contexts -> rows of token ids, as BERT does for SQuAD.

A context that is too long becomes several windows; each piece counts as the
start of an answer only in the window that shows most of what stands around it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from electra_jax.errors import UserError
from electra_jax.tasks.alignment import TextPieces, align_texts
from electra_jax.tasks.answer_spans import (
    AnswerCheck,
    PieceSpan,
    find_answer,
    find_released_answer,
)
from electra_jax.tasks.examples import QuestionExample
from electra_jax.text.tokenizer import Tokenizer

_NUM_SPECIAL = 3  # [CLS] question [SEP] context [SEP].


class SpanFeature(NamedTuple):
  """One window of a context behind its question.

  Attributes:
    example: index of the example.
    input_ids: [CLS] question [SEP] window [SEP], without padding.
    first_length: number of ids up to and with the first [SEP].
    start: position of the answer's first piece in `input_ids`; 0 where the
      window does not hold the whole answer, or none is to be learnt.
    end: position of the answer's last piece, or 0.
    is_impossible: whether the example has no answer, in this window or others.
    context_offset: index of the window's first piece in the context.
    max_context: for each context piece of the window, whether no other window
      shows more around it.
  """

  example: int
  input_ids: list[int]
  first_length: int
  start: int
  end: int
  is_impossible: bool
  context_offset: int
  max_context: np.ndarray


def make_span_features(
    examples: Sequence[QuestionExample],
    tokenizer: Tokenizer,
    *,
    max_length: int = 512,
    max_query_length: int = 64,
    doc_stride: int = 128,
    released_answer_spans: bool = False,
    for_training: bool,
) -> tuple[list[SpanFeature], list[TextPieces]]:
  """Makes the windows of each example.

  Training learns the first answer, from the pieces that hold its own characters
  at its offset. An example whose answer is not in the context where the data
  says is left out of training. Otherwise every example has at least one window.
  What is learnt is compared with what the data says, and the number of answers
  that are left out, that start elsewhere or that read otherwise is logged.

  Args:
    examples: with or without gold answers.
    tokenizer: of either kind.
    max_length: the most ids of a window, special ones included.
    max_query_length: the most pieces of a question; the rest is cut off.
    doc_stride: pieces from the start of one window to that of the next.
    released_answer_spans: learns the first equal pieces of the words around the
      answer, as the release does, even where they stand beside its offset.
    for_training: whether positions of answers are needed.

  Returns:
    The windows in the order of the examples, and each example's context.

  Raises:
    UserError: a length leaves no room for context, or the stride is not
      positive.

  Source: release finetune/qa/qa_tasks.py:QATask.featurize and _add_examples.
  """
  _check_lengths(max_length, max_query_length, doc_stride)
  contexts = align_texts([e.context for e in examples], tokenizer)
  questions = tokenizer.encode_batch([e.question for e in examples])
  spans = (
      _find_answers(
          examples, contexts, tokenizer, is_released=released_answer_spans
      )
      if for_training
      else [None] * len(examples)
  )
  features = []
  for i, example in enumerate(examples):
    answer = spans[i]
    if for_training and answer is None and not example.is_impossible:
      continue
    question = questions[i][:max_query_length]
    prefix = [tokenizer.special.cls, *question, tokenizer.special.sep]
    windows = _split(
        len(contexts[i].ids),
        max_length - len(question) - _NUM_SPECIAL,
        doc_stride,
    )
    for begin, end, max_context in windows:
      start_position, end_position = _place(answer, begin, end, len(prefix))
      features.append(
          SpanFeature(
              example=i,
              input_ids=[
                  *prefix,
                  *contexts[i].ids[begin:end],
                  tokenizer.special.sep,
              ],
              first_length=len(prefix),
              start=start_position,
              end=end_position,
              is_impossible=example.is_impossible,
              context_offset=begin,
              max_context=max_context,
          )
      )
  return features, contexts


def _check_lengths(
    max_length: int, max_query_length: int, doc_stride: int
) -> None:
  if max_query_length < 1 or doc_stride < 1:
    raise UserError(
        f"max_query_length={max_query_length} and doc_stride={doc_stride} must"
        " both be at least 1"
    )
  if max_length <= max_query_length + _NUM_SPECIAL:
    raise UserError(
        f"max_length={max_length} leaves no room for context behind a question"
        f" of max_query_length={max_query_length} and {_NUM_SPECIAL} special"
        " tokens; raise the first or lower the second"
    )


def _find_answers(
    examples: Sequence[QuestionExample],
    contexts: Sequence[TextPieces],
    tokenizer: Tokenizer,
    *,
    is_released: bool,
) -> list[PieceSpan | None]:
  """Finds the first answer of each example; None where there is none."""
  check = AnswerCheck()
  spans = []
  for example, pieces in zip(examples, contexts, strict=True):
    span = None
    if not example.is_impossible:
      if example.answers and is_released:
        answer = example.answers[0]
        ids = tokenizer.encode(answer.text)
        span = find_released_answer(example.context, answer, ids, pieces)
      elif example.answers:
        span = find_answer(example.context, example.answers[0], pieces)
      check.add(example, span, pieces)
    spans.append(span)
  check.tell(len(examples))
  return spans


def _split(
    num_pieces: int, max_pieces: int, stride: int
) -> list[tuple[int, int, np.ndarray]]:
  """Returns begin, end and the pieces of maximal context of each window."""
  spans = []
  begin = 0
  while not spans or spans[-1][1] < num_pieces:
    end = min(begin + max_pieces, num_pieces)
    spans.append((begin, end))
    begin += min(max_pieces, stride)
  best_score = np.full(num_pieces, -1.0)
  best_window = np.zeros(num_pieces, np.int32)
  for i, (begin, end) in enumerate(spans):
    places = np.arange(end - begin)
    score = np.minimum(places, places[::-1]) + 0.01 * (end - begin)
    is_better = score > best_score[begin:end]  # The first of equals stays.
    best_score[begin:end][is_better] = score[is_better]
    best_window[begin:end][is_better] = i
  return [(a, b, best_window[a:b] == i) for i, (a, b) in enumerate(spans)]


def _place(
    answer: PieceSpan | None, begin: int, end: int, first_length: int
) -> tuple[int, int]:
  """Returns the answer's positions in a window, 0 and 0 if not inside it."""
  if answer is None or answer.first < begin or answer.last >= end:
    return 0, 0
  offset = first_length - begin
  return answer.first + offset, answer.last + offset
