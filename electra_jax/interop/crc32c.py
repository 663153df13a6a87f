"""CRC-32C, the checksum of TensorFlow's files, as they store it."""

import types

from electra_jax.errors import UserError

_ALL_ONES = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
  """Returns the checksum as stored: rotated, and a constant added.

  Raises:
    UserError: the package that computes it is not installed.

  Source: TensorFlow, tsl/lib/hash/crc32c.h: Mask.
  """
  crc = _import_google_crc32c().value(data)
  return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _ALL_ONES


def _import_google_crc32c() -> types.ModuleType:
  try:
    import google_crc32c
  except ImportError as error:
    raise UserError(
        "TensorFlow's checkpoints need a package that is not installed; run pip"
        " install 'electra-jax[interop]'"
    ) from error
  return google_crc32c
