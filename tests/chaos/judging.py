"""What an attack may lead to, and the one function that says what it was."""

import collections
import contextlib
import dataclasses
import enum
import hashlib
import io
import logging
import pathlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from electra_jax.errors import UserError

_log = logging.getLogger(__name__)
_SENTENCE = 1500  # Characters; a sentence may name long paths and keys.


class Outcome(enum.StrEnum):
  """How the program came out of an attack; the last four are faults."""

  RIGHT = "right"
  REFUSED = "refused"  # In one sentence.
  RECOVERED = "recovered"  # Told, and right all the same.
  SILENT = "silent"  # A wrong result without a word.
  LOST = "lost"  # A file of the user's is gone or changed.
  TRACEBACK = "traceback"
  HUNG = "hung"

  @property
  def is_good(self) -> bool:
    return self in (Outcome.RIGHT, Outcome.REFUSED, Outcome.RECOVERED)


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What came of one attack.

  Attributes:
    kind: of the attack, a row of the table.
    name: what was done.
    outcome: how it ended.
    told: what the user was told, or the end of a traceback.
  """

  kind: str
  name: str
  outcome: Outcome
  told: str = ""

  def __str__(self) -> str:
    return f"{self.outcome}: {self.kind}, {self.name}: {self.told[-600:]}"


@dataclasses.dataclass(frozen=True)
class Ended:
  """How a call, or a process, ended.

  Attributes:
    result: what it returned.
    error: the sentence that it ended with, or None.
    crash: the traceback that it ended with, or None.
    told: what was printed or logged.
  """

  result: Any = None
  error: str | None = None
  crash: str | None = None
  told: str = ""


def judge(
    kind: str,
    name: str,
    ended: Ended,
    *,
    is_right: Callable[[Any], bool],
    is_kept: bool = True,
) -> Verdict:
  """Says what came of an attack.

  Args:
    kind: of the attack.
    name: what was done.
    ended: how the call ended.
    is_right: whether a result is the one that an undisturbed call has.
    is_kept: whether all files of the user's are there as they were.
  """
  told = ended.crash or ended.error or ended.told
  if not is_kept:
    outcome = Outcome.LOST
  elif ended.crash is not None:
    outcome = Outcome.TRACEBACK
  elif ended.error is not None:
    is_sentence = (
        ended.error.strip()
        and "\n" not in ended.error
        and len(ended.error) <= _SENTENCE
    )
    outcome = Outcome.REFUSED if is_sentence else Outcome.TRACEBACK
  elif not is_right(ended.result):
    outcome = Outcome.SILENT
  else:
    outcome = Outcome.RECOVERED if ended.told.strip() else Outcome.RIGHT
  return Verdict(kind, name, outcome, told)


def attempt(call: Callable[[], Any]) -> Ended:
  """Makes a call in this process and notes how it ends."""
  with _listening() as told:
    try:
      return Ended(result=call(), told=told())
    except UserError as error:
      return Ended(error=str(error), told=told())
    except (Exception, SystemExit):
      return Ended(crash=traceback.format_exc(), told=told())


def attempt_command(argv: Sequence[object]) -> Ended:
  """Makes a call of the command in this process; the result is its output."""
  from electra_jax.cli.main import main

  out, err = io.StringIO(), io.StringIO()
  crash, status = None, 0
  with (
      contextlib.redirect_stdout(out),
      contextlib.redirect_stderr(err),
      _listening() as told,
  ):
    try:
      main([str(word) for word in argv])
    except SystemExit as error:
      status = error.code or 0
    except Exception:
      crash = traceback.format_exc()
  if status not in (0, 2) or "Traceback" in err.getvalue():
    crash = crash or f"exit status {status}: {err.getvalue()}"
  lines = err.getvalue().strip().split("\n")
  # argparse shows the usage above its sentence.
  error = lines[-1] if status == 2 and crash is None else None
  return Ended(out.getvalue(), error, crash, told() + err.getvalue())


@contextlib.contextmanager
def _listening() -> Iterator[Callable[[], str]]:
  """Gives what returns the warnings that the package has logged."""
  stream = io.StringIO()
  handler = logging.StreamHandler(stream)
  handler.setLevel(logging.WARNING)
  log = logging.getLogger("electra_jax")
  log.addHandler(handler)
  try:
    yield stream.getvalue
  finally:
    log.removeHandler(handler)


def contents(*roots: pathlib.Path) -> dict[str, str]:
  """Returns the digest of every file below some folders, by its path."""
  found = {}
  for root in roots:
    files = [root] if root.is_file() else sorted(root.rglob("*"))
    for path in files:
      if path.is_symlink():
        found[str(path)] = f"-> {path.readlink()}"
      elif path.is_file():
        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
  return found


def still_there(before: dict[str, str], after: dict[str, str]) -> bool:
  """Says whether what files held is held by a file still, by any name."""
  return not set(before.values()) - set(after.values())


class Tally:
  """Counts verdicts, and keeps those of faults."""

  def __init__(self):
    self.counts: dict[str, collections.Counter[str]] = {}
    self.faults: list[Verdict] = []

  def add(self, verdict: Verdict) -> Verdict:
    counts = self.counts.setdefault(verdict.kind, collections.Counter())
    counts[verdict.outcome.value] += 1
    _log.info(
        "%s", verdict
    )  # --log-file=FILE --log-file-level=INFO: as it goes.
    if not verdict.outcome.is_good:
      self.faults.append(verdict)
    return verdict

  def check(self) -> None:
    """Fails where there was a fault, and shows each."""
    shown = "\n\n".join(map(str, self.faults[:20]))
    assert not self.faults, f"{len(self.faults)} faults\n{shown}"


def table(counts: Iterable[tuple[str, dict[str, int]]]) -> list[str]:
  """Lays counts out: a line for each kind, and one for the sum."""
  total: dict[str, collections.Counter[str]] = {}
  for kind, numbers in counts:
    total.setdefault(kind, collections.Counter()).update(numbers)
  columns = [outcome.value for outcome in Outcome]
  lines = [f"{'attack':<34}{'all':>7}" + "".join(f"{c:>11}" for c in columns)]
  summed = collections.Counter()
  for kind in sorted(total):
    lines.append(_line(kind, total[kind], columns))
    summed.update(total[kind])
  return [*lines, _line("sum", summed, columns)]


def _line(name: str, counts: dict[str, int], columns: Sequence[str]) -> str:
  figures = "".join(f"{counts.get(c, 0):>11,}" for c in columns)
  return f"{name:<34}{sum(counts.values()):>7,}{figures}"
