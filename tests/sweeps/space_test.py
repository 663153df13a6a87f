"""Points: grids, random and quasi-random draws."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from electra_jax.sweeps import space

VALUES = st.dictionaries(
    st.sampled_from(["a.x", "a.y", "b"]),
    st.lists(st.integers(), min_size=1, max_size=4, unique=True),
    min_size=1,
)
SPACE = {
    "rate": space.log_uniform(1e-5, 1e-2),
    "share": space.uniform(-0.5, 0.5),
    "name": space.choice("p", "q", "r"),
}
DRAWS = pytest.mark.parametrize("draw", [space.random, space.quasi_random])


@hypothesis.given(VALUES)
def test_a_grid_has_every_combination_once(values):
  points = space.grid(values)
  assert len(points) == math.prod(map(len, values.values()))
  assert len({tuple(point.values()) for point in points}) == len(points)
  for point in points:
    assert point.keys() == values.keys()
    assert all(point[key] in values[key] for key in values)


def test_the_last_key_of_a_grid_changes_fastest():
  assert space.grid({"x": (1, 2), "y": ("a", "b")}) == [
      {"x": 1, "y": "a"},
      {"x": 1, "y": "b"},
      {"x": 2, "y": "a"},
      {"x": 2, "y": "b"},
  ]


@DRAWS
@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(seed=st.integers(0, 2**32), count=st.integers(0, 40))
def test_draws_are_a_function_of_seed_and_place(draw, seed, count):
  points = draw(SPACE, count, seed)
  assert len(points) == count
  assert points == draw(SPACE, count + 5, seed)[:count]
  for point in points:
    assert 1e-5 <= point["rate"] <= 1e-2
    assert -0.5 <= point["share"] <= 0.5
    assert point["name"] in "pqr"
    assert point["rate"] == float(f"{point['rate']:.4g}")
  if count > 2:
    assert points != draw(SPACE, count, seed + 1)


@hypothesis.given(
    st.floats(1e-3, 1e3), st.floats(1.0, 1e3), st.floats(0, 1, exclude_max=True)
)
def test_rounding_stays_inside_of_the_bounds(low, factor, u):
  high = low * factor
  for draw in (space.uniform(low, high), space.log_uniform(low, high)):
    assert low <= draw(u) <= high


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(
    seed=st.integers(0, 2**32), place=st.integers(0, 5), power=st.integers(1, 3)
)
def test_quasi_random_points_meet_every_part_once(seed, place, power):
  base = (2, 3, 5, 7, 11, 13)[place]
  count = min(base**power, 343) if base**power <= 343 else base
  points = space.quasi_random(
      {f"k{i}": lambda u: u for i in range(place + 1)}, count, seed
  )
  values = [point[f"k{place}"] for point in points]
  assert sorted(int(v * count) for v in values) == list(range(count))


def test_random_draws_are_even():
  points = space.random(SPACE, 4000)
  logs = np.log10([point["rate"] for point in points])
  np.testing.assert_allclose(logs.mean(), -3.5, atol=0.05)
  np.testing.assert_allclose(logs.std(), 3 / math.sqrt(12), rtol=0.03)
  names = [point["name"] for point in points]
  for name in "pqr":
    assert abs(names.count(name) / 4000 - 1 / 3) < 0.03


def test_the_keys_of_quasi_random_points_are_not_alike():
  points = space.quasi_random(
      {f"k{i}": space.uniform(0.0, 1.0) for i in range(16)}, 400
  )
  table = np.array([list(point.values()) for point in points])
  correlations = np.corrcoef(table.T) - np.eye(16)
  assert np.abs(correlations).max() < 0.2


def test_what_cannot_be_drawn_is_refused():
  with pytest.raises(ValueError, match="needs bounds above 0"):
    space.log_uniform(0.0, 1.0)
  with pytest.raises(ValueError, match="17 keys and takes 16 at most"):
    space.quasi_random({str(i): space.choice(1) for i in range(17)}, 1)
