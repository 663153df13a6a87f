"""The sorted table of keys and values that a checkpoint's index is.

LevelDB's format, as TensorFlow writes it: blocks of entries whose keys share
prefixes, a block that points at the blocks, and a footer. Blocks are not
compressed; each has a checksum.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence

from electra_jax.interop.crc32c import masked_crc32c

MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5  # A byte of compression and the checksum.
_VARINT_BITS = 70  # Of ten bytes, which hold any number of 64 bits.
_RESTART_INTERVAL = 16  # Entries after which a key stands whole.


class DamagedError(ValueError):
  """The bytes are no table, or not all of it; the text says what is wrong."""


def read_varint(data: bytes, place: int) -> tuple[int, int]:
  """Returns an integer of seven bits a byte, and the place behind it.

  Raises:
    DamagedError: the bytes end within it.
  """
  value = shift = 0
  while place < len(data) and shift < _VARINT_BITS:
    byte = data[place]
    place += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value, place
    shift += 7
  raise DamagedError("it ends within a number, or holds too long a one")


def write_varint(value: int) -> bytes:
  """Returns a non-negative integer at seven bits a byte."""
  out = bytearray()
  while value > 0x7F:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)


def read_table(data: bytes) -> dict[bytes, bytes]:
  """Returns the entries of a table in the order of their keys.

  Raises:
    DamagedError: it is no table, is cut off, or has a wrong checksum.
  """
  if len(data) < _FOOTER:
    raise DamagedError(f"it has {len(data)} bytes and no footer")
  footer = data[-_FOOTER:]
  if int.from_bytes(footer[-8:], "little") != MAGIC:
    raise DamagedError("it does not end as a checkpoint index does")
  _, place = _read_handle(footer, 0)  # Of blocks about blocks, unused.
  index, _ = _read_handle(footer, place)
  entries, last = {}, None
  for _, handle in _read_block(data, index):
    for key, value in _read_block(data, _read_handle(handle, 0)[0]):
      if last is not None and key <= last:
        raise DamagedError(f"its keys are not in order at {key[:99]!r}")
      entries[key] = value
      last = key
  return entries


def write_table(entries: Mapping[bytes, bytes]) -> bytes:
  """Returns a table of one block, with the bytes that TensorFlow writes."""
  items = sorted(entries.items())
  out = bytearray()
  block = _write_block(out, items)
  meta = _write_block(out, [])
  index = _write_block(out, [(_successor(items[-1][0]), block)])
  out += (meta + index).ljust(_FOOTER - 8, b"\0")
  out += MAGIC.to_bytes(8, "little")
  return bytes(out)


def _read_handle(data: bytes, place: int) -> tuple[tuple[int, int], int]:
  offset, place = read_varint(data, place)
  size, place = read_varint(data, place)
  return (offset, size), place


def _read_block(
    data: bytes, handle: tuple[int, int]
) -> Iterator[tuple[bytes, bytes]]:
  offset, size = handle
  if offset + size + _TRAILER > len(data):
    raise DamagedError("it is cut off")
  block = data[offset : offset + size]
  compression, checksum = struct.unpack_from("<BI", data, offset + size)
  if masked_crc32c(data[offset : offset + size + 1]) != checksum:
    raise DamagedError(f"the block at byte {offset} has a wrong checksum")
  if compression:
    raise DamagedError("it is compressed, which TensorFlow does not do")
  num_restarts = int.from_bytes(block[-4:], "little")
  end, place, key = size - 4 - 4 * num_restarts, 0, b""
  if end < 0:
    raise DamagedError(f"the block at byte {offset} is too short")
  block = block[:end]
  while place < end:
    shared, place = read_varint(block, place)
    own, place = read_varint(block, place)
    length, place = read_varint(block, place)
    if shared > len(key) or place + own + length > end:
      raise DamagedError(f"the block at byte {offset} has a wrong length in it")
    key = key[:shared] + block[place : place + own]
    place += own
    yield key, block[place : place + length]
    place += length


def _write_block(out: bytearray, items: Sequence[tuple[bytes, bytes]]) -> bytes:
  """Adds a block and returns its handle."""
  block, restarts, last = bytearray(), [], b""
  for i, (key, value) in enumerate(items):
    shared = 0
    if i % _RESTART_INTERVAL:
      while shared < min(len(key), len(last)) and key[shared] == last[shared]:
        shared += 1
    else:
      restarts.append(len(block))
    for number in (shared, len(key) - shared, len(value)):
      block += write_varint(number)
    block += key[shared:] + value
    last = key
  restarts = restarts or [0]
  block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
  handle = write_varint(len(out)) + write_varint(len(block))
  block.append(0)  # Not compressed.
  out += block + masked_crc32c(bytes(block)).to_bytes(4, "little")
  return handle


def _successor(key: bytes) -> bytes:
  """Returns the shortest key that sorts behind this one and its likes."""
  for i, byte in enumerate(key):
    if byte < 0xFF:
      return key[:i] + bytes([byte + 1])
  return key
