"""The command in processes of its own: awaited, together, stopped by a signal."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from tests import helpers

# Only what hangs waits so long: tests may share few cores with others.
TIMEOUT_SECS = 300


def start(*command: object) -> subprocess.Popen:
  """Starts `electra-jax COMMAND`; `finish` reads what it prints."""
  return subprocess.Popen(
      [sys.executable, "-m", "electra_jax", *map(str, command)],
      cwd=helpers.ROOT,
      env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
  )


def finish(process: subprocess.Popen, status: int = 0) -> str:
  """Waits for a process, checks its exit status and returns what it printed."""
  with process:
    try:
      output, _ = process.communicate(timeout=TIMEOUT_SECS)
    finally:
      process.kill()
  assert process.returncode == status, output
  return output


def run(*command: object) -> str:
  """Runs `electra-jax COMMAND` to its end and returns what it printed."""
  return finish(start(*command))


def start_together(*command: object, count: int = 2) -> list[subprocess.Popen]:
  """Starts a command as several processes of one run.

  Args:
    *command: the same for all, but that "{i}" becomes 0, 1, ….
    count: how many processes.
  """
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  command = (
      *command,
      f"--coordinator=localhost:{port}",
      *(f"--num-processes={count}", "--process-id={i}"),
  )
  return [
      start(*(str(part).replace("{i}", str(i)) for part in command))
      for i in range(count)
  ]


def run_together(*command: object, count: int = 2) -> list[str]:
  """Runs a command as several processes; returns what each printed.

  A process waits 30 s for the others before they first compute together. On a
  busy machine they may come later; the same command is then given once more.
  """
  try:
    return _run_together(*command, count=count)
  except AssertionError as error:
    if "Gloo context initialization failed" not in str(error):
      raise
  return _run_together(*command, count=count)


def _run_together(*command: object, count: int) -> list[str]:
  together = start_together(*command, count=count)
  try:
    return [finish(process) for process in together]
  finally:
    for process in together:
      process.kill()


def stop(
    process: subprocess.Popen,
    metrics: pathlib.Path,
    step: int,
    number: signal.Signals,
) -> str:
  """Sends a signal once the metrics show a step; returns what was printed.

  Checks that the process ended by it: SIGTERM with a status of its own, since
  it is waited for until the checkpoint is written, SIGKILL at once.
  """

  def has_come() -> bool:
    assert process.poll() is None, process.communicate()[0]
    return metrics.exists() and f'"step": {step},' in metrics.read_text()

  try:
    wait_until(has_come)
    process.send_signal(number)
    is_noted = number == signal.SIGTERM
    return finish(process, 128 + number if is_noted else -number)
  finally:
    process.kill()


def wait_until(condition: Callable[[], bool]) -> None:
  """Waits until a condition holds, and fails if it never does."""
  deadline = time.monotonic() + TIMEOUT_SECS
  while not condition():
    assert time.monotonic() < deadline, "what is waited for does not come"
    time.sleep(0.005)
