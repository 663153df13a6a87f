"""The letters that a trained WordPiece vocabulary begins with."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from electra_jax.text import wordpiece

# Rare letters are kept besides while they take a quarter of the vocabulary at
# most, as alone, and no more than the `tokenizers` library keeps by default.
_RARE_LETTERS = 1000


class Alphabet(NamedTuple):
  """The letters of some text that a vocabulary begins with.

  Attributes:
    entries: letters, alone and where they may go on a word, in the order of
      their code points.
    letters: those of them that stand alone.
    num_wanted: letters that were to be kept.
    num_wanted_entries: what these would take.
    lost_share: share of the text's letters that are not kept.
    is_whole: whether every letter of the text is kept.
  """

  entries: list[str]
  letters: list[str]
  num_wanted: int
  num_wanted_entries: int
  lost_share: float
  is_whole: bool


def count_letters(
    sample: Iterable[str], splitter: wordpiece.WordSplitter
) -> Counter:
  """Counts the letters of words, after cleaning and lower-casing."""
  characters = Counter()
  for text in sample:
    characters.update(text)
  letters = Counter()
  for character, count in characters.items():
    for letter in "".join(splitter.words(character)):
      letters[letter] += count
    if character == "\u03a3" and splitter.lowercase:
      letters["\u03c2"] += count  # A sigma has this form at a word's end.
  return letters


def choose_alphabet(
    counts: Counter,
    splitter: wordpiece.WordSplitter,
    vocab_size: int,
    num_special: int,
    coverage: float,
    limit: int | None,
) -> Alphabet:
  """Chooses the most frequent letters, as many as asked for and as fit.

  Args:
    counts: how often each letter occurs, see `count_letters`.
    splitter: tells which letters may go on a word.
    vocab_size: entries of the vocabulary.
    num_special: entries that are special tokens.
    coverage: share of the text's letters to keep. Rarer ones are kept besides
      in up to a quarter of the vocabulary.
    limit: most letters to keep, or None.
  """
  ranked = sorted(counts, key=lambda letter: (-counts[letter], letter))
  total = counts.total()
  num_wanted = covered = 0
  while num_wanted < len(ranked) and covered < coverage * total:
    covered += counts[ranked[num_wanted]]
    num_wanted += 1
  num_frequent = num_wanted
  rare = min(vocab_size // 4, _RARE_LETTERS)
  num_wanted = min(max(num_wanted, rare), len(ranked))
  if limit is not None:
    num_frequent = min(num_frequent, limit)
    num_wanted = min(num_wanted, limit)
  kept, size, wanted_size = {}, num_special, 0
  for i, letter in enumerate(ranked[:num_wanted]):
    entries = [letter]
    if len(splitter.words(f"a{letter}")) == 1:
      # Punctuation and Chinese always stand alone.
      entries.append(wordpiece.CONTINUATION + letter)
    wanted_size += len(entries) if i < num_frequent else 0
    if size + len(entries) <= vocab_size:
      kept[letter] = entries
      size += len(entries)
  letters = sorted(kept)
  continued = [piece for letter in letters for piece in kept[letter][1:]]
  return Alphabet(
      entries=letters + continued,
      letters=letters,
      num_wanted=num_frequent,
      num_wanted_entries=wanted_size,
      lost_share=sum(counts[letter] for letter in ranked if letter not in kept)
      / max(total, 1),
      is_whole=len(letters) == len(ranked),
  )
