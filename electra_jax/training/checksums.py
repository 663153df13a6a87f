"""A checksum of every array, the same wherever its parts lie.

The checksum is a sum modulo 2^32 over all values of a hash of the value's bits
and its place. Sums may be taken in any order, so every device adds up what it
holds, and a state that is restored to other devices has the same checksums. The
hash is one to one in the bits: one changed value always shows, several do but
for a chance of 2^-32.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from electra_jax.trees import path_names

_GOLDEN_GAMMA = 0x9E3779B9
_CACHED_VALUES = 1 << 16


class Examined(NamedTuple):
  """What is found out about an array.

  Attributes:
    checksum: below 2^32.
    is_finite: whether no value is infinite or NaN.
  """

  checksum: int
  is_finite: bool


def examine(tree: Any) -> dict[str, Examined]:
  """Examines every array of a tree where it lies.

  Accelerators examine their own parts, and two numbers of each array come back;
  on a CPU, where nothing need be copied, numpy does it without compiling. In a
  run of several processes all must call this with the same tree.

  Args:
    tree: jax.Arrays, whole or spread over devices and processes.

  Returns:
    path -> what is found, the same in every process.
  """
  names, leaves = zip(*path_names(tree), strict=True)
  if _platform(leaves[0]) == "cpu":
    found = _examine_on_host(leaves)
  else:
    found = np.stack(jax.device_get([_examine_on_device(x) for x in leaves]))
  return {
      name: Examined(int(checksum), not num_bad)
      for name, (checksum, num_bad) in zip(names, found, strict=True)
  }


def _platform(leaf: jax.Array) -> str:
  return next(iter(leaf.sharding.device_set)).platform


def _examine_on_host(leaves: Iterable[jax.Array]) -> np.ndarray:
  found = np.stack([_examine_parts(leaf) for leaf in leaves])
  if jax.process_count() == 1:
    return found
  is_spread = np.array([[not x.is_fully_addressable] for x in leaves])
  total = multihost_utils.process_allgather(found).sum(0, dtype=np.uint32)
  return np.where(is_spread, total, found)


def _examine_parts(leaf: jax.Array) -> np.ndarray:
  """Examines the parts of an array that lie here and nowhere before."""
  total = np.zeros(2, np.uint32)
  for shard in leaf.addressable_shards:
    if shard.replica_id == 0:
      starts = [part.start or 0 for part in shard.index]
      values = np.asarray(jax.device_get(shard.data))
      for piece, begin in _pieces(values, starts):
        bits = piece.view(_bits_of(leaf))
        total += _sums(np, piece, bits, begin, leaf.shape)
  return total


def _pieces(
    values: np.ndarray, starts: Sequence[int]
) -> Iterator[tuple[np.ndarray, Sequence[int]]]:
  """Cuts an array into pieces that a processor's cache holds."""
  if values.size <= _CACHED_VALUES:
    yield values, starts
    return
  rows = max(1, _CACHED_VALUES * len(values) // values.size)
  for first in range(0, len(values), rows):
    yield values[first : first + rows], [starts[0] + first, *starts[1:]]


@jax.jit
def _examine_on_device(leaf: jax.Array) -> jax.Array:
  bits = leaf.view(_bits_of(leaf))
  return _sums(jnp, leaf, bits, [0] * leaf.ndim, leaf.shape)


def _bits_of(leaf: jax.Array) -> np.dtype:
  return np.dtype(f"uint{8 * leaf.dtype.itemsize}")


def _sums(xp, values, bits, starts, shape):
  """Returns [2] uint32: the checksum, and how many values are not finite.

  Args:
    xp: numpy or jax.numpy.
    values: a part of an array.
    bits: the same as unsigned integers of up to 32 bits.
    starts: where the part begins, an index of each axis.
    shape: of the whole array.
  """
  place = xp.full((1,), _GOLDEN_GAMMA, xp.uint32)
  for start, count, size in zip(starts, values.shape, shape, strict=True):
    index = xp.arange(count, dtype=xp.uint32) + xp.uint32(start)
    place = place[..., None] * xp.uint32(size) + index.reshape(
        (1,) * place.ndim + (count,)
    )
  mixed = _mix(xp, bits.astype(xp.uint32)[None] ^ _mix(xp, place))
  num_bad = xp.sum(~xp.isfinite(values), dtype=xp.uint32)
  return xp.stack([xp.sum(mixed, dtype=xp.uint32), num_bad])


def _mix(xp, x):
  """A bijection of 32 bits. Source: Wellons (2018), `lowbias32`."""
  x = (x ^ (x >> xp.uint32(16))) * xp.uint32(0x7FEB352D)
  x = (x ^ (x >> xp.uint32(15))) * xp.uint32(0x846CA68B)
  return x ^ (x >> xp.uint32(16))
