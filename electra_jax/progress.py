"""What a long job says while it runs: one live line, or a line now and then.

Everything goes to standard error. On a terminal a line is redrawn in place; it
names the stage, counts, and says how long the rest will take. In a log, a
stage is named when it begins, an estimate follows the first steps, and later
lines are far apart.
"""

import contextlib
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import rich.console
import rich.progress
import rich.text

_LOG_SECS = 30.0  # Least time between two counts in a log.
_STILL_SECS = 60.0  # After so long a stage is named again, then twice as long.
# What an estimate rests on: this many steps, and time enough to mean something.
_FEWEST_TIMED, _FEWEST_SECS = 2, 10.0
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_MONTH, _YEAR = 30.44 * _DAY, 365.25 * _DAY
_IN_WEEKDAYS = 6 * _DAY  # Within these a weekday is a date.


def describe_secs(secs: float) -> str:
  """Rounds a time for people.

  >>> describe_secs(42.0), describe_secs(5400.0), describe_secs(520_000.0)
  ('42 seconds', '1.5 hours', '6 days')
  """
  units = [
      (_MINUTE, 1.0, "second"),
      (1.6 * _HOUR, _MINUTE, "minute"),
      (2 * _DAY, _HOUR, "hour"),
      (2 * _MONTH, _DAY, "day"),
      (2 * _YEAR, _MONTH, "month"),
  ]
  size, unit = next(
      ((size, unit) for limit, size, unit in units if secs < limit),
      (_YEAR, "year"),
  )
  if unit == "minute" and secs >= _HOUR:
    size, unit = _HOUR, "hour"
  number = secs / size
  has_half = unit in ("hour", "month", "year") and number < 10
  shown = f"{number:.1f}".removesuffix(".0") if has_half else f"{number:,.0f}"
  return f"{shown} {unit}{'' if shown == '1' else 's'}"


def describe_end(secs: float, now: float) -> str:
  """Says when it is `secs` after `now`, in local time.

  Args:
    secs: from now.
    now: seconds since the epoch.
  """
  end = time.localtime(now + secs)
  if secs < _IN_WEEKDAYS:
    is_today = time.localtime(now)[:3] == end[:3]
    return time.strftime("%H:%M" if is_today else "%a %H:%M", end)
  shown = time.strftime("%d %b %Y", end)
  return shown.removeprefix("0")


class Unit:
  """What is counted, and how it is put into words.

  Attributes:
    name: of one of them.
  """

  def __init__(self, name: str):
    self.name = name

  def amount(self, number: int) -> str:
    return f"{number:,} {self.name}{'' if number == 1 else 's'}"

  def place(self, done: int, total: int | None) -> str:
    return f"{self.name} {done:,}" + ("" if total is None else f"/{total:,}")

  def rate(self, per_sec: float) -> str:
    if per_sec < 1:  # How long one takes.
      return f"{1 / max(per_sec, 1e-9):,.1f} s a {self.name}"
    return f"{per_sec:,.0f}/s" if per_sec >= 100 else f"{per_sec:.1f}/s"


class Megabytes(Unit):
  """Bytes, told in MB."""

  def __init__(self):
    super().__init__("MB")

  def amount(self, number: int) -> str:
    return f"{number / 1e6:,.1f} MB"

  def place(self, done: int, total: int | None) -> str:
    shown = f"{done / 1e6:,.1f}"
    return f"{shown} MB" if total is None else f"{shown}/{self.amount(total)}"

  def rate(self, per_sec: float) -> str:
    return f"{per_sec / 1e6:,.2f} MB/s"


STEPS, MEGABYTES = Unit("step"), Megabytes()


class Progress:
  """Tells a person how far a long job is.

  Use `stage` for work that cannot be counted, `counting` and `update` for what
  can, and `tell` for lines that stay.
  """

  def __init__(
      self,
      *,
      quiet: bool = False,
      stream: io.TextIOBase | None = None,
      clock: Callable[[], float] = time.monotonic,
      wall_clock: Callable[[], float] = time.time,
  ):
    """Shows nothing yet.

    Args:
      quiet: whether to show nothing at all.
      stream: where to write; standard error by default.
      clock: seconds that only grow.
      wall_clock: seconds since the epoch.
    """
    stream = sys.stderr if stream is None else stream
    self._quiet = quiet
    self._clock, self._wall_clock = clock, wall_clock
    self._console = rich.console.Console(
        file=stream, highlight=False, force_jupyter=False
    )
    self._is_live = not quiet and stream.isatty()
    self._is_live &= not self._console.is_dumb_terminal
    self._live: rich.progress.Progress | None = None
    self._stages: list[str] = []
    self._count: _Count | None = None

  @property
  def is_shown(self) -> bool:
    """Whether anything is shown."""
    return not self._quiet

  @contextlib.contextmanager
  def stage(self, name: str, expect: str = "") -> Iterator[None]:
    """Names what is being done, until the block ends.

    Args:
      name: as "compiling the train step".
      expect: how long it may take, in words. A log is told of the stage at
        once where this is given, and else only if it lasts.
    """
    if self._quiet:
      yield
      return
    self._stages.append(name)
    began = self._clock()
    if self._is_live:
      self._redraw(f"{name} ({expect})" if expect else name)
    elif expect:
      self._print(f"{name} … {expect}")
    ended = threading.Event()
    watcher = None
    if not self._is_live:
      watcher = threading.Thread(
          target=self._say_still, args=(name, began, ended), daemon=True
      )
      watcher.start()
    try:
      yield
    finally:
      ended.set()
      if watcher is not None:
        watcher.join()
      self._stages.pop()
      if self._count is not None:
        self._count.stages_secs += self._clock() - began
      if self._is_live:
        self._redraw()

  @contextlib.contextmanager
  def counting(
      self,
      total: int | None,
      done: int = 0,
      *,
      name: str = "training",
      unit: Unit = STEPS,
      later: int = 0,
  ) -> Iterator[None]:
    """Counts until the block ends, and takes its line away however it ends.

    Args:
      total: where the count ends, or None if that is not known yet.
      done: where it stands.
      name: of what is done meanwhile.
      unit: what is counted.
      later: how many more come after this count is full, as of further seeds.
    """
    if self._quiet:
      yield
      return
    self._count = _Count(total, done, name, unit, later)
    self._count.told = self._clock()
    if self._is_live:
      self._redraw()
    try:
      yield
    finally:
      self._count = None
      if self._is_live:
        self._redraw()

  def update(
      self, done: int, figures: str | None = None, *, total: int | None = None
  ) -> None:
    """Shows how far the count is.

    Args:
      done: the count.
      figures: what is shown beside it from now on.
      total: where it ends, if that has changed.
    """
    count = self._count
    if self._quiet or count is None:
      return
    now = self._clock()
    count.move(done, total, now)
    if figures is not None:
      count.figures = figures
    estimate = count.estimate(now)
    if estimate is not None:
      self.tell(self._describe_estimate(count, *estimate))
    if self._is_live:
      self._redraw()
      return
    is_end = count.total is not None and done >= count.total
    is_due = now - count.told >= _LOG_SECS
    is_first_figure = bool(figures) and not count.has_told_figures
    if figures is not None and (is_due or is_first_figure or is_end):
      count.told = now
      count.has_told_figures |= bool(figures)
      self._print(count.words(now))

  def log(self, line: str) -> None:
    """Writes a line where nothing is redrawn; a terminal has its live line."""
    if not self._quiet and not self._is_live:
      self._print(line)

  def tell(self, line: str | rich.text.Text) -> None:
    """Writes a line that stays."""
    if self._quiet:
      return
    if isinstance(line, str):
      line = rich.text.Text(line)
    self._console.print(line, soft_wrap=self._live is None)

  def _describe_estimate(
      self, count: "_Count", per_sec: float, secs: float
  ) -> str:
    left = count.unit.amount(count.left + count.later)
    whole = " in all" if count.later else ""
    return (
        f"{left} to go{whole} at {count.unit.rate(per_sec)}: about"
        f" {describe_secs(secs)}; finish by"
        f" {describe_end(secs, self._wall_clock())}"
    )

  def _say_still(self, name: str, began: float, ended: threading.Event) -> None:
    wait = _STILL_SECS
    while not ended.wait(wait):
      self._print(
          f"still {name}, {describe_secs(self._clock() - began)} so far"
      )
      wait *= 2

  def _print(self, line: str) -> None:
    self._console.print(rich.text.Text(line), soft_wrap=True)

  def _redraw(self, stage: str = "") -> None:
    """Shows stage and count on the live line, or takes it away."""
    count, now = self._count, self._clock()
    stage = stage or (self._stages[-1] if self._stages else "")
    if count is None and not stage:
      if self._live is not None:
        self._live.stop()
        self._live = None
      return
    if self._live is None:
      self._live = rich.progress.Progress(
          rich.progress.SpinnerColumn(finished_text=" "),
          rich.progress.TextColumn("{task.description}", markup=False),
          _Bar(bar_width=16),
          rich.progress.TextColumn("{task.fields[beside]}", markup=False),
          _Elapsed(),
          console=self._console,
          transient=True,
          redirect_stdout=False,
          refresh_per_second=4,
      )
      self._live.add_task("", total=None, beside="")
    fields: dict[str, Any] = {"description": stage, "beside": ""}
    if count is not None:
      fields = {
          "description": stage or count.name,
          "beside": count.words(now),
          "total": count.total,
          "completed": count.done,
      }
    self._live.update(self._live.task_ids[0], **fields)
    self._live.start()  # Does nothing from the second time on.


class _Bar(rich.progress.BarColumn):
  """A bar where there is something to count up to."""

  def render(self, task: rich.progress.Task) -> Any:
    return super().render(task) if task.total else rich.text.Text("")


class _Elapsed(rich.progress.TimeElapsedColumn):
  """Time so far, where it cannot be told how much is left."""

  def render(self, task: rich.progress.Task) -> rich.text.Text:
    return rich.text.Text("") if task.total else super().render(task)


class _Count:
  """A count and how fast it grows; compilation and other stages aside."""

  def __init__(
      self, total: int | None, done: int, name: str, unit: Unit, later: int
  ):
    self.total, self.done, self.name = total, done, name
    self.unit, self.later = unit, later
    self.figures = ""
    self.told = 0.0  # When a log was told of it last.
    self.has_told_figures = False
    self.stages_secs = 0.0  # Spent in stages, of all the time.
    self._moves = 0
    self._began: tuple[int, float, float] | None = None
    self._is_estimated = False

  @property
  def left(self) -> int:
    return max((self.total or 0) - self.done, 0)

  def move(self, done: int, total: int | None, now: float) -> None:
    if total is not None:
      self.total = total
    if done > self.done:
      self._moves += 1
    self.done = done
    # The first step compiles, and the second waits for it.
    if self._moves == 2 and self._began is None:
      self._began = done, now, self.stages_secs

  def rate(self, now: float, *, with_stages: bool) -> float | None:
    """Returns how many are done a second, if that can be told yet."""
    if self._began is None:
      return None
    done, began, stages_secs = self._began
    secs = now - began
    if not with_stages:
      secs -= self.stages_secs - stages_secs
    return (self.done - done) / secs if self.done > done and secs > 0 else None

  def estimate(self, now: float) -> tuple[float, float] | None:
    """Returns rate and seconds left once, as soon as they mean something."""
    rate = self.rate(now, with_stages=False)
    if self._is_estimated or rate is None or not self.left:
      return None
    _, began, _ = self._began
    if self._moves - 2 < _FEWEST_TIMED or now - began < _FEWEST_SECS:
      return None
    self._is_estimated = True
    return rate, (self.left + self.later) / rate

  def remaining(self, now: float) -> str:
    rate = self.rate(now, with_stages=True)
    if rate is None or not self.left:
      return ""
    return f"about {describe_secs(self.left / rate)} left"

  def words(self, now: float) -> str:
    """Says all that is known of the count, what matters most first."""
    rate = self.rate(now, with_stages=False)
    # Figures tell a rate of their own.
    beside = self.figures or ("" if rate is None else self.unit.rate(rate))
    place = self.unit.place(self.done, self.total)
    parts = (place, self.remaining(now), beside)
    return " | ".join(part for part in parts if part)
