"""What a run leaves to read: JSON lines, TensorBoard, one live line."""

import json
import math
import sys
import time
from collections.abc import Mapping

import rich.console
import rich.progress
from etils import epath
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer import event_file_writer


class ScalarWriter:
  """Appends scalars to metrics.jsonl and to a TensorBoard events file."""

  def __init__(self, workdir: epath.PathLike, resume_step: int):
    """Opens both files; records past `resume_step` are dropped.

    Args:
      workdir: the run's folder.
      resume_step: the step of the restored checkpoint, 0 for a fresh run.
    """
    self._path = epath.Path(workdir) / "metrics.jsonl"
    self._lines = _lines_up_to(self._path, resume_step)
    self._path.write_text("".join(self._lines))
    self._is_local = "://" not in str(workdir)
    self._events = event_file_writer.EventFileWriter(
        str(epath.Path(workdir) / "tensorboard")
    )

  def write(self, step: int, prefix: str, scalars: Mapping[str, float]) -> None:
    """Writes one record; what is not finite becomes null.

    Args:
      step: updates done.
      prefix: "train", "validation", …; names the group.
      scalars: values by name.
    """
    finite = {
        name: value if math.isfinite(value) else None
        for name, value in scalars.items()
    }
    record = {"step": step, "group": prefix, **finite}
    line = json.dumps(record) + "\n"
    if self._is_local:
      with open(self._path, "a", encoding="utf-8") as file:
        file.write(line)
    else:  # Object stores cannot append.
      self._lines.append(line)
      self._path.write_text("".join(self._lines))
    values = [
        summary_pb2.Summary.Value(tag=f"{prefix}/{name}", simple_value=value)
        for name, value in finite.items()
        if value is not None
    ]
    self._events.add_event(
        event_pb2.Event(
            wall_time=time.time(),
            step=step,
            summary=summary_pb2.Summary(value=values),
        )
    )

  def close(self) -> None:
    """Flushes and closes."""
    self._events.close()


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


def _lines_up_to(path: epath.Path, step: int) -> list[str]:
  if not path.exists():
    return []
  kept = []
  for line in path.read_text().splitlines():
    try:
      record = json.loads(line)
    except ValueError:  # Cut off by a kill.
      continue
    if record["step"] <= step:
      kept.append(line + "\n")
  return kept
