"""Free bits and the cycles of β against values by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.objectives.variational import cyclic_weight, with_free_bits


def test_free_bits_are_of_each_dimension_of_each_text():
  divergences = jnp.asarray([[0.1, 2.0, 0.5], [0.0, 0.0, 3.0]])
  np.testing.assert_allclose(
      with_free_bits(divergences, 0.5), [0.5 + 2.0 + 0.5, 0.5 + 0.5 + 3.0]
  )
  np.testing.assert_allclose(with_free_bits(divergences, 0.0), [2.6, 3.0])


def weights_of(steps, num_steps, cycles, rise_proportion, weight=1.0):
  return [
      float(
          cyclic_weight(
              jnp.int32(step),
              num_steps,
              weight=weight,
              cycles=cycles,
              rise_proportion=rise_proportion,
          )
      )
      for step in steps
  ]


@pytest.mark.parametrize(
    ("cycles", "rise_proportion", "weight", "expected"),
    [
        # Two cycles of four steps, in whose first half β rises.
        (2, 0.5, 1.0, [0, 0.5, 1, 1, 0, 0.5, 1, 1]),
        # One line over the whole run.
        (1, 1.0, 0.8, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        # The same throughout, in two ways.
        (0, 0.5, 0.3, [0.3] * 8),
        (4, 0.0, 2.0, [2.0] * 8),
    ],
)
def test_beta_by_hand(cycles, rise_proportion, weight, expected):
  found = weights_of(range(8), 8, cycles, rise_proportion, weight)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_cycles_need_not_divide_the_steps():
  # Of 10 steps in 3 cycles the second begins at 3 1/3.
  found = weights_of([3, 4, 6, 7, 9], 10, 3, 1.0)
  np.testing.assert_allclose(found, [0.9, 0.2, 0.8, 0.1, 0.7], rtol=1e-5)


def test_a_long_run_keeps_its_digits():
  (late,) = weights_of([99_999_999], 100_000_000, 4, 1.0)
  assert late == pytest.approx(1 - 4e-8, abs=1e-7)
  (first,) = weights_of([25_000_001], 100_000_000, 4, 1.0)
  assert first == pytest.approx(4e-8, rel=1e-5)
