"""Runs trials on this machine: some at a time, each in a process of its own.

What a trial needs for resuming lies in its workdir, and the verbs resume by
themselves: so a trial that died is started again with the same command.
"""

import collections
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

from etils import epath

from electra_jax.errors import UserError
from electra_jax.sweeps import outcomes
from electra_jax.sweeps.trials import Stage, Trial

_POLL_SECS = 0.1
_MISTAKE = 2  # The status of a UserError, which the same command meets again.
_GPU_FILES = "dev/nvidia[0-9]*"
_PASSED_ON = (signal.SIGTERM, signal.SIGKILL)  # When asked once, and twice.
# Until a node's file server shows what another node has written.
_LATE_SECS = 90


@dataclasses.dataclass(frozen=True)
class Options:
  """How to run.

  Attributes:
    jobs: trials at a time.
    retries: how often a trial that died is started again.
    flags: for every verb, behind its own.
    distributed: whether this is one of several processes that all run these
      trials, each its part.
  """

  jobs: int = 1
  retries: int = 1
  flags: tuple[str, ...] = ()
  distributed: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
  """How the running ended.

  Attributes:
    states: of the trials that were not finished, by name.
    stopped_by: the signal's number if one ended it.
  """

  states: Mapping[str, str]
  stopped_by: int | None


def run(
    trials: Sequence[Trial], output: epath.Path, options: Options
) -> Result:
  """Runs all trials that are not finished.

  SIGTERM and SIGINT are passed on as SIGTERM, at which the verbs write a
  checkpoint; a second one kills.

  Args:
    trials: in the order in which they start.
    output: the folder above theirs.
    options: how.

  Raises:
    UserError: the GPUs of this machine do not divide over the trials.
  """
  with _Runner(output, options, len(trials)) as runner:
    return runner.run(trials)


def gpu_shares(
    jobs: int,
    variables: Mapping[str, str],
    files: Sequence[str] | None = None,
) -> list[dict[str, str]]:
  """Returns variables for each of `jobs`, so that no two share a GPU.

  Args:
    jobs: trials at a time; one alone gets what there is.
    variables: of this process.
    files: the GPUs' own; this machine's by default.

  Raises:
    UserError: they do not divide.
  """
  name = "CUDA_VISIBLE_DEVICES"
  if jobs == 1:
    return [{}]
  if name in variables:
    gpus = [gpu for gpu in variables[name].split(",") if gpu]
  else:
    if files is None:
      files = [path.name for path in pathlib.Path("/").glob(_GPU_FILES)]
    gpus = [str(i) for i in range(len(files))]
  if not gpus or variables.get("JAX_PLATFORMS") == "cpu":
    return [{} for _ in range(jobs)]
  if len(gpus) % jobs:
    raise UserError(
        f"--jobs {jobs} does not divide the {len(gpus)} GPUs here, of which"
        " each takes one process; give a divisor, or choose some with"
        f" {name}=0,1,…"
    )
  each = len(gpus) // jobs
  return [
      {name: ",".join(gpus[i * each : (i + 1) * each])} for i in range(jobs)
  ]


@dataclasses.dataclass
class _Attempt:
  """A process at work on a stage of a trial."""

  trial: Trial
  stage: Stage
  process: subprocess.Popen
  slot: int
  log: pathlib.Path
  began: float
  signals: int = 0  # That it was sent.


class _Runner:

  def __init__(self, output: epath.Path, options: Options, total: int):
    self._output = output
    self._options = options
    self._total = total
    self._is_local = "://" not in str(output)
    self._slots = gpu_shares(options.jobs, os.environ)
    self._free = list(range(options.jobs))
    self._deaths = collections.Counter()
    self._states: dict[str, str] = {}
    self._done = 0
    self._running: list[_Attempt] = []
    self._asked: list[int] = []  # Signals to stop.
    self._rooms = contextlib.ExitStack()
    self._locks: dict[str, int] = {}

  def __enter__(self) -> "_Runner":
    self._previous = {
        number: signal.signal(number, lambda n, _: self._asked.append(n))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    # Object stores cannot append; logs are copied there.
    self._logs = pathlib.Path(
        self._rooms.enter_context(tempfile.TemporaryDirectory())
    )
    return self

  def __exit__(self, *exc_info) -> None:
    for attempt in self._running:  # After an error of ours alone.
      self._send(attempt, signal.SIGKILL)
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    self._rooms.close()

  def run(self, trials: Sequence[Trial]) -> Result:
    waiting = collections.deque(trials)
    while self._running or (waiting and not self._asked):
      while waiting and self._free and not self._asked:
        self._begin(waiting.popleft())
      self._pass_on()
      for attempt in [a for a in self._running if a.process.poll() is not None]:
        self._end(attempt, waiting)
      if self._running:
        time.sleep(_POLL_SECS)
    return Result(self._states, self._asked[0] if self._asked else None)

  def _begin(self, trial: Trial) -> None:
    """Starts a trial's next stage, if there is one and nobody else runs it."""
    folder = self._output / trial.name
    stage = outcomes.next_stage(trial, folder)
    if stage is None:
      self._done += 1
      self._say(trial, "is finished")
      return
    if not self._lock(trial, folder):
      self._states[trial.name] = "running"
      self._say(trial, "is run by another process; it is left to that")
      return
    slot = self._free.pop(0)
    log = self._log_of(trial, folder)
    deaths = self._deaths[trial.name]
    with log.open("ab") as file:
      process = subprocess.Popen(
          [*stage.command(folder), *self._options.flags],
          env=os.environ | self._slots[slot],
          stdin=subprocess.DEVNULL,
          stdout=file,
          stderr=subprocess.STDOUT,
          # Ctrl-C is for this process, which tells the others.
          start_new_session=True,
          # Held until the last of them has ended, whatever becomes of us.
          pass_fds=[self._locks[trial.name]] if self._locks else [],
      )
    self._running.append(
        _Attempt(trial, stage, process, slot, log, time.monotonic())
    )
    again = f", attempt {deaths + 1}" if deaths else ""
    what = stage.folder or stage.verb
    self._say(trial, f"{what} begins as process {process.pid}{again}")

  def _end(self, attempt: _Attempt, waiting: collections.deque) -> None:
    """Takes note of a process that has ended, and of what comes next."""
    trial, status = attempt.trial, attempt.process.returncode
    folder = self._output / trial.name
    self._running.remove(attempt)
    self._free.append(attempt.slot)
    self._unlock(trial)
    if not self._is_local:
      folder.mkdir(parents=True, exist_ok=True)
      (folder / attempt.log.name).write_bytes(attempt.log.read_bytes())
    secs = time.monotonic() - attempt.began
    if self._is_finished(attempt, folder):
      waiting.appendleft(trial)  # Its next stage, or the end.
      return
    if self._asked:
      self._states[trial.name] = "stopped"
      self._say(trial, f"stopped after {secs:,.0f} s")
      return
    self._deaths[trial.name] += 1
    why = f"ended with status {status} after {secs:,.0f} s"
    if note := outcomes.last_line(folder):
      why += f": {note}"
    if status == _MISTAKE or self._deaths[trial.name] > self._options.retries:
      self._states[trial.name] = "failed"
      self._done += 1
      self._say(trial, f"failed; it {why}")
    else:
      self._say(trial, why)
      waiting.appendleft(trial)

  def _log_of(self, trial: Trial, folder: epath.Path) -> pathlib.Path:
    name = "log.txt"
    if self._options.distributed:
      process = os.environ.get("SLURM_PROCID", "0")
      name = f"log_{socket.gethostname()}_{process}.txt"
    place = pathlib.Path(folder) if self._is_local else self._logs / trial.name
    place.mkdir(parents=True, exist_ok=True)
    return place / name

  def _lock(self, trial: Trial, folder: epath.Path) -> bool:
    # Of one run's processes each would lock the others out.
    if not self._is_local or self._options.distributed:
      return True
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      os.close(descriptor)
      return False
    self._locks[trial.name] = descriptor
    return True

  def _unlock(self, trial: Trial) -> None:
    if trial.name in self._locks:
      os.close(self._locks.pop(trial.name))

  def _is_finished(self, attempt: _Attempt, folder: epath.Path) -> bool:
    ended_well = attempt.process.returncode == 0
    patience = _LATE_SECS if self._options.distributed and ended_well else 0
    deadline = time.monotonic() + patience
    while not outcomes.is_finished(attempt.stage, folder):
      if self._asked or time.monotonic() >= deadline:
        return False
      time.sleep(_POLL_SECS)
    return True

  def _pass_on(self) -> None:
    count = min(len(self._asked), len(_PASSED_ON))
    for attempt in self._running:
      if attempt.signals < count:
        attempt.signals = count
        self._say(attempt.trial, f"is sent {_PASSED_ON[count - 1].name}")
        self._send(attempt, _PASSED_ON[count - 1])

  def _send(self, attempt: _Attempt, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(attempt.process.pid, number)

  def _say(self, trial: Trial, what: str) -> None:
    width = len(str(self._total))
    print(
        f"[{self._done:>{width}}/{self._total}] {trial.name} {what}", flush=True
    )
