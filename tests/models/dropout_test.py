import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from electra_jax.models.dropout import dropout, fold_seeds, keeps_probability


def seeds(*values):
  return jnp.asarray(values, jnp.uint32)


class DropoutTest(parameterized.TestCase):

  @parameterized.parameters(0.1, 0.5)
  def test_share_and_mean(self, rate):
    x = jnp.ones((4, 64, 1000))
    y = np.asarray(dropout(x, rate, seeds(1, 2, 3, 4)))
    deviation = np.sqrt(rate * (1 - rate) / x.size)
    self.assertAlmostEqual(np.mean(y == 0), rate, delta=5 * deviation)
    self.assertAlmostEqual(y.mean(), 1.0, delta=5 * deviation / (1 - rate))

  def test_every_element_is_dropped_equally_often(self):
    x = jnp.ones((4000, 8, 16))
    y = np.asarray(dropout(x, 0.1, jnp.arange(4000, dtype=jnp.uint32)))
    share = (y == 0).mean(0)
    self.assertLess(np.abs(share - 0.1).max(), 5 * np.sqrt(0.09 / 4000))

  def test_neighbours_rows_and_places_are_independent(self):
    x = jnp.ones((2, 100, 1000))
    a = np.asarray(dropout(x, 0.5, fold_seeds(seeds(7, 8), 0))) == 0
    b = np.asarray(dropout(x, 0.5, fold_seeds(seeds(7, 8), 1))) == 0
    pairs = {
        "next column": (a[..., 1:], a[..., :-1]),
        "next row of the matrix": (a[:, 1:], a[:, :-1]),
        "next batch row": (a[1], a[0]),
        "next place": (a, b),
    }
    for name, (one, other) in pairs.items():
      with self.subTest(name):
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        self.assertLess(abs(correlation), 5 / np.sqrt(one.size))

  def test_a_row_does_not_depend_on_its_batch(self):
    x = jnp.ones((3, 5, 7))
    whole = dropout(x, 0.3, seeds(11, 12, 13))
    alone = dropout(x[1:2], 0.3, seeds(12))
    np.testing.assert_array_equal(whole[1:2], alone)

  def test_no_seeds_means_no_dropout(self):
    x = jnp.ones((2, 3))
    self.assertIs(dropout(x, 0.9, fold_seeds(None, 3)), x)


class ThresholdTest(parameterized.TestCase):

  @parameterized.parameters(0.1, 0.25, 1 / 3, 0.5, 0.9)
  def test_keeps_what_the_whole_hash_puts_at_or_above_the_rate(self, rate):
    golden = 0x9E3779B9
    tokens = np.arange(100_000, dtype=np.uint32)
    kept = keeps_probability(
        rate,
        jnp.zeros((1,), jnp.int32),
        jnp.ones((1,), jnp.int32),
        seeds(*tokens),
    )
    x = tokens + np.uint32(golden)
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    x ^= x >> 16
    np.testing.assert_array_equal(kept, x >= np.uint32(round(rate * 2**32)))
    self.assertAlmostEqual(float(np.mean(kept)), 1 - rate, delta=5e-3)


if __name__ == "__main__":
  absltest.main()
