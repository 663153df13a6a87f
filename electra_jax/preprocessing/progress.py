"""Tells a person on standard error how far `prepare` is, and what it made."""

import collections
import contextlib
import os
import pathlib
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from electra_jax.progress import MEGABYTES, Progress
from electra_jax.store.manifest import Manifest
from electra_jax.store.reader import entropy
from electra_jax.text.lost_text import (
    GIVEN_ADVICE,
    LONG_WORD_ADVICE,
    LostText,
)
from electra_jax.text.sources import LeftOut, ReadProgress
from electra_jax.text.wordpiece import UNKNOWN

_REDRAW_SECS = 0.25
_MANY_DROPPED = 0.1  # Share of the tokens from which on a way out is told.
_MOST_NAMED = 20  # Files that are named one by one.

# Shares above which the summary says what to do.
_UNKNOWN = 0.01
_STRIPPED_LETTERS = 0.001
_STRIPPED_ACCENTS = 0.1  # German has 0.02, French 0.03, Vietnamese 0.25.


class Reporter:
  """Shows on standard error how far the reading is, and a summary."""

  def __init__(self, *, is_shown: bool):
    self._progress = Progress(quiet=not is_shown)

  def watch(
      self, task: str, documents: Iterable[str], position: ReadProgress
  ) -> Iterator[str]:
    """Passes documents on and shows how many bytes were read for them."""
    if not self._progress.is_shown:
      yield from documents
      return
    self._progress.log(f"{task} …")
    with self._progress.counting(None, name=task, unit=MEGABYTES):
      shown = float("-inf")
      for document in documents:
        now = time.monotonic()
        if now - shown >= _REDRAW_SECS:  # Documents come by the thousand.
          shown = now
          self._show(position)
        yield document
      self._show(position)

  def learning(self, num_pieces: int) -> contextlib.AbstractContextManager:
    """Names the training of a vocabulary, which outlasts its reading."""
    return self._progress.stage(
        f"learning a vocabulary of {num_pieces:,} pieces",
        "reads the text first, then takes seconds to minutes",
    )

  def summarize(
      self,
      manifest: Manifest,
      unigram_counts: np.ndarray,
      output: str | os.PathLike,
      *,
      advice: str = GIVEN_ADVICE,
  ) -> None:
    """Prints what the store holds.

    Args:
      manifest: of the store.
      unigram_counts: of the store.
      output: its folder or URL.
      advice: what to do where much of the text is [UNK], see `lost_text`.
    """
    if not self._progress.is_shown:
      return
    for name, split in manifest.splits.items():
      self.tell(
          f"{name}: {split.num_rows:,} rows of {manifest.length},"
          f" {split.num_tokens:,} tokens, {split.num_documents:,} documents"
      )
    if manifest.duplicates_dropped is not None:
      self.tell(
          f"dropped as duplicates: {manifest.duplicates_dropped:,} documents"
      )
    for name, count in manifest.passed_over.items():
      if count:
        self.tell(f"passed over: {count:,} {name.replace('_', ' ')}")
    kept = manifest.tokens_kept / manifest.tokens_read
    self.tell(
        f"kept {kept:.1%} of {manifest.tokens_read:,} tokens of text; unigram"
        f" entropy {entropy(unigram_counts):.3f} nats, vocabulary"
        f" {manifest.vocab_size:,}"
    )
    self.tell(_unknown_shares(manifest, advice))
    self._tell_losses(manifest.lost)
    if kept < 1 - _MANY_DROPPED and manifest.packing == "released":
      self.tell(
          f"{1 - kept:.1%} of the text was dropped: --packing released drops"
          f" what does not fit the row of {manifest.length} tokens that it"
          " begins; --packing full keeps all of it"
      )
    if not manifest.splits["validation"].num_rows:
      self.tell(
          "the validation split is empty, and pretrain needs one; raise"
          f" --validation-percent {manifest.validation_percent:g}, or give more"
          " text"
      )
    self.tell(f"token store: {output}")

  def tell(self, sentence: str) -> None:
    """Prints one line, where anything is shown."""
    self._progress.tell(sentence)

  def _tell_losses(self, lost: LostText) -> None:
    if lost.long_words:
      self.tell(
          f"words too long for WordPiece, one {UNKNOWN} each:"
          f" {lost.long_words:,}, {lost.long_word_share:.2%} of the text;"
          f" {LONG_WORD_ADVICE}"
      )
    if lost.stripped_letter_share > _STRIPPED_LETTERS:
      self.tell(
          "stripping accents drops letters or vowel signs, one in"
          f" {1 / lost.stripped_letter_share:,.0f} characters, such as"
          f" {lost.example} -> {lost.example_left}; --keep-accents keeps them"
      )
    elif lost.stripped_accent_share > _STRIPPED_ACCENTS:
      self.tell(
          "stripping accents drops one in"
          f" {1 / lost.stripped_accent_share:,.0f} characters;"
          " --keep-accents keeps them"
      )

  def tell_left_out(self, files: Sequence[LeftOut]) -> None:
    """Prints which files are not read, and why; of very many the first ones."""
    for path, reason in files[:_MOST_NAMED]:
      place = "" if str(path) in reason else f"{path}: "
      self.tell(f"left out: {place}{reason}")
    if len(files) > _MOST_NAMED:
      ends = collections.Counter(
          pathlib.PurePath(path).suffix or pathlib.PurePath(path).name
          for path, _ in files[_MOST_NAMED:]
      )
      self.tell(
          f"left out: {len(files) - _MOST_NAMED:,} files more: "
          + ", ".join(
              f"{n:,} {end}" for end, n in ends.most_common(_MOST_NAMED)
          )
      )

  def tell_undivided(self, files: Sequence[str]) -> None:
    """Prints which text files are one document though they have many lines."""
    if files:
      self.tell(
          f"no blank line ends a document in {', '.join(files[:_MOST_NAMED])}:"
          " all lines of such a file are one document; if each line is one,"
          " prepare with --document-per line"
      )

  def _show(self, position: ReadProgress) -> None:
    total = position.total_bytes
    self._progress.update(position.read_bytes, "", total=total)


def _unknown_shares(manifest: Manifest, advice: str) -> str:
  """Says how much of the text is [UNK], and what to do where it is much."""
  splits = [
      (name, split) for name, split in manifest.splits.items() if split.num_rows
  ]
  shares = ", ".join(f"{s.unknown_share:.2%} of {name}" for name, s in splits)
  line = f"{UNKNOWN} among tokens of text: {shares}"
  unknown = sum(split.num_unknown for _, split in splits)
  is_much = max(split.unknown_share for _, split in splits) > _UNKNOWN
  if is_much and manifest.lost.long_words < unknown / 2:
    line += f"; the vocabulary lacks letters of this text: {advice}"
  return line
