"""Many texts in batches of few shapes: each once, whole, little padding."""

import numpy as np
import pytest

from electra_jax.tasks.features import Features
from electra_jax.tasks.sorted_batches import (
    MOST_TEXTS,
    make_shapes,
    pack_rows,
    sorted_batches,
)


def features_of(lengths):
  rng = np.random.default_rng(0)
  texts = [rng.integers(1, 1000, n).astype(np.int32) for n in lengths]
  places = [[i % max(n, 1) for i in range(7)] for n in lengths]
  return Features(
      texts,
      np.asarray([n // 2 for n in lengths], np.int32),
      np.arange(len(texts)),
      {"word_places": np.asarray(places, np.int32)},
  )


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(64, (64,)), (128, (128,)), (160, (128, 160)), (512, (128, 256, 512))],
)
def test_lengths_double_up_to_the_models(longest, expected):
  shapes = make_shapes(longest, 1024, 8)
  assert shapes.lengths == expected
  for length in expected:
    rows = shapes.rows(length)
    assert rows % 8 == 0 and (rows * length <= 1024 or rows == 8)


def test_rows_are_nearly_full_and_hold_each_text_once():
  rng = np.random.default_rng(1)
  lengths = np.sort(rng.integers(8, 129, 4000))[::-1]
  rows = pack_rows(lengths, 128)
  assert sorted(text for row in rows for text in row) == list(range(4000))
  assert max(lengths[row].sum() for row in rows) <= 128
  assert lengths.sum() > 0.97 * 128 * len(rows)
  # However short they are, a row holds no more than that.
  short = pack_rows([3] * 100, 128)
  assert [len(row) for row in short] == [MOST_TEXTS] * 6 + [4]


@pytest.mark.parametrize("multiple", [1, 8])
def test_a_batch_holds_its_texts_where_it_says(multiple):
  rng = np.random.default_rng(2)
  lengths = [*rng.integers(2, 161, 300).tolist(), 2, 160, *[2] * 40]
  features = features_of(lengths)
  shapes = make_shapes(160, 1024, multiple)
  seen, found = [], set()
  for numbers, batch in sorted_batches("t", features, shapes, 0):
    texts = batch.texts
    flat, owners = texts.input_ids.ravel(), texts.owners.ravel()
    row_length = texts.input_ids.shape[1]
    found.add((*texts.input_ids.shape, len(texts.starts)))
    assert len(texts.starts) % multiple == len(texts.input_ids) % multiple == 0
    for place, number in enumerate(numbers):
      text, start = features.texts[number], texts.starts[place]
      inside = slice(start, start + len(text))
      np.testing.assert_array_equal(flat[inside], text)
      assert (owners[inside] == place).all()
      assert start // row_length == (start + len(text) - 1) // row_length
      assert texts.lengths[place].tolist() == [len(text) // 2, len(text)]
    assert np.count_nonzero(owners >= 0) == texts.lengths[:, 1].sum()
    assert not texts.lengths[len(numbers) :].any()
    places = batch.targets["t"]["word_places"]
    assert places.shape == (len(texts.starts), row_length)
    np.testing.assert_array_equal(
        places[: len(numbers), :7], features.targets["word_places"][numbers]
    )
    seen += numbers.tolist()
  assert sorted(seen) == list(range(len(lengths)))
  assert len(found) <= 2 * 3  # Two lengths, three numbers of texts.
