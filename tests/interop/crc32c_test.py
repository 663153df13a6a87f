"""The checksum, against published values and a bit-by-bit one."""

import sys

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.interop.crc32c import masked_crc32c


def unmasked(data):
  stored = (masked_crc32c(data) - 0xA282EAD8) % 2**32
  return stored >> 17 | (stored << 15) & 0xFFFFFFFF


# RFC 3720, appendix B.4.
@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data, value):
  assert unmasked(data) == value


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 13, 1023, 150_001])
def test_every_length_is_as_bit_by_bit(length):
  data = np.random.default_rng(length).bytes(length)
  state = 0xFFFFFFFF
  for byte in data:
    state ^= byte
    for _ in range(8):
      state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
  assert unmasked(data) == state ^ 0xFFFFFFFF


def test_what_is_stored_is_masked():
  crc = 0xE3069283
  rotated = (crc >> 15) | (crc << 17) & 0xFFFFFFFF
  stored = masked_crc32c(b"123456789")
  assert stored == (rotated + 0xA282EAD8) % 2**32


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "google_crc32c", None)
  with pytest.raises(UserError, match=r"install 'electra-jax\[interop\]'"):
    masked_crc32c(b"")
