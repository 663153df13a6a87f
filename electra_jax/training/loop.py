"""The only loop: pre-training and fine-tuning call it with other callables."""

import contextlib
import dataclasses
import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from electra_jax.errors import UserError
from electra_jax.progress import Progress
from electra_jax.shapes import Params
from electra_jax.training import checkpoint_record, metrics
from electra_jax.training.checkpoint import Checkpointer, NonFiniteError
from electra_jax.training.step import TrainState
from electra_jax.training.writers import ScalarWriter


class Evaluation(NamedTuple):
  """What held-out rows say of parameters.

  Attributes:
    figures: by name.
    sample: how the networks treat some rows, as `ScalarWriter.write_sample`
      takes it, or None.
  """

  figures: Mapping[str, float]
  sample: Mapping[str, Any] | None = None


Evaluate = Callable[[Params], Evaluation]
Observe = Callable[[int, Evaluation], None]  # Told of each, with its step.
COMPILING = "compiling the training step"
COMPILE_TIME = "seconds for a small model, minutes for a large one"


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """When to do what, in steps; an interval of 0 means at the end only.

  Attributes:
    num_train_steps: the step to stop at.
    log_every_steps: interval of training records.
    eval_every_steps: interval of evaluation.
    checkpoint_every_steps: interval of checkpoints.
    batch_size: rows (of fine-tuning: texts) per step over all processes, for
      the rate.
    advice: what to do with the last checkpoint about a loss that is not finite.
    peak_rows_per_sec: the rate of `batch_size`'s rows at which all devices would
      run at their peak, or None where it is not known.
  """

  num_train_steps: int
  log_every_steps: int
  eval_every_steps: int
  checkpoint_every_steps: int
  batch_size: int
  advice: str = (
      "resume from it with a smaller --config.optimizer.learning_rate, or delete"
      " it to resume from the one before"
  )
  peak_rows_per_sec: float | None = None


@dataclasses.dataclass(frozen=True)
class Result:
  """How a run ended.

  Attributes:
    state: the last state.
    step: updates done.
    evaluation: figures of the last evaluation, by name.
    stopped_by: the signal's number if one ended the run early.
    train_secs: seconds in the loop, compilation included.
  """

  state: TrainState
  step: int
  evaluation: Mapping[str, float]
  stopped_by: int | None
  train_secs: float


class StopSignal:
  """Notes SIGTERM or SIGINT so that the loop can end between two steps."""

  def __init__(self):
    self.received: int | None = None

  def __enter__(self) -> "StopSignal":
    self._previous = {}
    # With several processes jax's own service listens for SIGTERM.
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and jax.process_count() == 1:
      for number in (signal.SIGTERM, signal.SIGINT):
        self._previous[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *exc_info) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _note(self, number, frame) -> None:
    del frame
    if self.received is not None and number == signal.SIGINT:
      raise KeyboardInterrupt  # Asked twice: do not wait for the step.
    self.received = number

  def agreed(self, step: int) -> int | None:
    """Returns the signal once all processes stand at the same step."""
    if (
        jax.process_count() > 1
        and multihost_utils.reached_preemption_sync_point(step)
    ):
      return signal.SIGTERM
    return self.received


def run(
    state: TrainState,
    train_step: Callable[[TrainState, Any], tuple[TrainState, Any]],
    batches: Iterator[Any],
    evaluate: Evaluate,
    checkpointer: Checkpointer,
    writer: ScalarWriter | None,
    config: LoopConfig,
    progress: Progress,
    *,
    observe: Observe | None = None,
    later_steps: int = 0,
) -> Result:
  """Trains until `num_train_steps` or a signal.

  Step n is dispatched before the metrics of step n-1 are read. A checkpoint
  is written only after every loss before it, and its own values, have been seen
  to be finite. Records are on disk before the checkpoint that comes after them.

  Args:
    state: where to start; donated to the first step.
    train_step: compiled; donates its state.
    batches: global batches from the state's step on.
    evaluate: parameters -> what held-out rows say of them.
    checkpointer: where states are saved.
    writer: where figures go, or None in all processes but the first.
    config: intervals.
    progress: where a person sees how far it is.
    observe: what else is done after each evaluation.
    later_steps: of loops that come after this one, for its estimate.

  Raises:
    UserError: a loss or an update is not finite; the last good checkpoint is
      intact.
  """
  step = first_step = int(state.step)
  window = Window(config, writer, progress, step, checkpointer.window(step))
  began, evaluation, stopped_by = time.monotonic(), {}, None

  def evaluate_now():
    with window.paused(), progress.stage("evaluating"):
      found = evaluate(state.params)
      _record(found, step, writer)
      if observe is not None:
        observe(step, found)
    return found.figures

  def save_now():
    with progress.stage("saving"):
      window.flush(step)
      with window.paused():
        if writer is not None:
          writer.flush()
        checkpointer.save(state, step, window.open_part())

  counting = progress.counting(config.num_train_steps, step, later=later_steps)
  try:
    with StopSignal() as stop, counting, jax.transfer_guard("disallow"):
      while step < config.num_train_steps and stopped_by is None:
        with _compiling(progress, step == first_step), _collector_at_rest():
          state, sums = train_step(state, next(batches))
        step += 1
        window.add(step, sums)
        progress.update(step)
        stopped_by = stop.agreed(step)
        if _due(step, config.eval_every_steps):
          window.flush(step)
          evaluation = evaluate_now()
        if _due(step, config.checkpoint_every_steps):
          save_now()
      save_now()
      if stopped_by is None and not _due(step, config.eval_every_steps):
        evaluation = evaluate_now()
        stopped_by = stop.received
  except NonFiniteError as error:
    checkpointer.wait()
    raise UserError(f"{error}; {_way_back(checkpointer, config)}") from error
  finally:
    checkpointer.wait()
  return Result(state, step, evaluation, stopped_by, time.monotonic() - began)


def _record(found: Evaluation, step: int, writer: ScalarWriter | None) -> None:
  if writer is None:
    return
  writer.write(step, "validation", found.figures)
  if found.sample is not None:
    writer.write_sample(step, "validation", found.sample)


def _way_back(checkpointer: Checkpointer, config: LoopConfig) -> str:
  if steps := checkpointer.steps():
    return f"the last good checkpoint is of step {steps[-1]}: {config.advice}"
  return (
      "nothing has been saved yet: start again in another --workdir with a"
      " smaller --config.optimizer.learning_rate"
  )


class Window:
  """Metrics of the steps since the last record, still on the device."""

  def __init__(
      self,
      config: LoopConfig,
      writer: ScalarWriter | None,
      progress: Progress,
      step: int,
      open_part: checkpoint_record.Window | None = None,
  ):
    """Begins a window, or goes on with one.

    Args:
      config: intervals.
      writer: where records go, or None.
      progress: where they are shown.
      step: updates done.
      open_part: what a run before this one left of a window.
    """
    self._config = config
    self._writer = writer
    self._progress = progress
    self._pending: list[tuple[int, Any]] = []
    # Of steps whose metrics have been read and are in no record yet.
    self._sums = {} if open_part is None else dict(open_part.sums)
    self._first_step = step if open_part is None else open_part.first_step
    self._compiled_step = step + 1  # Its call compiles, and is not timed.
    self._timed_from = step
    self._began = time.monotonic()

  def add(self, step: int, sums: Any) -> None:
    """Takes the metrics of a step just dispatched; reads older ones."""
    self._pending.append((step, sums))
    if step == self._compiled_step:
      self._timed_from, self._began = step, time.monotonic()
    if len(self._pending) >= 2:
      # At most two steps in flight: what is queued stays bounded.
      jax.block_until_ready(self._pending[-2][1])
    previous = step - 1
    if _due(previous, self._config.log_every_steps):
      self._record(previous)

  def flush(self, step: int) -> None:
    """Reads everything up to `step`, which is not recorded before its time."""
    if _due(step, self._config.log_every_steps) or (
        step == self._config.num_train_steps
    ):
      self._record(step)
    else:
      self._check([(s, jax.device_get(sums)) for s, sums in self._pending])

  def open_part(self) -> checkpoint_record.Window | None:
    """Returns what a checkpoint must hold of the window; None if it is new."""
    pending = jax.device_get([sums for _, sums in self._pending])
    if not pending and not self._sums:
      return None
    sums = metrics.add_up(pending, self._sums)
    return checkpoint_record.Window(self._first_step, sums)

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Keeps what is done meanwhile out of the rate."""
    began = time.monotonic()
    try:
      yield
    finally:
      self._began += time.monotonic() - began

  def _record(self, until: int) -> None:
    ready = [(s, sums) for s, sums in self._pending if s <= until]
    self._pending = [(s, sums) for s, sums in self._pending if s > until]
    if not ready:
      return
    ready = jax.device_get(ready)
    self._check(ready)
    sums = (sums for _, sums in ready)
    figures = metrics.divide(metrics.add_up(sums, self._sums))
    now = time.monotonic()
    if steps := until - self._timed_from:
      steps_per_sec = steps / max(now - self._began, 1e-9)
      rows_per_sec = steps_per_sec * self._config.batch_size
      figures |= {"steps_per_sec": steps_per_sec, "rows_per_sec": rows_per_sec}
      if peak := self._config.peak_rows_per_sec:
        figures["mfu"] = rows_per_sec / peak
    if self._writer is not None:
      self._writer.write(until, "train", figures)
    self._sums, self._first_step = {}, until
    self._timed_from, self._began = until, now
    self._progress.update(until, _describe(figures))

  def _check(self, ready) -> None:
    for step, sums in ready:
      for name, told in (("loss", "loss"), ("grad_norm", "gradient")):
        value = float(sums[name][0]) if name in sums else 0.0
        if not np.isfinite(value):
          raise NonFiniteError(f"the {told} of step {step} is {value}")


def _compiling(progress: Progress, is_first: bool):
  if not is_first:
    return contextlib.nullcontext()
  return progress.stage(COMPILING, COMPILE_TIME)


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
  # The first step is traced: a million objects, of which none is garbage.
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if was_enabled:
      gc.enable()


def _due(step: int, interval: int) -> bool:
  return bool(interval) and step > 0 and step % interval == 0


def _describe(figures: Mapping[str, float]) -> str:
  parts = [f"loss {figures['loss']:.3f}"]
  parts += [
      f"{name.removesuffix('_loss')} {figures[name]:.3f}"
      for name in ("mlm_loss", "rtd_loss")
      if name in figures
  ]
  if "rows_per_sec" in figures:
    parts.append(f"{figures['rows_per_sec']:,.0f} sequences/s")
  return " | ".join(parts)
