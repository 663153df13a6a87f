"""Where each piece of a text stands in it, in characters.

The release turns predicted pieces into text again and realigns that text with
the context by a heuristic (finetune/qa/qa_metrics.py:get_final_text), which
gives whole words back wherever it fails. Here the tokenizer tells the place of
every piece before the model runs: an answer is a slice of the context, accents
and capitals included.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from electra_jax.text.tokenizer import Tokenizer

_WORD = re.compile(r"\S+")  # By str.isspace, which knows U+202F as well.


class TextPieces(NamedTuple):
  """The pieces of a text and where they stand in it.

  Attributes:
    ids: the pieces, without special tokens.
    starts: character offset of the first character of each piece.
    ends: character offset behind the last character of each piece.
  """

  ids: list[int]
  starts: Int32[np.ndarray, " P"]
  ends: Int32[np.ndarray, " P"]


def align_texts(texts: Sequence[str], tokenizer: Tokenizer) -> list[TextPieces]:
  """Cuts each text into pieces, one white-space word after the other.

  Args:
    texts: equal ones share their pieces in memory.
    tokenizer: of either kind.

  Returns:
    The pieces of each text.

  Source: release finetune/qa/qa_tasks.py:QATask.featurize, for the ids.
  """
  words = sorted({w for text in set(texts) for w in _WORD.findall(text)})
  encoded = tokenizer.encode_with_offsets(words)
  pieces = {
      word: (ids, place_pieces(word, offsets))
      for word, (ids, offsets) in zip(words, encoded, strict=True)
  }
  aligned = {text: _join_words(text, pieces) for text in set(texts)}
  return [aligned[text] for text in texts]


def place_pieces(
    word: str, offsets: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
  """Gives each piece of a word characters that a reader can be shown.

  An accent that the tokenizer drops goes to the letter before it, so that an
  answer does not lose the accent of its last letter; characters that cannot be
  seen do not begin or end a piece, if it has others. A piece without characters
  of its own (a byte of a character, a mark for a space) gets those of the next
  piece that has some, or of the last one.

  Args:
    word: text without white space.
    offsets: of each piece, as `Tokenizer.encode_with_offsets` tells them.

  Returns:
    (start, end) of each piece in characters of the word, never empty.
  """
  all_are_seen = word.isprintable()
  spans = []
  following = (len(word), len(word))
  for start, end in reversed(offsets):
    if start < end:
      end = _behind_accents(word, end, following[0])
      following = (start, end)
      if not all_are_seen:
        following = _without_invisible_ends(word, start, end)
    spans.append(following)
  spans.reverse()
  # Only pieces at the end of the word have none with characters behind them.
  if spans and spans[-1][0] == len(word):
    last = max((s for s in spans if s[0] < s[1]), default=(0, len(word)))
    spans = [span if span[0] < span[1] else last for span in spans]
  return spans


def _behind_accents(word: str, end: int, limit: int) -> int:
  """Moves an end behind the combining marks between it and the next piece."""
  marked = end
  for i in range(end, limit):
    if unicodedata.category(word[i]).startswith("M"):
      marked = i + 1
  return marked


def _without_invisible_ends(word: str, start: int, end: int) -> tuple[int, int]:
  seen = [i for i in range(start, end) if not _is_invisible(word[i])]
  return (seen[0], seen[-1] + 1) if seen else (start, end)


def _is_invisible(character: str) -> bool:
  return unicodedata.category(character) in ("Cc", "Cf")


def _join_words(
    text: str, words: Mapping[str, tuple[list[int], list[tuple[int, int]]]]
) -> TextPieces:
  ids, spans = [], []
  for match in _WORD.finditer(text):
    word_ids, word_spans = words[match[0]]
    ids.extend(word_ids)
    spans.extend((a + match.start(), b + match.start()) for a, b in word_spans)
  places = np.array(spans, np.int32).reshape(-1, 2)
  return TextPieces(ids, places[:, 0], places[:, 1])
