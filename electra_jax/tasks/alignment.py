"""Where each piece of a text stands in it, in characters.

The release turns predicted pieces into text again and realigns that text with
the context by a heuristic (finetune/qa/qa_metrics.py:get_final_text), which
gives whole words back wherever it fails. Here the place of every piece is
known before the model runs: an answer is a slice of the context, accents and
capitals included.
"""

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from electra_jax.text.tokenizer import Tokenizer

_WORD = re.compile(r"\S+")  # By str.isspace, which knows U+202F as well.
_DROPPED = "\u2581\ufffd"  # SentencePiece's space; what WordPiece cleans away.


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
  ids = tokenizer.encode_batch(words)
  spans = {
      word: (word_ids, locate_pieces(word, word_ids, tokenizer))
      for word, word_ids in zip(words, ids, strict=True)
  }
  aligned = {text: _join_words(text, spans) for text in set(texts)}
  return [aligned[text] for text in texts]


def locate_pieces(
    word: str, ids: Sequence[int], tokenizer: Tokenizer
) -> list[tuple[int, int]]:
  """Finds the characters of each piece of one word.

  Word and pieces are compared without regard to case, compatibility forms and
  dropped characters, so that it does not matter how a tokenizer normalises.
  Pieces that cannot be followed (an unknown one) share the characters up to the
  next that can. A piece without a letter gets the next letter, or the last.

  Args:
    word: text without white space.
    ids: what the tokenizer makes of it.
    tokenizer: says how a piece reads and whether accents are dropped.

  Returns:
    (start, end) of each piece in characters of the word, never empty.
  """
  drops_accents = tokenizer.lowercase and tokenizer.strip_accents
  letters, places = _spell(word, drops_accents)
  pieces = [
      None if i == tokenizer.special.unk
      # The mark at the start of a word or of a continuation is not decoded.
      else _fold(tokenizer.decode([i]), drops_accents)
      for i in ids
  ]
  bounds = []
  position, num_lost = 0, 0
  for piece in pieces:
    at = -1
    if num_lost and piece:
      at = letters.find(piece, position + num_lost)  # Each took one or more.
    elif not num_lost and piece is not None:
      at = position if letters.startswith(piece, position) else -1
    if at < 0:
      num_lost += 1
      continue
    bounds.extend([(position, at)] * num_lost)
    bounds.append((at, at + len(piece)))
    position, num_lost = at + len(piece), 0
  bounds.extend([(position, len(letters))] * num_lost)
  if not places:
    return [(0, len(word))] * len(pieces)
  final = len(places) - 1
  return [
      (places[min(a, final)][0], places[min(max(a, b - 1), final)][1])
      for a, b in bounds
  ]


def _spell(word: str, drops_accents: bool) -> tuple[str, list[tuple[int, int]]]:
  """Folds a word; tells the characters that each letter stands for."""
  letters, places = [], []
  for i, character in enumerate(word):
    folded = _fold(character, drops_accents)
    letters.append(folded)
    places.extend([(i, i + 1)] * len(folded))
    if not folded and places and unicodedata.category(character) == "Mn":
      places[-1] = (places[-1][0], i + 1)  # The accent of the letter before.
  return "".join(letters), places


@functools.lru_cache(maxsize=1 << 16)
def _fold(text: str, drops_accents: bool) -> str:
  """Spells a text so that it equals its normalised pieces."""
  dropped = ("Mn",) if drops_accents else ()
  return "".join(
      c
      for c in unicodedata.normalize("NFKD", text)
      if not c.isspace()
      and c not in _DROPPED
      and unicodedata.category(c) not in dropped
      and not unicodedata.category(c).startswith("C")
  ).casefold()


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
