"""Tokens of one vocabulary found in another, by text and by meaning."""

import numpy as np

from electra_jax.text.tokenizer import Tokenizer
from electra_jax.text.wordpiece import release_words


def match_tokens(source: Tokenizer, target: Tokenizer) -> np.ndarray:
  """Finds the tokens of one vocabulary in another.

  Special tokens are matched by their role; others by their text and whether
  they begin a word, so that WordPiece's "##ing" is SentencePiece's "ing", and
  its "the" SentencePiece's "▁the". What WordPiece sets apart as a word of its
  own, punctuation say, matches in the other form too, where its own lacks.

  Returns:
    [V of target] ids in the source, -1 where it has no such token.
  """
  known = {}
  for i in range(source.vocab_size):
    if i not in source.special:
      known.setdefault(_meaning(source, i), i)
  rows = np.full(target.vocab_size, -1, np.int32)
  for i in range(target.vocab_size):
    text, continues = _meaning(target, i)
    row = known.get((text, continues), -1)
    if row < 0 and source.kind != target.kind and _stands_alone(text):
      row = known.get((text, not continues), -1)
    rows[i] = row
  rows[list(target.special)] = source.special
  return rows


def _meaning(tokenizer: Tokenizer, token_id: int) -> tuple[str, bool]:
  """Returns a token's text without marks, and whether it goes on a word."""
  return tokenizer.decode([token_id]), tokenizer.is_continuation(token_id)


def _stands_alone(text: str) -> bool:
  if len(text) != 1:
    return False
  words = release_words(f"a{text}a", lowercase=False, strip_accents=False)
  return len(words) == 3
