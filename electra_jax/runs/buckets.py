"""The few shapes that rows are padded to where a model answers anything.

Every shape is a program to compile: a service that met each number and length
of texts with a program of its own would compile all day.
"""

from collections.abc import Sequence
from typing import NamedTuple

_SMALLEST_LENGTH = 16
_STEP = 4  # From one length, or number of rows, to the next.


class Buckets(NamedTuple):
  """Shapes that rows of tokens are padded to.

  Attributes:
    lengths: tokens a row, rising; the last one is the model's own.
    rows: rows of a batch, rising; more are answered in several batches.
    tokens: of a batch, or None; where it is given, a batch has as many rows as
      hold so many tokens, a multiple of the only number in `rows`.
  """

  lengths: tuple[int, ...]
  rows: tuple[int, ...]
  tokens: int | None = None

  def length(self, tokens: int) -> int:
    """Returns the shortest length that holds so many tokens."""
    return next((n for n in self.lengths if n >= tokens), self.lengths[-1])

  def num_rows(self, count: int, length: int = 0) -> int:
    """Returns the smallest number of rows that holds so many, or the largest."""
    if self.tokens is not None:
      return self.most_rows(length)
    return next((n for n in self.rows if n >= count), self.rows[-1])

  def most_rows(self, length: int) -> int:
    """Returns the largest number of rows of a batch."""
    if self.tokens is None:
      return self.rows[-1]
    return max(self.tokens // (length * self.rows[-1]), 1) * self.rows[-1]

  def parts(self, lengths: Sequence[int]) -> list[tuple[list[int], int, int]]:
    """Deals rows to batches by length, so that little padding is computed.

    Args:
      lengths: tokens of each row.

    Returns:
      For each batch the numbers of its rows, the longest first, and its shape:
      rows, and tokens a row.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    parts, start = [], 0
    while start < len(order):
      length = self.length(lengths[order[start]])
      most = self.most_rows(length)
      part = order[start : start + most]
      parts.append((part, self.num_rows(len(part), length), length))
      start += most
    return parts

  def shapes(self) -> list[tuple[int, int]]:
    """Returns every (rows, length)."""
    return [(rows, length) for length in self.lengths for rows in self.rows]


def make_buckets(length: int, max_rows: int) -> Buckets:
  """Chooses two lengths, the shorter a quarter, and rows that grow fourfold.

  Args:
    length: tokens of the model's rows.
    max_rows: rows of a batch at most.
  """
  short = max(-(-length // _STEP), _SMALLEST_LENGTH)
  rows, sizes = 1, [max_rows]
  while rows < max_rows:
    sizes.append(rows)
    rows *= _STEP
  lengths = (short, length) if short < length else (length,)
  return Buckets(lengths, tuple(sorted(sizes)))


def make_fine_buckets(
    length: int, batch_tokens: int, row_multiple: int
) -> Buckets:
  """Chooses many lengths, each at most half as long again as the one before.

  Every batch has about as many tokens; it pays where there are many texts.

  Args:
    length: tokens of the model's rows.
    batch_tokens: tokens of a batch.
    row_multiple: over how many devices rows are split.
  """
  lengths, step = [], _SMALLEST_LENGTH
  while step < length:  # 16, 24, 32, 48, 64, …
    lengths += [n for n in (step, step * 3 // 2) if n < length]
    step *= 2
  return Buckets((*lengths, length), (row_multiple,), batch_tokens)
