"""The few shapes that rows are padded to where a model answers anything.

Every shape is a program to compile: a service that met each number and length
of texts with a program of its own would compile all day.
"""

from typing import NamedTuple

_SMALLEST_LENGTH = 16
_STEP = 4  # From one length, or number of rows, to the next.


class Buckets(NamedTuple):
  """Shapes that rows of tokens are padded to.

  Attributes:
    lengths: tokens a row, rising; the last one is the model's own.
    rows: rows of a batch, rising; more are answered in several batches.
  """

  lengths: tuple[int, ...]
  rows: tuple[int, ...]

  def length(self, tokens: int) -> int:
    """Returns the shortest length that holds so many tokens."""
    return next((n for n in self.lengths if n >= tokens), self.lengths[-1])

  def num_rows(self, count: int) -> int:
    """Returns the smallest number of rows that holds so many, or the largest."""
    return next((n for n in self.rows if n >= count), self.rows[-1])

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
