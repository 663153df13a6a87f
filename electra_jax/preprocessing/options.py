"""What `prepare` makes of text: all of its options, each default once."""

import dataclasses
import os
from collections.abc import Callable, Iterable

from electra_jax.errors import UserError
from electra_jax.preprocessing import examples
from electra_jax.preprocessing.held_out import ValidationSplit
from electra_jax.preprocessing.rows import RowOptions
from electra_jax.text.formats import ReadOptions
from electra_jax.text.lost_text import GIVEN_ADVICE, TRAINED_ADVICE
from electra_jax.text.sources import Fields
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from electra_jax.text.train_vocabulary import check_training, train_tokenizer

_MAX_LENGTH = 65535  # Lengths are stored as uint16.


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
  """What is made of the text; the same store follows from the same options.

  Attributes:
    tokenizer: a `vocab.txt`, a SentencePiece `.model`, a folder with a saved
      tokenizer, or a tokenizer. Either this or `train_vocab` must be given.
    train_vocab: entries of a vocabulary that is trained on the text, without
      its validation split.
    tokenizer_kind: "wordpiece" or "sentencepiece", of a trained vocabulary.
    lowercase: lower-cases text; False for a cased vocabulary.
    strip_accents: drops accents; only has an effect with `lowercase`.
    character_coverage: share of the text's letters that a trained vocabulary
      holds, see `train_tokenizer`.
    alphabet_limit: most letters of a trained WordPiece vocabulary, or None.
    allow_long_words: makes the store even where more than 5 % of the text is in
      words that are too long for WordPiece.
    length: tokens of a row, special tokens included.
    packing: "released" loses the text beyond a row, as the original does;
      "full" carries it over and fills every row.
    deduplicate: drops documents that equal an earlier one to the letter, at the
      cost of reading the sources once more.
    validation_percent: share of the documents, chosen by a hash of their text,
      that becomes the validation split; of few documents see `choose_split`.
    seed: of segment choice and target lengths.
    field: key or column of the text in JSON, CSV, parquet and
      tensorflow-datasets; or names by source, as {"*.csv": "body"}.
    document_per: what ends a document of a text file: a "blank-line", each
      "line", or nothing before the "file" does.
    encoding: of text without a byte order mark, as Python calls it.
    skip_bad_files: leaves out files that cannot be read to their ends, at the
      cost of reading all of them once more; by default they are an error.
  """

  tokenizer: str | os.PathLike | Tokenizer | None = None
  train_vocab: int | None = None
  tokenizer_kind: str = "wordpiece"
  lowercase: bool = True
  strip_accents: bool = True
  character_coverage: float | None = None
  alphabet_limit: int | None = None
  allow_long_words: bool = False
  length: int = 128
  packing: str = "released"
  deduplicate: bool = False
  validation_percent: float = 0.5
  seed: int = 0
  field: Fields = "text"
  document_per: str = "blank-line"
  encoding: str = "utf-8"
  skip_bad_files: bool = False

  def check(self) -> None:
    """Raises a UserError for an option that is out of range."""
    if (self.tokenizer is None) == (self.train_vocab is None):
      raise UserError(
          f"--tokenizer is {self.tokenizer} and --train-vocab"
          f" {self.train_vocab}: give exactly one of the two, a vocabulary or"
          " the size of one to train"
      )
    if not examples.MIN_LENGTH <= self.length <= _MAX_LENGTH:
      raise UserError(
          f"--length {self.length} is out of range; choose"
          f" {examples.MIN_LENGTH} to {_MAX_LENGTH} tokens, such as 128"
      )
    if self.packing not in examples.PACKINGS:
      raise UserError(
          f"--packing {self.packing} is unknown; choose one of"
          f" {', '.join(examples.PACKINGS)}"
      )
    if not 0 <= self.validation_percent < 100:
      raise UserError(
          f"--validation-percent {self.validation_percent} is out of range;"
          " choose 0 or more and less than 100, such as 0.5"
      )
    if not 0 <= self.seed < 2**64:
      raise UserError(
          f"--seed {self.seed} is out of range; choose 0 to 2^64 - 1"
      )
    if self.train_vocab is not None:
      check_training(self.train_vocab, self.tokenizer_kind, **self._letters)
    elif any(value is not None for value in self._letters.values()):
      raise UserError(
          "--character-coverage and --alphabet-limit are of a vocabulary that is"
          " trained; give --train-vocab beside them, or leave them out"
      )

  @property
  def reading(self) -> ReadOptions:
    """How files are read."""
    return ReadOptions(self.document_per, self.encoding)

  @property
  def unknown_advice(self) -> str:
    """What to do where much of the text is [UNK]."""
    if self.train_vocab is None:
      return GIVEN_ADVICE
    return TRAINED_ADVICE[self.tokenizer_kind]

  def train(
      self, texts: Iterable[str], tell: Callable[[str], None]
  ) -> Tokenizer:
    """Trains the vocabulary; see `train_tokenizer`."""
    return train_tokenizer(
        texts,
        self.train_vocab,
        self.tokenizer_kind,
        lowercase=self.lowercase,
        strip_accents=self.strip_accents,
        **self._letters,
        allow_long_words=self.allow_long_words,
        tell=tell,
    )

  def load(self) -> Tokenizer:
    """Returns the tokenizer that is given."""
    if isinstance(self.tokenizer, Tokenizer):
      return self.tokenizer
    return load_tokenizer(
        self.tokenizer,
        lowercase=self.lowercase,
        strip_accents=self.strip_accents,
    )

  def rows(self, tokenizer: Tokenizer, split: ValidationSplit) -> RowOptions:
    """Returns how documents become rows."""
    return RowOptions(tokenizer, self.length, self.packing, self.seed, split)

  @property
  def _letters(self) -> dict[str, float | int | None]:
    return {
        "character_coverage": self.character_coverage,
        "alphabet_limit": self.alphabet_limit,
    }
