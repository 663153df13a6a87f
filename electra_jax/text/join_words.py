"""Pieces of a vocabulary -> text as people write it."""

import re
from collections.abc import Sequence

from electra_jax.text.tokenizer import Tokenizer

# What is put in the place of what, in this order.
JOINS = (
    (r'" ([^"]*?) "', r'"\1"'),
    (r" (?=[,.;:!?%)\]}…])", ""),
    (r"(?<=[(\[{]) ", ""),
    (r"(?<=\w) \+ \+", "++"),  # c + +
    # Between what are words on both sides: it ' s, command - line, and / or.
    ("(?<=\\w) (['\u2019/-]) (?=\\w)", r"\1"),
)
_JOINS = tuple((re.compile(pattern), text) for pattern, text in JOINS)


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
  for pattern, joined in _JOINS:
    text = pattern.sub(joined, text)
  return text
