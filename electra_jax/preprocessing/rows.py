"""Turns documents into rows of the token store: the pure part of `prepare`.

What becomes of a document depends on the options and on its own text alone, and
with full packing also on the documents that share its chunk. Nothing depends on
where or in which process it is done.
"""

import dataclasses
import hashlib
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from electra_jax.preprocessing.examples import (
    SegmentPair,
    full_examples,
    pack_examples,
    released_examples,
)
from electra_jax.preprocessing.held_out import (
    ValidationSplit,
    document_digest,
)
from electra_jax.store.manifest import SPLITS, row_dtype
from electra_jax.text.lost_text import LostText, find_lost
from electra_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class RowOptions:
  """How documents become rows.

  Attributes:
    tokenizer: turns each line into ids.
    length: L, tokens of a row, special tokens included.
    packing: "released" or "full", see `examples`.
    seed: of segment choice and target lengths.
    split: which documents are held out.
  """

  tokenizer: Tokenizer
  length: int
  packing: str
  seed: int
  split: ValidationSplit


class SplitRows(NamedTuple):
  """What one split got out of some documents.

  Attributes:
    rows: [rows, L + 2], see `examples.pack_examples`.
    num_documents: documents of this split.
    counts: [V] int64, how often each id occurs; [PAD], [CLS], [SEP] and [MASK]
      count 0.
    num_unknown: how often [UNK] does.
  """

  rows: np.ndarray
  num_documents: int
  counts: np.ndarray
  num_unknown: int


class BuiltRows(NamedTuple):
  """What became of some documents.

  Attributes:
    splits: by name.
    tokens_read: tokens of the documents, without special tokens.
    lost: what these tokens do not tell.
  """

  splits: dict[str, SplitRows]
  tokens_read: int
  lost: LostText


def build_rows(documents: Sequence[str], row_options: RowOptions) -> BuiltRows:
  """Turns documents into rows.

  Args:
    documents: text, one line after the other.
    row_options: how.

  Returns:
    The rows of both splits.
  """
  lines = [document.split("\n") for document in documents]
  ids = iter(
      row_options.tokenizer.encode_batch(
          [line for each in lines for line in each]
      )
  )
  token_lines = [[next(ids) for _ in each] for each in lines]
  digests = [document_digest(document) for document in documents]
  held_out = [row_options.split.holds_out(digest) for digest in digests]
  splits = {}
  for name in SPLITS:
    chosen = [i for i, h in enumerate(held_out) if h == (name == "validation")]
    examples = _make_examples(
        [token_lines[i] for i in chosen],
        [digests[i] for i in chosen],
        row_options,
    )
    splits[name] = _pack(examples, len(chosen), row_options)
  tokens_read = sum(len(line) for each in token_lines for line in each)
  lost = find_lost(lines, token_lines, row_options.tokenizer)
  return BuiltRows(splits, tokens_read, lost)


def _make_examples(
    documents: Sequence[Sequence[list[int]]],
    digests: Sequence[bytes],
    row_options: RowOptions,
) -> list[SegmentPair]:
  if row_options.packing == "full":
    return list(
        full_examples(
            documents,
            max_length=row_options.length,
            separator=row_options.tokenizer.special.sep,
            rng=_rng(row_options.seed, b"".join(digests)),
        )
    )
  return [
      example
      for document, digest in zip(documents, digests, strict=True)
      for example in released_examples(
          document,
          max_length=row_options.length,
          rng=_rng(row_options.seed, digest),
      )
  ]


def _pack(
    examples: Sequence[SegmentPair], num_documents: int, row_options: RowOptions
) -> SplitRows:
  special = row_options.tokenizer.special
  rows = pack_examples(
      examples,
      max_length=row_options.length,
      special=special,
      dtype=row_dtype(row_options.tokenizer.vocab_size),
  )
  ids = rows[:, : row_options.length].ravel()
  counts = np.bincount(ids, minlength=row_options.tokenizer.vocab_size)
  counts[[special.pad, special.cls, special.sep, special.mask]] = 0
  return SplitRows(rows, num_documents, counts, int(counts[special.unk]))


def _rng(seed: int, name: bytes) -> random.Random:
  """Returns a source of chance of its own for what has this name."""
  digest = hashlib.sha256(f"{seed}:".encode() + name).digest()
  return random.Random(int.from_bytes(digest[:8], "big"))
