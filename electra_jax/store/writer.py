"""Writes a token store that appears whole or not at all."""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
from array_record.python import array_record_module

from electra_jax.disk import scratch
from electra_jax.errors import UserError
from electra_jax.files import is_remote
from electra_jax.store.manifest import (
    COUNTS_FILE,
    MANIFEST_FILE,
    SPLITS,
    VERSION,
    Manifest,
    Shard,
    SplitManifest,
    block_checksum,
    row_dtype,
)
from electra_jax.text.lost_text import LostText
from electra_jax.text.tokenizer import Tokenizer

ROWS_PER_BLOCK = 1024
SHARD_BYTES = 64 << 20

_WRITER_OPTIONS = "group_size:1,uncompressed"


class StoreWriter:
  """Collects rows and leaves a finished store, or nothing.

  It writes into a scratch folder beside the output, which takes the output's
  place at the very end, see `scratch`.

    with StoreWriter(output, tokenizer=tokenizer, length=128) as writer:
      writer.add("train", rows)
      manifest = writer.finish(packing="full", ...)

  Attributes:
    folder: the scratch folder; other files may lie there until finish().
  """

  def __init__(
      self,
      output: str | os.PathLike,
      *,
      tokenizer: Tokenizer,
      length: int,
      overwrite: bool = False,
  ):
    """Opens the folder that is written to.

    Args:
      output: folder of the store, on a local disk.
      tokenizer: what the rows are made with.
      length: L, tokens of a row.
      overwrite: replaces a store that is already there.

    Raises:
      UserError: the output exists (see `check_output`).
    """
    self._output = check_output(output, overwrite=overwrite)
    self._overwrite = overwrite
    self._tokenizer = tokenizer
    self._length = length
    self._stack = contextlib.ExitStack()
    self._scratch = self._stack.enter_context(
        scratch.open_scratch(self._output)
    )
    self.folder = pathlib.Path(self._scratch.folder)
    self._splits = {
        name: SplitWriter(self.folder, name, length, tokenizer.vocab_size)
        for name in SPLITS
    }

  def __enter__(self) -> "StoreWriter":
    return self

  def __exit__(self, *exception) -> None:
    for split in self._splits.values():
      split.abandon()
    self._stack.close()

  def add(
      self,
      split: str,
      rows: np.ndarray,
      *,
      num_documents: int = 0,
      num_text_tokens: int = 0,
      num_unknown: int = 0,
  ):
    """Appends rows to a split.

    Args:
      split: "train" or "validation".
      rows: [rows, L + 2], see `examples.pack_examples`.
      num_documents: documents these rows were made of.
      num_text_tokens: tokens of these rows without special tokens.
      num_unknown: those of them that are [UNK].
    """
    self._splits[split].add(rows, num_documents, num_text_tokens, num_unknown)

  def adopt(self, split: str, written: SplitManifest) -> None:
    """Appends files that a `SplitWriter` has written elsewhere.

    Args:
      split: "train" or "validation"; no rows may be added to it besides.
      written: what the files hold; they lie in `folder` before finish().
    """
    self._splits[split].adopt(written)

  def finish(
      self,
      *,
      unigram_counts: np.ndarray,
      packing: str,
      seed: int,
      sources: tuple[str, ...],
      validation_percent: float,
      duplicates_dropped: int | None,
      tokens_read: int,
      tokens_kept: int,
      lost: LostText,
      passed_over: Mapping[str, int],
  ) -> Manifest:
    """Closes the files and makes the store appear.

    Args:
      unigram_counts: [V] int64, see `Store.unigram_counts`.
      packing: see `Manifest`, as are all that follow.
      seed: of the packing.
      sources: what was read.
      validation_percent: held-out share.
      duplicates_dropped: or None.
      tokens_read: tokens of all documents.
      tokens_kept: tokens that stand in rows.
      lost: what tokenizing lost.
      passed_over: what held no text.

    Returns:
      The manifest.

    Raises:
      UserError: another process has finished the same output meanwhile.
    """
    splits = {name: s.finish() for name, s in self._splits.items()}
    counts = self.folder / COUNTS_FILE
    np.save(counts, unigram_counts.astype("<i8"))
    manifest = Manifest(
        version=VERSION,
        length=self._length,
        rows_per_block=ROWS_PER_BLOCK,
        dtype=row_dtype(self._tokenizer.vocab_size).name,
        vocab_size=self._tokenizer.vocab_size,
        special_ids=self._tokenizer.special,
        tokenizer_digest=self._tokenizer.digest,
        packing=packing,
        seed=seed,
        sources=sources,
        validation_percent=validation_percent,
        duplicates_dropped=duplicates_dropped,
        tokens_read=tokens_read,
        tokens_kept=tokens_kept,
        lost=lost,
        counts_digest=hashlib.sha256(counts.read_bytes()).hexdigest(),
        splits=splits,
        passed_over=passed_over,
    )
    self._tokenizer.save(self.folder)
    _write_durably(self.folder / MANIFEST_FILE, manifest.to_json())
    check_output(self._output, overwrite=self._overwrite)
    self._scratch.publish(replace=self._overwrite)
    return manifest


def check_output(
    output: str | os.PathLike, *, overwrite: bool = False
) -> pathlib.Path:
  """Says whether a store may be written there, before any work is done.

  What killed processes left of the same output is removed.

  Returns:
    The output as a path.

  Raises:
    UserError: it is empty, or not on a local disk; it is a finished store and
      `overwrite` is False; or something else lies there, which is never
      removed.
  """
  if not os.fspath(output):
    raise UserError("--output is empty; give the folder to write the store to")
  if is_remote(output):
    raise UserError(
        f"{output} is not on a local disk; write the store to a local folder"
        " and copy it there"
    )
  scratch.check_no_link(output, "--output")
  scratch.remove_leftovers(output)
  output = pathlib.Path(output)
  if not output.exists():
    return output
  names = [path.name for path in output.iterdir()] if output.is_dir() else []
  if MANIFEST_FILE in names:
    if not overwrite:
      raise UserError(
          f"{output} already holds a finished token store; choose another"
          " output or pass overwrite"
      )
    check_replaceable(output, (output / MANIFEST_FILE).read_bytes(), names)
  elif names or not output.is_dir():
    raise UserError(
        f"{output} exists and is not a token store; choose another output"
    )
  return output


def check_replaceable(
    output: str | os.PathLike, manifest: bytes, names: Iterable[str]
) -> None:
  """Checks that a folder holds a token store and nothing besides.

  Args:
    output: the folder.
    manifest: the content of its manifest.json.
    names: of the files in it.

  Raises:
    UserError: something in it is not of a store.
  """
  try:
    ours = Manifest.from_json(manifest, f"{output}/{MANIFEST_FILE}").files
  except UserError as error:
    raise UserError(
        f"{output}/{MANIFEST_FILE} is not that of a token store, so nothing in"
        f" {output} is overwritten; choose another output, or delete it yourself"
    ) from error
  if others := sorted(set(names) - ours):
    raise UserError(
        f"{output} holds {others[0]}"
        f"{f' and {len(others) - 1} more files' if others[1:] else ''}, which"
        " is no part of the token store, so it is not overwritten; move that"
        " elsewhere, or choose another output"
    )


class SplitWriter:
  """Gathers rows into blocks and blocks into files."""

  def __init__(
      self, folder: pathlib.Path, name: str, length: int, vocab_size: int
  ):
    """Starts without rows.

    Args:
      folder: where the files are written.
      name: what their names begin with.
      length: L, tokens of a row.
      vocab_size: V.
    """
    self._folder = folder
    self._name = name
    self._width = length + 2
    self._dtype = row_dtype(vocab_size)
    block_bytes = ROWS_PER_BLOCK * self._width * self._dtype.itemsize
    self._blocks_per_shard = max(1, SHARD_BYTES // block_bytes)
    self._waiting = []
    self._num_waiting = 0
    self._num_documents = 0
    self._num_tokens = 0
    self._num_text_tokens = 0
    self._num_unknown = 0
    self._writer = None
    self._num_blocks = 0  # Of the open file, as the rows.
    self._num_rows = 0
    self._checksums = []
    self._shards = []

  def add(
      self,
      rows: np.ndarray,
      num_documents: int,
      num_text_tokens: int = 0,
      num_unknown: int = 0,
  ) -> None:
    if rows.shape[1:] != (self._width,):
      raise ValueError(f"rows of shape {rows.shape}, not (rows, {self._width})")
    self._num_documents += num_documents
    self._num_tokens += int(rows[:, -1].sum(dtype=np.int64))
    self._num_text_tokens += num_text_tokens
    self._num_unknown += num_unknown
    self._waiting.append(rows.astype(self._dtype, copy=False))
    self._num_waiting += len(rows)
    if self._num_waiting >= ROWS_PER_BLOCK:
      rows = np.concatenate(self._waiting)
      whole = len(rows) - len(rows) % ROWS_PER_BLOCK
      for start in range(0, whole, ROWS_PER_BLOCK):
        self._write_block(rows[start : start + ROWS_PER_BLOCK])
      self._waiting = [rows[whole:]]
      self._num_waiting = len(rows) - whole

  def adopt(self, written: SplitManifest) -> None:
    self._num_documents += written.num_documents
    self._num_tokens += written.num_tokens
    self._num_text_tokens += written.num_text_tokens
    self._num_unknown += written.num_unknown
    self._shards += written.shards

  def finish(self) -> SplitManifest:
    if self._num_waiting:
      self._write_block(np.concatenate(self._waiting))
    self._close_file()
    return SplitManifest(
        num_rows=sum(shard.num_rows for shard in self._shards),
        num_documents=self._num_documents,
        num_tokens=self._num_tokens,
        num_text_tokens=self._num_text_tokens,
        num_unknown=self._num_unknown,
        unknown_share=self._num_unknown / max(self._num_text_tokens, 1),
        shards=tuple(self._shards),
    )

  def abandon(self) -> None:
    if self._writer is not None:
      with contextlib.suppress(RuntimeError):
        self._writer.close()
      self._writer = None

  def _write_block(self, rows: np.ndarray) -> None:
    if self._writer is None:
      self._writer = array_record_module.ArrayRecordWriter(
          str(self._path()), _WRITER_OPTIONS
      )
    record = rows.tobytes()
    self._writer.write(record)
    self._checksums.append(block_checksum(record))
    self._num_blocks += 1
    self._num_rows += len(rows)
    if self._num_blocks == self._blocks_per_shard:
      self._close_file()

  def _close_file(self) -> None:
    if self._writer is None:
      return
    path = self._path()
    try:
      self._writer.close()  # Reports what went wrong in any write before it.
    except RuntimeError as error:
      reason = str(error).split(";")[0]
      raise UserError(
          f"cannot write {path}: {reason}; make room and run again"
      ) from error
    self._writer = None
    size_bytes = path.stat().st_size
    self._shards.append(
        Shard(path.name, size_bytes, self._num_rows, "".join(self._checksums))
    )
    self._num_blocks = self._num_rows = 0
    self._checksums = []

  def _path(self) -> pathlib.Path:
    return self._folder / f"{self._name}-{len(self._shards):05d}.array_record"


def _write_durably(path: pathlib.Path, text: str) -> None:
  with open(path, "w", encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
