"""Texts that a pre-trained model is asked about -> rows of tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from electra_jax.errors import UserError
from electra_jax.store.feed import Batch
from electra_jax.text.tokenizer import Tokenizer

MASK = "[MASK]"


class RowsOfTexts(NamedTuple):
  """Texts as rows of tokens.

  Attributes:
    input_ids: of each row, with the special tokens.
    owners: for each row the number of the text it is a part of, rising.
    num_texts: how many there are.
  """

  input_ids: list[list[int]]
  owners: list[int]
  num_texts: int


def text_rows(
    tokenizer: Tokenizer, texts: Sequence[str], length: int
) -> RowsOfTexts:
  """Cuts texts into rows; `MASK` in a text becomes the token.

  Args:
    tokenizer: of the model.
    texts: one longer than a row becomes several.
    length: tokens of a row at most.

  Raises:
    UserError: no text.
  """
  if not texts:
    raise UserError("there is no text to predict on; give some")
  special = tokenizer.special
  room = length - 2  # Positions past it are untrained.
  rows, owners = [], []
  split = [text.split(MASK) for text in texts]
  encoded = iter(
      tokenizer.encode_batch([part for parts in split for part in parts])
  )
  for owner, parts in enumerate(split):
    ids = list(next(encoded))
    for _ in parts[1:]:
      ids += [special.mask, *next(encoded)]
    for start in range(0, max(len(ids), 1), room):
      rows.append([special.cls, *ids[start : start + room], special.sep])
      owners.append(owner)
  return RowsOfTexts(rows, owners, len(texts))


def padded_batch(
    rows: Sequence[Sequence[int]], num_rows: int, length: int, pad: int
) -> Batch:
  """Returns a batch of rows, the first of them again where there are fewer."""
  rows = [*rows, *[rows[0]] * (num_rows - len(rows))]
  padded = [[*row, *[pad] * (length - len(row))] for row in rows]
  lengths = [[len(row), len(row)] for row in rows]
  return Batch(np.asarray(padded, np.int32), np.asarray(lengths, np.int32))
