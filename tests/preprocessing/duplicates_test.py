"""Exact duplicates: the first one stays."""

import hashlib

import hypothesis
import hypothesis.strategies as st

from electra_jax.preprocessing.duplicates import find_duplicates


@hypothesis.settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(st.lists(st.integers(0, 30), max_size=100))
def test_the_first_of_equal_ones_stays(tmp_path, numbers):
  digests = [hashlib.md5(bytes([n])).digest() for n in numbers]
  found = find_duplicates(digests, tmp_path)
  assert found.tolist() == [n in numbers[:i] for i, n in enumerate(numbers)]
  assert not list(tmp_path.iterdir())


def test_all_sixteen_bytes_count(tmp_path):
  base = bytes(range(16))
  changed = [
      base[:i] + bytes([base[i] ^ 255]) + base[i + 1 :] for i in range(16)
  ]
  found = find_duplicates([base, *changed, base], tmp_path)
  assert found.tolist() == [False] * 17 + [True]
