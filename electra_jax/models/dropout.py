"""Dropout that depends on the text alone, not on its batch or device.

Every row of a batch carries one 32-bit seed, and every token one that follows
from it and from the token's place in its text. A dropped element is chosen by
an integer hash of (token seed, place of use, index), so the result is the same
for any number of devices, any micro-batch split, any amount of padding, any
packing of texts into rows and any recomputation. The hash is a few integer
operations that fuse into the multiplication: on a CPU it is about twenty times
faster than drawing threefry bits, and no mask is stored for the backward pass
where it is cheap to hash again.
"""

import math

import jax.numpy as jnp

from electra_jax.shapes import Array, Bool, Float, Int, TokenSeeds, UInt32

_GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: spreads consecutive numbers.
_MOST_KEYS = 1 << 12  # Attention's heads are this far apart in the hash.

Seeds = UInt32[Array, "..."]


def fold_seeds(seeds: Seeds | None, place: int) -> Seeds | None:
  """Derives the seeds of one place of use; None (no dropout) stays None."""
  if seeds is None:
    return None
  return _mix(seeds + jnp.uint32((place + 1) * _GOLDEN & 0xFFFFFFFF))


def token_seeds(seeds: Seeds, positions: Int[Array, "_ L"]) -> TokenSeeds:
  """Derives a seed for every token.

  Args:
    seeds: [B] one of each row, or [B, L] one of the text that a token is of.
    positions: of each token in its text; one row of them serves all.
  """
  if seeds.ndim == 1:
    seeds = seeds[:, None]
  return _mix(seeds + positions.astype(jnp.uint32) * jnp.uint32(_GOLDEN))


def dropout(
    x: Float[Array, "..."], rate: float, seeds: Seeds | None
) -> Float[Array, "..."]:
  """Zeroes a share of the elements and scales the others to keep the mean.

  Args:
    x: any array.
    rate: the share to drop, in [0, 1).
    seeds: one seed for each place of the first axes of x, such as [B] or
      [B, L]; or None to return x unchanged.
  """
  if seeds is None or rate == 0.0:
    return x
  rest = x.shape[seeds.ndim :]
  index = jnp.arange(math.prod(rest), dtype=jnp.uint32)
  index = index.reshape((1,) * seeds.ndim + rest)
  return _drop(x, rate, index, seeds.reshape(seeds.shape + (1,) * len(rest)))


def attention_dropout(
    probabilities: Float[Array, "B N L M"],
    rate: float,
    seeds: TokenSeeds | None,
    key_positions: Int[Array, "_ M"],
) -> Float[Array, "B N L M"]:
  """Drops attention probabilities; a key counts by its place in its text."""
  if seeds is None or rate == 0.0:
    return probabilities
  heads = jnp.arange(probabilities.shape[1])[None, :, None, None]
  keep = keeps_probability(
      rate, heads, key_positions[:, None, None], seeds[:, None, :, None]
  )
  return jnp.where(keep, _scaled(probabilities, rate), 0)


def keeps_probability(
    rate: float,
    head: Int[Array, "..."],
    key_positions: Int[Array, "..."],
    query_seeds: UInt32[Array, "..."],
) -> Bool[Array, "..."]:
  """Whether the probability of a key stays, for all that broadcasts.

  Args:
    rate: the share to drop.
    head: number of the head.
    key_positions: place of the key in its text.
    query_seeds: of the token that attends.
  """
  index = head.astype(jnp.uint32) * _MOST_KEYS + key_positions.astype(
      jnp.uint32
  )
  return _keeps(rate, index, query_seeds)


def _drop(x, rate, index, seeds):
  return jnp.where(_keeps(rate, index, seeds), _scaled(x, rate), 0)


def _scaled(x, rate):
  return x * jnp.asarray(1 / (1 - rate), x.dtype)


def _keeps(rate, index, seeds):
  x = _stir(index * jnp.uint32(_GOLDEN) + seeds)
  least = round(rate * 2**32)
  # _mix(…) >= least, a shift cheaper: the upper half decides, unless it is
  # that of `least`, and then this is what _mix does.
  return (x ^ jnp.uint32(least >> 16)) >= jnp.uint32(least)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
  # A bijection of 32 bits in which each input bit moves each output bit with
  # a chance near one half: multiply-xorshift with the constants of C.
  # Wellons' hash-prospector search ("lowbias32").
  x = _stir(x)
  return x ^ (x >> 16)


def _stir(x):
  x = x ^ (x >> 16)
  x = x * jnp.uint32(0x7FEB352D)
  x = x ^ (x >> 15)
  return x * jnp.uint32(0x846CA68B)
