"""Sources and targets -> batches of pairs of like length.

A training batch is a pure function of the features, the seed, the batch size
and the step. So that little padding is computed, the pairs of POOL batches are
sorted by length before batches are cut from them, and these come in an order of
their own. Batches have one of few shapes, each of which is a program.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32

from electra_jax.errors import UserError
from electra_jax.store.feed import permutation
from electra_jax.tasks.feature_arrays import Features
from electra_jax.tasks.generation_features import TARGET_IDS, TARGET_LENGTHS

POOL = 32  # Batches that are sorted by length together.
_ORDER_SEED = 2**31  # Added to the seed: of the order within a pool.
_MULTIPLE = 8  # Of tokens a row.
_SHARES = (2, 1)  # A row has half of the longest length, or all of it.


class GenerationBatch(NamedTuple):
  """One batch of B pairs.

  Attributes:
    source_ids: [B, S] padding behind the tokens.
    source_mask: [B, S] 1 for tokens.
    source_segments: [B, S] 1 for the second text of a source.
    target_ids: [B, T] what the network has written before: the begin of text,
      and the target but for its last token.
    target_mask: [B, T] 1 for what has been written before.
    labels: [B, T] what it is to write there; the last one is the end of text.
    weights: [B, T] 1 for tokens of a target, 0 for padding and in rows that
      only fill up a batch.
    seed: of the run, for dropout.
  """

  source_ids: Int32[np.ndarray, "B S"]
  source_mask: Int32[np.ndarray, "B S"]
  source_segments: Int32[np.ndarray, "B S"]
  target_ids: Int32[np.ndarray, "B T"]
  target_mask: Int32[np.ndarray, "B T"]
  labels: Int32[np.ndarray, "B T"]
  weights: Float32[np.ndarray, "B T"]
  seed: np.uint32


class GenerationBatches:
  """Makes the batches of one task.

  Attributes:
    features: by task.
    batch_size: pairs of a batch over all processes.
    num_texts: pairs.
    group: 1, as of `batches.Batches`.
  """

  group = 1

  def __init__(
      self,
      features: Mapping[str, Features],
      *,
      batch_size: int,
      begin_id: int,
      pad_id: int,
      row_multiple: int = 1,
      source_lengths: Sequence[int] | None = None,
      target_lengths: Sequence[int] | None = None,
  ):
    """Chooses the shapes of batches.

    Args:
      features: of the only task, by its name.
      batch_size: pairs of a batch over all processes.
      begin_id: id that a written text begins with.
      pad_id: id of padding.
      row_multiple: the rows of a batch are a multiple of it.
      source_lengths: tokens that sources are padded to, rising; by default up
        to the longest one.
      target_lengths: the same of targets.

    Raises:
      UserError: there is no pair.
    """
    self.features = features
    ((name, self._features),) = features.items()
    self.batch_size = -(-batch_size // row_multiple) * row_multiple
    self._begin_id, self._pad_id = begin_id, pad_id
    self.num_texts = len(self._features)
    if not self.num_texts:
      raise UserError(
          f"there is no example of {name} to make batches of; give data that"
          " has some"
      )
    self._sources = np.asarray(
        [len(text) for text in self._features.texts], np.int32
    )
    self._targets = self._features.targets[TARGET_LENGTHS]
    self._source_lengths = source_lengths or lengths_up_to(
        int(self._sources.max())
    )
    self._target_lengths = target_lengths or lengths_up_to(
        int(self._targets.max(initial=1))
    )

  def describe(self) -> str:
    """Says how many pairs a batch has, and of which lengths."""
    sources, targets = (
        " or ".join(map(str, lengths))
        for lengths in (self._source_lengths, self._target_lengths)
    )
    return (
        f"{self.batch_size} pairs of like length, padded to {sources} tokens"
        f" of source and {targets} of target"
    )

  def steps_of(self, epochs: float) -> int:
    """Returns the steps of some passes over the pairs, in whole batches."""
    batches = -(-self.num_texts // self.batch_size)
    return max(1, int(batches * epochs))

  def training(
      self, seed: int, start_step: int = 0
  ) -> Iterator[GenerationBatch]:
    """Yields endless batches; each epoch has every pair once."""
    for step in itertools.count(start_step):
      pool, place = divmod(step, POOL)
      yield self.make(self._pool(seed, pool)[place], seed)

  def in_order(self) -> Iterator[tuple[np.ndarray, GenerationBatch]]:
    """Yields every pair once, the longest first.

    Yields:
      Numbers of the pairs of a batch, and the batch; rows past those numbers
      only fill it up.
    """
    order = np.lexsort((-self._targets, -self._sources))
    for start in range(0, self.num_texts, self.batch_size):
      numbers = order[start : start + self.batch_size]
      filled = np.full(self.batch_size, -1)
      filled[: len(numbers)] = numbers
      yield numbers, self.make(filled, 0)

  def make(self, numbers: Int[np.ndarray, " B"], seed: int) -> GenerationBatch:
    """Builds the batch of some pairs.

    Args:
      numbers: of the pairs; -1 for a row that only fills up: it reads the first
        pair, and weighs nothing.
      seed: of the run.
    """
    is_real = numbers >= 0
    numbers = np.where(is_real, numbers, numbers[0] if len(numbers) else 0)
    sources, targets = self._sources[numbers], self._targets[numbers]
    length = _room(self._source_lengths, int(sources.max()))
    room = _room(self._target_lengths, int(targets.max()))
    ids = np.full((len(numbers), length), self._pad_id, np.int32)
    for row, number in zip(ids, numbers, strict=True):
      text = self._features.texts[number]
      row[: len(text)] = text
    places = np.arange(length)[None]
    mask = places < sources[:, None]
    is_second = places >= self._features.first_lengths[numbers][:, None]
    labels = np.full((len(numbers), room), self._pad_id, np.int32)
    known = self._features.targets[TARGET_IDS][numbers, :room]
    labels[:, : known.shape[1]] = known
    written = np.arange(room)[None] < targets[:, None]
    before = np.pad(labels, ((0, 0), (1, 0)), constant_values=self._begin_id)
    # The last label is never read.
    before = np.where(written, before[:, :-1], self._pad_id)
    before[:, 0] = self._begin_id
    return GenerationBatch(
        ids,
        mask.astype(np.int32),
        (mask & is_second).astype(np.int32),
        before.astype(np.int32),
        (written | (np.arange(room) == 0)[None]).astype(np.int32),
        labels,
        (written & is_real[:, None]).astype(np.float32),
        np.uint32(seed),
    )

  @functools.lru_cache(maxsize=2)  # noqa: B019  # Lives as long as the run.
  def _pool(self, seed: int, pool: int) -> list[np.ndarray]:
    """Returns the pairs of POOL batches."""
    size = POOL * self.batch_size
    positions = pool * size + np.arange(size)
    epochs, places = np.divmod(positions, self.num_texts)
    numbers = np.concatenate(
        [
            permutation(self.num_texts, seed, int(epoch))[
                places[epochs == epoch]
            ]
            for epoch in np.unique(epochs)
        ]
    )
    keys = (
        self._sources[numbers],
        np.searchsorted(self._target_lengths, self._targets[numbers]),
        np.searchsorted(self._source_lengths, self._sources[numbers]),
    )
    numbers = numbers[np.lexsort(keys)]
    order = permutation(POOL, seed + _ORDER_SEED, pool)
    return [
        numbers[place * self.batch_size : (place + 1) * self.batch_size]
        for place in order
    ]


def lengths_up_to(longest: int) -> tuple[int, ...]:
  """Returns the row lengths for texts of up to so many tokens, rising."""
  wanted = (-(-longest // share) for share in _SHARES)
  rounded = (-(-n // _MULTIPLE) * _MULTIPLE for n in wanted)
  # No row is longer than the positions of a network, which `longest` may be.
  return tuple(sorted({min(n, longest) for n in rounded}))


def _room(lengths: Sequence[int], longest: int) -> int:
  return next(length for length in lengths if length >= longest)
