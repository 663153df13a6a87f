"""Tells a person on standard error how far `prepare` is, and what it made."""

import collections
import os
import pathlib
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import rich.console
import rich.progress

from electra_jax.store.manifest import Manifest
from electra_jax.store.reader import entropy
from electra_jax.text.lost_text import (
    GIVEN_ADVICE,
    LONG_WORD_ADVICE,
    LostText,
)
from electra_jax.text.sources import LeftOut, ReadProgress
from electra_jax.text.wordpiece import UNKNOWN

_PLAIN_REPORT_SECS = 30.0  # Between two lines where no bar can be drawn.
_MANY_DROPPED = 0.1  # Share of the tokens from which on a way out is told.
_MOST_NAMED = 20  # Files that are named one by one.

# Shares above which the summary says what to do.
_UNKNOWN = 0.01
_STRIPPED_LETTERS = 0.001
_STRIPPED_ACCENTS = 0.1  # German has 0.02, French 0.03, Vietnamese 0.25.


class Reporter:
  """Shows on standard error how far the reading is, and a summary."""

  def __init__(self, *, is_shown: bool):
    self._is_shown = is_shown
    self._console = rich.console.Console(stderr=True, highlight=False)

  def watch(
      self, task: str, documents: Iterable[str], position: ReadProgress
  ) -> Iterator[str]:
    """Passes documents on and shows how many bytes were read for them."""
    if not self._is_shown:
      yield from documents
    elif self._console.is_terminal:
      yield from self._watch_live(task, documents, position)
    else:
      yield from self._watch_plainly(task, documents, position)

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
    if not self._is_shown:
      return
    for name, split in manifest.splits.items():
      self._print(
          f"{name}: {split.num_rows:,} rows of {manifest.length},"
          f" {split.num_tokens:,} tokens, {split.num_documents:,} documents"
      )
    if manifest.duplicates_dropped is not None:
      self._print(
          f"dropped as duplicates: {manifest.duplicates_dropped:,} documents"
      )
    for name, count in manifest.passed_over.items():
      if count:
        self._print(f"passed over: {count:,} {name.replace('_', ' ')}")
    kept = manifest.tokens_kept / manifest.tokens_read
    self._print(
        f"kept {kept:.1%} of {manifest.tokens_read:,} tokens of text; unigram"
        f" entropy {entropy(unigram_counts):.3f} nats, vocabulary"
        f" {manifest.vocab_size:,}"
    )
    self._print(_unknown_shares(manifest, advice))
    self._tell_losses(manifest.lost)
    if kept < 1 - _MANY_DROPPED and manifest.packing == "released":
      self._print(
          f"{1 - kept:.1%} of the text was dropped: --packing released drops"
          f" what does not fit the row of {manifest.length} tokens that it"
          " begins; --packing full keeps all of it"
      )
    if not manifest.splits["validation"].num_rows:
      self._print(
          "the validation split is empty, and pretrain needs one; raise"
          f" --validation-percent {manifest.validation_percent:g}, or give more"
          " text"
      )
    self._print(f"token store: {output}")

  def tell(self, sentence: str) -> None:
    """Prints one line, where anything is shown."""
    if self._is_shown:
      self._print(sentence)

  def _tell_losses(self, lost: LostText) -> None:
    if lost.long_words:
      self._print(
          f"words too long for WordPiece, one {UNKNOWN} each:"
          f" {lost.long_words:,}, {lost.long_word_share:.2%} of the text;"
          f" {LONG_WORD_ADVICE}"
      )
    if lost.stripped_letter_share > _STRIPPED_LETTERS:
      self._print(
          "stripping accents drops letters or vowel signs, one in"
          f" {1 / lost.stripped_letter_share:,.0f} characters, such as"
          f" {lost.example} -> {lost.example_left}; --keep-accents keeps them"
      )
    elif lost.stripped_accent_share > _STRIPPED_ACCENTS:
      self._print(
          "stripping accents drops one in"
          f" {1 / lost.stripped_accent_share:,.0f} characters;"
          " --keep-accents keeps them"
      )

  def tell_left_out(self, files: Sequence[LeftOut]) -> None:
    """Prints which files are not read, and why; of very many the first ones."""
    if not self._is_shown:
      return
    for path, reason in files[:_MOST_NAMED]:
      place = "" if str(path) in reason else f"{path}: "
      self._print(f"left out: {place}{reason}")
    if len(files) > _MOST_NAMED:
      ends = collections.Counter(
          pathlib.PurePath(path).suffix or pathlib.PurePath(path).name
          for path, _ in files[_MOST_NAMED:]
      )
      self._print(
          f"left out: {len(files) - _MOST_NAMED:,} files more: "
          + ", ".join(
              f"{n:,} {end}" for end, n in ends.most_common(_MOST_NAMED)
          )
      )

  def tell_undivided(self, files: Sequence[str]) -> None:
    """Prints which text files are one document though they have many lines."""
    if self._is_shown and files:
      self._print(
          f"no blank line ends a document in {', '.join(files[:_MOST_NAMED])}:"
          " all lines of such a file are one document; if each line is one,"
          " prepare with --document-per line"
      )

  def _watch_live(
      self, task: str, documents: Iterable[str], position: ReadProgress
  ) -> Iterator[str]:
    columns = (
        rich.progress.TextColumn("{task.description:>10}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=self._console) as bar:
      bar_id = bar.add_task(task, total=None)
      for document in documents:
        bar.update(
            bar_id, total=position.total_bytes, completed=position.read_bytes
        )
        yield document
      bar.update(bar_id, completed=position.read_bytes)

  def _watch_plainly(
      self, task: str, documents: Iterable[str], position: ReadProgress
  ) -> Iterator[str]:
    start = reported = time.monotonic()
    for document in documents:
      yield document
      now = time.monotonic()
      if now - reported >= _PLAIN_REPORT_SECS:
        reported = now
        self._report(task, position, now - start)
    self._report(task, position, time.monotonic() - start)

  def _report(self, task: str, position: ReadProgress, secs: float) -> None:
    read, total = position.read_bytes, position.total_bytes
    rate = read / max(secs, 1e-9)
    line = f"{task}: {read / 1e6:,.1f} MB at {rate / 1e6:.2f} MB/s"
    if total and rate and read < total:
      line += f" of {total / 1e6:,.1f}, {(total - read) / rate:,.0f} s left"
    self._print(line)

  def _print(self, line: str) -> None:
    self._console.print(line, soft_wrap=True)


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
