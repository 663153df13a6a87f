"""Rows built by several processes, in the order of their documents."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool

from electra_jax.errors import UserError
from electra_jax.preprocessing.rows import BuiltRows, RowOptions, build_rows


def count_workers(num_workers: int | None) -> int:
  """Returns how many processes to use: all cores where none is named.

  Raises:
    UserError: there are fewer than one.
  """
  if num_workers is None:
    if hasattr(os, "sched_getaffinity"):
      return len(os.sched_getaffinity(0))  # What a container is given.
    return os.cpu_count() or 1
  if num_workers < 1:
    raise UserError(f"--workers {num_workers} is too few; choose at least 1")
  return num_workers


# Set in each worker once, so that the tokenizer is not sent with every chunk.
_worker_options: RowOptions | None = None


def build_all(
    chunks: Iterable[list[str]], row_options: RowOptions, num_workers: int
) -> Iterator[BuiltRows]:
  """Builds the rows of all chunks, in their order, on all workers."""
  if num_workers == 1:
    yield from (build_rows(chunk, row_options) for chunk in chunks)
    return
  with _interrupts_blocked():
    pool = concurrent.futures.ProcessPoolExecutor(
        num_workers,
        # A fork would copy the locks of running threads, JAX's among them.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(row_options,),
    )
  waiting = collections.deque()
  try:
    for chunk in chunks:
      with _interrupts_blocked():  # The first call starts the workers.
        waiting.append(pool.submit(_build_in_worker, chunk))
      if len(waiting) >= 2 * num_workers:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
  except BrokenProcessPool as error:
    raise UserError(
        f"one of --workers {num_workers} processes ended early; with too little"
        " memory choose fewer, and in a script call prepare under"
        ' if __name__ == "__main__"'
    ) from error
  finally:
    with _interrupts_blocked():
      pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
  """Lets SIGINT wait, and keeps it from processes that are started meanwhile.

  A terminal sends it to workers too, which would tell of it while they are
  still importing; and a pool that is interrupted while it starts them hangs.
  """
  mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  # Another thread may take a signal that this one blocks; Python would then
  # raise in the main thread all the same.
  in_main_thread = threading.current_thread() is threading.main_thread()
  received: list[int] = []
  if in_main_thread:
    handler = signal.signal(signal.SIGINT, lambda n, _: received.append(n))
  try:
    yield
  finally:
    if in_main_thread:
      signal.signal(signal.SIGINT, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if received:
      signal.raise_signal(signal.SIGINT)


def _start_worker(row_options: RowOptions) -> None:
  global _worker_options
  _worker_options = row_options
  # One thread each: the processes already fill the cores.
  os.environ["TOKENIZERS_PARALLELISM"] = "false"
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends the pool.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """Ends this worker where the parent was killed and cannot say so."""
  multiprocessing.parent_process().join()
  os._exit(1)


def _build_in_worker(chunk: list[str]) -> BuiltRows:
  return build_rows(chunk, _worker_options)
