"""Batches: pure functions of seed and step, however they are packed."""

import dataclasses
import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.features import Features
from electra_jax.training.step import split_rows

LENGTH, PAD = 16, 0


def features_of(lengths, first_id=100, **targets):
  """Text i is first_id + i, as often as it is long."""
  n = len(lengths)
  if not targets:
    targets = {"labels": np.arange(first_id, first_id + n, dtype=np.int32)}
  return Features(
      [np.full(k, first_id + i, np.int32) for i, k in enumerate(lengths)],
      np.asarray([k // 2 for k in lengths], np.int32),
      np.arange(n, dtype=np.int32),
      targets,
  )


def make(features, batch_size=4, **options):
  if isinstance(features, Features):
    features = {"rte": features}
  return Batches(
      features,
      batch_size=batch_size,
      row_length=LENGTH,
      pad_id=PAD,
      **options,
  )


def read(texts):
  """The text of each slot, found as the model finds it."""
  ids, owners = np.ravel(texts.input_ids), np.ravel(texts.owners)
  found = []
  slots = zip(texts.starts, texts.lengths, strict=True)
  for number, (start, (first, total)) in enumerate(slots):
    assert (owners[start : start + total] == number).all()
    assert (owners == number).sum() == total
    found.append((ids[start : start + total].tolist(), int(first)))
  assert (ids[owners < 0] == PAD).all()
  return found


def names(texts):
  """The id that each slot's text consists of, None where there is none."""
  return [ids[0] if ids else None for ids, _ in read(texts)]


def lengths_of(n):
  return [3 + 5 * i % (LENGTH - 2) for i in range(n)]


def take(iterator, n):
  return list(itertools.islice(iterator, n))


def assert_equal(one, other):
  np.testing.assert_equal(one._asdict(), other._asdict())


# --- Which texts ---


def test_a_batch_is_a_function_of_seed_and_step():
  features = features_of(lengths_of(11))
  stream = take(make(features).training(3), 9)
  for step in (8, 0, 5):  # At random, by an object that has made no other.
    assert_equal(next(make(features).training(3, step)), stream[step])
  assert {int(batch.seed) for batch in stream} == {3}
  again = make(features)
  next(again.training(4))
  for one, other in zip(stream, again.training(3), strict=False):
    assert_equal(one, other)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**31))
def test_every_text_comes_once_an_epoch(num_texts, batch_size, seed):
  batches = make(features_of(lengths_of(num_texts)), batch_size)
  steps = -(-3 * num_texts // batch_size)
  stream = list(
      itertools.chain(
          *(names(b.texts) for b in take(batches.training(seed), steps))
      )
  )
  epochs = [stream[i * num_texts : (i + 1) * num_texts] for i in range(3)]
  for epoch in epochs:
    assert sorted(epoch) == list(range(100, 100 + num_texts))


def test_epochs_and_seeds_differ():
  batches = make(features_of([2] * 40), 40)

  def order(seed, step):
    return names(next(batches.training(seed, step)).texts)

  orders = [order(0, 0), order(0, 1), order(1, 0), order(1, 1)]
  assert len(set(map(tuple, orders))) == 4
  assert [sorted(o) for o in orders] == [list(range(100, 140))] * 4


@pytest.mark.parametrize("parts", [1, 2])
def test_packing_does_not_touch_the_choice_of_texts(parts):
  features = features_of([2 + i % 7 for i in range(30)])
  options = {"batch_size": 8, "accumulation_steps": parts}
  packed = make(features, **options).training(5)
  apart = make(features, is_packed=False, **options).training(5)
  for one, other in take(zip(packed, apart, strict=False), 5):
    for i in range(parts):
      halves = [split_rows(b.texts, parts) for b in (one, other)]
      a, b = (type(h)(*(x[i] for x in h)) for h in halves)
      assert read(a) == read(b)
    np.testing.assert_equal(one.targets, other.targets)
    assert len(one.texts.input_ids) < len(other.texts.input_ids) == 8


@pytest.mark.parametrize(
    ("num_texts", "batch_size", "epochs", "steps"),
    [
        (2490, 32, 10, 780),  # RTE: 78 batches, the last one filled up.
        (2490, 32, 0.5, 39),
        (7, 2, 1.7, 6),  # Of 6.8.
        (6, 2, 3, 9),
        (1, 32, 3, 3),
        (64, 32, 0.1, 1),
    ],
)
def test_steps_of_epochs(num_texts, batch_size, epochs, steps):
  features = features_of([1] * num_texts)
  assert make(features, batch_size).steps_of(float(epochs)) == steps


def test_steps_count_the_texts_of_all_tasks():
  features = {"a": features_of([2] * 5), "b": features_of([2] * 4)}
  assert make(features, 4).steps_of(2.0) == 6


@pytest.mark.parametrize("is_packed", [True, False])
def test_in_order_fills_the_last_batch_up(is_packed):
  features = features_of(lengths_of(10))
  batches = list(make(features, is_packed=is_packed).in_order())
  found = [names(b.texts) for b in batches]
  assert found == [
      [100, 101, 102, 103],
      [104, 105, 106, 107],
      [108, 109, None, None],
  ]
  last = batches[-1]
  assert last.weights["rte"].tolist() == [1, 1, 0, 0]
  assert last.targets["rte"]["labels"].tolist() == [108, 109, 0, 0]
  assert last.texts.lengths[2:].tolist() == [[0, 0], [0, 0]]
  assert all((b.weights["rte"] == 1).all() for b in batches[:-1])


def test_texts_and_first_segments_are_those_of_the_features():
  features = features_of([3, 16, 7])
  (batch,) = make(features).in_order()
  assert read(batch.texts) == [
      ([100] * 3, 1), ([101] * 16, 8), ([102] * 7, 3), ([], 0),
  ]  # fmt: skip


# --- How many rows ---


def test_row_counts_hold_every_batch():
  # Most texts are short, and a few fill a row.
  lengths = [LENGTH if i % 9 == 0 else 2 + i % 5 for i in range(64)]
  batches = make(features_of(lengths), 8, row_multiple=2)
  usual, *_, most = batches.row_counts
  assert most == 8 and usual < most
  assert all(count % 2 == 0 for count in batches.row_counts)
  # Also where all the long ones come together, as no sample has shown.
  worst = batches.make(np.arange(0, 64, 9), 0)
  assert len(worst.texts.input_ids) == most
  for batch in take(batches.training(9), 40):
    assert len(batch.texts.input_ids) in batches.row_counts
    read(batch.texts)


def test_texts_that_fill_up_take_no_row():
  batches = make(features_of([2] * 40 + [LENGTH]), 8)
  assert batches.row_counts == (1, 2, 8)
  *_, last = batches.in_order()
  assert len(last.texts.input_ids) == 1


def test_rows_without_packing():
  batches = make(features_of([2] * 9), 6, is_packed=False, row_multiple=4)
  assert batches.row_counts == (8,)
  batch = next(batches.training(0))
  assert batch.texts.input_ids.shape == (8, LENGTH)
  assert batch.texts.starts.tolist() == [i * LENGTH for i in range(6)]


# --- Several tasks ---


def two_tasks():
  ratings = {"ratings": np.asarray([0.25, 0.5, 0.75], np.float32)}
  tags = {
      "word_places": np.asarray([[1, 3], [1, 0]], np.int32),
      "labels": np.asarray([[4, 5], [6, 0]], np.int32),
      "weights": np.asarray([[1, 1], [1, 0]], np.float32),
  }
  return {
      "sts": features_of([4, 5, 6], 100, **ratings),
      "pos": features_of([3, 7], 200, **tags),
  }


def test_each_task_has_its_own_slots():
  (batch,) = make(two_tasks(), 8).in_order()
  assert names(batch.texts) == [100, 101, 102, 200, 201, None, None, None]
  assert batch.weights["sts"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
  assert batch.weights["pos"].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
  ratings = batch.targets["sts"]["ratings"]
  assert ratings.tolist() == [0.25, 0.5, 0.75, 0, 0, 0, 0, 0]
  none = [0, 0]
  tags = {name: array.tolist() for name, array in batch.targets["pos"].items()}
  assert tags == {
      "word_places": [none] * 3 + [[1, 3], [1, 0]] + [none] * 3,
      "labels": [none] * 3 + [[4, 5], [6, 0]] + [none] * 3,
      "weights": [none] * 3 + [[1, 1], [1, 0]] + [none] * 3,
  }
  assert ratings.dtype == batch.weights["sts"].dtype == np.float32
  assert batch.targets["pos"]["labels"].dtype == np.int32


def test_tasks_are_mixed_and_their_targets_follow():
  features = {
      "a": features_of(lengths_of(9), 100),
      "b": features_of(lengths_of(13), 200),
  }
  seen = []
  for batch in take(make(features, 6).training(2), 11):
    found = names(batch.texts)
    seen += found
    for task, low in (("a", 100), ("b", 200)):
      is_own = [low <= name < low + 100 for name in found]
      expected = [n * own for n, own in zip(found, is_own, strict=True)]
      assert batch.weights[task].tolist() == is_own
      assert batch.targets[task]["labels"].tolist() == expected
  everything = [*range(100, 109), *range(200, 213)]
  assert sorted(seen) == sorted(everything * 3)


# --- Parts of a batch ---


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("parts", [2, 4])
def test_each_part_stands_for_itself(is_packed, parts):
  features = two_tasks() | {"rte": features_of(lengths_of(20), 300)}
  options = {"batch_size": 8, "is_packed": is_packed}
  whole = make(features, **options).training(1)
  dealt = make(features, accumulation_steps=parts, **options).training(1)
  for one, other in take(zip(whole, dealt, strict=False), 6):
    texts = read(one.texts)
    split = split_rows(other._replace(seed=()), parts)
    assert split.texts.input_ids.shape[2:] == (LENGTH,)
    for i in range(parts):
      part = type(split.texts)(*(array[i] for array in split.texts))
      assert read(part) == texts[i::parts]
      for task in features:
        np.testing.assert_array_equal(
            split.weights[task][i], one.weights[task][i::parts]
        )
        for name, array in split.targets[task].items():
          np.testing.assert_array_equal(
              array[i], one.targets[task][name][i::parts]
          )


def test_the_rows_of_a_part_are_a_multiple():
  batches = make(
      features_of(lengths_of(20)), 16, accumulation_steps=2, row_multiple=3
  )
  assert all(count % 3 == 0 for count in batches.row_counts)
  batch = next(batches.training(0))
  assert len(batch.texts.input_ids) in [2 * c for c in batches.row_counts]


# --- Nothing to learn ---


@pytest.mark.parametrize("is_packed", [True, False])
def test_no_text_is_an_error(is_packed):
  nothing = {"rte": features_of([]), "pos": features_of([])}
  with pytest.raises(UserError, match="no example of rte, pos to make batches"):
    make(nothing, is_packed=is_packed)


def test_a_task_without_a_text_is_an_error():
  with pytest.raises(UserError, match="no example of squad to make batches"):
    make({"rte": features_of([3, 4]), "squad": features_of([])})


def test_windows_carry_their_share_of_a_text():
  features = features_of([3, 4, 5, 2])
  shares = np.asarray([0.5, 0.5, 1.0, 1.0], np.float32)
  features = dataclasses.replace(features, weights=shares)
  first, last = make(features, 3).in_order()
  assert first.weights["rte"].tolist() == [0.5, 0.5, 1.0]
  assert last.weights["rte"].tolist() == [1.0, 0.0, 0.0]
