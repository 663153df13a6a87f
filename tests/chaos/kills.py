"""Verbs in processes of their own, quick to start, and killed at any instant.

The processes are forked from one that has imported the package and has started
nothing, so that a kill falls into the verb's own work.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence

from tests.chaos.judging import Ended

_PRELOADED = [
    "electra_jax.pretraining.pretrain",
    "electra_jax.finetuning.finetune",
    "electra_jax.interop.convert",
    "electra_jax.preprocessing.prepare",
    "electra_jax.cli.main",
    "electra_jax.api",
    "tests.chaos.kills",
]
_PATIENCE_SECS = 600  # What has not ended by then hangs.


@dataclasses.dataclass
class Command:
  """A verb that runs.

  Attributes:
    process: it.
    log: what it prints.
    began: when it was started, of `time.monotonic`.
  """

  process: multiprocessing.Process
  log: pathlib.Path
  began: float

  def end(self) -> Ended:
    """Waits for the end, and says how it ended; None as result: by a signal."""
    self.process.join(_PATIENCE_SECS)
    if self.process.is_alive():
      self.process.kill()
      self.process.join()
      return Ended(crash="it hangs", told=self.log.read_text())
    status, text = self.process.exitcode, self.log.read_text()
    lines = text.strip().split("\n")
    if "Traceback (most recent call last)" in text or status == 1:
      return Ended(crash=text or f"exit status {status}")
    if status == 2:
      return Ended(error=lines[-1], told=text)
    if status in (0, 130, 128 + signal.SIGTERM) or status < 0:
      return Ended(result=status, told=_warnings(lines))
    return Ended(crash=f"exit status {status}: {text}")


def _warnings(lines: Sequence[str]) -> str:
  return "\n".join(line for line in lines if line.startswith("WARNING"))


class Starter:
  """Starts verbs; each call of `start` is a process of its own."""

  def __init__(self, folder: pathlib.Path):
    self._folder, self._count = folder, 0
    self._context = multiprocessing.get_context("forkserver")
    self._context.set_forkserver_preload(_PRELOADED)

  def start(
      self,
      argv: Sequence[object],
      *,
      file_bytes: int | None = None,
      before: Callable[[], None] | None = None,
  ) -> Command:
    """Starts a verb.

    Args:
      argv: the words of the command.
      file_bytes: largest size of a file that it may write, None for any.
      before: is called in the process first; a function of a module.
    """
    self._count += 1
    log = self._folder / f"log_{self._count}.txt"
    log.touch()
    words = [str(word) for word in argv]
    process = self._context.Process(
        target=_run, args=(words, str(log), file_bytes, before)
    )
    process.start()
    return Command(process, log, time.monotonic())

  def run(self, argv: Sequence[object], **options) -> tuple[Ended, float]:
    """Runs a verb to its end; returns that, and how many seconds it took."""
    command = self.start(argv, **options)
    ended = command.end()
    return ended, time.monotonic() - command.began

  def kill(
      self, argv: Sequence[object], secs: float, rng: random.Random
  ) -> tuple[bool, Ended]:
    """Starts a verb and kills it at some instant of its run.

    Args:
      argv: the words of the command.
      secs: that it takes.
      rng: chooses the instant and the signal.

    Returns:
      Whether it was killed, or came to its end before; and how it ended.
    """
    command = self.start(argv)
    command.process.join(rng.uniform(0.05, 0.8) * secs)
    if not command.process.is_alive():
      return False, command.end()
    number = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
    with contextlib.suppress(ProcessLookupError):
      os.kill(command.process.pid, number)
    return True, command.end()


def _run(
    argv: list[str],
    log: str,
    file_bytes: int | None,
    before: Callable[[], None] | None,
) -> None:
  from electra_jax.cli.main import main
  from electra_jax.reporting import at_end

  at_end.report_at_end = lambda folder, show: None  # Kills hit the training.
  file = os.open(log, os.O_WRONLY | os.O_APPEND)
  os.dup2(file, 1)
  os.dup2(file, 2)
  sys.stdout, sys.stderr = (
      open(number, "w", closefd=False, buffering=1)  # noqa: SIM115
      for number in (1, 2)
  )
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  if before is not None:
    before()
  if file_bytes is not None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
  main(argv)
