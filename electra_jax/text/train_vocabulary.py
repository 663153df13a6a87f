"""Trains a vocabulary on a bounded sample of text, the same one every time."""

import hashlib
import io
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import tokenizers
from tokenizers import models, trainers

from electra_jax.errors import UserError
from electra_jax.text import wordpiece
from electra_jax.text.alphabet import Alphabet, choose_alphabet, count_letters
from electra_jax.text.lost_text import check_long_words, count_long_words
from electra_jax.text.tokenizer import FILE_NAMES, KINDS, Tokenizer, fold

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SAMPLE_BYTES = 100_000_000
MAX_VOCAB = 1_000_000  # The library's tables of 1e9 entries end the process.

# Share of a text's letters that a vocabulary holds, unless asked otherwise. A
# letter that WordPiece lacks costs its whole word, one that SentencePiece lacks
# only itself; 0.9995 is that library's own default.
CHARACTER_COVERAGE = {"wordpiece": 0.9999, "sentencepiece": 0.9995}
_LEAST_COVERAGE = 0.98  # SentencePiece takes no less.

_SENTENCEPIECE_THREADS = 4  # Fixed: its sums depend on the number.
_MAX_LINE_BYTES = 1 << 16  # SentencePiece passes over longer lines.
_MAX_LINE_CHARACTERS = _MAX_LINE_BYTES // 4


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    kind: str = "wordpiece",
    *,
    lowercase: bool = True,
    strip_accents: bool = True,
    character_coverage: float | None = None,
    alphabet_limit: int | None = None,
    allow_long_words: bool = False,
    output: str | os.PathLike | None = None,
    sample_bytes: int = SAMPLE_BYTES,
    tell: Callable[[str], None] | None = None,
) -> Tokenizer:
  """Trains a vocabulary; the same texts give the same bytes.

  Args:
    texts: documents; any number, as no more than a sample is held.
    vocab_size: number of entries, the five special tokens included.
    kind: "wordpiece", or "sentencepiece" for a unigram model.
    lowercase: lower-cases text.
    strip_accents: drops accents; only has an effect with `lowercase`.
    character_coverage: share of the text's letters that are kept, the frequent
      ones first; by default CHARACTER_COVERAGE.
    alphabet_limit: most letters that WordPiece keeps, or None.
    allow_long_words: trains WordPiece even where more than 5 % of the text is
      in words that are too long for it.
    output: folder to save the tokenizer in, or None.
    sample_bytes: most text to train on, in UTF-8 bytes.
    tell: is called with a sentence where letters had to be left out.

  Returns:
    The tokenizer.

  Raises:
    UserError: an option is out of range, or the text is too small for the size,
      or the size too small for the text.
  """
  check_training(vocab_size, kind, character_coverage, alphabet_limit)
  sample = sample_texts(texts, sample_bytes)
  if not sample:
    raise UserError("no text to train a vocabulary on; check the sources")
  options = {"lowercase": lowercase, "strip_accents": strip_accents}
  if kind == "wordpiece" and not allow_long_words:
    _check_long_words(sample, **options)
  if kind == "wordpiece":
    data = _train_wordpiece(
        sample,
        vocab_size,
        character_coverage,
        alphabet_limit,
        tell or (lambda sentence: None),
        **options,
    )
  else:
    data = _train_sentencepiece(
        sample, vocab_size, character_coverage, **options
    )
  tokenizer = Tokenizer(kind, data, **options, origin=FILE_NAMES[kind])
  if output is not None:
    tokenizer.save(pathlib.Path(output))
  return tokenizer


def check_training(
    vocab_size: int,
    kind: str,
    character_coverage: float | None,
    alphabet_limit: int | None,
) -> None:
  """Raises UserError where one is out of range, see `train_tokenizer`."""
  if kind not in KINDS:
    raise UserError(
        f"tokenizer kind {kind!r} is unknown; choose one of {list(KINDS)}"
    )
  least = 2 * len(SPECIAL_TOKENS)
  if not least <= vocab_size <= MAX_VOCAB:
    raise UserError(
        f"--train-vocab {vocab_size} is out of range; ask for {least} to"
        f" {MAX_VOCAB:,} entries, such as 30000 for gigabytes of text"
    )
  if character_coverage is not None and not (
      _LEAST_COVERAGE <= character_coverage <= 1
  ):
    raise UserError(
        f"--character-coverage {character_coverage} is out of range; choose"
        f" {_LEAST_COVERAGE} to 1, such as {CHARACTER_COVERAGE[kind]}"
    )
  if alphabet_limit is None:
    return
  if kind != "wordpiece":
    raise UserError(
        f"--alphabet-limit {alphabet_limit} is of WordPiece; which letters"
        " SentencePiece keeps is said by --character-coverage"
    )
  if alphabet_limit < 1:
    raise UserError(
        f"--alphabet-limit {alphabet_limit} is too small; choose 1 or more"
    )


def sample_texts(texts: Iterable[str], max_bytes: int) -> list[str]:
  """Keeps an even sample of texts whose size stays under a bound.

  A text is kept while its hash lies under a ceiling, which is halved whenever
  the kept ones grow over the bound. Which texts are kept therefore does not
  depend on their order, and one pass suffices. Of a text of over a quarter of
  the bound only the beginning counts.

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
    if len(raw) > max_bytes // 4:
      text = raw[: max_bytes // 4].decode("utf-8", "ignore")
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


def _check_long_words(sample: Sequence[str], **options: bool) -> None:
  empty = "".join(f"{token}\n" for token in SPECIAL_TOKENS).encode()
  tokenizer = Tokenizer("wordpiece", empty, **options)
  lost = count_long_words(sample, tokenizer)
  lost = lost._replace(characters=sum(map(len, sample)))
  check_long_words(lost, tokenizer.max_word_length)


def _train_wordpiece(
    sample: list[str],
    vocab_size: int,
    coverage: float | None,
    alphabet_limit: int | None,
    tell: Callable[[str], None],
    *,
    lowercase: bool,
    strip_accents: bool,
) -> bytes:
  splitter = wordpiece.WordSplitter(
      lowercase=lowercase, strip_accents=strip_accents
  )
  counts = count_letters(sample, splitter)
  is_fixed = coverage is not None or alphabet_limit is not None
  coverage = coverage or CHARACTER_COVERAGE["wordpiece"]
  alphabet = choose_alphabet(
      counts,
      splitter,
      vocab_size,
      len(SPECIAL_TOKENS),
      coverage,
      alphabet_limit,
  )
  pieces = _learn_pieces(sample, splitter, vocab_size, alphabet)
  if len(pieces) < vocab_size and not alphabet.is_whole and not is_fixed:
    # There is room for rare letters as well.
    alphabet = choose_alphabet(
        counts, splitter, vocab_size, len(SPECIAL_TOKENS), 1.0, None
    )
    pieces = _learn_pieces(sample, splitter, vocab_size, alphabet)
  if len(pieces) < vocab_size:
    raise UserError(
        f"the text yields only {len(pieces)} word pieces, not --train-vocab"
        f" {vocab_size}; give more text, or ask for a smaller vocabulary by"
        f" --train-vocab {len(pieces)}"
    )
  if len(alphabet.letters) < alphabet.num_wanted:
    least = len(SPECIAL_TOKENS) + alphabet.num_wanted_entries
    tell(
        f"--train-vocab {vocab_size} has room for {len(alphabet.letters):,} of"
        f" {alphabet.num_wanted:,} letters; words with one of the others, which"
        f" are {alphabet.lost_share:.2%} of the text's letters, become"
        f" {wordpiece.UNKNOWN}; --train-vocab {least} or more keeps them"
    )
  elif alphabet_limit is not None and alphabet.lost_share:
    tell(
        f"--alphabet-limit {alphabet_limit} leaves out letters that are"
        f" {alphabet.lost_share:.2%} of the text's; words with one become"
        f" {wordpiece.UNKNOWN}"
    )
  return "".join(f"{piece}\n" for piece in pieces).encode("utf-8")


def _learn_pieces(
    sample: list[str],
    splitter: wordpiece.WordSplitter,
    vocab_size: int,
    alphabet: Alphabet,
) -> list[str]:
  """Returns a vocabulary in the order of ids; shorter where text is short."""
  # The library numbers the letters in the order of a hash table that differs
  # from run to run, and breaks ties by these numbers. Naming every letter
  # beforehand, alone and as a continuation, fixes them.
  trainer = trainers.WordPieceTrainer(
      vocab_size=vocab_size,
      min_frequency=2,
      special_tokens=[*SPECIAL_TOKENS, *alphabet.entries],
      initial_alphabet=alphabet.letters,
      limit_alphabet=len(alphabet.letters),
      continuing_subword_prefix=wordpiece.CONTINUATION,
      show_progress=False,
  )
  learner = tokenizers.Tokenizer(models.WordPiece(unk_token=wordpiece.UNKNOWN))
  learner.normalizer = splitter.normalizer
  learner.pre_tokenizer = splitter.pre_tokenizer
  learner.train_from_iterator(_agreed(sample, splitter), trainer=trainer)
  ids = learner.get_vocab(with_added_tokens=True)
  return sorted(ids, key=ids.__getitem__)


def _agreed(
    sample: Iterable[str], splitter: wordpiece.WordSplitter
) -> Iterator[str]:
  """Yields text that the Rust library splits as the release would."""
  for text in sample:
    if splitter.agrees(text):
      yield text
    else:
      yield " ".join(splitter.words(text))


def _train_sentencepiece(
    sample: list[str],
    vocab_size: int,
    coverage: float | None,
    *,
    lowercase: bool,
    strip_accents: bool,
) -> bytes:
  import sentencepiece  # Not needed by those who use WordPiece.

  lines = (
      part
      for text in sample
      for line in text.split("\n")
      for part in _short_parts(
          fold(line, lowercase=lowercase, strip_accents=strip_accents)
      )
  )
  pad, unk, *control = SPECIAL_TOKENS
  model = io.BytesIO()
  # Not told of its default, which it would write into the model.
  asked = {} if coverage is None else {"character_coverage": coverage}
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
        **asked,
    )
  except RuntimeError as error:
    most = re.search(r"<= (\d+)", str(error))
    least = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
    if most:
      advice = (
          "is too large for this text; give more of it, or ask for a smaller"
          f" vocabulary by --train-vocab {most[1]}"
      )
    elif least:
      advice = (
          "is too small for the letters of this text; ask for --train-vocab"
          f" {least[1]} or more, or for a lower --character-coverage than"
          f" {coverage or CHARACTER_COVERAGE['sentencepiece']}"
      )
    else:
      advice = f"is refused by SentencePiece ({error}); ask for another size"
    raise UserError(f"--train-vocab {vocab_size} {advice}") from error
  return model.getvalue()


def _short_parts(line: str) -> Iterator[str]:
  """Cuts a line into parts that SentencePiece does not pass over."""
  for start in range(0, max(len(line), 1), _MAX_LINE_CHARACTERS):
    yield line[start : start + _MAX_LINE_CHARACTERS]
