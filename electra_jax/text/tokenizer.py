"""One face for both kinds of tokenizer: WordPiece and SentencePiece.

Special ids are looked up by name and never written as numbers. No special token
is added to encoded text, and none is ever read out of it.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from etils import epath

from electra_jax.errors import UserError
from electra_jax.text import wordpiece

KINDS = ("wordpiece", "sentencepiece")
FILE_NAMES = {"wordpiece": "vocab.txt", "sentencepiece": "spiece.model"}
OPTIONS_FILE = "tokenizer_options.json"
WORD_START = "\u2581"  # SentencePiece's mark for the space before a word.
_USUAL = ("lowercase", "strip_accents")
# Options that only vocabularies of others have, and what the release does.
_RARE = {
    "split_chinese": True,
    "max_word_length": wordpiece.MAX_WORD_CHARACTERS,
}

# Names under which a special token is looked for, the first found wins: those
# of BERT, then those of SentencePiece models such as ALBERT's and XLNet's.
SPECIAL_NAMES = {
    "pad": ("[PAD]", "<pad>"),
    "unk": (wordpiece.UNKNOWN, "<unk>"),
    "cls": ("[CLS]", "<cls>", "<s>"),
    "sep": ("[SEP]", "<sep>", "</s>"),
    "mask": ("[MASK]", "<mask>"),
}


_SURROGATE = re.compile("[\ud800-\udfff]")


class SpecialIds(NamedTuple):
  """The ids of the five special tokens."""

  pad: int
  unk: int
  cls: int
  sep: int
  mask: int


class Tokenizer:
  """Text to ids and back. May be pickled, for worker processes.

  Attributes:
    kind: "wordpiece" or "sentencepiece".
    data: content of the vocabulary's file.
    lowercase: whether text is lower-cased.
    strip_accents: whether accents are dropped; only together with `lowercase`.
    split_chinese: of WordPiece, whether each Chinese character is a word.
    max_word_length: of WordPiece, letters of a word above which it is unknown.
    special: ids of the special tokens.
    digest: hexadecimal SHA-256 of the vocabulary and the options: two
      tokenizers with the same digest give the same ids.
  """

  def __init__(
      self,
      kind: str,
      data: bytes,
      *,
      lowercase: bool = True,
      strip_accents: bool = True,
      split_chinese: bool = True,
      max_word_length: int = wordpiece.MAX_WORD_CHARACTERS,
      origin: str = "the vocabulary",
  ):
    """Builds a tokenizer from the bytes of a vocabulary file.

    Args:
      kind: "wordpiece" or "sentencepiece".
      data: content of a `vocab.txt` or of a SentencePiece `.model`.
      lowercase: lower-cases text.
      strip_accents: drops accents; only has an effect with `lowercase`.
      split_chinese: makes each Chinese character a word; of WordPiece alone.
      max_word_length: letters of the longest word; of WordPiece alone.
      origin: what an error message calls the vocabulary.

    Raises:
      UserError: the kind is unknown, the file is damaged, or a special token is
        missing.
    """
    if kind not in KINDS:
      raise UserError(
          f"tokenizer kind {kind!r} is unknown; choose one of {list(KINDS)}"
      )
    self.kind = kind
    self.lowercase = lowercase
    self.strip_accents = strip_accents
    self.split_chinese = split_chinese
    self.max_word_length = max_word_length
    self.data = data
    self._origin = origin
    engine = _WordPiece if kind == "wordpiece" else _SentencePiece
    self._engine = engine(data, origin=origin, **self._options())
    self._pieces = self._engine.pieces
    self.special = _find_special(self._pieces, origin)
    options = [kind, lowercase, strip_accents]
    # As before for those who do not have them.
    options += [[k, x] for k, x in self._options().items() if k in _RARE]
    self.digest = hashlib.sha256(
        json.dumps(options).encode() + b"\0" + data
    ).hexdigest()

  def __reduce__(self):
    make = functools.partial(Tokenizer, origin=self._origin, **self._options())
    return make, (self.kind, self.data)

  def _options(self) -> dict[str, Any]:
    """Returns how text is prepared; rare options only where they are set."""
    options = {name: getattr(self, name) for name in (*_USUAL, *_RARE)}
    for name, default in _RARE.items():
      if self.kind != "wordpiece" or options[name] == default:
        del options[name]
    return options

  @property
  def vocab_size(self) -> int:
    """Number of ids, special tokens included."""
    return len(self._pieces)

  def encode(self, text: str) -> list[int]:
    """Returns the ids of one text, without special tokens."""
    return self.encode_batch([text])[0]

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text, without special tokens."""
    return self._engine.encode_batch(texts)

  def encode_with_offsets(
      self, texts: Sequence[str]
  ) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Returns the ids of each text and the characters that each id stands for.

    Returns:
      For each text its ids, and of each id the offset of its first character
      in the text and that behind its last. They may be equal: of a byte of a
      character, say, or of SentencePiece's mark for a space.
    """
    return self._engine.encode_with_offsets(texts)

  def long_words(self, text: str) -> list[str]:
    """Returns the words of a text that are unknown for their length alone."""
    if self.kind != "wordpiece":
      return []
    return self._engine.splitter.long_words(text, self.max_word_length)

  def token(self, token_id: int) -> str:
    """Returns the piece of an id, such as "##ing"."""
    return self._pieces[token_id]

  def tokens(self, ids: Iterable[int]) -> list[str]:
    """Returns the pieces of ids."""
    return [self._pieces[i] for i in ids]

  def is_continuation(self, token_id: int) -> bool:
    """Says whether a piece goes on with the word of the piece before it."""
    if token_id in self.special:
      return False
    piece = self._pieces[token_id]
    if self.kind == "wordpiece":
      return piece.startswith(wordpiece.CONTINUATION)
    return not piece.startswith(WORD_START)

  def decode(self, ids: Iterable[int]) -> str:
    """Returns readable text: words between spaces, special tokens by name."""
    words = []
    for token_id in ids:
      piece = self._pieces[token_id]
      if self.kind == "wordpiece":
        text = piece.removeprefix(wordpiece.CONTINUATION)
      else:
        text = piece.removeprefix(WORD_START)
      if words and self.is_continuation(token_id):
        words[-1] += text
      else:
        words.append(text)
    return " ".join(words)

  def save(self, directory: str | os.PathLike) -> None:
    """Writes the vocabulary file and the options beside it."""
    directory = epath.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    file = FILE_NAMES[self.kind]
    (directory / file).write_bytes(self.data)
    options = {"kind": self.kind, "file": file, **self._options()}
    text = json.dumps(options, indent=2) + "\n"
    (directory / OPTIONS_FILE).write_text(text)


def load_tokenizer(
    path: str | os.PathLike,
    *,
    lowercase: bool = True,
    strip_accents: bool = True,
) -> Tokenizer:
  """Loads a tokenizer.

  Args:
    path: a BERT `vocab.txt`, a SentencePiece `.model`, or a folder written by
      `Tokenizer.save`, whose options then stand above the arguments.
    lowercase: lower-cases text; False for a cased vocabulary.
    strip_accents: drops accents; only has an effect with `lowercase`.

  Returns:
    The tokenizer.

  Raises:
    UserError: there is no such file, it is neither kind, it is damaged, or a
      special token is missing.
  """
  path = epath.Path(path)
  options = {"lowercase": lowercase, "strip_accents": strip_accents}
  if path.is_dir():
    options = _read_options(path)
    path = path / options.pop("file")
    kind = options.pop("kind")
  else:
    kind = "sentencepiece" if path.suffix == ".model" else "wordpiece"
  try:
    data = path.read_bytes()
  except OSError as error:
    raise UserError(
        f"cannot read the vocabulary {path}: {error.strerror}; give a"
        " vocab.txt, a SentencePiece .model or a folder with a saved tokenizer"
    ) from error
  return Tokenizer(kind, data, origin=str(path), **options)


def _read_options(directory: epath.Path) -> dict:
  path = directory / OPTIONS_FILE
  try:
    options = json.loads(path.read_text())
    if not isinstance(options, dict):
      raise ValueError("it holds no object")
    options = {k: options[k] for k in ("kind", "file", *_USUAL)} | {
        k: options[k] for k in _RARE if k in options
    }
    _check_options(options)
    return options
  except FileNotFoundError as error:
    raise UserError(
        f"the folder {directory} holds no {OPTIONS_FILE}; give the vocab.txt or"
        " .model file itself"
    ) from error
  except OSError as error:
    raise UserError(
        f"cannot read {path}: {error.strerror}; save the tokenizer again"
    ) from error
  except (ValueError, KeyError, RecursionError) as error:
    reason = f"no {error}" if isinstance(error, KeyError) else error
    raise UserError(
        f"{path} is damaged ({reason}); save the tokenizer again"
    ) from error


def _check_options(options: dict[str, Any]) -> None:
  """Raises ValueError where a value is of another kind than `save` writes."""
  kind, file = options["kind"], options["file"]
  if kind not in KINDS:
    raise ValueError(f"kind is {kind!r}, not one of {list(KINDS)}")
  # No other name is ever written, so that none leads out of the folder.
  if file != FILE_NAMES[kind]:
    raise ValueError(f"file is {file!r}, not {FILE_NAMES[kind]!r}")
  for name in (*_USUAL, *_RARE):
    value, wanted = options.get(name, _RARE.get(name)), bool
    if name == "max_word_length":
      wanted = int
    if type(value) is not wanted or (wanted is int and value < 1):
      raise ValueError(f"{name} is {value!r}")


def _find_special(pieces: Sequence[str], origin: str) -> SpecialIds:
  ids = {piece: i for i, piece in enumerate(pieces)}
  found = {}
  for role, names in SPECIAL_NAMES.items():
    present = [ids[name] for name in names if name in ids]
    if not present:
      raise UserError(
          f"{origin} has no {names[0]} token (looked for {' or '.join(names)});"
          " use a vocabulary that has it"
      )
    found[role] = present[0]
  return SpecialIds(**found)


class _WordPiece(wordpiece.WordPiece):
  """WordPiece from the bytes of a `vocab.txt`."""

  def __init__(self, data: bytes, *, origin: str, **options):
    try:
      pieces = wordpiece.parse_vocabulary(data)
    except UnicodeDecodeError as error:
      raise UserError(
          f"{origin} is not UTF-8 at byte {error.start}; a SentencePiece model"
          " must be named *.model"
      ) from error
    if wordpiece.UNKNOWN not in pieces:
      raise UserError(
          f"{origin} has no {wordpiece.UNKNOWN} token; give a BERT vocabulary,"
          " one piece on each line"
      )
    super().__init__(pieces, **options)


class _SentencePiece:
  """A SentencePiece model behind the same two members as `WordPiece`."""

  def __init__(
      self, data: bytes, *, lowercase: bool, strip_accents: bool, origin: str
  ):
    import sentencepiece  # Not needed by those who use WordPiece.

    try:
      model = sentencepiece.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
      raise UserError(
          f"{origin} is not a SentencePiece model; give a .model file written"
          " by sentencepiece"
      ) from error
    self._model = model
    self._lowercase = lowercase
    self._strip_accents = strip_accents
    self.pieces = [model.id_to_piece(i) for i in range(model.vocab_size())]
    special = _find_special(self.pieces, origin)
    self._unknown = special.unk
    # Pieces that are no control symbols are found in text like any other.
    self._readable = {
        i for i in special if not model.is_control(i) and i != special.unk
    }

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    prepared = [self._prepare(text) for text in texts]
    batch = self._model.encode(prepared, out_type=int, num_threads=1)
    if self._readable:
      batch = [
          [self._unknown if i in self._readable else i for i in ids]
          for ids in batch
      ]
    return batch

  def encode_with_offsets(
      self, texts: Sequence[str]
  ) -> list[tuple[list[int], list[tuple[int, int]]]]:
    return [self._locate(text) for text in texts]

  def _locate(self, text):
    prepared, places = wordpiece.fold_located(
        _without_surrogates(text),
        range(len(text)),
        lowercase=self._lowercase,
        strip_accents=self._strip_accents,
    )
    places.append(len(text))
    # Versions differ in this name and in the units of offsets; but the surfaces
    # of the pieces always make up the text without what is dropped at its ends.
    encode = getattr(self._model, "encode_as_proto", None)
    pieces = (encode or self._model.encode_as_immutable_proto)(prepared).pieces
    ids, offsets = [], []
    end = max(prepared.find("".join(piece.surface for piece in pieces)), 0)
    for piece in pieces:
      start, end = end, end + len(piece.surface)
      ids.append(self._unknown if piece.id in self._readable else piece.id)
      last = places[end - 1] + 1 if end > start else places[start]
      offsets.append((places[start], last))
    return ids, offsets

  def _prepare(self, text: str) -> str:
    return fold(
        _without_surrogates(text),
        lowercase=self._lowercase,
        strip_accents=self._strip_accents,
    )


def _without_surrogates(text: str) -> str:
  """Puts U+FFFD for halves of surrogate pairs, as JSON may hold them."""
  return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def fold(text: str, *, lowercase: bool, strip_accents: bool) -> str:
  """Lower-cases text and drops its accents, before SentencePiece sees it."""
  if lowercase:
    text = text.lower()
    if strip_accents and not text.isascii():
      text = wordpiece.without_accents(text)
  return text
