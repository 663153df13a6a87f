"""Writes a token store that appears whole or not at all."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil

import numpy as np
from array_record.python import array_record_module

from electra_jax.errors import UserError
from electra_jax.store.manifest import (
    COUNTS_FILE,
    MANIFEST_FILE,
    SPLITS,
    VERSION,
    Manifest,
    Shard,
    SplitManifest,
    row_dtype,
)
from electra_jax.text.tokenizer import Tokenizer

ROWS_PER_BLOCK = 1024
SHARD_BYTES = 64 << 20

_WRITER_OPTIONS = "group_size:1,uncompressed"
_LOCK_FILE = ".lock"


class StoreWriter:
  """Collects rows and leaves a finished store, or nothing.

  It writes into a folder beside the output, `OUTPUT.partial-PID`, and renames
  it at the very end. An exception removes that folder. A killed process leaves
  it behind without a manifest; the next writer of the same output finds its
  lock free and removes it.

    with StoreWriter(output, tokenizer=tokenizer, length=128) as writer:
      writer.add("train", rows)
      manifest = writer.finish(packing="full", ...)

  Attributes:
    folder: the partial folder; scratch files may lie there until finish().
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
    self.folder = self._output.with_name(
        f"{self._output.name}.partial-{os.getpid()}"
    )
    _remove_leftovers(self._output)
    self.folder.mkdir(parents=True)
    self._lock = _lock(self.folder / _LOCK_FILE)
    self._splits = {
        name: SplitWriter(self.folder, name, length, tokenizer.vocab_size)
        for name in SPLITS
    }

  def __enter__(self) -> "StoreWriter":
    return self

  def __exit__(self, *exception) -> None:
    for split in self._splits.values():
      split.abandon()
    os.close(self._lock)
    shutil.rmtree(self.folder, ignore_errors=True)

  def add(self, split: str, rows: np.ndarray, *, num_documents: int = 0):
    """Appends rows to a split.

    Args:
      split: "train" or "validation".
      rows: [rows, L + 2], see `examples.pack_examples`.
      num_documents: documents these rows were made of.
    """
    self._splits[split].add(rows, num_documents)

  def adopt(self, split: str, written: SplitManifest, digest: bytes) -> None:
    """Appends files that a `SplitWriter` has written elsewhere.

    Args:
      split: "train" or "validation"; no rows may be added to it besides.
      written: what the files hold; they lie in `folder` before finish().
      digest: of that `SplitWriter`.
    """
    self._splits[split].adopt(written, digest)

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

    Returns:
      The manifest.

    Raises:
      UserError: another process has finished the same output meanwhile.
    """
    splits = {name: s.finish() for name, s in self._splits.items()}
    digest = hashlib.sha256()
    for split in self._splits.values():
      digest.update(split.digest.digest())
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
        rows_digest=digest.hexdigest(),
        splits=splits,
    )
    self._tokenizer.save(self.folder)
    np.save(self.folder / COUNTS_FILE, unigram_counts.astype("<i8"))
    _write_durably(self.folder / MANIFEST_FILE, manifest.to_json())
    (self.folder / _LOCK_FILE).unlink()
    self._appear()
    return manifest

  def _appear(self) -> None:
    check_output(self._output, overwrite=self._overwrite)
    replaced = self._output.with_name(
        f"{self._output.name}.replaced-{os.getpid()}"
    )
    if self._output.exists():
      os.rename(self._output, replaced)
    os.rename(self.folder, self._output)
    shutil.rmtree(replaced, ignore_errors=True)


def check_output(
    output: str | os.PathLike, *, overwrite: bool = False
) -> pathlib.Path:
  """Says whether a store may be written there, before any work is done.

  Returns:
    The output as a path.

  Raises:
    UserError: it is not on a local disk; it is a finished store and `overwrite`
      is False; or something else lies there, which is never removed.
  """
  if "://" in os.fspath(output):
    raise UserError(
        f"{output} is not on a local disk; write the store to a local folder"
        " and copy it there"
    )
  output = pathlib.Path(output)
  if not output.exists():
    return output
  if output.is_dir() and (output / MANIFEST_FILE).exists():
    if not overwrite:
      raise UserError(
          f"{output} already holds a finished token store; choose another"
          " output or pass overwrite"
      )
  elif not output.is_dir() or any(output.iterdir()):
    raise UserError(
        f"{output} exists and is not a token store; choose another output"
    )
  return output


class SplitWriter:
  """Gathers rows into blocks and blocks into files.

  Attributes:
    digest: SHA-256 of the blocks that were written.
  """

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
    self.digest = hashlib.sha256()
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
    self._writer = None
    self._num_blocks = 0  # Of the open file, as the rows.
    self._num_rows = 0
    self._shards = []

  def add(self, rows: np.ndarray, num_documents: int) -> None:
    if rows.shape[1:] != (self._width,):
      raise ValueError(f"rows of shape {rows.shape}, not (rows, {self._width})")
    self._num_documents += num_documents
    self._num_tokens += int(rows[:, -1].sum(dtype=np.int64))
    self._waiting.append(rows.astype(self._dtype, copy=False))
    self._num_waiting += len(rows)
    if self._num_waiting >= ROWS_PER_BLOCK:
      rows = np.concatenate(self._waiting)
      whole = len(rows) - len(rows) % ROWS_PER_BLOCK
      for start in range(0, whole, ROWS_PER_BLOCK):
        self._write_block(rows[start : start + ROWS_PER_BLOCK])
      self._waiting = [rows[whole:]]
      self._num_waiting = len(rows) - whole

  def adopt(self, written: SplitManifest, digest: bytes) -> None:
    self._num_documents += written.num_documents
    self._num_tokens += written.num_tokens
    self._shards += written.shards
    self.digest.update(digest)

  def finish(self) -> SplitManifest:
    if self._num_waiting:
      self._write_block(np.concatenate(self._waiting))
    self._close_file()
    return SplitManifest(
        num_rows=sum(shard.num_rows for shard in self._shards),
        num_documents=self._num_documents,
        num_tokens=self._num_tokens,
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
    self.digest.update(record)
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
    self._shards.append(Shard(path.name, size_bytes, self._num_rows))
    self._num_blocks = self._num_rows = 0

  def _path(self) -> pathlib.Path:
    return self._folder / f"{self._name}-{len(self._shards):05d}.array_record"


def _remove_leftovers(output: pathlib.Path) -> None:
  """Removes what killed runs left beside the output."""
  if not output.parent.is_dir():
    return
  for path in list(output.parent.iterdir()):
    if path.name.startswith(f"{output.name}.partial-"):
      if _is_abandoned(path):
        shutil.rmtree(path, ignore_errors=True)
    elif path.name.startswith(f"{output.name}.replaced-"):
      if output.exists():
        shutil.rmtree(path, ignore_errors=True)
      else:
        os.rename(path, output)  # Killed between two renames.


def _is_abandoned(folder: pathlib.Path) -> bool:
  """Says whether no living process holds the folder's lock."""
  try:
    os.close(_lock(folder / _LOCK_FILE))
  except BlockingIOError:
    return False
  return True


def _lock(path: pathlib.Path) -> int:
  """Locks a file for as long as the returned descriptor stays open."""
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    os.close(descriptor)
    raise
  return descriptor


def _write_durably(path: pathlib.Path, text: str) -> None:
  with open(path, "w", encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
