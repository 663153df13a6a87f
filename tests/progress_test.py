"""What a long job says: stages, an estimate, counts now and then."""

import io
import re
import time

import pytest

from electra_jax import progress
from electra_jax.progress import Progress

NOON = time.mktime((2026, 11, 30, 12, 0, 0, 0, 0, -1))  # A Monday.


class Clock:
  """Seconds that pass when they are told to."""

  def __init__(self):
    self.secs = 0.0

  def __call__(self):
    return self.secs


class Terminal(io.StringIO):
  """A stream that says it is a terminal."""

  def isatty(self):
    return True


def make(stream, **options):
  clock = Clock()
  made = Progress(
      stream=stream, clock=clock, wall_clock=lambda: NOON, **options
  )
  return made, clock


def take_steps(made, clock, steps, secs, figures=None):
  for step in steps:
    clock.secs += secs
    made.update(step, figures)


@pytest.mark.parametrize(
    ("secs", "told"),
    [
        (1.0, "1 second"),
        (59.0, "59 seconds"),
        (720.0, "12 minutes"),
        (5400.0, "1.5 hours"),
        (6 * 86400.0, "6 days"),
        (110 * 86400.0, "3.6 months"),
        (3e9, "95 years"),
    ],
)
def test_times_for_people(secs, told):
  assert progress.describe_secs(secs) == told


def test_ends_for_people():
  assert progress.describe_end(7200.0, NOON) == "14:00"
  assert progress.describe_end(86400.0, NOON) == "Tue 12:00"
  assert progress.describe_end(30 * 86400.0, NOON) == "30 Dec 2026"


def test_a_log_says_something_at_once_and_an_estimate_after_some_steps():
  stream = io.StringIO()
  made, clock = make(stream)
  with made.stage("compiling", "seconds to minutes"):
    assert stream.getvalue() == "compiling … seconds to minutes\n"
    clock.secs += 500  # Is no part of the rate.
  with made.counting(1_000_000):
    take_steps(made, clock, range(1, 4), 6)
    assert "to go" not in stream.getvalue()
    take_steps(made, clock, range(4, 9), 6)
  told = stream.getvalue()
  assert told.count("to go") == 1
  assert "999,996 steps to go at 6.0 s a step: about 2.3 months" in told
  assert "finish by 7 Feb 2027" in told


def test_the_estimate_counts_what_comes_later_and_what_is_done():
  stream = io.StringIO()
  made, clock = make(stream)
  with made.counting(200, 100, later=100):
    take_steps(made, clock, range(101, 112), 2)
  # 107 done: 93 here and 100 later.
  assert (
      "193 steps to go in all at 2.0 s a step: about 6 minutes; finish by 12:06"
      in stream.getvalue()
  )


def test_stages_are_no_part_of_the_rate_but_of_the_time_left():
  stream = io.StringIO()
  made, clock = make(stream)
  with made.counting(100):
    take_steps(made, clock, range(1, 12), 1, "loss 1")
    with made.stage("evaluating"):
      clock.secs += 90
    take_steps(made, clock, [12], 1, "")
  last = stream.getvalue().splitlines()[-1]
  assert last == "step 12/100 | about 15 minutes left | 1.0/s"


def test_lines_in_a_log_are_far_apart():
  stream = io.StringIO()
  made, clock = make(stream)
  with made.counting(100):
    take_steps(made, clock, range(1, 101), 1, "loss 1")
  counts = re.findall(r"step (\d+)/100", stream.getvalue())
  assert counts == ["1", "31", "61", "91", "100"]
  assert "\x1b" not in stream.getvalue()


def test_a_long_stage_is_named_again(monkeypatch):
  monkeypatch.setattr(progress, "_STILL_SECS", 0.01)
  stream = io.StringIO()
  made, clock = make(stream)
  with made.stage("compiling"):
    clock.secs += 120
    for _ in range(1000):
      if "2 minutes" in stream.getvalue():
        break
      time.sleep(0.01)
  assert "still compiling, 2 minutes so far" in stream.getvalue()


def test_a_short_stage_of_no_expectation_is_not_logged():
  stream = io.StringIO()
  made, _ = make(stream)
  with made.stage("saving"):
    pass
  assert stream.getvalue() == ""


def test_a_terminal_has_a_live_line_that_names_the_stage(monkeypatch):
  monkeypatch.setenv("TERM", "xterm-256color")
  monkeypatch.setenv("COLUMNS", "160")
  monkeypatch.delenv("NO_COLOR", raising=False)
  stream = Terminal()
  made, clock = make(stream)
  with made.stage("compiling", "seconds"):
    made._live.refresh()
  with made.counting(10):
    take_steps(made, clock, range(1, 5), 1, "loss 2.5")
    made._live.refresh()
    with made.stage("evaluating"):
      made._live.refresh()
    made.tell("AUC 0.7")
  assert made._live is None
  told = stream.getvalue()
  for text in ("compiling (seconds)", "evaluating", "loss 2.5", "AUC 0.7\n"):
    assert text in told
  assert "training" in told and "step 4/10" in told and "about 6 s" in told


def test_the_live_line_goes_away_with_a_count_that_fails(monkeypatch):
  monkeypatch.setenv("TERM", "xterm-256color")
  stream = Terminal()
  made, _ = make(stream)
  with pytest.raises(OSError), made.counting(10):
    made.update(3)
    raise OSError
  assert made._live is None
  assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex(
      "\x1b[?25l"
  )  # The cursor is shown again.


def test_no_color_is_heeded(monkeypatch):
  monkeypatch.setenv("TERM", "xterm-256color")
  monkeypatch.setenv("NO_COLOR", "1")
  stream = Terminal()
  made, clock = make(stream)
  with made.counting(10):
    take_steps(made, clock, range(1, 5), 1, "loss 2.5")
    made._live.refresh()
  colours = re.findall(r"\x1b\[[\d;]*m", stream.getvalue())
  assert not [c for c in colours if re.search(r"\b(3|4|9)\d\b", c)], colours


def test_a_dumb_terminal_is_a_log(monkeypatch):
  monkeypatch.setenv("TERM", "dumb")
  stream = Terminal()
  made, _ = make(stream)
  with made.stage("compiling", "seconds"):
    pass
  assert stream.getvalue() == "compiling … seconds\n"


def test_quiet_says_nothing():
  stream = io.StringIO()
  made, clock = make(stream, quiet=True)
  with made.stage("compiling", "seconds"), made.counting(10):
    take_steps(made, clock, range(1, 11), 60, "loss 1")
    made.tell("line")
    made.log("line")
  assert stream.getvalue() == "" and not made.is_shown


def test_megabytes():
  stream = io.StringIO()
  made, clock = make(stream)
  with made.counting(None, name="rows", unit=progress.MEGABYTES):
    for secs in range(1, 33):
      clock.secs += 1
      made.update(secs * 1_000_000, "", total=40_000_000)
  last = stream.getvalue().splitlines()[-1]
  assert last == "30.0/40.0 MB | about 10 seconds left | 1.00 MB/s"
