"""CRC-32C, the checksum of TensorFlow's files, at the speed of numpy.

The checksum is linear over bits: what a word adds to it is the word itself
advanced by the words that follow. So the first half of a message, advanced by
the length of the second, is added to the second half, and what is left is half
as long and has the same checksum.
"""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed.
_ALL_ONES = 0xFFFFFFFF
_CHUNK = 1 << 15  # Words advanced at a time, so that they stay in the cache.
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | memoryview) -> int:
  """Returns the CRC-32C of bytes."""
  whole = len(data) // 4
  state = _ALL_ONES
  if whole:
    words = np.frombuffer(data, "<u4", whole).copy()
    words[0] ^= _ALL_ONES
    while len(words) > 1:
      first, second = np.split(words, [len(words) // 2])
      second[-len(first) :] ^= _advance(first, len(second))
      words = second
    state = int(_advance(words, 1)[0])
  for byte in bytes(data[4 * whole :]):
    state = _byte_table()[(state ^ byte) & 0xFF] ^ (state >> 8)
  return state ^ _ALL_ONES


def masked_crc32c(data: bytes | memoryview) -> int:
  """Returns the checksum as stored: rotated, and a constant added.

  Source: TensorFlow, tsl/lib/hash/crc32c.h: Mask.
  """
  crc = crc32c(data)
  return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _ALL_ONES


def _advance(words: np.ndarray, count: int) -> np.ndarray:
  """Returns what words become when `count` zero words follow them."""
  tables = _tables(count)
  advanced = np.empty_like(words)
  for start in range(0, len(words), _CHUNK):
    part = words[start : start + _CHUNK]
    total = tables[0][part & 0xFF]
    for i in range(1, 4):
      total ^= tables[i][(part >> 8 * i) & 0xFF]
    advanced[start : start + _CHUNK] = total
  return advanced


@functools.lru_cache(maxsize=256)
def _tables(count: int) -> np.ndarray:
  """Advances of every value of each of a word's four bytes: [4, 256]."""
  columns = _power(count)
  tables = np.zeros((4, 256), np.uint32)
  for bit, column in enumerate(columns):
    place, size = bit // 8, 1 << bit % 8
    tables[place, size : 2 * size] = tables[place, :size] ^ column
  return tables


@functools.lru_cache(maxsize=256)
def _power(count: int) -> tuple[int, ...]:
  """Advances by `count` words of each of the 32 bits alone."""
  if count == 1:
    return tuple(_advance_by_bits(1 << bit) for bit in range(32))
  half = _power(count // 2)
  whole = tuple(_apply(half, column) for column in half)
  if count % 2:
    whole = tuple(_apply(_power(1), column) for column in whole)
  return whole


def _apply(columns: tuple[int, ...], word: int) -> int:
  result = 0
  for bit, column in enumerate(columns):
    if word >> bit & 1:
      result ^= column
  return result


def _advance_by_bits(word: int, bits: int = 32) -> int:
  for _ in range(bits):
    word = word >> 1 ^ (_POLYNOMIAL if word & 1 else 0)
  return word


@functools.cache
def _byte_table() -> tuple[int, ...]:
  return tuple(_advance_by_bits(byte, 8) for byte in range(256))
