"""Masking against the released statistics, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from electra_jax.objectives import masking
from tests import helpers

pytestmark = pytest.mark.golden

CLS, SEP, MASK = 2, 3, 4
STATS = helpers.read_json(helpers.GOLDEN / "masking_stats.json")


def config(mask_prob=0.15, length=128, **kwargs):
  return masking.MaskingConfig(
      mask_prob, length, MASK, (CLS, SEP, MASK), **kwargs
  )


def rows_of(lengths, width=128, first=50):
  """[CLS] A [SEP] B [SEP] rows of ordinary ids with the given lengths."""
  ids = np.zeros((len(lengths), width), np.int32)
  for row, length in enumerate(lengths):
    ids[row, :length] = np.arange(10, 10 + length)
    ids[row, 0] = CLS
    ids[row, min(first, length) - 1] = ids[row, length - 1] = SEP
  pairs = [(min(first, n), n) for n in lengths]
  return masking.unpack_rows(jnp.asarray(ids), jnp.asarray(pairs, jnp.int32))


class SlotsTest(parameterized.TestCase):

  @parameterized.parameters(*STATS)
  def test_slots_by_row_length(self, name):
    prob, length = (
        (float(name), 128)
        if not name.startswith("table")
        else (float(name.split("_")[1]), int(name.split("_")[2]))
    )
    table = STATS[name].get("slots_by_row_length", STATS[name])
    table = {int(k): v for k, v in table.items() if k.isdigit()}
    self.assertNotEmpty(table)
    cfg = config(prob, length)
    rows = rows_of(list(table), length)
    slots = masking.slot_weights(rows, cfg).sum(1)
    np.testing.assert_array_equal(slots, list(table.values()))

  @parameterized.parameters(
      (0.15, 64, 9), (0.15, 128, 19), (0.15, 256, 39), (0.15, 512, 79),
      (0.25, 128, 32), (0.25, 512, 130),
  )  # fmt: skip
  def test_number_of_slots(self, prob, length, expected):
    self.assertEqual(config(prob, length).num_slots, expected)


class DrawTest(parameterized.TestCase):

  def test_with_replacement_has_the_released_statistics(self):
    for prob in (0.15, 0.25):
      stats = STATS[str(prob)]
      cfg = config(prob, draw="with_replacement")
      masked = masking.mask_rows(jax.random.key(0), rows_of([128] * 4000), cfg)
      positions = np.asarray(masked.masked_lm_positions)
      distinct = np.asarray([len(set(row)) for row in positions])
      error = stats["std_distinct_positions_full_rows"] / np.sqrt(4000)
      self.assertAlmostEqual(
          distinct.mean(),
          stats["mean_distinct_positions_full_rows"],
          delta=5 * error,
      )
      hits = np.zeros((4000, 128), int)
      np.add.at(hits, (np.arange(4000)[:, None], positions), 1)
      is_mask = np.asarray(masked.masked_input_ids) == MASK
      for count, expected in stats["share_MASK_by_number_of_hits"].items():
        there = hits == int(count)
        share = expected["share"]
        # Their share is an estimate too.
        both = np.sqrt(
            share * (1 - share) * (1 / there.sum() + 1 / expected["count"])
        )
        self.assertAlmostEqual(is_mask[there].mean(), share, delta=5 * both)

  def test_distinct_positions_are_distinct_maskable_and_equally_likely(self):
    rows = rows_of([128] * 4000)
    masked = masking.mask_rows(jax.random.key(1), rows, config())
    positions = np.asarray(masked.masked_lm_positions)
    self.assertEqual({len(set(row)) for row in positions}, {19})
    counts = np.bincount(positions.ravel(), minlength=128)
    special = np.isin(np.arange(128), [0, 49, 127])
    self.assertEqual(counts[special].sum(), 0)
    share = 19 / 125
    error = np.sqrt(4000 * share * (1 - share))
    self.assertLess(np.abs(counts[~special] - 4000 * share).max(), 5 * error)

  def test_mask_is_written_at_85_percent(self):
    rows = rows_of([128] * 2000)
    masked = masking.mask_rows(jax.random.key(2), rows, config())
    share = (np.asarray(masked.masked_input_ids) == MASK).sum() / (2000 * 19)
    error = np.sqrt(0.85 * 0.15 / (2000 * 19))
    self.assertAlmostEqual(share, 0.85, delta=5 * error)

  @parameterized.parameters("with_replacement", "without_replacement")
  def test_rows_without_maskable_tokens_use_no_slot(self, draw):
    # Nothing but [CLS] [SEP]; one ordinary token; padding alone.
    rows = rows_of([2, 3, 1], 128)
    rows = rows._replace(input_mask=rows.input_mask.at[2].set(0))
    masked = masking.mask_rows(jax.random.key(0), rows, config(draw=draw))
    np.testing.assert_array_equal(masked.masked_lm_weights.sum(1), [0, 1, 0])
    np.testing.assert_array_equal(
        masked.masked_input_ids[::2], rows.input_ids[::2]
    )
    np.testing.assert_array_equal(masked.masked_lm_positions[::2], 0)

  @parameterized.parameters("with_replacement", "without_replacement")
  def test_only_chosen_positions_change(self, draw):
    rows = rows_of([128, 60, 7], 128)
    masked = masking.mask_rows(jax.random.key(3), rows, config(draw=draw))
    chosen = np.zeros((3, 128), bool)
    used = np.asarray(masked.masked_lm_weights) > 0
    for row in range(3):
      chosen[row, np.asarray(masked.masked_lm_positions)[row][used[row]]] = True
    changed = np.asarray(masked.masked_input_ids != rows.input_ids)
    self.assertFalse((changed & ~chosen).any())
    originals = np.take_along_axis(
        np.asarray(rows.input_ids), np.asarray(masked.masked_lm_positions), 1
    )
    np.testing.assert_array_equal(masked.masked_lm_ids, originals * used)


class ScatterTest(absltest.TestCase):

  def test_repeated_positions_as_released(self):
    golden = np.load(helpers.GOLDEN / "scatter_update.npz")
    updated = masking.scatter_ids(
        jnp.asarray(golden["int_sequence"]),
        jnp.asarray(golden["positions"]),
        jnp.asarray(golden["int_updates"]),
    )
    np.testing.assert_array_equal(updated, golden["int_updated"])

  def test_one_writing_slot_is_enough(self):
    ids = jnp.asarray([[CLS, 10, 11, 12]])
    positions = jnp.asarray([[1, 1, 2, 0]])
    writes = jnp.asarray([[False, True, False, True]])
    written = masking.write_masks(ids, positions, writes, MASK)
    np.testing.assert_array_equal(written, [[CLS, MASK, 11, 12]])


class UnpackTest(absltest.TestCase):

  def test_mask_and_segments(self):
    rows = masking.unpack_rows(
        jnp.zeros((3, 5), jnp.uint16), jnp.asarray([[2, 4], [3, 3], [0, 0]])
    )
    np.testing.assert_array_equal(
        rows.input_mask, [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [0] * 5]
    )
    np.testing.assert_array_equal(
        rows.segment_ids, [[0, 0, 1, 1, 0], [0] * 5, [0] * 5]
    )
    self.assertEqual(rows.input_ids.dtype, jnp.int32)


if __name__ == "__main__":
  absltest.main()
