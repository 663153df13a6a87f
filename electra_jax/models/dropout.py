"""Dropout that depends on the row, not on where or with whom it is computed.

Every row of a batch carries one 32-bit seed. A dropped element is chosen by an
integer hash of (row seed, place of use, index inside the row), so the result
is the same for any number of devices, any micro-batch split and any
recomputation. The hash is a few integer operations that fuse into the
multiplication: on a CPU it is about twenty times faster than drawing threefry
bits, and no mask is stored for the backward pass where it is cheap to hash
again.
"""

import jax
import jax.numpy as jnp

from electra_jax.shapes import Array, Float, RowSeeds, UInt32

_GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: spreads consecutive numbers.


def fold_seeds(seeds: RowSeeds | None, place: int) -> RowSeeds | None:
  """Derives the seeds of one place of use; None (no dropout) stays None."""
  if seeds is None:
    return None
  return _mix(seeds + jnp.uint32((place + 1) * _GOLDEN & 0xFFFFFFFF))


def dropout(
    x: Float[Array, " B *rest"], rate: float, seeds: RowSeeds | None
) -> Float[Array, " B *rest"]:
  """Zeroes a share of the elements and scales the others to keep the mean.

  Args:
    x: any array with the batch rows first.
    rate: the share to drop, in [0, 1).
    seeds: one seed per row, or None to return x unchanged.
  """
  if seeds is None or rate == 0.0:
    return x
  keep = _row_bits(seeds, x.shape) >= jnp.uint32(round(rate * 2**32))
  return jnp.where(keep, x * jnp.asarray(1 / (1 - rate), x.dtype), 0)


def _row_bits(seeds: RowSeeds, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
  index = jnp.zeros((1, *shape[1:]), jnp.uint32)
  stride = 1
  for axis in range(len(shape) - 1, 0, -1):
    index += jnp.uint32(stride) * jax.lax.broadcasted_iota(
        jnp.uint32, index.shape, axis
    )
    stride *= shape[axis]
  seeds = seeds.reshape((-1,) + (1,) * (len(shape) - 1))
  return _mix(index * jnp.uint32(_GOLDEN) + seeds)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
  # A bijection of 32 bits in which each input bit moves each output bit with
  # a chance near one half: multiply-xorshift with the constants of C.
  # Wellons' hash-prospector search ("lowbias32").
  x = x ^ (x >> 16)
  x = x * jnp.uint32(0x7FEB352D)
  x = x ^ (x >> 15)
  x = x * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)
