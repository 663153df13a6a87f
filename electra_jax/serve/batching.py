"""Requests that come at the same time are answered together, in one thread.

A model computes one batch at a time. What arrives meanwhile waits, and what
waits for the same program becomes the next batch.
"""

import collections
import concurrent.futures
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from electra_jax.serve.limits import Limits


class QueueFullError(Exception):
  """There is no room for so many inputs more."""


class ClosedError(Exception):
  """The service is ending and takes nothing more."""


class Work(NamedTuple):
  """Inputs of one request that wait.

  Attributes:
    program: whose they are; equal ones are answered together.
    run: answers inputs, in their order.
    inputs: of the request.
    answers: where the answers appear, or the error.
    arrived: by the monotonic clock, in seconds.
  """

  program: Hashable
  run: Callable[[list[Any]], list[Any]]
  inputs: Sequence[Any]
  answers: concurrent.futures.Future
  arrived: float


class Batcher:
  """A bounded queue and the thread that empties it, batch by batch."""

  def __init__(
      self, limits: Limits, on_batch: Callable[[int, float], None] | None = None
  ):
    """Sets a queue up; the thread starts with the first request.

    Args:
      limits: `queue`, `batch` and `wait_secs` of them.
      on_batch: is told the inputs and the seconds of every batch.
    """
    self._limits = limits
    self._on_batch = on_batch or (lambda count, seconds: None)
    self._waiting: collections.deque[Work] = collections.deque()
    self._changed = threading.Condition()
    self._thread: threading.Thread | None = None
    self._is_closed = False

  def submit(
      self,
      program: Hashable,
      run: Callable[[list[Any]], list[Any]],
      inputs: Sequence[Any],
  ) -> concurrent.futures.Future:
    """Queues inputs; the future gives a list of answers, or raises.

    Cancelling the future takes them out again, unless they are in a batch.

    Args:
      program: what answers them; equal ones share a batch.
      run: answers inputs of any number of requests, in their order.
      inputs: of one request; they stay together.

    Raises:
      QueueFullError: too many wait.
      ClosedError: `close` has been called.
    """
    work = Work(
        program,
        run,
        inputs,
        concurrent.futures.Future(),
        time.monotonic(),
    )
    with self._changed:
      if self._is_closed:
        raise ClosedError
      if self._count() + len(inputs) > self._limits.queue:
        raise QueueFullError
      self._waiting.append(work)
      if self._thread is None:
        # A process that ends does not wait for it.
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
      self._changed.notify()
    return work.answers

  def num_waiting(self) -> int:
    """Returns how many inputs wait for their batch."""
    with self._changed:
      return self._count()

  def close(self) -> None:
    """Takes nothing more, answers what waits, and ends the thread."""
    with self._changed:
      self._is_closed = True
      self._changed.notify()
    if self._thread is not None:
      self._thread.join()

  def _count(self) -> int:
    return sum(
        len(work.inputs)
        for work in self._waiting
        if not work.answers.cancelled()
    )

  def _work(self) -> None:
    while batch := self._next():
      batch = [w for w in batch if w.answers.set_running_or_notify_cancel()]
      if batch:
        self._answer(batch)

  def _next(self) -> list[Work]:
    """Waits for the next batch; none: the queue is closed and empty."""
    with self._changed:
      while not self._waiting:
        if self._is_closed:
          return []
        self._changed.wait()
      first = self._waiting[0]
      until = first.arrived + self._limits.wait_secs
      while not self._is_closed and len(self._chosen(first)) == len(
          self._waiting
      ):
        # Nothing is held up: the batch may still grow.
        left = until - time.monotonic()
        if left <= 0 or self._size(self._chosen(first)) >= self._limits.batch:
          break
        self._changed.wait(left)
      batch = self._chosen(first)
      taken = set(map(id, batch))
      self._waiting = collections.deque(
          work for work in self._waiting if id(work) not in taken
      )
      return batch

  def _chosen(self, first: Work) -> list[Work]:
    """Returns what waits for the same program and fits into a batch."""
    chosen, size = [], 0
    for work in self._waiting:
      if work.program != first.program:
        continue
      if chosen and size + len(work.inputs) > self._limits.batch:
        break
      chosen.append(work)
      size += len(work.inputs)
    return chosen

  def _size(self, batch: Sequence[Work]) -> int:
    return sum(len(work.inputs) for work in batch)

  def _answer(self, batch: list[Work]) -> None:
    inputs = [one for work in batch for one in work.inputs]
    start = time.monotonic()
    try:
      answers = iter(batch[0].run(inputs))
      parts = [[next(answers) for _ in work.inputs] for work in batch]
    except Exception as error:
      if len(batch) == 1:
        batch[0].answers.set_exception(error)
      else:  # It is one request's fault: the others get their answers.
        for work in batch:
          self._answer([work])
      return
    self._on_batch(len(inputs), time.monotonic() - start)
    for work, part in zip(batch, parts, strict=True):
      work.answers.set_result(part)
