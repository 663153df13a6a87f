"""Trains a vocabulary on a bounded sample of text, the same one every time."""

import hashlib
import io
import os
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import models, trainers

from electra_jax.errors import UserError
from electra_jax.text import wordpiece
from electra_jax.text.tokenizer import FILE_NAMES, KINDS, Tokenizer, fold

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SAMPLE_BYTES = 100_000_000
_MAX_ALPHABET = 1000
_SENTENCEPIECE_THREADS = 4  # Fixed: its sums depend on the number.
_MAX_LINE_BYTES = 1 << 16  # SentencePiece passes over longer lines.


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    kind: str = "wordpiece",
    *,
    lowercase: bool = True,
    strip_accents: bool = True,
    output: str | os.PathLike | None = None,
    sample_bytes: int = SAMPLE_BYTES,
) -> Tokenizer:
  """Trains a vocabulary; the same texts give the same bytes.

  Args:
    texts: documents; any number, as no more than a sample is held.
    vocab_size: number of entries, the five special tokens included.
    kind: "wordpiece", or "sentencepiece" for a unigram model.
    lowercase: lower-cases text.
    strip_accents: drops accents; only has an effect with `lowercase`.
    output: folder to save the tokenizer in, or None.
    sample_bytes: most text to train on, in UTF-8 bytes.

  Returns:
    The tokenizer.

  Raises:
    UserError: the kind is unknown, or the text is too small for the size.
  """
  if kind not in KINDS:
    raise UserError(
        f"tokenizer kind {kind!r} is unknown; choose one of {list(KINDS)}"
    )
  if vocab_size < 2 * len(SPECIAL_TOKENS):
    raise UserError(
        f"a vocabulary of {vocab_size} entries is too small; ask for at least"
        f" {2 * len(SPECIAL_TOKENS)}"
    )
  sample = sample_texts(texts, sample_bytes)
  if not sample:
    raise UserError("no text to train a vocabulary on; check the sources")
  train = _train_wordpiece if kind == "wordpiece" else _train_sentencepiece
  data = train(
      sample, vocab_size, lowercase=lowercase, strip_accents=strip_accents
  )
  tokenizer = Tokenizer(
      kind,
      data,
      lowercase=lowercase,
      strip_accents=strip_accents,
      origin=FILE_NAMES[kind],
  )
  if output is not None:
    tokenizer.save(pathlib.Path(output))
  return tokenizer


def sample_texts(texts: Iterable[str], max_bytes: int) -> list[str]:
  """Keeps an even sample of texts whose size stays under a bound.

  A text is kept while its hash lies under a ceiling, which is halved whenever
  the kept ones grow over the bound. Which texts are kept therefore does not
  depend on their order, and one pass suffices.

  Args:
    texts: any number of texts.
    max_bytes: most UTF-8 bytes to keep.

  Returns:
    The kept texts in their order.
  """
  ceiling = 1 << 64
  kept = []  # (hash, bytes, text)
  size = 0
  for text in texts:
    raw = text.encode("utf-8")
    place = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest())
    if place >= ceiling:
      continue
    kept.append((place, len(raw), text))
    size += len(raw)
    while size > max_bytes and ceiling > 1:
      ceiling //= 2
      kept = [entry for entry in kept if entry[0] < ceiling]
      size = sum(entry[1] for entry in kept)
  return [text for _, _, text in kept]


def _train_wordpiece(
    sample: list[str], vocab_size: int, *, lowercase: bool, strip_accents: bool
) -> bytes:
  splitter = wordpiece.WordSplitter(
      lowercase=lowercase, strip_accents=strip_accents
  )
  alphabet = _alphabet(sample, splitter, vocab_size // 4)
  # The library numbers the letters in the order of a hash table that differs
  # from run to run, and breaks ties by these numbers. Naming every letter
  # beforehand, alone and as a continuation, fixes them. Punctuation always
  # stands alone.
  continued = [
      wordpiece.CONTINUATION + letter
      for letter in alphabet
      if len(splitter.words(f"a{letter}")) == 1
  ]
  trainer = trainers.WordPieceTrainer(
      vocab_size=vocab_size,
      min_frequency=2,
      special_tokens=[*SPECIAL_TOKENS, *alphabet, *continued],
      initial_alphabet=alphabet,
      limit_alphabet=len(alphabet),
      continuing_subword_prefix=wordpiece.CONTINUATION,
      show_progress=False,
  )
  learner = tokenizers.Tokenizer(models.WordPiece(unk_token=wordpiece.UNKNOWN))
  learner.normalizer = splitter.normalizer
  learner.pre_tokenizer = splitter.pre_tokenizer
  learner.train_from_iterator(_agreed(sample, splitter), trainer=trainer)
  ids = learner.get_vocab(with_added_tokens=True)
  if len(ids) < vocab_size:
    raise UserError(
        f"the text yields only {len(ids)} word pieces, not {vocab_size}; give"
        " more text or ask for a smaller vocabulary"
    )
  pieces = sorted(ids, key=ids.__getitem__)
  return "".join(f"{piece}\n" for piece in pieces).encode("utf-8")


def _agreed(
    sample: Iterable[str], splitter: wordpiece.WordSplitter
) -> Iterator[str]:
  """Yields text that the Rust library splits as the release would."""
  for text in sample:
    if splitter.agrees(text):
      yield text
    else:
      yield " ".join(splitter.words(text))


def _alphabet(
    sample: Iterable[str], splitter: wordpiece.WordSplitter, limit: int
) -> list[str]:
  """Returns the most frequent letters of words, in the order of code points."""
  characters = Counter()
  for text in sample:
    characters.update(text)
  letters = Counter()
  for character, count in characters.items():
    for letter in "".join(splitter.words(character)):
      letters[letter] += count
  ranked = sorted(letters, key=lambda letter: (-letters[letter], letter))
  return sorted(ranked[: min(limit, _MAX_ALPHABET)])


def _train_sentencepiece(
    sample: list[str], vocab_size: int, *, lowercase: bool, strip_accents: bool
) -> bytes:
  import sentencepiece  # Not needed by those who use WordPiece.

  lines = (
      fold(line, lowercase=lowercase, strip_accents=strip_accents)
      for text in sample
      for line in text.split("\n")
  )
  pad, unk, *control = SPECIAL_TOKENS
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        pad_piece=pad,
        unk_piece=unk,
        control_symbols=control,
        max_sentence_length=_MAX_LINE_BYTES,
        num_threads=_SENTENCEPIECE_THREADS,
        minloglevel=2,
    )
  except RuntimeError as error:
    most = re.search(r"<= (\d+)", str(error))
    reason = f"at most {most[1]} are possible" if most else str(error)
    raise UserError(
        f"cannot train {vocab_size} SentencePiece pieces on this text"
        f" ({reason}); give more text or ask for a smaller vocabulary"
    ) from error
  return model.getvalue()
