"""TensorFlow's checkpoints (version 2), read and written without TensorFlow.

A checkpoint PREFIX is a table PREFIX.index, which says of every variable its
dtype, shape, place and checksum, and one or several files of raw little-endian
values, PREFIX.data-00000-of-00001. Beside them a file `checkpoint` names the
newest prefix.

Source: TensorFlow, core/util/tensor_bundle and core/protobuf/
tensor_bundle.proto.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop import leveldb_table
from electra_jax.interop.crc32c import masked_crc32c
from electra_jax.interop.leveldb_table import DamagedError, write_varint

# TensorFlow, core/framework/types.proto.
_DTYPES = {1: np.dtype("<f4"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
_HEADER = b""  # The key under which the table tells about itself.
_HEADER_VALUE = b"\x08\x01\x1a\x02\x08\x01"  # One shard, little-endian, v1.
_VARINT, _BYTES, _FIXED32 = 0, 2, 5  # Protocol buffers' wire types.
# BundleEntryProto: dtype, shape, shard, offset, size, checksum.
_ENTRY_KINDS = {1: int, 2: bytes, 3: int, 4: int, 5: int, 6: int}


@dataclasses.dataclass(frozen=True)
class Entry:
  """Where a variable stands.

  Attributes:
    dtype: of its values.
    shape: of the array.
    file: the data file.
    offset: of its first byte there.
    size: in bytes.
    checksum: masked CRC-32C of its bytes.
  """

  dtype: np.dtype
  shape: tuple[int, ...]
  file: epath.Path
  offset: int
  size: int
  checksum: int


def find_prefix(source: epath.PathLike) -> epath.Path | None:
  """Returns the prefix of a checkpoint, or None where there is none.

  Args:
    source: a prefix, an .index file, or a folder: of several checkpoints in
      it the one that its file `checkpoint` names.

  Raises:
    UserError: the folder has several and does not say which is the newest.
  """
  path = epath.Path(source)
  prefix = path.with_name(path.name.removesuffix(".index"))
  if _index_of(prefix).exists():
    return prefix
  if not path.is_dir():
    return None
  found = sorted(p.name.removesuffix(".index") for p in path.glob("*.index"))
  newest = _newest(path)
  if newest in found:
    return path / newest
  if len(found) > 1:
    raise UserError(
        f"{source} holds the checkpoints {', '.join(found)} and no file"
        f" `checkpoint` that names one of them; give {path / found[-1]}, say"
    )
  return path / found[0] if found else None


def read_index(prefix: epath.PathLike) -> dict[str, Entry]:
  """Returns the variables of a checkpoint by name.

  Raises:
    UserError: the index is missing, damaged, or of a kind that no variable of
      the released code has.
  """
  path = epath.Path(prefix)
  index = _index_of(path)
  try:
    table = leveldb_table.read_table(index.read_bytes())
    if _HEADER not in table:
      raise DamagedError("it has no header")
    shards = _parse_header(table.pop(_HEADER))
    return {
        name.decode(): _parse_entry(name.decode(), value, path, shards)
        for name, value in table.items()
    }
  except OSError as error:
    raise UserError(
        f"cannot read {index}: {error.strerror}; give the folder of a"
        " checkpoint, or its path up to .index"
    ) from error
  except (DamagedError, UnicodeDecodeError) as error:
    raise UserError(
        f"{index} is damaged: {error}; copy the checkpoint again"
    ) from error


def read_variables(
    prefix: epath.PathLike, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
  """Returns variables of a checkpoint, with their checksums verified.

  Args:
    prefix: of `find_prefix`.
    names: which, or None for all.

  Raises:
    UserError: a file is missing, cut off, or has a wrong checksum.
  """
  entries = read_index(prefix)
  names = entries if names is None else names
  return {name: _read_values(name, entries[name]) for name in names}


def write_variables(
    prefix: epath.PathLike, variables: Mapping[str, np.ndarray]
) -> None:
  """Writes a checkpoint of one data file, and `checkpoint` beside it.

  Args:
    prefix: as "folder/model.ckpt-200"; the folder is there.
    variables: float32, int32 or int64 by name.
  """
  path = epath.Path(prefix)
  table, offset = {_HEADER: _HEADER_VALUE}, 0
  file = _data_of(path, 0, 1)
  with file.open("wb") as opened:
    for name in sorted(variables, key=str.encode):
      array = np.asarray(variables[name])
      data = array.astype(array.dtype.newbyteorder("<")).tobytes()
      entry = Entry(
          array.dtype, array.shape, file, offset, len(data), masked_crc32c(data)
      )
      table[name.encode()] = _serialise_entry(entry)
      opened.write(data)
      offset += len(data)
  _index_of(path).write_bytes(leveldb_table.write_table(table))
  (path.parent / "checkpoint").write_text(
      f'model_checkpoint_path: "{path.name}"\n'
      f'all_model_checkpoint_paths: "{path.name}"\n'
  )


def _index_of(prefix: epath.Path) -> epath.Path:
  return prefix.with_name(f"{prefix.name}.index")


def _data_of(prefix: epath.Path, shard: int, shards: int) -> epath.Path:
  return prefix.with_name(f"{prefix.name}.data-{shard:05}-of-{shards:05}")


def _newest(folder: epath.Path) -> str | None:
  path = folder / "checkpoint"
  if not path.exists():
    return None
  text = path.read_bytes().decode("utf-8", "replace")
  match = re.search(r'^model_checkpoint_path: "(.*)"', text, re.MULTILINE)
  # The rest of the path is that of the machine it was written on.
  return match[1].split("/")[-1] if match else None


def _read_values(name: str, entry: Entry) -> np.ndarray:
  file = entry.file
  try:
    length = file.stat().length
    with file.open("rb") as opened:
      # No more is asked for than there is, whatever the index says.
      opened.seek(min(entry.offset, length))
      data = opened.read(min(entry.size, length))
  except OSError as error:
    raise UserError(
        f"cannot read {file}: {error.strerror}; copy all files of the"
        " checkpoint into one folder"
    ) from error
  if len(data) < entry.size:
    raise UserError(
        f"{file} is cut off: it ends within {name!r}; copy it again"
    )
  if masked_crc32c(data) != entry.checksum:
    raise UserError(
        f"{file} is damaged: {name!r} has a wrong checksum; copy it again"
    )
  return np.frombuffer(data, entry.dtype).reshape(entry.shape)


def _parse_header(value: bytes) -> int:
  """Returns the number of data files."""
  # TensorFlow, core/protobuf/tensor_bundle.proto: BundleHeaderProto.
  fields = dict(_parse_fields(value))
  shards = fields.get(1)
  if not isinstance(shards, int) or shards < 1:
    raise DamagedError("its header tells no number of data files")
  if fields.get(2, 0) != 0:
    raise DamagedError("its numbers are big-endian, which cannot be read")
  return shards


def _parse_entry(
    name: str, value: bytes, prefix: epath.Path, shards: int
) -> Entry:
  # TensorFlow, core/protobuf/tensor_bundle.proto: BundleEntryProto.
  fields = dict(_parse_fields(value))
  for number, kind in _ENTRY_KINDS.items():
    if not isinstance(fields.get(number, kind()), kind):
      raise DamagedError(f"{name!r} has a field {number} of another kind")
  if fields.get(1) not in _DTYPES or 7 in fields:
    raise UserError(
        f"{prefix} holds {name!r}, which is no whole float32, int32 or int64"
        " variable; give a checkpoint that the released TensorFlow 1 code"
        " wrote"
    )
  dtype = _DTYPES[fields[1]]
  sizes = [
      dict(_parse_fields(size)).get(1, 0) if isinstance(size, bytes) else b""
      for number, size in _parse_fields(fields.get(2, b""))
      if number == 2
  ]
  if not all(isinstance(size, int) for size in sizes):
    raise DamagedError(f"{name!r} has a shape that is none")
  shape, size = tuple(sizes), fields.get(5, 0)
  if math.prod(shape) * dtype.itemsize != size:
    raise DamagedError(f"{name!r} of shape {shape} has {size} bytes")
  file = _data_of(prefix, fields.get(3, 0), shards)
  return Entry(dtype, shape, file, fields.get(4, 0), size, fields.get(6, 0))


def _serialise_entry(entry: Entry) -> bytes:
  sizes = [_serialise({1: size}) for size in entry.shape]
  shape = b"".join(_serialise({2: size}) for size in sizes)
  dtype = _NUMBERS[entry.dtype.newbyteorder("<")]
  numbers = {1: dtype, 2: shape, 4: entry.offset, 5: entry.size}
  checksum = entry.checksum.to_bytes(4, "little")
  # An empty shape is written, and numbers that are 0 are not.
  fields = {i: x for i, x in numbers.items() if i == 2 or x}
  return _serialise(fields) + bytes([6 << 3 | _FIXED32]) + checksum


def _parse_fields(data: bytes) -> Iterator[tuple[int, Any]]:
  """Yields number and value of each field of a protocol buffer."""
  place = 0
  while place < len(data):
    key, place = leveldb_table.read_varint(data, place)
    number, wire_type = key >> 3, key & 7
    if wire_type == _VARINT:
      value, place = leveldb_table.read_varint(data, place)
    elif wire_type == _FIXED32:
      value = int.from_bytes(data[place : place + 4], "little")
      place += 4
    elif wire_type == _BYTES:
      length, place = leveldb_table.read_varint(data, place)
      value = data[place : place + length]
      place += length
    else:
      raise DamagedError(f"a field has wire type {wire_type}")
    yield number, value


def _serialise(fields: Mapping[int, int | bytes]) -> bytes:
  out = b""
  for number, value in fields.items():
    if isinstance(value, bytes):
      out += bytes([number << 3 | _BYTES]) + write_varint(len(value)) + value
    else:
      out += bytes([number << 3 | _VARINT]) + write_varint(value)
  return out
