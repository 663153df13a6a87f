"""Many texts -> batches of few shapes, sorted by length and packed.

A split of some thousand texts is packed as a whole, longest first, so that the
rows are nearly full; batches are then cut from the rows. Their shapes do not
depend on the texts, so that splits that come one after the other, as the parts
of a large file, share compiled programs.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from electra_jax.tasks import packing
from electra_jax.tasks.batches import TaskBatch
from electra_jax.tasks.features import Features

MOST_TEXTS = 16  # Of a row.
_TEXTS_PER_ROW = (1, 4, MOST_TEXTS)  # Of a batch; each is one program.
_SHORTEST = 128  # Rows no shorter pay: below, attention costs next to nothing.


class RowShapes(NamedTuple):
  """Shapes that texts are packed into.

  Attributes:
    lengths: tokens of a row, rising; the last one is the model's own.
    batch_tokens: tokens of a batch, as nearly as its rows allow.
    row_multiple: the rows of a batch are a multiple of it.
  """

  lengths: tuple[int, ...]
  batch_tokens: int
  row_multiple: int

  def rows(self, length: int) -> int:
    """Returns how many rows of a length make a batch."""
    multiples = self.batch_tokens // (length * self.row_multiple)
    return max(multiples, 1) * self.row_multiple


def make_shapes(
    max_length: int, batch_tokens: int, row_multiple: int
) -> RowShapes:
  """Chooses row lengths that double, from 128 on, up to the model's.

  Args:
    max_length: tokens of the longest text.
    batch_tokens: tokens of a batch.
    row_multiple: over how many devices rows are split.
  """
  lengths, length = [max_length], _SHORTEST
  while length < max_length:
    lengths.append(length)
    length *= 2
  return RowShapes(tuple(sorted(lengths)), batch_tokens, row_multiple)


def sorted_batches(
    task: str, features: Features, shapes: RowShapes, pad_id: int
) -> Iterator[tuple[np.ndarray, TaskBatch]]:
  """Packs the texts of a split; targets are left out but for places of words.

  Args:
    task: the name of the only task.
    features: of the split.
    shapes: that batches may have.
    pad_id: id of padding.

  Yields:
    Numbers of the texts of a batch, and the batch; places past those numbers
    only fill it up.
  """
  lengths = np.asarray([len(text) for text in features.texts], np.int32)
  order = np.argsort(-lengths, kind="stable")
  classes = np.searchsorted(shapes.lengths, lengths[order])
  for number, row_length in enumerate(shapes.lengths):
    chosen = order[classes == number]
    filled = pack_rows(lengths[chosen], row_length)
    most = shapes.rows(row_length)
    for start in range(0, len(filled), most):
      rows = [chosen[row] for row in filled[start : start + most]]
      yield _make_batch(task, features, rows, (most, row_length), pad_id)


def pack_rows(
    lengths: Sequence[int] | np.ndarray, row_length: int
) -> list[list[int]]:
  """Puts each text into the fullest row that has room for it.

  Args:
    lengths: tokens of each text, falling, none above `row_length`.
    row_length: L.

  Returns:
    For each row, its texts by their place in `lengths`; `MOST_TEXTS` at most.
  """
  rows: list[list[int]] = []
  by_room: list[list[int]] = [[] for _ in range(row_length + 1)]
  rooms = 0  # Bit r is set where a row has room for r tokens.
  for text, length in enumerate(map(int, lengths)):
    fitting = rooms >> length
    if fitting:
      room = length + (fitting & -fitting).bit_length() - 1
      row = by_room[room].pop()
      if not by_room[room]:
        rooms ^= 1 << room
    else:
      row, room = len(rows), row_length
      rows.append([])
    rows[row].append(text)
    if len(rows[row]) < MOST_TEXTS:
      by_room[room - length].append(row)
      rooms |= 1 << (room - length)
  return rows


def _make_batch(
    task: str,
    features: Features,
    rows: Sequence[np.ndarray],
    shape: tuple[int, int],
    pad_id: int,
) -> tuple[np.ndarray, TaskBatch]:
  num_rows, row_length = shape
  numbers = np.concatenate(rows)
  texts = [features.texts[number] for number in numbers]
  per_row = next(n for n in _TEXTS_PER_ROW if n * num_rows >= len(texts))
  empty = per_row * num_rows - len(texts)
  sizes = np.asarray([len(text) for text in texts], np.int32)
  row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
  # Where a text starts, all texts of rows before it and of its own are past.
  ends = np.cumsum(sizes)
  row_starts = np.concatenate([[0], ends])[np.searchsorted(row_of, row_of)]
  starts = row_of * row_length + ends - sizes - row_starts
  packed = packing.pack(
      texts + [np.zeros(0, np.int32)] * empty,
      np.pad(features.first_lengths[numbers], (0, empty)),
      np.pad(starts, (0, empty)),
      num_rows,
      row_length,
      pad_id,
  )
  targets = {}
  if "word_places" in features.targets:  # No text has more words than tokens.
    places = features.targets["word_places"][numbers, :row_length]
    room = row_length - places.shape[1]
    targets["word_places"] = np.pad(places, ((0, empty), (0, room)))
  return numbers, TaskBatch(packed, {}, {task: targets}, np.uint32(0))
