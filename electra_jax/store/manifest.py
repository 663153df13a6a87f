"""What a token store says of itself: `manifest.json`."""

import dataclasses
import json
from collections.abc import Mapping

import numpy as np

from electra_jax.text.tokenizer import FILE_NAMES, OPTIONS_FILE, SpecialIds

VERSION = 1
MANIFEST_FILE = "manifest.json"
COUNTS_FILE = "unigram_counts.npy"
SPLITS = ("train", "validation")


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of a split.

  Attributes:
    file: its name.
    size_bytes: its size.
    num_rows: rows in it; every block but the last is full.
  """

  file: str
  size_bytes: int
  num_rows: int


@dataclasses.dataclass(frozen=True)
class SplitManifest:
  """What one split holds.

  Attributes:
    num_rows: rows.
    num_documents: documents that these rows were made of.
    num_tokens: tokens of the rows, special tokens and no padding included.
    shards: the files in order.
  """

  num_rows: int
  num_documents: int
  num_tokens: int
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
    rows_digest: hexadecimal SHA-256 of all blocks in order; where parts of the
      store were written apart, of the digests of these.
    splits: by name.
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
  rows_digest: str
  splits: Mapping[str, SplitManifest]

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
    return json.dumps(fields, indent=1) + "\n"

  @classmethod
  def from_json(cls, text: str) -> "Manifest":
    """Reads the text of `manifest.json`.

    Raises:
      ValueError, KeyError, TypeError: it is damaged.
    """
    fields = json.loads(text)
    splits = {}
    for name, split in fields["splits"].items():
      shards = tuple(Shard(**shard) for shard in split["shards"])
      splits[name] = SplitManifest(**{**split, "shards": shards})
    fields["splits"] = splits
    fields["special_ids"] = SpecialIds(**fields["special_ids"])
    fields["sources"] = tuple(fields["sources"])
    return cls(**fields)


def row_dtype(vocab_size: int) -> np.dtype:
  """Returns the smallest type that holds every id: uint16 or uint32."""
  return np.dtype("<u2" if vocab_size <= 65535 else "<u4")
