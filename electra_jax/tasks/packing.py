"""Texts of any length -> rows of one length, several texts to a row.

The texts of a batch are its own matter: packing changes neither which they are
nor what is computed of them, only how much padding is computed beside them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

SAMPLED_BATCHES = 256  # How many batches tell the usual number of rows.


class PackedTexts(NamedTuple):
  """One batch; see `models.task_model.TaskModel` for what each array means.

  Attributes:
    input_ids: [R, L].
    owners: [R, L] the number of the text that a token is of, -1 for padding.
    starts: [B] where each text starts in the rows taken as one sequence.
    lengths: [B, 2] of the first segment, and of the whole text.
  """

  input_ids: Int32[np.ndarray, "R L"]
  owners: Int32[np.ndarray, "R L"]
  starts: Int32[np.ndarray, " B"]
  lengths: Int32[np.ndarray, "B 2"]


def place_texts(
    lengths: Int[np.ndarray, " B"], row_length: int
) -> tuple[np.ndarray, int]:
  """Fits texts into as few rows as first-fit-decreasing finds.

  Args:
    lengths: tokens of each text, none above `row_length`; 0 for a text that
      takes no place.
    row_length: L.

  Returns:
    [B] start of each text in the rows taken as one sequence, and the number
    of rows.
  """
  starts = np.zeros(len(lengths), np.int32)
  room: list[int] = []
  for text in np.argsort(-lengths, kind="stable"):
    length = int(lengths[text])
    if not length:
      break
    row = next((r for r, free in enumerate(room) if free >= length), None)
    if row is None:
      row = len(room)
      room.append(row_length)
    starts[text] = row * row_length + row_length - room[row]
    room[row] -= length
  return starts, len(room)


def one_text_a_row(
    lengths: Int[np.ndarray, " B"], row_length: int
) -> tuple[np.ndarray, int]:
  """The placement without packing, for comparison."""
  starts = np.arange(len(lengths), dtype=np.int32) * row_length
  return starts, len(lengths)


def pack(
    texts: Sequence[np.ndarray],
    first_lengths: Int[np.ndarray, " B"],
    starts: np.ndarray,
    num_rows: int,
    row_length: int,
    pad_id: int,
) -> PackedTexts:
  """Writes placed texts into `num_rows` rows.

  Args:
    texts: ids of each text; empty for one that only fills up the batch.
    first_lengths: tokens of each text's first segment.
    starts: of `place_texts`.
    num_rows: R, at least as many as the placement takes.
    row_length: L.
    pad_id: id of padding.
  """
  input_ids = np.full(num_rows * row_length, pad_id, np.int32)
  owners = np.full(num_rows * row_length, -1, np.int32)
  for number, (text, start) in enumerate(zip(texts, starts, strict=True)):
    input_ids[start : start + len(text)] = text
    owners[start : start + len(text)] = number
  lengths = [
      (first, len(text))
      for first, text in zip(first_lengths, texts, strict=True)
  ]
  return PackedTexts(
      input_ids.reshape(num_rows, row_length),
      owners.reshape(num_rows, row_length),
      starts.astype(np.int32),
      np.asarray(lengths, np.int32).reshape(-1, 2),
  )


def choose_row_counts(
    needed: Sequence[int], most: int, multiple: int
) -> tuple[int, ...]:
  """Chooses how many rows a batch may have: each number is one program.

  Args:
    needed: rows that some of the batches take.
    most: rows that no batch exceeds.
    multiple: of which every number is one.

  Returns:
    The usual number, the largest seen and the largest possible, rising.
  """
  usual = int(np.median(needed))
  numbers = (usual, max(needed), most)
  return tuple(sorted({-(-n // multiple) * multiple for n in numbers}))
