"""Checksums of arrays: what they see, and that devices do not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from electra_jax.training import checksums

VALUES = np.random.default_rng(0).normal(size=(16, 24)).astype(np.float32)


def checksum_of(values, sharding=None):
  found = checksums.examine({"x": jax.device_put(values, sharding)})
  return found["x"].checksum


def flipped(values, place, bit):
  bits = values.copy().view(f"u{values.dtype.itemsize}")
  bits[place] ^= bits.dtype.type(1 << bit)
  return bits.view(values.dtype)


@pytest.mark.parametrize("bit", range(32))
def test_one_flipped_bit_shows(bit):
  assert checksum_of(flipped(VALUES, (3, 5), bit)) != checksum_of(VALUES)


def test_two_flipped_signs_show():
  twice = flipped(flipped(VALUES, (3, 5), 31), (9, 20), 31)
  assert checksum_of(twice) != checksum_of(VALUES)


def test_exchanged_values_show():
  exchanged = VALUES.copy()
  exchanged[[2, 7]] = exchanged[[7, 2]]
  assert checksum_of(exchanged) != checksum_of(VALUES)
  assert checksum_of(VALUES.T.copy()) != checksum_of(VALUES)


@pytest.mark.parametrize(
    "spec", [P(), P("a"), P("b"), P("a", "b"), P(None, ("a", "b")), P("b", "a")]
)
def test_the_layout_does_not_show(spec):
  mesh = jax.make_mesh(
      (2, 4), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2
  )
  spread = NamedSharding(mesh, spec)
  assert checksum_of(VALUES, spread) == checksum_of(VALUES)


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        VALUES.astype(jnp.bfloat16),
        np.int32(7),
        np.arange(5, dtype=np.int32),
        np.ones((300, 700), np.float32),
        np.zeros((0, 3), np.float32),
    ],
    ids=lambda x: f"{x.dtype}-{x.shape}",
)
def test_accelerators_find_what_the_host_finds(values):
  array = jax.device_put(values)
  on_device = checksums._examine_on_device(array)
  assert np.array_equal(checksums._examine_parts(array), on_device)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found(bad):
  values = VALUES.copy()
  values[15, 23] = bad
  found = checksums.examine({"good": jnp.zeros(3), "bad": jnp.asarray(values)})
  assert [found[name].is_finite for name in ("good", "bad")] == [True, False]
