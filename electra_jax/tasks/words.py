"""Typed text -> the words that a tagging model takes, as its data splits text."""

import re
import unicodedata
from collections.abc import Iterable

# What a typed text is split into besides punctuation: words between blanks;
# in scripts without blanks single characters; or single characters everywhere.
UNITS = ("word", "character", "letter")

# Thai, Lao, Burmese, Khmer, Japanese, Chinese.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
# A combining mark belongs to the letter before it, and so do the joiners, the
# soft hyphen and the half-width marks of Japanese; no pattern knows them all.
_MARK = "\ue000"
_JOINER = "\u200d"
_ATTACHED = "\u200c\u200d\u00ad\u2060\uff9e\uff9f"
# A word, hyphens and apostrophes inside it included, or one other character:
# how CoNLL's data is split, near enough.
_PATTERNS = {
    "word": rf"(?:\w{_MARK}*)+(?:[-'\u2019.](?:\w{_MARK}*)+)*|\S{_MARK}*",
    "character": (
        rf"[{_UNSPACED}]{_MARK}*"
        rf"|(?:(?![{_UNSPACED}])\w{_MARK}*)+"
        rf"(?:[-'\u2019.](?:(?![{_UNSPACED}])\w{_MARK}*)+)*|\S{_MARK}*"
    ),
    "letter": rf"\S{_MARK}*",
}


def split_words(text: str, unit: str = "word") -> list[str]:
  """Splits a text into words to tag.

  Args:
    text: as typed. Marks stay with their letters, and emoji that are joined
      stay together; characters that cannot be seen are left out.
    unit: one of UNITS.
  """
  shadow = "".join(map(_shadow, text, "\0" + text))
  matches = re.finditer(_PATTERNS[unit], shadow)
  return [text[match.start() : match.end()] for match in matches]


def portable_pattern(unit: str) -> str:
  """Returns a regular expression that finds the words of a text.

  For other engines that know Unicode's properties, such as Oniguruma and
  JavaScript with the flag u; Python's own has no pattern of marks.

  Args:
    unit: one of UNITS.
  """
  mark = rf"(?:{_JOINER}[^\p{{L}}\p{{N}}\s]|[\p{{M}}{_ATTACHED}])"
  pattern = _PATTERNS[unit].replace(_MARK, mark)
  pattern = pattern.replace(r"\w", r"[\p{L}\p{N}_]")
  return pattern.replace(r"\S", r"[^\s\p{Cc}\p{Cf}]")


def find_unit(sentences: Iterable[Iterable[str]]) -> str:
  """Finds the unit in which the words of a data set are given.

  Args:
    sentences: their words.

  Returns:
    "letter" where no word has two letters; "character" where at most a tenth
    of the words in scripts without blanks have two; else "word".
  """
  num_unspaced = num_long_unspaced = 0
  is_long = False
  for word in (word for words in sentences for word in words):
    long = "".join(map(_shadow, word, "\0" + word)).count(_MARK) < len(word) - 1
    is_long |= long
    if _HAS_UNSPACED.search(word):
      num_unspaced += 1
      num_long_unspaced += long
  if not num_unspaced or 10 * num_long_unspaced > num_unspaced:
    return "word"
  return "character" if is_long else "letter"


def _shadow(character: str, before: str) -> str:
  """Returns what stands for a character in the patterns."""
  category = unicodedata.category(character)
  if category.startswith("M") or character in _ATTACHED:
    return _MARK
  if before == _JOINER and not character.isalnum():
    return _MARK
  return " " if category in ("Cc", "Cf") else character
