"""What a run leaves to read: JSON lines and TensorBoard."""

import math
from collections.abc import Mapping
from typing import Any

from etils import epath
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer import event_file_writer

from electra_jax.disk.scratch import check_no_link_inside
from electra_jax.files import writing
from electra_jax.training import events
from electra_jax.training.record_file import RecordFile
from electra_jax.training.trackers import Trackers


class ScalarWriter:
  """Writes what a run leaves to read, for people and for programs.

  Figures go to metrics.jsonl, sample rows to samples.jsonl, both to a
  TensorBoard events file. All are cut back to the step that a run resumes from,
  so that a step is recorded once however often a run was killed. Nothing is
  touched before there is something to write or to cut. Trackers are sent all
  figures; they leave out what they have.
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
    path = epath.Path(workdir)
    self._folder = path / "tensorboard"
    check_no_link_inside(self._folder)
    self._metrics = RecordFile(path / "metrics.jsonl", resume_step)
    self._samples = RecordFile(path / "samples.jsonl", resume_step)
    self._trackers = trackers
    if trackers is not None:
      for record in self._metrics.found:
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
    finite = {
        name: value if math.isfinite(value) else None
        for name, value in scalars.items()
    }
    if not self._metrics.append(step, prefix, finite):
      return
    self._add_event(events.scalars(step, prefix, finite))
    if self._trackers is not None:
      _send(self._trackers, {"step": step, "group": prefix, **finite})

  def write_sample(
      self, step: int, prefix: str, sample: Mapping[str, Any]
  ) -> None:
    """Writes how the networks treat some rows.

    Args:
      step: as of `write`.
      prefix: as of `write`.
      sample: what JSON can hold; its "texts", Markdown, go to TensorBoard.

    Raises:
      UserError: the files cannot be written.
    """
    record = {name: v for name, v in sample.items() if name != "texts"}
    if self._samples.append(step, prefix, record):
      self._add_event(events.texts(step, prefix, sample.get("texts", ())))

  def _add_event(self, event: event_pb2.Event) -> None:
    with writing(self._folder):
      if self._events is None:
        self._events = event_file_writer.EventFileWriter(str(self._folder))
      self._events.add_event(event)

  def flush(self) -> None:
    """Returns when all records are on disk, as they are before a checkpoint.

    Raises:
      UserError: the files cannot be written.
    """
    if self._events is not None:
      with writing(self._folder):
        self._events.flush()
    self._metrics.flush()
    self._samples.flush()

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
