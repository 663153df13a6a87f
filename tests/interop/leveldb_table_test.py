"""The table of an index, byte for byte as TensorFlow wrote one."""

import pytest

from electra_jax.interop import leveldb_table
from electra_jax.interop.leveldb_table import DamagedError
from tests import helpers

INDEX = (helpers.TINY / "model.ckpt-200.index").read_bytes()


def test_tensorflows_table_is_written_as_it_was():
  entries = leveldb_table.read_table(INDEX)
  assert len(entries) == 248  # The header is one.
  assert leveldb_table.write_table(entries) == INDEX


def test_a_table_of_several_blocks_is_read():
  entries = [(f"key{i:04}".encode(), bytes([i])) for i in range(60)]
  out, handles = bytearray(), []
  for start in (0, 25, 50):
    block = entries[start : start + 25]
    handle = leveldb_table._write_block(out, block)
    handles.append((block[-1][0], handle))
  footer = leveldb_table._write_block(out, [])
  footer += leveldb_table._write_block(out, handles)
  data = bytes(out) + footer.ljust(40, b"\0") + INDEX[-8:]
  assert leveldb_table.read_table(data) == dict(entries)


def test_a_last_key_of_the_highest_bytes_is_its_own_successor():
  entries = {b"\xff\xff": b"x"}
  data = leveldb_table.write_table(entries)
  assert leveldb_table.read_table(data) == entries


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**40])
def test_varints_come_back(value):
  data = leveldb_table.write_varint(value)
  assert leveldb_table.read_varint(b"x" + data + b"y", 1) == (
      value,
      len(data) + 1,
  )


def test_half_a_varint_is_named():
  with pytest.raises(DamagedError, match="ends within a number"):
    leveldb_table.read_varint(b"\x80\x80", 0)


def test_a_compressed_block_is_refused():
  out = bytearray()
  handle = leveldb_table._write_block(out, [(b"a", b"b")])
  out[-5] = 1
  checksum = leveldb_table.masked_crc32c(bytes(out[:-4]))
  out[-4:] = checksum.to_bytes(4, "little")
  data = bytes(out) + (handle + handle).ljust(40, b"\0") + INDEX[-8:]
  with pytest.raises(DamagedError, match="compressed"):
    leveldb_table.read_table(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (INDEX[:-1], "does not end as"),
        (INDEX[-48:], "is cut off"),
        (INDEX[:100] + b"\0" + INDEX[101:], "byte 0 has a wrong checksum"),
    ],
)
def test_damage_is_named(data, message):
  with pytest.raises(DamagedError, match=message):
    leveldb_table.read_table(data)
