"""TensorBoard's events: made, and their files cut back to a step."""

import struct
import time
from collections.abc import Iterator, Mapping, Sequence

from etils import epath
from google.protobuf.message import DecodeError
from tensorboard.compat.proto import (
    event_pb2,
    summary_pb2,
    tensor_pb2,
    tensor_shape_pb2,
    types_pb2,
)

from electra_jax.files import write_whole

# A record is its length, a checksum of that, the data, a checksum of those.
# Source: TensorFlow's documentation of the TFRecord format.
_LENGTH = struct.Struct("<QI")
_CHECKSUM_BYTES = 4


def scalars(
    step: int, prefix: str, values: Mapping[str, float | None]
) -> event_pb2.Event:
  """Returns an event of numbers, each named PREFIX/NAME; None is left out."""
  return _event(
      step,
      [
          summary_pb2.Summary.Value(tag=f"{prefix}/{name}", simple_value=value)
          for name, value in values.items()
          if value is not None
      ],
  )


def texts(step: int, prefix: str, rows: Sequence[str]) -> event_pb2.Event:
  """Returns an event of Markdown texts, named PREFIX/samples."""
  shape = tensor_shape_pb2.TensorShapeProto(
      dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=len(rows))]
  )
  tensor = tensor_pb2.TensorProto(
      dtype=types_pb2.DT_STRING,
      tensor_shape=shape,
      string_val=[row.encode("utf-8", "replace") for row in rows],
  )
  plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
  value = summary_pb2.Summary.Value(
      tag=f"{prefix}/samples",
      metadata=summary_pb2.SummaryMetadata(plugin_data=plugin),
      tensor=tensor,
  )
  return _event(step, [value] if rows else [])


def _event(
    step: int, values: Sequence[summary_pb2.Summary.Value]
) -> event_pb2.Event:
  return event_pb2.Event(
      wall_time=time.time(),
      step=step,
      summary=summary_pb2.Summary(value=values),
  )


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
