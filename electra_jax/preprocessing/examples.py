"""Documents of token ids -> rows of one or two segments.

Two ways of packing. `released` follows the original builder, which begins each
row with a whole line and throws away what does not fit. `full` carries the rest
over to the next row, so that no token is lost and no row is short.

A row is `[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]` with segment ids 0 and 1.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from electra_jax.text.tokenizer import SpecialIds

# Release, build_pretraining_dataset.py:ExampleBuilder.
SINGLE_SEGMENT_SHARE = 0.1
SHORT_TARGET_SHARE = 0.05
MIN_TARGET_LENGTH = 5
_NO_LIMIT = 100_000  # First-segment target of a single-segment example.

MIN_LENGTH = 8  # The shortest row in which both segments hold some tokens.
PACKINGS = ("released", "full")


class SegmentPair(NamedTuple):
  """The token ids of one row, without special tokens.

  Attributes:
    first: segment A.
    second: segment B; empty in a single-segment example.
  """

  first: list[int]
  second: list[int]


class ExampleBuilder:
  """Makes examples out of lines as the release does, draw for draw.

  Driven over the same lines with the same generator state, it returns the
  release's examples id for id. Two faults are the release's own: text beyond
  the row is thrown away, and a late short line may still go to segment A, so
  that the order of lines is not always kept.

  Source: release build_pretraining_dataset.py:ExampleBuilder.
  """

  def __init__(self, max_length: int, rng: random.Random):
    """Starts without lines.

    Args:
      max_length: tokens of a row, special tokens included.
      rng: the only source of chance.
    """
    self._max_length = max_length
    self._rng = rng
    self._target_length = max_length
    self._lines = []
    self._num_tokens = 0

  def add_line(self, ids: list[int]) -> SegmentPair | None:
    """Takes one line of text; returns an example once enough is there."""
    self._lines.append(ids)
    self._num_tokens += len(ids)
    if self._num_tokens >= self._target_length:
      return self._make_example()
    return None

  def end_document(self) -> SegmentPair | None:
    """Returns what is left as an example, or None where nothing is."""
    return self._make_example() if self._num_tokens else None

  def draw_target_length(self) -> None:
    """Draws how many tokens the next example waits for."""
    self._target_length = self._max_length
    if self._rng.random() < SHORT_TARGET_SHARE:
      self._target_length = self._rng.randint(
          MIN_TARGET_LENGTH, self._max_length
      )

  def _make_example(self) -> SegmentPair:
    # The order of the draws is part of the contract with the release.
    if self._rng.random() < SINGLE_SEGMENT_SHARE:
      first_target = _NO_LIMIT
    else:
      first_target = (self._target_length - 3) // 2
    first, second = [], []
    for line in self._lines:
      if (
          not first
          or len(first) + len(line) < first_target
          or (
              not second
              and len(first) < first_target
              and self._rng.random() < 0.5
          )
      ):
        first.extend(line)
      else:
        second.extend(line)
    first = first[: self._max_length - 2]
    second = second[: max(0, self._max_length - len(first) - 3)]
    self._lines = []
    self._num_tokens = 0
    self.draw_target_length()
    return SegmentPair(first, second)


def released_examples(
    lines: Iterable[list[int]], *, max_length: int, rng: random.Random
) -> Iterator[SegmentPair]:
  """Makes the released examples of one document.

  Unlike the release, nothing is carried over from one document to the next, so
  that the examples depend on nothing but the document and `rng`; the first
  target length, which the release carries over, is drawn anew.

  Args:
    lines: token ids of each line.
    max_length: tokens of a row, special tokens included.
    rng: the document's own source of chance.

  Yields:
    The examples in order.
  """
  builder = ExampleBuilder(max_length, rng)
  builder.draw_target_length()
  for ids in lines:
    example = builder.add_line(ids)
    if example is not None:
      yield example
  example = builder.end_document()
  if example is not None:
    yield example


def full_examples(
    documents: Iterable[Sequence[list[int]]],
    *,
    max_length: int,
    separator: int,
    rng: random.Random,
) -> Iterator[SegmentPair]:
  """Packs documents one after the other without losing a token.

  Every row is filled to `max_length`, but for the last. One row in ten has a
  single segment; in the others segment A ends with a line where that comes near
  to half of the row, as in the release. Between two documents inside of one
  segment stands a separator.

  Args:
    documents: token ids of each line of each document.
    max_length: tokens of a row, special tokens included.
    separator: id that is put between documents, that of [SEP].
    rng: the only source of chance.

  Yields:
    The examples in order.

  Source: FULL-SENTENCES of RoBERTa §4.2; segments as `ExampleBuilder`.
  """
  tokens, ends, boundaries = _join(documents)
  cursor = _Cursor(tokens, boundaries, separator)
  line = 0
  while not cursor.is_at_end:
    first_target = (max_length - 3) // 2
    if rng.random() < SINGLE_SEGMENT_SHARE:
      yield SegmentPair(cursor.take(max_length - 2), [])
      continue
    while ends[line] <= cursor.position:
      line += 1
    size = ends[line] - cursor.position
    # Further lines go to the first segment by the rules of the release.
    while line + 1 < len(ends):
      longer = ends[line + 1] - cursor.position
      if longer >= first_target and (
          size >= first_target or rng.random() >= 0.5
      ):
        break
      size = longer
      line += 1
    if size > max_length - 4:  # No room for a second segment of one token.
      yield SegmentPair(cursor.take(max_length - 2), [])
      continue
    first = cursor.take_until(cursor.position + size, max_length - 4)
    yield SegmentPair(first, cursor.take(max_length - 3 - len(first)))


def pack_examples(
    examples: Sequence[SegmentPair],
    *,
    max_length: int,
    special: SpecialIds,
    dtype: np.dtype,
) -> np.ndarray:
  """Lays examples out as rows of the token store.

  Args:
    examples: token ids without special tokens.
    max_length: L, tokens of a row.
    special: ids of the special tokens.
    dtype: unsigned integer type of the store.

  Returns:
    [rows, L + 2]: the ids, filled up with the padding id; then the length of
    [CLS] A [SEP] and the length of the whole. Segment ids and input mask follow
    from these two and are not stored.
  """
  rows = np.full((len(examples), max_length + 2), special.pad, dtype)
  for row, (first, second) in zip(rows, examples, strict=True):
    ids = [special.cls, *first, special.sep]
    first_length = len(ids)
    if second:
      ids += [*second, special.sep]
    row[: len(ids)] = ids
    row[max_length:] = first_length, len(ids)
  return rows


class _Cursor:
  """Reads a stream of tokens, with a separator where documents meet."""

  def __init__(self, tokens: list[int], boundaries: set[int], separator: int):
    self.position = 0
    self._tokens = tokens
    self._boundaries = sorted(boundaries)
    self._next = 0  # Index of the first boundary that lies ahead.
    self._separator = separator

  @property
  def is_at_end(self) -> bool:
    return self.position == len(self._tokens)

  def take(self, count: int) -> list[int]:
    """Reads up to `count` ids, separators included."""
    return self.take_until(len(self._tokens), count)

  def take_until(self, stop: int, count: int) -> list[int]:
    """Reads up to `count` ids, going no further than position `stop`."""
    taken = []
    while len(taken) < count and self.position < stop:
      boundary = self._boundary_ahead()
      size = min(count - len(taken), min(stop, boundary) - self.position)
      taken += self._tokens[self.position : self.position + size]
      self.position += size
      if self.position == boundary < stop and len(taken) < count:
        taken.append(self._separator)
    return taken

  def _boundary_ahead(self) -> int:
    while self._boundaries[self._next] <= self.position:
      self._next += 1
    return self._boundaries[self._next]


def _join(
    documents: Iterable[Sequence[list[int]]],
) -> tuple[list[int], list[int], set[int]]:
  """Returns all tokens, where each line ends and where each document ends."""
  tokens, ends, boundaries = [], [], set()
  for document in documents:
    for line in document:
      tokens += line
      if line:
        ends.append(len(tokens))
    if tokens:
      boundaries.add(len(tokens))
  return tokens, ends, boundaries
