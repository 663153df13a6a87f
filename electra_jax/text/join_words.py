"""Pieces of a vocabulary -> text as people write it."""

import re
from collections.abc import Sequence

from electra_jax.text.tokenizer import Tokenizer

_BEFORE = re.compile(r" (?=[,.;:!?%)\]}…])")
_BEHIND = re.compile(r"(?<=[(\[{]) ")
# Between what are words on both sides: it ' s, command - line, and / or.
_BETWEEN = re.compile(r"(?<=\w) (['\u2019/-]) (?=\w)")
_PLUSES = re.compile(r"(?<=\w) \+ \+")  # c + +
_QUOTED = re.compile(r'" ([^"]*?) "')


def join_words(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
  """Returns the text of ids, with blanks where they are usual.

  A SentencePiece vocabulary holds the blanks. A WordPiece one does not, so that
  punctuation, brackets, quotes, apostrophes, hyphens and slashes are joined to
  words as is usual in English; a hyphen that stood between blanks loses them.
  What the vocabulary drops, such as case and accents, does not come back.

  Args:
    tokenizer: of the ids.
    ids: without special tokens.
  """
  text = tokenizer.decode(ids)
  if tokenizer.kind != "wordpiece":
    return text
  text = _QUOTED.sub(r'"\1"', text)
  text = _BEHIND.sub("", _BEFORE.sub("", text))
  return _BETWEEN.sub(r"\1", _PLUSES.sub("++", text))
