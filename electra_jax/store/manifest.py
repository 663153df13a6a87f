"""What a token store says of itself: `manifest.json`."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from electra_jax.disk.json_files import as_kind, parse_json
from electra_jax.errors import UserError
from electra_jax.text.lost_text import LostText
from electra_jax.text.tokenizer import FILE_NAMES, OPTIONS_FILE, SpecialIds

VERSION = 2
MANIFEST_FILE = "manifest.json"
COUNTS_FILE = "unigram_counts.npy"
SPLITS = ("train", "validation")
CHECKSUM_DIGITS = 16

_FIX = "restore the file or prepare the store again"


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of a split.

  Attributes:
    file: its name.
    size_bytes: its size.
    num_rows: rows in it; every block but the last is full.
    checksums: of its blocks in order, `block_checksum` of each.
  """

  file: str
  size_bytes: int
  num_rows: int
  checksums: str


@dataclasses.dataclass(frozen=True)
class SplitManifest:
  """What one split holds.

  Attributes:
    num_rows: rows.
    num_documents: documents that these rows were made of.
    num_tokens: tokens of the rows, special tokens and no padding included.
    num_text_tokens: those of them that stand for text; [UNK] does.
    num_unknown: those of them that are [UNK].
    unknown_share: their share among these.
    shards: the files in order.
  """

  num_rows: int
  num_documents: int
  num_tokens: int
  num_text_tokens: int
  num_unknown: int
  unknown_share: float
  shards: tuple[Shard, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a store holds and how it was made.

  Attributes:
    version: of the format.
    length: L, tokens of a row.
    rows_per_block: rows of a full block.
    dtype: "uint16" or "uint32", of the ids and lengths.
    vocab_size: V, number of ids.
    special_ids: ids of the special tokens.
    tokenizer_digest: see `Tokenizer.digest`.
    packing: "released" or "full".
    seed: of segment choice and target lengths.
    sources: what was read; of a path only the last part.
    validation_percent: share of the documents that was held out.
    duplicates_dropped: documents dropped as exact duplicates, or None where
      none were looked for.
    tokens_read: tokens of all documents, without special tokens.
    tokens_kept: those of them that stand in a row.
    lost: what became of long words and of accents.
    counts_digest: hexadecimal SHA-256 of the file of unigram counts.
    splits: by name.
    passed_over: numbers of what held no text to train on: "null_texts" and
      "empty_texts" in records, and "bad_files" left out by --skip-bad-files.
  """

  version: int
  length: int
  rows_per_block: int
  dtype: str
  vocab_size: int
  special_ids: SpecialIds
  tokenizer_digest: str
  packing: str
  seed: int
  sources: tuple[str, ...]
  validation_percent: float
  duplicates_dropped: int | None
  tokens_read: int
  tokens_kept: int
  lost: LostText
  counts_digest: str
  splits: dict[str, SplitManifest]
  passed_over: dict[str, int] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def rows_digest(self) -> str:
    """Hexadecimal SHA-256 of all that decides which rows are read, in order.

    It is the root of a tree: it stands on the checksums of the blocks, and
    these on the rows.
    """
    splits = {
        name: [[x.num_rows, x.checksums] for x in split.shards]
        for name, split in self.splits.items()
    }
    about = [self.length, self.rows_per_block, self.dtype]
    return _digest([*about, *sorted(splits.items())])

  @property
  def num_documents(self) -> int:
    """Documents of all splits, dropped duplicates not included."""
    return sum(split.num_documents for split in self.splits.values())

  @property
  def files(self) -> frozenset[str]:
    """Names of all files that a store may hold."""
    shards = {x.file for split in self.splits.values() for x in split.shards}
    return frozenset(
        (MANIFEST_FILE, COUNTS_FILE, OPTIONS_FILE, *FILE_NAMES.values())
    ).union(shards)

  def to_json(self) -> str:
    """Returns the text of `manifest.json`."""
    fields = dataclasses.asdict(self)
    fields["special_ids"] = self.special_ids._asdict()
    fields["lost"] = self.lost._asdict()
    return json.dumps({**fields, "digest": _digest(fields)}, indent=1) + "\n"

  @classmethod
  def from_json(cls, text: bytes | str, place: str) -> "Manifest":
    """Reads the text of `manifest.json`, which messages call `place`.

    Raises:
      UserError: it is damaged, of another version, or was edited.
    """
    fields = parse_json(text, dict[str, Any], place, _FIX)
    version = fields.get("version")
    if type(version) is int and version != VERSION:
      raise UserError(
          f"{place} is of a token store of version {version}, and this program"
          f" reads version {VERSION}; prepare the store again"
      )
    digest = fields.pop("digest", None)
    manifest = as_kind(fields, cls, place, _FIX)
    if digest != _digest(fields):
      raise UserError(
          f"{place} was changed after the store was made: it does not have the"
          f" digest that it names; {_FIX}"
      )
    manifest._check(place)
    return manifest

  def _check(self, place: str) -> None:
    """Raises UserError where parts contradict each other."""
    for name, split in self.splits.items():
      for shard in split.shards:
        blocks = -(-shard.num_rows // self.rows_per_block)
        if (
            pathlib.PurePath(shard.file).name != shard.file
            or len(shard.checksums) != blocks * CHECKSUM_DIGITS
        ):
          raise UserError(
              f"{place} is damaged: shard {shard.file!r} of {name} is not that"
              f" of a store; {_FIX}"
          )


def block_checksum(record: bytes) -> str:
  """Returns the checksum of a block's bytes: 16 digits of its SHA-256."""
  return hashlib.sha256(record).hexdigest()[:CHECKSUM_DIGITS]


def _digest(fields: Any) -> str:
  text = json.dumps(fields, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def row_dtype(vocab_size: int) -> np.dtype:
  """Returns the smallest type that holds every id: uint16 or uint32."""
  return np.dtype("<u2" if vocab_size <= 65535 else "<u4")
