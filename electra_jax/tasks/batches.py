"""Features -> batches: which texts, and how they are packed into rows.

A training batch is a pure function of the features, the seed, the batch size
and the step, as in pre-training; packing does not touch the choice of texts.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from electra_jax.errors import UserError
from electra_jax.store.feed import permutation
from electra_jax.tasks import packing
from electra_jax.tasks.features import Features


class TaskBatch(NamedTuple):
  """One batch of B texts, of any of the tasks.

  Attributes:
    texts: packed into rows.
    weights: by task, [B] 0 where the text is of another task; 1 where it is of
      this one, or its share of 1 where it is one of an example's windows.
    targets: by task and name, [B, ...], zeros in texts of other tasks.
    seed: of the run, for dropout.
  """

  texts: packing.PackedTexts
  weights: Mapping[str, np.ndarray]
  targets: Mapping[str, Mapping[str, np.ndarray]]
  seed: np.uint32


class Batches:
  """Makes the batches of one or several tasks.

  Attributes:
    features: by task.
    batch_size: texts of a batch over all processes.
    num_texts: of all tasks.
    group: texts that a batch holds all or none of.
    row_counts: how many rows a batch may have.
  """

  def __init__(
      self,
      features: Mapping[str, Features],
      *,
      batch_size: int,
      row_length: int,
      pad_id: int,
      is_packed: bool = True,
      accumulation_steps: int = 1,
      row_multiple: int = 1,
  ):
    """Chooses how many rows a batch may have.

    Args:
      features: by task.
      batch_size: texts of a batch over all processes.
      row_length: L.
      pad_id: id of padding.
      is_packed: whether several texts may share a row.
      accumulation_steps: equal parts of a batch, packed each for itself; rows
        and texts are dealt to them in turn.
      row_multiple: the rows of a part are a multiple of it.

    Raises:
      UserError: a task has no text.
    """
    self.features = features
    (self.group,) = {some.group for some in features.values()}
    self.batch_size = batch_size
    self._row_length = row_length
    self._pad_id = pad_id
    self._place = packing.place_texts if is_packed else packing.one_text_a_row
    self._parts = accumulation_steps
    self.num_texts = sum(map(len, features.values()))
    empty = [name for name, some in features.items() if not len(some)]
    if empty:
      raise UserError(
          f"there is no example of {', '.join(empty)} to make batches of; give"
          " data that has some"
      )
    self._lengths = np.asarray(
        [len(text) for f in features.values() for text in f.texts], np.int32
    )
    most = batch_size // accumulation_steps
    needed = [most]
    if is_packed:
      sample = min(packing.SAMPLED_BATCHES, self.steps_of(1.0))
      needed = [
          max(rows for _, rows in self._place_parts(self._numbers(0, i)))
          for i in range(sample)
      ]
    self.row_counts = packing.choose_row_counts(needed, most, row_multiple)

  def describe(self) -> str:
    """Says how many texts a batch has, and in which rows."""
    rows = " or ".join(map(str, self.row_counts))
    return (
        f"{self.batch_size} texts in {rows} rows of {self._row_length} tokens"
    )

  def steps_of(self, epochs: float) -> int:
    """Returns the steps of some passes over the texts, as released.

    Source: release finetune/preprocessing.py: texts are filled up to whole
    batches.
    """
    batches = -(-self.num_texts // self.batch_size)
    return max(1, int(batches * epochs))

  def training(self, seed: int, start_step: int = 0) -> Iterator[TaskBatch]:
    """Yields endless batches, each epoch in an order of its own."""
    for step in itertools.count(start_step):
      yield self.make(self._numbers(seed, step), seed)

  def in_order(self) -> Iterator[TaskBatch]:
    """Yields every text once; the last batch is filled up with none (-1)."""
    for start in range(0, self.num_texts, self.batch_size):
      numbers = np.arange(start, start + self.batch_size)
      yield self.make(np.where(numbers < self.num_texts, numbers, -1), 0)

  def make(self, numbers: Int[np.ndarray, " B"], seed: int) -> TaskBatch:
    """Builds the batch of some texts.

    Args:
      numbers: of the texts, counted over all tasks; -1 for none.
      seed: of the run.
    """
    placed = self._place_parts(numbers)
    needed = max(rows for _, rows in placed)
    num_rows = next(n for n in self.row_counts if n >= needed)
    packed = [
        self._pack(numbers[i :: self._parts], starts, num_rows)
        for i, (starts, _) in enumerate(placed)
    ]
    weights, targets = {}, {}
    first = 0
    for name, features in self.features.items():
      local = numbers - first
      is_own = (local >= 0) & (local < len(features))
      local = np.where(is_own, local, 0)
      weights[name] = is_own.astype(np.float32)
      if features.weights is not None:
        weights[name] *= features.weights[local]
      targets[name] = {
          key: _only(values[local], is_own)
          for key, values in features.targets.items()
      }
      first += len(features)
    return TaskBatch(_deal(packed), weights, targets, np.uint32(seed))

  def _numbers(self, seed: int, step: int) -> np.ndarray:
    size = self.batch_size // self.group
    positions = step * size + np.arange(size)
    epochs, places = np.divmod(positions, self.num_texts // self.group)
    groups = np.concatenate(
        [
            self._order(seed, int(epoch))[places[epochs == epoch]]
            for epoch in np.unique(epochs)
        ]
    )
    return (groups[:, None] * self.group + np.arange(self.group)).ravel()

  @functools.lru_cache(maxsize=4)  # noqa: B019  # Lives as long as the run.
  def _order(self, seed: int, epoch: int) -> np.ndarray:
    return permutation(self.num_texts // self.group, seed, epoch)

  def _place_parts(self, numbers: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Returns, for each part of a batch, the texts' starts and its rows."""
    lengths = np.where(numbers >= 0, self._lengths[numbers], 0)
    return [
        self._place(lengths[i :: self._parts], self._row_length)
        for i in range(self._parts)
    ]

  def _pack(
      self, numbers: np.ndarray, starts: np.ndarray, num_rows: int
  ) -> packing.PackedTexts:
    texts, first_lengths = [], []
    for number in numbers:
      text, first_length = self._text(int(number))
      texts.append(text)
      first_lengths.append(first_length)
    return packing.pack(
        texts,
        np.asarray(first_lengths, np.int32),
        starts,
        num_rows,
        self._row_length,
        self._pad_id,
    )

  def _text(self, number: int) -> tuple[np.ndarray, int]:
    if number < 0:
      return np.zeros(0, np.int32), 0
    for features in self.features.values():
      if number < len(features):
        return features.texts[number], int(features.first_lengths[number])
      number -= len(features)
    raise IndexError(number)


def _deal(parts: list[packing.PackedTexts]) -> packing.PackedTexts:
  """Interleaves parts, so that row i is of part i modulo their number."""

  def interleave(*arrays):
    stacked = np.stack(arrays, axis=1)
    return stacked.reshape(-1, *arrays[0].shape[1:])

  return packing.PackedTexts(*map(interleave, *parts))


def _only(values: np.ndarray, is_own: np.ndarray) -> np.ndarray:
  shape = (-1,) + (1,) * (values.ndim - 1)
  return values * is_own.reshape(shape).astype(values.dtype)
