"""Ctrl-C: the first ends a verb, and more of them do not disturb its end."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_UP_TO = 2  # So many are borne; the next one ends the process at once.


class Interrupts:
  """Handles SIGINT while a verb runs.

  The first raises KeyboardInterrupt. Python would raise it again while files
  are removed and workers are waited for, and end in a traceback; here the
  second only says that this is being done, and a third ends the process.
  """

  def __init__(self):
    self._count = 0
    self._is_held = False

  def __enter__(self) -> "Interrupts":
    self._previous = None
    if threading.current_thread() is threading.main_thread():
      self._previous = signal.signal(signal.SIGINT, self._note)
    return self

  def __exit__(self, *exc_info) -> None:
    if self._previous is not None:
      # Once interrupted, the process is about to end, which takes a moment.
      ended = signal.SIG_IGN if self._count else self._previous
      signal.signal(signal.SIGINT, ended)

  @contextlib.contextmanager
  def held(self) -> Iterator[None]:
    """Lets an interrupt wait, as imports do not bear one anywhere."""
    self._is_held = True
    try:
      yield
    finally:
      self._is_held = False
    if self._count:
      raise KeyboardInterrupt

  def _note(self, number, frame) -> None:
    del number, frame
    self._count += 1
    if self._count > _UP_TO:
      os._exit(128 + signal.SIGINT)
    if self._is_held:
      return
    if self._count == 1:
      raise KeyboardInterrupt
    os.write(2, b"interrupted, cleaning up; Ctrl-C once more ends at once\n")
