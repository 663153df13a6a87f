"""The feed: a batch is a pure function of store, seed, batch size and step."""

import itertools
import threading
import time

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.store import feed as feed_module
from electra_jax.store.feed import Feed, evaluation_batches, permutation
from electra_jax.store.reader import Split


class Rows(Split):
  """A split in memory whose row r holds the number r, in blocks."""

  def __init__(self, *block_sizes):  # Instead of a folder.
    self.block_sizes = np.array(block_sizes, np.int64)
    self.num_rows = sum(block_sizes)
    self.length = 4
    self.dtype = np.dtype(np.uint16)
    self.pad_id = 7
    self.origin = "the train split of nowhere"
    self.reads = []

  def read_block(self, index):
    self.reads.append(index)
    first = self.block_sizes[:index].sum()
    block = np.full((self.block_sizes[index], 6), 9, np.uint16)
    block[:, 0] = first + np.arange(len(block))
    block[:, 4:] = 2, 3
    return block


def numbers(batch):
  return batch.input_ids[:, 0].tolist()


block_sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    block_sizes, st.integers(1, 20), st.integers(1, 5), st.integers(0, 2**40)
)
def test_every_row_comes_once_an_epoch(sizes, batch_size, window_blocks, seed):
  rows = Rows(*sizes)
  feed = make(rows, seed, batch_size, window_blocks=window_blocks)
  stream = []
  while len(stream) < 3 * rows.num_rows:
    stream += numbers(feed.batch(len(stream) // batch_size))
  for epoch in range(3):
    part = stream[epoch * rows.num_rows : (epoch + 1) * rows.num_rows]
    assert sorted(part) == list(range(rows.num_rows))


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    block_sizes, st.sampled_from([(2, 4), (3, 9), (4, 4), (8, 24)]),
    st.integers(0, 10**9),
)  # fmt: skip
def test_processes_share_a_batch_without_changing_it(sizes, counts, step):
  process_count, batch_size = counts
  rows = Rows(*sizes)
  whole = make(rows, 5, batch_size, window_blocks=2).batch(step)
  parts = [
      make(
          rows,
          5,
          batch_size,
          window_blocks=2,
          process_index=i,
          process_count=process_count,
      ).batch(step)
      for i in range(process_count)
  ]
  for field, found in zip(whole, zip(*parts, strict=True), strict=True):
    np.testing.assert_array_equal(field, np.concatenate(found))


def test_resumed_anywhere_the_stream_goes_on_alike():
  rows = Rows(*[50] * 20, 13)
  feed = make(rows, 1, 48, window_blocks=4)
  expected = [numbers(feed.batch(step)) for step in range(60)]
  for start in (0, 1, 21, 22, 40):
    batches = make(rows, 1, 48, window_blocks=4).iterate(start)
    found = [numbers(next(batches)) for _ in range(60 - start)]
    assert found == expected[start:]
    batches.close()


def test_whole_rows_arrive():
  batch = make(Rows(5, 5), 0, 4).batch(0)
  assert batch.input_ids.shape == (4, 4)
  assert batch.input_ids.dtype == np.uint16
  assert (batch.input_ids[:, 1:] == 9).all()
  assert batch.segment_lengths.dtype == np.int32
  assert batch.segment_lengths.tolist() == [[2, 3]] * 4
  assert batch.input_ids.flags.c_contiguous


def test_seed_and_epoch_change_the_order():
  rows = Rows(*[100] * 10)
  orders = [
      tuple(numbers(make(rows, seed, 1000).batch(epoch)))
      for seed in range(2)
      for epoch in range(2)
  ]
  assert len(set(orders)) == 4


def test_rows_are_mixed_far_and_near():
  rows = Rows(*[100] * 100)
  feed = make(rows, 0, 1000, window_blocks=10)
  found = np.array([numbers(feed.batch(step)) for step in range(10)])
  # A batch is a window here: ten blocks from anywhere, in no order.
  blocks = found // 100
  assert all(len(set(each)) == 10 for each in blocks)
  assert np.ptp(blocks, axis=1).min() > 40
  repeats = (blocks[:, 1:] == blocks[:, :-1]).mean()
  assert repeats == pytest.approx(0.1, abs=0.02)


def test_order_stands_for_ever():
  assert (
      feed_module._mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
  )  # Published.
  assert feed_module._mix(np.arange(9, dtype=np.uint64)).tolist() == [
      feed_module._mix(i) for i in range(9)
  ]
  # Written down once: resumed runs count on these orders.
  assert permutation(8).tolist() == [0, 3, 5, 7, 6, 2, 1, 4]
  assert permutation(8, 1, 2, 3).tolist() == [0, 6, 1, 4, 7, 2, 5, 3]
  feed = make(Rows(3, 3, 2), 42, 8)
  assert numbers(feed.batch(0)) == [6, 1, 3, 4, 7, 5, 2, 0]
  assert numbers(feed.batch(10**6)) == [6, 4, 5, 7, 1, 0, 3, 2]
  # Two windows of one block each, whose rows have orders of their own.
  feed = make(Rows(6, 6), 42, 6, window_blocks=1)
  first, second = (numbers(feed.batch(step)) for step in range(2))
  assert first == [0, 3, 5, 1, 4, 2]
  assert second == [8, 6, 10, 7, 9, 11]


@hypothesis.given(st.integers(0, 300), st.lists(st.integers(0, 2**64 - 1)))
def test_permutations_are_permutations(size, key):
  assert sorted(permutation(size, *key)) == list(range(size))


def test_permutations_are_even():
  places = np.array([permutation(10, 0, i) for i in range(4000)])
  counts = [np.bincount(column, minlength=10) for column in places.T]
  # 400 expected in each of 100 cells; chi-squared of 81 degrees of freedom.
  chi_squared = ((np.array(counts) - 400) ** 2 / 400).sum()
  assert 40 < chi_squared < 130


def test_any_step_is_found_without_reading_up_to_it():
  rows = Rows(*[10] * 1000)
  make(rows, 0, 20, window_blocks=8).batch(10**6)
  assert len(rows.reads) <= 16


def test_a_batch_larger_than_the_split_wraps():
  batch = make(Rows(2, 1), 0, 7).batch(0)
  assert np.bincount(numbers(batch)).sum() == 7
  assert set(np.bincount(numbers(batch))) == {2, 3}


def test_the_thread_ends_with_its_iterator():
  before = threading.active_count()
  batches = make(Rows(*[10] * 50), 0, 4).iterate()
  next(batches)
  assert any(t.name == "feed" for t in threading.enumerate())
  batches.close()
  assert not any(t.name == "feed" for t in threading.enumerate())
  assert threading.active_count() <= before + 1  # The idle window loader.


def test_reading_ahead_is_bounded():
  rows = Rows(*[10] * 1000)
  batches = make(rows, 0, 10, window_blocks=4).iterate()
  next(batches)
  deadline = time.monotonic() + 0.5
  while time.monotonic() < deadline:
    time.sleep(0.02)
  assert len(rows.reads) <= 40
  batches.close()


def test_errors_reach_the_consumer():
  rows = Rows(*[10] * 8)
  read = rows.read_block

  def fail_on_block(index):
    if index == 5:
      raise UserError("block 5 is gone")
    return read(index)

  rows.read_block = fail_on_block
  batches = make(rows, 0, 10, window_blocks=1).iterate()
  with pytest.raises(UserError, match="block 5 is gone"):
    for _ in range(8):
      next(batches)
  assert not any(t.name == "feed" for t in threading.enumerate())


@pytest.mark.parametrize(
    ("row_multiple", "process_count"), [(1, 1), (1, 2), (1, 4), (6, 1), (8, 4)]
)
@pytest.mark.parametrize("sizes", [(4, 4, 2), (1,), (8,), (3, 9)])
def test_evaluation_sees_each_row_once_in_order(
    sizes, row_multiple, process_count
):
  rows = Rows(*sizes)
  parts = [
      list(
          evaluation_batches(
              rows,
              batch_size=4,
              row_multiple=row_multiple,
              process_index=i,
              process_count=process_count,
          )
      )
      for i in range(process_count)
  ]
  assert len(rows.reads) <= process_count * len(sizes)
  assert {len(part) for part in parts} == {-(-rows.num_rows // 4)}
  filled = max(4, row_multiple)
  found = []
  for batches in zip(*parts, strict=True):
    for batch in batches:
      assert batch.input_ids.shape == (filled // process_count, 4)
      real = batch.segment_lengths[:, 1] > 0
      assert (batch.segment_lengths[real] == [2, 3]).all()
      assert (batch.input_ids[~real] == rows.pad_id).all()
      assert (batch.segment_lengths[~real] == 0).all()
      found += batch.input_ids[real, 0].tolist()
  assert found == list(range(rows.num_rows))


def test_from_a_real_store(make_store):
  split = make_store(train=3000).split("train")
  feed = make(split, 3, 100)
  found = list(
      itertools.chain.from_iterable(
          numbers(feed.batch(step)) for step in range(30)
      )
  )
  assert sorted(found) == list(range(3000))
  [*_, last] = evaluation_batches(split, batch_size=1000)
  assert numbers(last) == list(range(2000, 3000))


def test_errors():
  rows = Rows(4)
  with pytest.raises(UserError, match=r"batch of 6 .*over 4"):
    make(rows, 0, 6, process_count=4)
  with pytest.raises(UserError, match="batch of 0"):
    make(rows, 0, 0)
  with pytest.raises(UserError, match="process_index=2"):
    make(rows, 0, 4, process_index=2, process_count=2)
  with pytest.raises(UserError, match="nowhere has no rows"):
    make(Rows(), 0, 4)
  with pytest.raises(UserError, match="nowhere has no rows"):
    evaluation_batches(Rows(), batch_size=4)
  with pytest.raises(UserError, match=r"batch of 5 .*over 2"):
    evaluation_batches(rows, batch_size=5, process_count=2)


def make(rows, seed, global_batch_size, **options):
  return Feed(rows, seed=seed, global_batch_size=global_batch_size, **options)
