"""What is lost between text and tokens, counted: long words, vowel signs.

WordPiece makes one [UNK] of a word of more than 200 letters, so that nothing is
left of text without spaces. And the accents that are dropped by default are
letters or vowel signs in many scripts.
"""

import functools
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from electra_jax.errors import UserError
from electra_jax.text import wordpiece
from electra_jax.text.tokenizer import Tokenizer

MAX_LONG_WORD_SHARE = 0.05
LONG_WORD_ADVICE = (
    "for text without spaces take --tokenizer-kind sentencepiece, give a"
    " SentencePiece .model by --tokenizer, or put spaces between words by a"
    " segmenter"
)

# What to do where a vocabulary lacks letters: one that was given, or trained.
GIVEN_ADVICE = (
    "give a --tokenizer that was made for such text, or train one by"
    " --train-vocab"
)
TRAINED_ADVICE = {
    "wordpiece": (
        "ask for a larger --train-vocab or --character-coverage, or for"
        " --tokenizer-kind sentencepiece"
    ),
    "sentencepiece": "ask for a larger --character-coverage",
}
_HEAD_CHARACTERS = 256  # Of each document, looked at for accents.
_EXAMPLE_CHARACTERS = 16

# Scripts whose marks are accents, which upper case or haste leaves out.
_ACCENTED = ("LATIN", "GREEK")
# Scripts with marks that readers do without, beside letters made with marks.
_POINTED = ("ARABIC", "HEBREW", "SYRIAC")


class LostText(NamedTuple):
  """What tokenizing some documents lost.

  Attributes:
    characters: of the documents.
    long_words: words that are too long for WordPiece, each one [UNK].
    long_word_characters: in them.
    sampled_characters: in the beginnings of documents, which were searched for
      what accent stripping drops.
    stripped_letters: marks dropped there that make another letter or are a
      vowel sign, such as those of Devanagari, Thai or Japanese kana.
    stripped_accents: other marks dropped there.
    example: a word that lost a letter; empty where none did.
    example_left: what was left of it.
  """

  characters: int = 0
  long_words: int = 0
  long_word_characters: int = 0
  sampled_characters: int = 0
  stripped_letters: int = 0
  stripped_accents: int = 0
  example: str = ""
  example_left: str = ""

  def plus(self, other: "LostText") -> "LostText":
    """Returns what is lost in both."""
    sums = (a + b for a, b in zip(self[:6], other[:6], strict=True))
    return LostText(*sums, *(self if self.example else other)[6:])

  @property
  def long_word_share(self) -> float:
    """Share of the characters that stand in words that are too long."""
    return min(1.0, self.long_word_characters / max(self.characters, 1))

  @property
  def stripped_letter_share(self) -> float:
    """Letters and vowel signs dropped, for each character."""
    return self.stripped_letters / max(self.sampled_characters, 1)

  @property
  def stripped_accent_share(self) -> float:
    """Accents dropped, for each character."""
    return self.stripped_accents / max(self.sampled_characters, 1)


def find_lost(
    documents: Iterable[Sequence[str]],
    ids: Iterable[Sequence[Sequence[int]]],
    tokenizer: Tokenizer,
) -> LostText:
  """Counts what became of some documents.

  Args:
    documents: the lines of each.
    ids: the token ids of each of these lines.
    tokenizer: what made them.
  """
  documents = list(documents)
  unknown = [
      line
      for lines, token_lines in zip(documents, ids, strict=True)
      for line, tokens in zip(lines, token_lines, strict=True)
      if tokenizer.special.unk in tokens
  ]
  lost = count_long_words(unknown, tokenizer)
  size = sum(len(line) for lines in documents for line in lines)
  lost = lost._replace(characters=size)
  if tokenizer.lowercase and tokenizer.strip_accents:
    lost = lost.plus(_find_stripped(map(_head, documents)))
  return lost


def count_long_words(lines: Iterable[str], tokenizer: Tokenizer) -> LostText:
  """Counts words that are too long; the characters of the text are not set."""
  words = [word for line in lines for word in tokenizer.long_words(line)]
  # Hangul has more characters where its accents are dropped than in the text.
  sizes = (len(unicodedata.normalize("NFC", word)) for word in words)
  return LostText(long_words=len(words), long_word_characters=sum(sizes))


def check_long_words(lost: LostText, max_word_length: int) -> None:
  """Raises UserError where too much of a text is in words that are too long."""
  if lost.long_word_share > MAX_LONG_WORD_SHARE:
    raise UserError(
        f"{lost.long_word_share:.1%} of the text stands in words of more than"
        f" {max_word_length} letters ({lost.long_words:,} of them), and each"
        f" becomes one {wordpiece.UNKNOWN}; {LONG_WORD_ADVICE};"
        " --allow-long-words makes the store nevertheless"
    )


def _head(lines: Sequence[str]) -> str:
  size = 0
  for i, line in enumerate(lines):
    size += len(line)
    if size >= _HEAD_CHARACTERS:
      return "\n".join(lines[: i + 1])[:_HEAD_CHARACTERS]
  return "\n".join(lines)


def _find_stripped(heads: Iterable[str]) -> LostText:
  """Counts the marks that accent stripping drops from texts."""
  size, kinds, example = 0, Counter(), ("", "")
  for head in heads:
    size += len(head)
    if head.isascii():
      continue
    decomposed = unicodedata.normalize("NFD", head)
    marks = {c for c in set(decomposed) if _is_mark(c)}
    if not marks:
      continue
    kinds.update(
        _kind_of_mark(base, mark)
        for base, mark in itertools.pairwise(decomposed)
        if mark in marks
    )
    if kinds["letter"] and not example[0]:
      example = _example(head)
  return LostText(0, 0, 0, size, kinds["letter"], kinds["accent"], *example)


def _is_mark(character: str) -> bool:
  """Says whether accent stripping drops a character."""
  return unicodedata.category(character) == "Mn"


@functools.lru_cache(maxsize=1 << 14)
def _kind_of_mark(base: str, mark: str) -> str | None:
  """Says what is lost with a mark: a "letter", an "accent" or nothing."""
  if unicodedata.category(base)[0] not in "LM":
    return None  # Such as what makes a sign an emoji.
  script = unicodedata.name(mark, "").split(" ")[0]
  if script == "VARIATION":
    return None
  if script != "COMBINING" and script not in _POINTED:
    return "letter"
  if unicodedata.name(base, "").startswith(_ACCENTED):
    return "accent"
  # U+3099 makes another kana, U+0306 another Cyrillic letter of its base.
  composed = unicodedata.normalize("NFC", base + mark)
  return "letter" if len(composed) == 1 else "accent"


def _example(text: str) -> tuple[str, str]:
  """Returns the first word that loses a letter, and what is left of it."""
  for word in text.split():
    for size in (_EXAMPLE_CHARACTERS, len(word)):
      part = word[:size]
      pairs = itertools.pairwise(unicodedata.normalize("NFD", part))
      if any(
          _is_mark(mark) and _kind_of_mark(base, mark) == "letter"
          for base, mark in pairs
      ):
        return part, wordpiece.without_accents(part.lower())
  return "", ""
