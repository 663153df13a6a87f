"""Where a store that many workers have written appears, whole or not at all."""

import contextlib
import functools
import os
import pathlib
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from electra_jax.beam import files
from electra_jax.beam.pipeline import PartResult
from electra_jax.files import is_remote
from electra_jax.preprocessing.rows import RowOptions
from electra_jax.store.manifest import Manifest
from electra_jax.store.writer import StoreWriter
from electra_jax.text.lost_text import LostText, check_long_words


class Output:
  """A store in the making.

  On a disk the files lie in the scratch folder of a `StoreWriter`. At a URL
  they lie below OUTPUT.scratch-ID; in the end they are moved, and the manifest
  is written last. An exception removes them all.

  Attributes:
    scratch: the folder or URL that workers write to.
  """

  def __init__(self, path: str, row_options: RowOptions, *, overwrite: bool):
    """Checks nothing, see `files.check_url` and `check_output`.

    Args:
      path: the folder or URL of the store.
      row_options: how its rows are made.
      overwrite: replaces a store that is already there.
    """
    self._path = path
    self._row_options = row_options
    self._overwrite = overwrite
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> "Output":
    with contextlib.ExitStack() as stack:
      folder = pathlib.Path(self._path)
      if is_remote(self._path):  # The small files are written here first.
        folder = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory()), "store"
        )
      self._writer = stack.enter_context(
          StoreWriter(
              folder,
              tokenizer=self._row_options.tokenizer,
              length=self._row_options.length,
              overwrite=self._overwrite,
          )
      )
      if is_remote(self._path):
        self.scratch = f"{self._path}.scratch-{uuid.uuid4().hex}"
      else:
        self.scratch = str(self._writer.folder.absolute() / "parts")
      stack.callback(files.remove_folder, self.scratch)
      files.make_folder(self.scratch)
      self._folder = folder
      self._stack = stack.pop_all()
    return self

  def __exit__(self, *exception) -> None:
    self._stack.__exit__(*exception)

  def finish(
      self,
      results: Sequence[PartResult],
      unigram_counts: np.ndarray,
      *,
      sources: tuple[str, ...],
      deduplicate: bool,
      allow_long_words: bool,
  ) -> Manifest:
    """Makes the store appear.

    Args:
      results: what became of the parts, in order.
      unigram_counts: [V] see `Store.unigram_counts`.
      sources: see `Manifest`.
      deduplicate: whether duplicates were dropped.
      allow_long_words: whether much of the text may be in words that are too
        long for WordPiece.

    Returns:
      The manifest.

    Raises:
      UserError: files of the workers are not there, or another process has
        finished the same output meanwhile; or too much of the text is in words
        that are too long.
    """
    lost = functools.reduce(
        LostText.plus, (result.lost for result in results), LostText()
    )
    if not allow_long_words:
      check_long_words(lost, self._row_options.tokenizer.max_word_length)
    names = {}
    for result in results:
      for split, written in result.splits.items():
        self._writer.adopt(split, written)
        for shard in written.shards:
          names[f"{result.attempt}-{shard.file}"] = shard.file
    dropped = sum(result.duplicates_dropped for result in results)
    about = {
        "unigram_counts": unigram_counts,
        "packing": self._row_options.packing,
        "seed": self._row_options.seed,
        "sources": sources,
        "validation_percent": self._row_options.split.percent,
        "duplicates_dropped": dropped if deduplicate else None,
        "tokens_read": sum(result.tokens_read for result in results),
        "tokens_kept": sum(result.tokens_kept for result in results),
        "lost": lost,
        "passed_over": _add_up(result.passed_over for result in results),
    }
    if not is_remote(self._path):
      files.move(names, self.scratch, os.fspath(self._writer.folder))
      files.remove_folder(self.scratch)
      return self._writer.finish(**about)
    manifest = self._writer.finish(**about)
    replaced = files.check_url(self._path, overwrite=self._overwrite)
    files.remove_files(self._path, replaced)
    try:
      files.make_folder(self._path)
      files.move(names, self.scratch, self._path)
      files.publish(self._folder, self._path)
    except BaseException:
      files.remove_files(self._path, manifest.files)
      raise
    return manifest


def _add_up(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
  total = {}
  for each in counts:
    for name, number in each.items():
      total[name] = total.get(name, 0) + number
  return total
