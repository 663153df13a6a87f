"""WordPiece as released: clean, split into words, longest match first.

The Rust library does the work. It follows the release on plain English but
departs from it on some characters: its Unicode tables are older than Python's,
it lower-cases letter by letter (so a final sigma is lost) and it misses a range
of Chinese characters. Each character is therefore tried once, in both ways, and
a text holding one on which they differ is split into words by `release_words`
before the Rust model cuts the words into pieces.
"""

import functools
import itertools
import re
import string
import unicodedata
from collections.abc import Iterator, Sequence

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

CONTINUATION = "##"
UNKNOWN = "[UNK]"
_BATCH = 4096
MAX_WORD_CHARACTERS = 200  # Release, model/tokenization.py:WordpieceTokenizer.

# Code points that stand as words of their own.
# Release, model/tokenization.py:BasicTokenizer._is_chinese_char.
_CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


# What lower-casing looks through on both sides of a sigma.
_IGNORABLE = r"\p{Case_Ignorable}"
# What cleaning drops, which happens before.
_DROPPED = "\\p{Cf}\\p{Cn}\\p{Co}\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd"


def final_sigma(*, is_cleaned: bool) -> str:
  """Returns a pattern of the capital sigmas that end a word.

  The release lower-cases by Python, to "\u03c2" at the end of a word and to
  "\u03c3" elsewhere; the Rust library goes letter by letter. Where it works
  alone, these sigmas are replaced beforehand.

  Args:
    is_cleaned: whether the text will be cleaned after that.

  Source: the Unicode Standard, table 3-17, Final_Sigma.
  """
  between = f"[{_IGNORABLE}{_DROPPED if is_cleaned else ''}]*"
  # Modifier letters have case, and are looked through nevertheless.
  cased = f"[\\p{{Cased}}&&[^{_IGNORABLE}]]"
  return f"(?<={cased}{between})\u03a3(?!{between}{cased})"


class WordSplitter:
  """Splits text into words as the release does, in Rust wherever it agrees.

  Attributes:
    lowercase: whether words are lower-cased.
    strip_accents: whether accents are dropped; only has an effect together with
      `lowercase`, as in the release.
    split_chinese: whether each Chinese character is a word, as in the release.
    normalizer: the Rust counterpart of cleaning.
    pre_tokenizer: the Rust counterpart of splitting.
  """

  def __init__(
      self, *, lowercase: bool, strip_accents: bool, split_chinese: bool = True
  ):
    self.lowercase = lowercase
    self.strip_accents = strip_accents
    self.split_chinese = split_chinese
    self.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=split_chinese,
        strip_accents=lowercase and strip_accents,
        lowercase=lowercase,
    )
    self.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    self._agreed = set(map(chr, range(128)))
    self._departing = set()

  def agrees(self, text: str) -> bool:
    """Says whether the Rust library splits this text as the release does."""
    if text.isascii():
      return True
    unknown = set(text) - self._agreed
    if not unknown:
      return True
    for character in unknown - self._departing:
      agreed = self._agrees_on(character)
      (self._agreed if agreed else self._departing).add(character)
    return not unknown & self._departing

  def words(self, text: str) -> list[str]:
    """Splits one text into words by the release's rules."""
    return release_words(
        text,
        lowercase=self.lowercase,
        strip_accents=self.strip_accents,
        split_chinese=self.split_chinese,
    )

  def located_words(self, text: str) -> list[tuple[str, list[int]]]:
    """Splits one text as `words` does and tells each character's origin."""
    return locate_words(
        text,
        lowercase=self.lowercase,
        strip_accents=self.strip_accents,
        split_chinese=self.split_chinese,
    )

  def long_words(self, text: str, max_length: int) -> list[str]:
    """Returns the words that have more letters than some length."""
    if not _long_run(max_length, self.split_chinese).search(text):
      return []
    return [word for word in self.words(text) if len(word) > max_length]

  def _agrees_on(self, character: str) -> bool:
    if unicodedata.category(character) in ("Cn", "Cs"):
      return False  # Unassigned to Python, and a surrogate cannot reach Rust.
    # Alone, inside a word, and at its end, where a sigma changes its form.
    probe = f"a{character}a {character} a{character}"
    rust = self.pre_tokenizer.pre_tokenize_str(
        self.normalizer.normalize_str(probe)
    )
    return [word for word, _ in rust] == self.words(probe)


class WordPiece:
  """Turns text into ids of a `vocab.txt`, id for id as the release.

  Attributes:
    pieces: the vocabulary; an id is the number of its line.
    splitter: how text becomes words.
  """

  def __init__(
      self,
      pieces: Sequence[str],
      *,
      max_word_length: int = MAX_WORD_CHARACTERS,
      **splitting: bool,
  ):
    """Builds it.

    Args:
      pieces: the vocabulary.
      max_word_length: letters of a word above which it is unknown.
      **splitting: options of `WordSplitter`.
    """
    self.pieces = list(pieces)
    self.splitter = WordSplitter(**splitting)
    model = models.WordPiece(
        vocab={piece: i for i, piece in enumerate(self.pieces)},
        unk_token=UNKNOWN,
        max_input_chars_per_word=max_word_length,
        continuing_subword_prefix=CONTINUATION,
    )
    # No special token is made known to the library, so that a literal "[MASK]"
    # in the text is split at its brackets.
    self._from_text = tokenizers.Tokenizer(model)
    self._from_text.normalizer = self.splitter.normalizer
    self._from_text.pre_tokenizer = self.splitter.pre_tokenizer
    self._from_words = tokenizers.Tokenizer(model)
    self._from_words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text, without special tokens."""
    departing = [
        i for i, text in enumerate(texts) if not self.splitter.agrees(text)
    ]
    if not departing:
      return _ids(self._from_text, texts)
    texts = list(texts)
    words = [" ".join(self.splitter.words(texts[i])) for i in departing]
    for i in departing:
      texts[i] = ""
    ids = _ids(self._from_text, texts)
    for i, split in zip(departing, _ids(self._from_words, words), strict=True):
      ids[i] = split
    return ids

  def encode_with_offsets(
      self, texts: Sequence[str]
  ) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Returns the ids of each text and the characters that each id stands for.

    Returns:
      For each text its ids, and of each id the offset of its first character
      in the text and that behind its last. What the tokenizer drops, such as
      an accent at the end of a piece, may lie between two pieces.
    """
    found = {}
    agreeing = [i for i, t in enumerate(texts) if self.splitter.agrees(t)]
    # In parts, for an encoding holds far more than its ids and offsets.
    for start in range(0, len(agreeing), _BATCH):
      part = agreeing[start : start + _BATCH]
      encodings = self._from_text.encode_batch(
          [texts[i] for i in part], add_special_tokens=False
      )
      for i, encoding in zip(part, encodings, strict=True):
        found[i] = encoding.ids, encoding.offsets
    return [
        found[i] if i in found else self._departing_offsets(text)
        for i, text in enumerate(texts)
    ]

  def _departing_offsets(self, text):
    words = self.splitter.located_words(text)
    joined = " ".join(word for word, _ in words)
    encoding = self._from_words.encode(joined, add_special_tokens=False)
    places = []  # Of each character of `joined`.
    for _, word_places in words:
      places += [*word_places, -1]
    offsets = [
        (min(places[start:end]), max(places[start:end]) + 1)
        for start, end in encoding.offsets
    ]
    return encoding.ids, offsets


def release_words(
    text: str,
    *,
    lowercase: bool,
    strip_accents: bool,
    split_chinese: bool = True,
) -> list[str]:
  """Cleans text and splits it at white space, punctuation and Chinese.

  Args:
    text: any string.
    lowercase: lower-cases each word.
    strip_accents: drops combining marks; ignored unless `lowercase`.
    split_chinese: makes each Chinese character a word, as the release does.

  Returns:
    The words in order, none of them empty.

  Source: release model/tokenization.py:BasicTokenizer.
  """
  words = []
  cleaned = map(_clean, text)
  if split_chinese:
    cleaned = map(_widen_chinese, cleaned)
  for word in "".join(cleaned).split():
    if lowercase:
      word = word.lower()
      if strip_accents:
        word = without_accents(word)
    words.extend("".join(map(_set_apart, word)).split())
  return words


def locate_words(
    text: str,
    *,
    lowercase: bool,
    strip_accents: bool,
    split_chinese: bool = True,
) -> list[tuple[str, list[int]]]:
  """Returns the words of `release_words`, and where their characters come from.

  Returns:
    For each word its text, and of each of its characters the offset of the
    character of `text` that it was made of.
  """
  cleaned = [(c, i) for i, old in enumerate(text) for c in _clean(old)]
  if split_chinese:
    cleaned = [(c, i) for old, i in cleaned for c in _widen_chinese(old)]
  words = []
  for word, places in _split_at_spaces(cleaned):
    word, places = fold_located(
        word, places, lowercase=lowercase, strip_accents=strip_accents
    )
    apart = [
        (c, place)
        for old, place in zip(word, places, strict=True)
        for c in _set_apart(old)
    ]
    words += _split_at_spaces(apart)
  return words


def fold_located(
    text: str, places: Sequence[int], *, lowercase: bool, strip_accents: bool
) -> tuple[str, list[int]]:
  """Lower-cases text and drops its accents, and keeps track of its characters.

  Args:
    text: any string.
    places: where each of its characters comes from.
    lowercase: without it, nothing is changed.
    strip_accents: drops combining marks; ignored unless `lowercase`.

  Returns:
    The new text, and where each of its characters comes from.
  """
  places = list(places)
  if lowercase:
    # Whole, for the form of a sigma; letter by letter, for the lengths.
    places = [p for c, p in zip(text, places, strict=True) for _ in c.lower()]
    text = text.lower()
    if strip_accents and not text.isascii():
      pairs = zip(text, places, strict=True)
      places = [p for c, p in pairs for _ in without_accents(c)]
      text = without_accents(text)
  return text, places


@functools.lru_cache
def _long_run(max_length: int, split_chinese: bool) -> re.Pattern[str]:
  """Matches where a word of more than some length may stand.

  To split a text takes much longer. One character may become four where its
  accents are split off, before they are dropped.
  """
  ends = r"\s" + re.escape(string.punctuation)
  if split_chinese:
    ends += "".join(f"{chr(first)}-{chr(last)}" for first, last in _CHINESE)
  return re.compile(f"[^{ends}]{{{max_length // 4 + 1},}}")


def without_accents(text: str) -> str:
  """Drops the combining marks of canonically decomposed text."""
  return "".join(
      c
      for c in unicodedata.normalize("NFD", text)
      if unicodedata.category(c) != "Mn"
  )


def parse_vocabulary(data: bytes) -> list[str]:
  """Reads the pieces of a `vocab.txt`, one a line."""
  lines = data.decode("utf-8-sig").split("\n")  # Windows begins with a mark.
  if lines and not lines[-1]:
    lines.pop()
  return [line.strip() for line in lines]


def _ids(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str]
) -> list[list[int]]:
  encodings: Iterator = tokenizer.encode_batch_fast(
      texts, add_special_tokens=False
  )
  return [encoding.ids for encoding in encodings]


def _clean(character: str) -> str:
  """Drops a control character, makes any space a plain one."""
  if character in " \t\n\r":
    return " "
  category = unicodedata.category(character)
  if category.startswith("C") or character == "\ufffd":
    return ""
  if category == "Zs":
    return " "
  return character


def _widen_chinese(character: str) -> str:
  """Puts spaces around a Chinese character."""
  code = ord(character) if character else 0
  if any(first <= code <= last for first, last in _CHINESE):
    return f" {character} "
  return character


def _split_at_spaces(
    located: Sequence[tuple[str, int]],
) -> list[tuple[str, list[int]]]:
  """Splits located characters as `str.split` splits text."""
  groups = itertools.groupby(located, key=lambda pair: pair[0].isspace())
  words = [list(group) for is_space, group in groups if not is_space]
  return [("".join(c for c, _ in w), [place for _, place in w]) for w in words]


def _set_apart(character: str) -> str:
  """Puts spaces around punctuation; every ASCII symbol counts as such."""
  is_symbol = character.isascii() and not character.isalnum()
  if is_symbol or unicodedata.category(character).startswith("P"):
    return f" {character} "
  return character
