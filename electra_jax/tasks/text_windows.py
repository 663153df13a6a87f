"""Long texts of classification and rating: cut, or read in windows.

The release reads the beginning of a text and drops the rest. With windows all
of it is read, one window after the other, and what the model says of them is
pooled into one answer.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from electra_jax.text.tokenizer import SpecialIds

# What becomes of a text that is too long. "first": its first window alone is
# read, as released; "max", "mean": all are, and their scores pooled by that.
WINDOWS = ("first", "max", "mean")


def text_windows(
    first: Sequence[int],
    second: Sequence[int] | None,
    special: SpecialIds,
    *,
    max_length: int,
    stride: int,
    only_first: bool,
) -> tuple[list[tuple[np.ndarray, int]], int]:
  """Puts special tokens around one or two texts, in as many windows as needed.

  The first window is the release's cut: the longer of a pair loses its last
  piece, the second on a tie, until both fit. Further windows move on over the
  longer text, and the other one stays as it is in the first.

  Args:
    first: pieces of the text, or of the first of a pair.
    second: pieces of the second of a pair, or None; none at all count as None.
    special: the ids of special tokens.
    max_length: tokens of a window at most.
    stride: pieces from the beginning of one window to that of the next; where
      it is greater than a window, windows follow each other without a gap.
    only_first: whether the first window is all that is read.

  Returns:
    Ids and length of the first segment of each window; and how many pieces no
    window holds.

  Source: release classification_tasks.py:_add_features, _truncate_seq_pair.
  """
  if not second:  # Nor where it has no piece, as released.
    room = max_length - 2
    starts, lost = _starts(len(first), room, stride, only_first)
    windows = [[special.cls, *first[s : s + room], special.sep] for s in starts]
    return [(np.asarray(ids, np.int32), len(ids)) for ids in windows], lost
  room = max_length - 3
  is_first_longer = len(first) > len(second)
  longer, other = (first, second) if is_first_longer else (second, first)
  # Each may have half of the room; of an odd number the first has one more.
  kept = min(len(other), room // 2 if is_first_longer else -(-room // 2))
  starts, lost = _starts(len(longer), room - kept, stride, only_first)
  dropped, other = len(other) - kept, other[:kept]
  windows = []
  for start in starts:
    part = longer[start : start + room - kept]
    a, b = (part, other) if is_first_longer else (other, part)
    ids = [special.cls, *a, special.sep, *b, special.sep]
    windows.append((np.asarray(ids, np.int32), len(a) + 2))
  return windows, lost + dropped


def pool(
    values: Float[np.ndarray, "n C"], examples: Int[np.ndarray, " n"], how: str
) -> Float[np.ndarray, "m C"]:
  """Pools what the windows of each example say.

  Args:
    values: of n windows.
    examples: of which example each is, rising.
    how: "max" or "mean", over the windows, of each column by itself; "first"
      takes the first window's.

  Returns:
    One row for each of the m examples.
  """
  starts = first_windows(examples)
  if how == "max":
    return np.maximum.reduceat(values, starts, axis=0)
  if how == "mean":
    counts = np.diff([*starts, len(examples)])
    return np.add.reduceat(values, starts, axis=0) / counts[:, None]
  return values[starts]


def first_windows(examples: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
  """Returns the place of each example's first window."""
  return np.flatnonzero(np.diff(examples, prepend=-1))


def _starts(
    length: int, room: int, stride: int, only_first: bool
) -> tuple[list[int], int]:
  """Returns where windows start, and how many pieces they leave out."""
  starts = [0]
  if only_first or room < 1:
    return starts, max(0, length - room)
  while starts[-1] + room < length:
    starts.append(starts[-1] + min(stride, room))
  return starts, 0
