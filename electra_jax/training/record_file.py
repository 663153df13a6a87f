"""A file of JSON lines, each of a step, that a resumed run goes on with."""

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from electra_jax.files import is_remote, write_whole, writing

_log = logging.getLogger(__name__)


class RecordFile:
  """Appends records; begins by dropping those past a step.

  So a step is recorded once however often a run was killed. Nothing is touched
  before there is something to write or to cut.

  Attributes:
    found: the records that stood there and stay.
  """

  def __init__(self, path: epath.Path, resume_step: int):
    """Drops records past `resume_step`.

    Args:
      path: a local or gs:// file; need not be there.
      resume_step: the step of the restored checkpoint, 0 for a fresh run.

    Raises:
      UserError: the file cannot be written.
    """
    self._path = path
    self._is_local = not is_remote(path)
    self._lines = _cut_lines(path, resume_step)
    self.found = [json.loads(line) for line in self._lines]
    self._recorded = {(r["step"], r.get("group")) for r in self.found}

  def append(self, step: int, group: str, values: Mapping[str, Any]) -> bool:
    """Writes one record, unless there is one of that step and group.

    Args:
      step: updates done.
      group: "train", "validation", …
      values: what JSON can hold.

    Returns:
      Whether it was written.

    Raises:
      UserError: the file cannot be written.
    """
    if (step, group) in self._recorded:
      return False
    self._recorded.add((step, group))
    line = json.dumps({"step": step, "group": group, **values}) + "\n"
    with writing(self._path):
      if self._is_local:
        with open(self._path, "a", encoding="utf-8", opener=_no_link) as file:
          file.write(line)
      else:  # Object stores cannot append.
        self._lines.append(line)
        self._path.write_text("".join(self._lines))
    return True

  def flush(self) -> None:
    """Returns when all records are on disk.

    Raises:
      UserError: the file cannot be written.
    """
    if self._is_local and self._path.exists():
      with writing(self._path), open(self._path, "rb+") as file:
        os.fsync(file.fileno())


def _no_link(path: str, flags: int) -> int:
  return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _cut_lines(path: epath.Path, step: int) -> list[str]:
  """Returns the records up to a step; drops the others from the file."""
  if not path.exists():
    return []
  kept, text = [], path.read_bytes().decode("utf-8", "replace")
  lines = text.splitlines()
  for number, line in enumerate(lines, 1):
    try:
      record = json.loads(line)
      is_kept = record["step"] <= step
    except (ValueError, TypeError, KeyError, RecursionError):
      if number < len(lines):  # The last one may be cut off by a kill.
        _log.warning("%s:%d is no record and is left out", path, number)
      continue
    if is_kept:
      kept.append(line + "\n")
  if "".join(kept) != text or (not is_remote(path) and os.path.islink(path)):
    write_whole(path, kept)
  return kept
