"""TensorBoard's files of events, cut back to a step."""

import struct
from collections.abc import Iterator

from etils import epath
from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2

from electra_jax.files import write_whole

# A record is its length, a checksum of that, the data, a checksum of those.
# Source: TensorFlow's documentation of the TFRecord format.
_LENGTH = struct.Struct("<QI")
_CHECKSUM_BYTES = 4


def cut_back(folder: epath.Path, step: int) -> None:
  """Drops the events of later steps, and what a kill has cut off.

  Args:
    folder: where the files lie; one with nothing to drop is not touched.
    step: the last one that stays.

  Raises:
    UserError: a file cannot be written.
  """
  if not folder.exists():
    return
  for path in folder.glob("events.out.tfevents.*"):
    content = path.read_bytes()
    kept = [record for record, at in _records(content) if at <= step]
    if sum(map(len, kept)) != len(content):
      write_whole(path, kept)


def _records(content: bytes) -> Iterator[tuple[bytes, int]]:
  """Yields whole records, each with the step of its event."""
  start = 0
  while start + _LENGTH.size <= len(content):
    length, _ = _LENGTH.unpack_from(content, start)
    first = start + _LENGTH.size
    end = first + length + _CHECKSUM_BYTES
    if end > len(content):
      return
    try:
      event = event_pb2.Event.FromString(content[first : first + length])
    except DecodeError:
      return
    yield content[start:end], event.step
    start = end
