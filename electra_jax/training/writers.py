"""What a run leaves to read: JSON lines and TensorBoard."""

import json
import logging
import math
import os
import time
from collections.abc import Mapping
from typing import Any

from etils import epath
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer import event_file_writer

from electra_jax.disk.scratch import check_no_link_inside
from electra_jax.files import is_remote, write_whole, writing
from electra_jax.training import events
from electra_jax.training.trackers import Trackers

_log = logging.getLogger(__name__)


class ScalarWriter:
  """Appends scalars to metrics.jsonl and to a TensorBoard events file.

  Both are cut back to the step that a run resumes from, so that a step is
  recorded once however often a run was killed. Nothing is touched before there
  is something to write or to cut. Trackers are sent all records; they leave out
  what they have.
  """

  def __init__(
      self,
      workdir: epath.PathLike,
      resume_step: int,
      trackers: Trackers | None = None,
  ):
    """Drops records past `resume_step`.

    Args:
      workdir: the run's folder.
      resume_step: the step of the restored checkpoint, 0 for a fresh run.
      trackers: where records are sent as well.

    Raises:
      UserError: the files cannot be written.
    """
    self._path = epath.Path(workdir) / "metrics.jsonl"
    self._folder = epath.Path(workdir) / "tensorboard"
    self._is_local = not is_remote(workdir)
    check_no_link_inside(self._folder)
    self._lines = _cut_lines(self._path, resume_step)
    records = list(map(json.loads, self._lines))
    self._recorded = {(r["step"], r.get("group")) for r in records}
    self._trackers = trackers
    if trackers is not None:
      for record in records:
        _send(trackers, record)
    events.cut_back(self._folder, resume_step)
    self._events = None

  def write(self, step: int, prefix: str, scalars: Mapping[str, float]) -> None:
    """Writes one record; what is not finite becomes null.

    Args:
      step: updates done; one that is recorded already is left as it is.
      prefix: "train", "validation", …; names the group.
      scalars: values by name.

    Raises:
      UserError: the files cannot be written.
    """
    if (step, prefix) in self._recorded:
      return
    self._recorded.add((step, prefix))
    finite = {
        name: value if math.isfinite(value) else None
        for name, value in scalars.items()
    }
    record = {"step": step, "group": prefix, **finite}
    line = json.dumps(record) + "\n"
    with writing(self._path):
      if self._is_local:
        with open(self._path, "a", encoding="utf-8", opener=_no_link) as file:
          file.write(line)
      else:  # Object stores cannot append.
        self._lines.append(line)
        self._path.write_text("".join(self._lines))
    with writing(self._folder):
      if self._events is None:
        self._events = event_file_writer.EventFileWriter(str(self._folder))
      self._events.add_event(_event(step, prefix, finite))
    if self._trackers is not None:
      _send(self._trackers, record)

  def flush(self) -> None:
    """Returns when all records are on disk, as they are before a checkpoint.

    Raises:
      UserError: the files cannot be written.
    """
    if self._events is not None:
      with writing(self._folder):
        self._events.flush()
    if self._is_local and self._path.exists():
      with writing(self._path), open(self._path, "rb+") as file:
        os.fsync(file.fileno())

  def close(self) -> None:
    """Flushes and closes."""
    if self._events is not None:
      with writing(self._folder):
        self._events.close()


def _send(trackers: Trackers, record: Mapping[str, Any]) -> None:
  scalars = {
      name: value
      for name, value in record.items()
      if name not in ("step", "group") and isinstance(value, int | float)
  }
  trackers.write(record["step"], record.get("group", ""), scalars)


def _no_link(path: str, flags: int) -> int:
  return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _event(
    step: int, prefix: str, scalars: Mapping[str, float | None]
) -> event_pb2.Event:
  values = [
      summary_pb2.Summary.Value(tag=f"{prefix}/{name}", simple_value=value)
      for name, value in scalars.items()
      if value is not None
  ]
  return event_pb2.Event(
      wall_time=time.time(),
      step=step,
      summary=summary_pb2.Summary(value=values),
  )


def _cut_lines(path: epath.Path, step: int) -> list[str]:
  """Returns the records up to a step; drops the others from the file."""
  if not path.exists():
    return []
  kept, text = [], path.read_bytes().decode("utf-8", "replace")
  lines = text.splitlines()
  for number, line in enumerate(lines, 1):
    try:
      record = json.loads(line)
      is_kept = record["step"] <= step
    except (ValueError, TypeError, KeyError, RecursionError):
      if number < len(lines):  # The last one may be cut off by a kill.
        _log.warning("%s:%d is no record and is left out", path, number)
      continue
    if is_kept:
      kept.append(line + "\n")
  if "".join(kept) != text or (not is_remote(path) and os.path.islink(path)):
    write_whole(path, kept)
  return kept
