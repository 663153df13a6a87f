"""What a run leaves to read: JSON lines, TensorBoard, one live line."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import rich.console
import rich.progress
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


class ProgressLine:
  """A live line on a terminal, a plain line now and then elsewhere."""

  def __init__(self, total_steps: int, start_step: int, quiet: bool = False):
    self._total = total_steps
    self._start = start_step
    self._began = time.monotonic()
    self._quiet = quiet
    self._progress = None
    if sys.stderr.isatty() and not quiet:
      self._progress = rich.progress.Progress(
          rich.progress.TextColumn("step {task.completed:,}/{task.total:,}"),
          rich.progress.BarColumn(bar_width=24),
          rich.progress.TextColumn("{task.description}"),
          rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
          console=rich.console.Console(stderr=True),
      )
      self._task = self._progress.add_task(
          "compiling", total=total_steps, completed=start_step
      )
      self._progress.start()

  def restart_clock(self, step: int) -> None:
    """Starts measuring at `step`, after compilation."""
    self._start, self._began = step, time.monotonic()

  def update(self, step: int, description: str | None = None) -> None:
    """Shows the step and, where given, new figures."""
    if self._progress is not None:
      kwargs = {} if description is None else {"description": description}
      self._progress.update(self._task, completed=step, **kwargs)
    elif description is not None and not self._quiet:
      print(
          f"step {step:,}/{self._total:,} | {description} |"
          f" {self._remaining(step)} left",
          file=sys.stderr,
          flush=True,
      )

  def close(self) -> None:
    """Leaves the line as it stands."""
    if self._progress is not None:
      self._progress.stop()

  def _remaining(self, step: int) -> str:
    done = step - self._start
    if done <= 0:
      return "unknown time"
    secs = (time.monotonic() - self._began) / done * (self._total - step)
    hours, rest = divmod(int(secs), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
