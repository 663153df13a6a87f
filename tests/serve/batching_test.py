"""The queue: what waits together is answered together, and it has an end."""

import threading
import time

import pytest

from electra_jax.serve.batching import Batcher, ClosedError, QueueFullError
from electra_jax.serve.limits import Limits

LIMITS = Limits(batch=4, queue=6, wait_secs=0.0)


class Slow:
  """Answers after `go` is set, and remembers its batches."""

  def __init__(self):
    self.go = threading.Event()
    self.started = threading.Event()
    self.batches = []

  def __call__(self, inputs):
    self.batches.append(list(inputs))
    self.started.set()
    assert self.go.wait(60)
    return [-x for x in inputs]


@pytest.fixture(name="slow")
def a_busy_batcher():
  """A batcher whose first batch, [0], is being answered, and its program."""
  batcher, run = Batcher(LIMITS), Slow()
  first = batcher.submit("a", run, [0])
  assert run.started.wait(60)
  yield batcher, run
  run.go.set()
  assert first.result(60) == [0]
  batcher.close()


def test_what_waits_for_a_program_shares_a_batch(slow):
  batcher, run = slow
  futures = [batcher.submit("a", run, [x]) for x in (1, 2, 3)]
  other = batcher.submit("b", run, [7])
  run.go.set()
  assert [f.result(60) for f in futures] == [[-1], [-2], [-3]]
  assert other.result(60) == [-7]
  assert run.batches == [[0], [1, 2, 3], [7]]


def test_a_batch_is_not_larger_than_the_limit(slow):
  batcher, run = slow
  futures = [batcher.submit("a", run, x) for x in ([1, 2, 3], [4, 5], [6])]
  run.go.set()
  assert [f.result(60) for f in futures] == [[-1, -2, -3], [-4, -5], [-6]]
  assert run.batches == [[0], [1, 2, 3], [4, 5, 6]]


def test_a_request_that_finds_no_room_is_refused(slow):
  batcher, run = slow
  batcher.submit("a", run, [1, 2, 3, 4])
  with pytest.raises(QueueFullError):
    batcher.submit("a", run, [5, 6, 7])
  assert batcher.num_waiting() == 4
  batcher.submit("a", run, [5, 6])


def test_what_is_given_up_is_not_computed_and_makes_room(slow):
  batcher, run = slow
  given_up = batcher.submit("a", run, [1, 2, 3, 4, 5])
  assert given_up.cancel()
  kept = batcher.submit("a", run, [6, 7])
  run.go.set()
  assert kept.result(60) == [-6, -7]
  assert run.batches == [[0], [6, 7]]


def test_one_bad_input_spoils_its_own_request_alone(slow):
  batcher, run = slow

  def inverse(inputs):
    return [1 / x for x in inputs]

  bad, good = (batcher.submit("c", inverse, [x]) for x in (0, 2))
  run.go.set()
  assert good.result(60) == [0.5]
  with pytest.raises(ZeroDivisionError):
    bad.result(60)


def test_closing_answers_what_waits_and_takes_nothing_more():
  batcher, run = Batcher(LIMITS), Slow()
  futures = [batcher.submit("a", run, [x]) for x in (1, 2)]
  closing = threading.Thread(target=batcher.close)
  closing.start()
  run.go.set()
  closing.join(60)
  assert [f.result(0) for f in futures] == [[-1], [-2]]
  with pytest.raises(ClosedError):
    batcher.submit("a", run, [3])


def test_the_first_of_a_batch_waits_for_others():
  seen = []
  batcher = Batcher(
      Limits(batch=2, wait_secs=60.0), lambda count, secs: seen.append(count)
  )
  first = batcher.submit("a", list, [1])
  time.sleep(0.05)
  second = batcher.submit("a", list, [2])  # Full: it waits no longer.
  assert (first.result(60), second.result(60)) == ([1], [2])
  batcher.close()
  assert seen == [2]
