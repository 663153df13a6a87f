"""From an answer's characters in its context to the pieces that are learnt."""

import logging
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from electra_jax.tasks.alignment import TextPieces
from electra_jax.tasks.examples import Answer, QuestionExample


class PieceSpan(NamedTuple):
  """The pieces `first` to `last` of a context."""

  first: int
  last: int


def find_answer(
    context: str, answer: Answer, pieces: TextPieces
) -> PieceSpan | None:
  """Finds the pieces that hold an answer's characters.

  Args:
    context: that the answer is taken from.
    answer: its text and where it starts.
    pieces: of the context.

  Returns:
    The fewest pieces that hold all characters of the answer that any piece
    holds, or None where `find_characters` finds none.
  """
  place = find_characters(context, answer)
  if place is None:
    return None
  first = int(np.searchsorted(pieces.ends, place[0], "right"))
  last = int(np.searchsorted(pieces.starts, place[1], "left")) - 1
  return PieceSpan(first, last) if first <= last else None


def find_characters(context: str, answer: Answer) -> tuple[int, int] | None:
  """Finds the characters of an answer.

  They are those at the answer's offset. Where others stand there, the offset is
  tried as one in UTF-16, which JavaScript counts. Then the nearest place is
  looked for in the white-space words that the offset points to; white space,
  case, compatibility forms and what cannot be seen do not count there.

  Returns:
    The first character and that behind the last, or None.
  """
  text = answer.text.strip()
  start = answer.start + answer.text.find(text)
  if not text or start < 0:
    return None
  for place in (start, _from_utf16(context, start)):
    if context.startswith(text, place):
      return place, place + len(text)
  end = start + len(text)
  if end > len(context):
    return None
  left, right = _words_around(context, start, end)
  letters, places = _spell(context[left:right])
  wanted, _ = _spell(text)
  if not wanted:
    return None
  found = [
      (left + places[i], left + places[i + len(wanted) - 1] + 1)
      for i in range(len(letters) - len(wanted) + 1)
      if letters.startswith(wanted, i)
  ]
  return min(found, key=lambda span: abs(span[0] - start), default=None)


def find_released_answer(
    context: str,
    answer: Answer,
    answer_ids: Sequence[int],
    pieces: TextPieces,
) -> PieceSpan | None:
  """Finds the pieces that the release learns.

  These are the first in the white-space words around the answer that equal the
  answer's own pieces, even where they stand beside its offset; where none do,
  all pieces of the words. In text without spaces that is mostly another place.

  Args:
    context: that the answer is taken from.
    answer: its text and where it starts.
    answer_ids: the pieces of the answer alone.
    pieces: of the context.

  Returns:
    The pieces, or None where the words do not hold the answer.

  Source: release finetune/qa/qa_tasks.py:QATask._add_examples and
  _improve_answer_span.
  """
  start, end = answer.start, answer.start + len(answer.text)
  if not answer_ids or start < 0 or end > len(context):
    return None
  left, right = _words_around(context, start, end)
  if plain(answer.text).lower() not in plain(context[left:right]).lower():
    return None
  first, behind = map(int, np.searchsorted(pieces.starts, (left, right)))
  for i in range(first, behind - len(answer_ids) + 1):
    if pieces.ids[i : i + len(answer_ids)] == list(answer_ids):
      return PieceSpan(i, i + len(answer_ids) - 1)
  return PieceSpan(first, behind - 1) if first < behind else None


class AnswerCheck:
  """Compares what is learnt with what the data says, and tells the sum."""

  def __init__(self):
    self._lost, self._moved, self._changed = [], [], []

  def add(
      self,
      example: QuestionExample,
      span: PieceSpan | None,
      pieces: TextPieces,
  ) -> None:
    """Takes note of one question whose first answer is to be learnt."""
    answer = example.answers[0] if example.answers else Answer("", -1)
    if span is None:
      self._lost.append((example.id, answer.text, answer.start))
      return
    start, end = int(pieces.starts[span.first]), int(pieces.ends[span.last])
    learnt = example.context[start:end]
    wanted_start = answer.start + len(answer.text) - len(answer.text.lstrip())
    if plain(learnt) != plain(answer.text):
      self._changed.append((example.id, answer.text, learnt))
    elif not _is_same_place(example.context, start, wanted_start):
      self._moved.append((example.id, answer.text, answer.start, start))

  def tell(self, num_questions: int) -> None:
    """Logs one line for each kind of difference that was found."""
    if self._lost:
      logging.warning(
          "%d of %d questions are not learnt from: their answer is not in the"
          " context at its offset; the first is question %r, answer %r at %d",
          len(self._lost),
          num_questions,
          *self._lost[0],
      )
    if self._changed:
      logging.warning(
          "%d of %d answers are learnt with other characters than the data"
          " says, since the tokens do not end where they do; the first is"
          " question %r, answer %r, learnt as %r",
          len(self._changed),
          num_questions,
          *self._changed[0],
      )
    if self._moved:
      logging.warning(
          "%d of %d answers do not stand at their offset and are learnt from"
          " the nearest place in the same words; the first is question %r,"
          " answer %r, said to be at %d, learnt at %d",
          len(self._moved),
          num_questions,
          *self._moved[0],
      )


def plain(text: str) -> str:
  """Joins the words of a text by spaces and drops what cannot be seen."""
  return " ".join("".join(filter(_is_visible, text)).split())


def _is_visible(character: str) -> bool:
  category = unicodedata.category(character)
  return category not in ("Cc", "Cf") or character.isspace()


def _is_same_place(context: str, start: int, wanted: int) -> bool:
  """Says whether only invisible characters lie between two offsets."""
  low, high = sorted((start, max(wanted, 0)))
  return not plain(context[low:high])


def _from_utf16(text: str, offset: int) -> int:
  """Turns an offset in UTF-16 code units into one in characters."""
  if text.isascii():
    return offset
  units = text.encode("utf-16-le", "surrogatepass")[: 2 * offset]
  return len(units.decode("utf-16-le", "ignore"))


def _words_around(context: str, start: int, end: int) -> tuple[int, int]:
  """Returns the bounds of the white-space words that a span touches."""
  while start > 0 and not context[start - 1].isspace():
    start -= 1
  while end < len(context) and not context[end].isspace():
    end += 1
  return start, end


def _spell(text: str) -> tuple[str, list[int]]:
  """Folds a text; tells the character that each letter comes from."""
  letters, places = [], []
  for i, character in enumerate(text):
    folded = "".join(
        c
        for c in unicodedata.normalize("NFKD", character).casefold()
        if plain(c)
    )
    letters.append(folded)
    places.extend([i] * len(folded))
  return "".join(letters), places
