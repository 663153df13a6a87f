"""The token store: a folder of row blocks that training reads.

  manifest.json                 written last; a folder without it is no store
  train-00000.array_record      one record is a block of up to 1,024 rows
  validation-00000.array_record
  vocab.txt or spiece.model, tokenizer_options.json
  unigram_counts.npy            int64 [V], tokens of the train rows

A row is L token ids, then two lengths: that of [CLS] A [SEP] and that of the
whole. Blocks are raw little-endian integers, so that reading is a copy.
"""

import functools
import hashlib
import io
import os
import pathlib
import secrets
import threading
from collections.abc import Sequence

import numpy as np
from array_record.python import array_record_module
from etils import epath

from electra_jax.errors import UserError
from electra_jax.files import is_remote, writing
from electra_jax.store.manifest import (
    CHECKSUM_DIGITS,
    COUNTS_FILE,
    MANIFEST_FILE,
    Manifest,
    block_checksum,
    row_dtype,
)
from electra_jax.text.tokenizer import (
    FILE_NAMES,
    OPTIONS_FILE,
    Tokenizer,
    load_tokenizer,
)

# Both set to 0 for random access, as ArrayRecord's own documentation advises.
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_MAX_OPEN_SHARDS = 128


class Split:
  """The rows of one split, read block by block. Threads may share it.

  Attributes:
    name: "train" or "validation".
    origin: what an error message calls it.
    num_rows: rows in all.
    length: L, tokens of a row.
    dtype: type of the rows.
    pad_id: what rows are filled up with.
    block_sizes: [blocks] int64, rows of each block.
  """

  def __init__(self, folder: "_Folder", manifest: Manifest, name: str):
    info = manifest.splits[name]
    self.name = name
    self.origin = f"the {name} split of {folder.root}"
    self.num_rows = info.num_rows
    self.length = manifest.length
    self.dtype = row_dtype(manifest.vocab_size)
    self.pad_id = manifest.special_ids.pad
    full = manifest.rows_per_block
    sizes = [_block_sizes(shard.num_rows, full) for shard in info.shards]
    self.block_sizes = np.concatenate([np.zeros(0, np.int64), *sizes])
    self._folder = folder
    self._shards = info.shards
    self._first_blocks = np.cumsum([0, *map(len, sizes)])
    self._lock = threading.Lock()
    self._readers = {}  # Shard index -> reader, the last used one last.

  def read_block(self, index: int) -> np.ndarray:
    """Reads one block.

    Args:
      index: of the block, from 0.

    Returns:
      [rows, L + 2], not to be written to.

    Raises:
      UserError: the file is gone or damaged, or holds other rows.
    """
    shard = int(np.searchsorted(self._first_blocks, index, side="right")) - 1
    position = index - int(self._first_blocks[shard])
    rows = int(self.block_sizes[index])
    try:
      [record] = self._reader(shard).read([position])
      self._check(record, shard, position)
      block = np.frombuffer(record, self.dtype)
      return block.reshape(rows, self.length + 2)
    except (ValueError, IndexError, RuntimeError, OSError) as error:
      file = self._folder.name_of(self._shards[shard].file)
      reason = str(error).split(";")[0]
      raise UserError(
          f"cannot read block {position} of {file}: {reason}; restore the file"
          " or prepare the store again"
      ) from error

  def _check(self, record: bytes, shard: int, position: int) -> None:
    first = position * CHECKSUM_DIGITS
    expected = self._shards[shard].checksums[first : first + CHECKSUM_DIGITS]
    if block_checksum(record) != expected:
      raise ValueError("it holds other rows than were prepared")

  def _reader(self, shard: int) -> array_record_module.ArrayRecordReader:
    with self._lock:
      reader = self._readers.pop(shard, None)
      if reader is None:
        file = self._folder.local(
            self._shards[shard].file, self._shards[shard].size_bytes
        )
        reader = array_record_module.ArrayRecordReader(
            str(file), _READER_OPTIONS
        )
        if len(self._readers) >= _MAX_OPEN_SHARDS:
          del self._readers[next(iter(self._readers))]
      self._readers[shard] = reader
      return reader


class Store:
  """A finished token store.

  Attributes:
    path: where it lies, as given.
    manifest: what it holds.
  """

  def __init__(self, path: str, manifest: Manifest, folder: "_Folder"):
    self.path = path
    self.manifest = manifest
    self._folder = folder

  def split(self, name: str) -> Split:
    """Returns a split by name.

    Raises:
      UserError: there is no such split.
    """
    if name not in self.manifest.splits:
      raise UserError(
          f"{self.path} has no split {name!r}; choose one of"
          f" {sorted(self.manifest.splits)}"
      )
    return Split(self._folder, self.manifest, name)

  def tokenizer(self) -> Tokenizer:
    """Loads the tokenizer that the rows were made with.

    Raises:
      UserError: its files are not those that the manifest speaks of.
    """
    tokenizer = load_tokenizer(self._folder.local_tokenizer())
    if tokenizer.digest != self.manifest.tokenizer_digest:
      raise UserError(
          f"the tokenizer files of {self.path} were changed after the store was"
          " made; restore them or prepare the store again"
      )
    return tokenizer

  @functools.cached_property
  def _counts(self) -> np.ndarray:
    path = self._folder.local(COUNTS_FILE)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != self.manifest.counts_digest:
      raise UserError(
          f"{self._folder.name_of(COUNTS_FILE)} was changed after the store was"
          " made; restore the file or prepare the store again"
      )
    return np.load(io.BytesIO(content))

  def unigram_counts(self) -> np.ndarray:
    """Returns [V] int64: how often each id occurs in the train rows.

    Special tokens count 0, so that the counts are those of the text.
    """
    return self._counts.copy()

  def unigram_entropy(self) -> float:
    """Returns the entropy of `unigram_counts` in nats per token.

    A model that knows nothing but how frequent each token is reaches this loss.
    """
    return entropy(self._counts)


def open_store(
    path: str | os.PathLike, *, cache: str | os.PathLike | None = None
) -> Store:
  """Opens a store on a local disk or, by its URL, elsewhere.

  Args:
    path: the folder, or a URL such as gs://bucket/store.
    cache: local folder that files from elsewhere are copied to when they are
      first read; by default ~/.cache/electra_jax.

  Returns:
    The store.

  Raises:
    UserError: the path is empty, there is no finished store, it is of another
      version, or a file is missing or has another size than the manifest says.
  """
  if not os.fspath(path):
    raise UserError(
        "no token store is named, and a converted model has none of its own;"
        " give one that electra-jax prepare has made, evaluate by --store"
    )
  root = epath.Path(path)
  try:
    content = (root / MANIFEST_FILE).read_bytes()
  except (FileNotFoundError, NotADirectoryError) as error:
    raise UserError(
        f"{path} is not a finished token store (it holds no {MANIFEST_FILE});"
        " run electra-jax prepare"
    ) from error
  except OSError as error:
    raise UserError(
        f"{root / MANIFEST_FILE} cannot be read ({error.strerror or error});"
        " restore the file or prepare the store again"
    ) from error
  manifest = Manifest.from_json(content, f"{path}/{MANIFEST_FILE}")
  folder = _Folder(root, manifest, cache)
  folder.check_sizes()
  return Store(os.fspath(path), manifest, folder)


def entropy(counts: Sequence[int] | np.ndarray) -> float:
  """Returns the entropy of a distribution given by counts, in nats."""
  counts = np.asarray(counts, np.float64)
  shares = counts[counts > 0] / max(counts.sum(), 1.0)
  return float(-np.sum(shares * np.log(shares)))


def _block_sizes(num_rows: int, rows_per_block: int) -> np.ndarray:
  """Returns the rows of each block: full ones, then what is left."""
  firsts = np.arange(0, num_rows, rows_per_block)
  return np.minimum(rows_per_block, num_rows - firsts)


class _Folder:
  """The files of a store; those from elsewhere are copied when needed.

  Attributes:
    root: where the store lies.
  """

  def __init__(
      self,
      root: epath.Path,
      manifest: Manifest,
      cache: str | os.PathLike | None,
  ):
    self.root = root
    self._manifest = manifest
    self._is_remote = is_remote(root)
    # Keyed by content, so that a store made anew is not taken for the old one.
    text = f"{root}\n{manifest.to_json()}"
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    base = pathlib.Path(cache or pathlib.Path.home() / ".cache/electra_jax")
    self._cache = base / key

  def name_of(self, file: str) -> str:
    """Returns what an error message calls a file."""
    copied = f" (copied to {self._cache / file})" if self._is_remote else ""
    return f"{self.root / file}{copied}"

  def local(self, file: str, size_bytes: int | None = None) -> pathlib.Path:
    """Returns the path of a file on the local disk.

    Raises:
      UserError: it is missing, or has another size.
    """
    path = self._cache / file if self._is_remote else self.root / file
    path = pathlib.Path(path)
    if self._is_remote and not path.exists():
      self._copy(file, path)
    if not path.exists():
      raise self._missing(file)
    if size_bytes is not None and path.stat().st_size != size_bytes:
      raise UserError(
          f"{path} has {path.stat().st_size} bytes, not {size_bytes} as the"
          " manifest says; restore the file or prepare the store again"
      )
    return path

  def local_tokenizer(self) -> pathlib.Path:
    """Returns a local folder with the tokenizer's files."""
    if not self._is_remote:
      return pathlib.Path(self.root)
    self.local(OPTIONS_FILE)
    for file in FILE_NAMES.values():  # It is one of them.
      if (self.root / file).exists():
        self.local(file)
    return self._cache

  def check_sizes(self) -> None:
    """Raises UserError where a local shard is missing or of another size."""
    if not self._is_remote:
      for split in self._manifest.splits.values():
        for shard in split.shards:
          self.local(shard.file, shard.size_bytes)

  def _copy(self, file: str, target: pathlib.Path) -> None:
    # Processes of one machine share the cache: each copies under its own name.
    partial = target.with_name(f".{file}.{secrets.token_hex(8)}")
    with writing(target):
      target.parent.mkdir(parents=True, exist_ok=True)
      try:
        (self.root / file).copy(partial, overwrite=True)
      except FileNotFoundError as error:
        raise self._missing(file) from error
      os.replace(partial, target)

  def _missing(self, file: str) -> UserError:
    return UserError(
        f"{self.root / file} is missing from the token store; restore the"
        " file or prepare the store again"
    )
