"""Token store -> this process's rows of any batch, at random.

A batch is a pure function of the store, the seed, the size of the global batch
and the step: neither of the number of processes nor of where a run was resumed.

The rows of an epoch follow each other in an order of two levels. The blocks of
the store are permuted as a whole and cut into windows of 64 blocks; inside each
window its rows are permuted. So memory holds a few windows at most, every row
comes once an epoch, and any step is found without going through those before.
"""

import collections
import concurrent.futures
import itertools
import queue
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt

from electra_jax.errors import UserError
from electra_jax.store.reader import Split

WINDOW_BLOCKS = 64
_PREFETCHED_BATCHES = 16
_KEPT_WINDOWS = 3  # The last one, the present one and the next one.
_POLL_SECS = 0.1  # How soon an abandoned prefetch thread notices.

# Permutations must never change, so they stand on integer arithmetic alone.
# Source: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number
# generators", the generator known as splitmix64.
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MASK = (1 << 64) - 1


class Batch(NamedTuple):
  """Rows as they lie in the store; masks are derived on the device.

  Attributes:
    input_ids: token ids, filled up with the padding id.
    segment_lengths: length of [CLS] A [SEP], and length of the whole row; both
      0 in a row that only fills up a batch.
  """

  input_ids: UInt[np.ndarray, "B L"]
  segment_lengths: Int32[np.ndarray, "B 2"]


class Feed:
  """The endless stream of training batches, seen by one process."""

  def __init__(
      self,
      split: Split,
      *,
      seed: int,
      global_batch_size: int,
      process_index: int = 0,
      process_count: int = 1,
      window_blocks: int = WINDOW_BLOCKS,
  ):
    """Checks the sizes; nothing is read yet.

    Args:
      split: where the rows lie.
      seed: of the order of rows.
      global_batch_size: rows of a batch over all processes; may be larger than
        the split, which is then repeated.
      process_index: which contiguous part of each batch is this process's.
      process_count: number of parts.
      window_blocks: blocks that are mixed with each other; another number gives
        another order.

    Raises:
      UserError: the split is empty, or the batch does not divide.
    """
    self._split = split
    self._seed = seed
    self._global_batch_size = global_batch_size
    self._batch_size = _local_size(
        split, global_batch_size, process_index, process_count
    )
    self._first_row = process_index * self._batch_size
    self._window_blocks = window_blocks
    self._lock = threading.Lock()
    self._epochs = collections.OrderedDict()
    self._windows = collections.OrderedDict()
    self._loader = concurrent.futures.ThreadPoolExecutor(
        1, thread_name_prefix="window-loader"
    )

  def batch(self, step: int) -> Batch:
    """Returns this process's rows of the batch of one step, from 0.

    Raises:
      UserError: a file of the store is gone or damaged.
    """
    return self._batch(step, ahead=False)

  def iterate(self, start_step: int = 0) -> Iterator[Batch]:
    """Yields the batches from a step on, read ahead in a thread.

    The thread ends when the iterator is closed or collected.

    Raises:
      UserError: a file of the store is gone or damaged.
    """
    batches = queue.Queue(_PREFETCHED_BATCHES)
    stopped = threading.Event()

    def put(item: Batch | Exception) -> None:
      while not stopped.is_set():
        try:
          return batches.put(item, timeout=_POLL_SECS)
        except queue.Full:
          continue

    def produce() -> None:
      try:
        for step in itertools.count(start_step):
          if stopped.is_set():
            return
          put(self._batch(step, ahead=True))
      except Exception as error:  # Raised again where it can be handled.
        put(error)

    thread = threading.Thread(target=produce, name="feed", daemon=True)
    thread.start()
    try:
      while True:
        item = batches.get()
        if isinstance(item, Exception):
          raise item
        yield item
    finally:
      stopped.set()
      thread.join()

  def _batch(self, step: int, *, ahead: bool) -> Batch:
    size, split = self._batch_size, self._split
    batch = Batch(
        np.empty((size, split.length), split.dtype),
        np.empty((size, 2), np.int32),
    )
    position = step * self._global_batch_size + self._first_row
    done = 0
    while done < size:
      epoch, row = divmod(position + done, split.num_rows)
      starts = self._epoch(epoch).starts
      index = int(np.searchsorted(starts, row, side="right")) - 1
      window = self._window(epoch, index).result()
      if ahead:
        last = index + 1 == len(starts) - 1
        self._window(*((epoch + 1, 0) if last else (epoch, index + 1)))
      count = min(size - done, int(starts[index + 1]) - row)
      first = row - int(starts[index])
      rows = window.order[first : first + count]
      # Every row number is in range; "clip" spares a second copy.
      for source, target in zip(
          (window.input_ids, window.segment_lengths), batch, strict=True
      ):
        target = target[done : done + count]
        np.take(source, rows, axis=0, out=target, mode="clip")
      done += count
    return batch

  def _epoch(self, epoch: int) -> "_Epoch":
    with self._lock:
      if epoch not in self._epochs:
        self._epochs[epoch] = _plan_epoch(
            self._split.block_sizes, self._window_blocks, self._seed, epoch
        )
        while len(self._epochs) > 2:
          self._epochs.popitem(last=False)
      return self._epochs[epoch]

  def _window(
      self, epoch: int, index: int
  ) -> "concurrent.futures.Future[_Window]":
    plan = self._epoch(epoch)
    key = epoch, index
    with self._lock:
      if key not in self._windows:
        first = index * self._window_blocks
        blocks = plan.blocks[first : first + self._window_blocks]
        self._windows[key] = self._loader.submit(
            _load_window, self._split, blocks, (self._seed, epoch, 1 + index)
        )
        while len(self._windows) > _KEPT_WINDOWS:
          self._windows.popitem(last=False)
      return self._windows[key]


def evaluation_batches(
    split: Split,
    *,
    batch_size: int,
    row_multiple: int = 1,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
  """Yields each row of a split once, in order.

  Batches are filled up with empty rows, so that all have the same shape and
  every process sees the same number of them.

  Args:
    split: where the rows lie.
    batch_size: rows of a batch over all processes.
    row_multiple: what the rows of a batch, empty ones included, divide by.
    process_index: which contiguous part of each batch is this process's.
    process_count: number of parts.

  Returns:
    The batches of this process.

  Raises:
    UserError: the split is empty, or the batch does not divide; at once, not
      with the first batch.
  """
  filled = -(-batch_size // row_multiple) * row_multiple
  size = _local_size(split, filled, process_index, process_count)
  first_rows = range(process_index * size, split.num_rows, batch_size)
  num_batches = -(-split.num_rows // batch_size)
  return _rows_in_order(split, size, first_rows, num_batches)


def permutation(size: int, *key: int) -> Int64[np.ndarray, " N"]:
  """Permutes the numbers below `size`; a key fixes the permutation.

  Sorts a hash of the numbers. The hash is a bijection, so that no two are equal
  and the order does not depend on how the sort treats ties.
  """
  state = 0
  for part in key:
    state = _mix((state + _GOLDEN_GAMMA + part) & _MASK)
  numbers = np.arange(size, dtype=np.uint64)
  return np.argsort(_mix(numbers * np.uint64(_GOLDEN_GAMMA) + np.uint64(state)))


class _Epoch(NamedTuple):
  """The order of blocks in one epoch.

  Attributes:
    blocks: [blocks] indices in the order of this epoch.
    starts: [windows + 1] rows of the epoch before each window.
  """

  blocks: np.ndarray
  starts: np.ndarray


class _Window(NamedTuple):
  """The rows of some blocks, and the order in which they come."""

  input_ids: np.ndarray  # [rows, L]
  segment_lengths: np.ndarray  # [rows, 2]
  order: np.ndarray  # [rows]


def _plan_epoch(
    block_sizes: np.ndarray, window_blocks: int, seed: int, epoch: int
) -> _Epoch:
  blocks = permutation(len(block_sizes), seed, epoch, 0)
  firsts = np.arange(0, len(blocks), window_blocks)
  window_sizes = np.add.reduceat(block_sizes[blocks], firsts)
  return _Epoch(blocks, np.concatenate([[0], np.cumsum(window_sizes)]))


def _load_window(
    split: Split, blocks: np.ndarray, key: tuple[int, ...]
) -> _Window:
  rows = int(split.block_sizes[blocks].sum())
  input_ids = np.empty((rows, split.length), split.dtype)
  segment_lengths = np.empty((rows, 2), np.int32)
  done = 0
  for index in blocks:
    block = split.read_block(int(index))
    target = slice(done, done + len(block))
    input_ids[target] = block[:, : split.length]
    segment_lengths[target] = block[:, split.length :]
    done += len(block)
  return _Window(input_ids, segment_lengths, permutation(rows, *key))


def _rows_in_order(
    split: Split, size: int, first_rows: range, num_batches: int
) -> Iterator[Batch]:
  starts = np.concatenate([[0], np.cumsum(split.block_sizes)])
  held, block = -1, None
  for number in range(num_batches):
    batch = Batch(
        np.full((size, split.length), split.pad_id, split.dtype),
        np.zeros((size, 2), np.int32),
    )
    row = first_rows.start + number * first_rows.step
    batch_end = (number + 1) * first_rows.step
    end = min(row + size, batch_end, split.num_rows)
    done = 0
    while row < end:
      index = int(np.searchsorted(starts, row, side="right")) - 1
      if index != held:
        held, block = index, split.read_block(index)
      rows = block[row - starts[index] : end - starts[index]]
      target = slice(done, done + len(rows))
      batch.input_ids[target] = rows[:, : split.length]
      batch.segment_lengths[target] = rows[:, split.length :]
      done += len(rows)
      row += len(rows)
    yield batch


def _local_size(
    split: Split, batch_size: int, process_index: int, process_count: int
) -> int:
  if split.num_rows == 0:
    raise UserError(
        f"{split.origin} has no rows; prepare it from more text, or with a"
        " larger --validation-percent"
    )
  if batch_size < 1 or batch_size % process_count:
    raise UserError(
        f"a batch of {batch_size} rows does not divide over {process_count}"
        " processes; choose a multiple"
    )
  if not 0 <= process_index < process_count:
    raise UserError(
        f"process_index={process_index} is not one of {process_count} processes"
        " counted from 0"
    )
  return batch_size // process_count


def _mix(x):
  """The finishing function of splitmix64, for an int or a uint64 array."""
  if isinstance(x, int):
    x = ((x ^ (x >> 30)) * _MULTIPLIERS[0]) & _MASK
    x = ((x ^ (x >> 27)) * _MULTIPLIERS[1]) & _MASK
    return x ^ (x >> 31)
  first, second = map(np.uint64, _MULTIPLIERS)
  x = (x ^ (x >> np.uint64(30))) * first
  x = (x ^ (x >> np.uint64(27))) * second
  return x ^ (x >> np.uint64(31))
