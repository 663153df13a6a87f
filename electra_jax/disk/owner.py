"""The process that owns a scratch folder or a lock, and whether it lives."""

import dataclasses
import functools
import os
import pathlib
import socket
import subprocess
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Owner:
  """A process, told apart from every other one of this or another machine.

  Attributes:
    host: name of the machine.
    boot: of Linux, what the kernel calls this start of the machine.
    pid_space: of Linux, what numbers its processes: a container has its own.
    pid: number of the process.
    started: when it started; another process of that number started later.
  """

  host: str
  boot: str
  pid_space: str
  pid: int
  started: str

  @classmethod
  def here(cls) -> "Owner":
    """Returns the present process."""
    pid = os.getpid()
    return cls(*_machine(), pid, _started(pid) or "")

  @classmethod
  def from_json(cls, record: Any) -> "Owner | None":
    """Reads what `to_json` gives; None for anything else."""
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    if not isinstance(record, Mapping) or set(record) != set(fields):
      return None
    if any(type(record[name]) is not kind for name, kind in fields.items()):
      return None
    return cls(**record)

  def to_json(self) -> dict[str, Any]:
    """Returns the fields by name."""
    return dataclasses.asdict(self)

  def is_alive(self) -> bool | None:
    """Says whether the process lives; None where it cannot be seen from here."""
    if (self.host, self.boot, self.pid_space) != _machine():
      return None
    return _started(self.pid) == self.started

  def __str__(self) -> str:
    return f"process {self.pid} on {self.host}"


@functools.cache
def _machine() -> tuple[str, str, str]:
  boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
  try:
    return (
        socket.gethostname(),
        boot.read_text().strip(),
        os.readlink("/proc/self/ns/pid"),
    )
  except OSError:  # No Linux.
    return socket.gethostname(), "", ""


def _started(pid: int) -> str | None:
  """Returns when a process started, or None where there is none."""
  if pathlib.Path("/proc/self/stat").exists():
    try:
      text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
      return None
    # The name before them, in brackets, may hold anything. Source: proc(5).
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
  told = subprocess.run(
      ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
      capture_output=True,
      text=True,
      check=False,
  ).stdout.split(maxsplit=1)
  return None if len(told) < 2 or told[0][0] == "Z" else told[1].strip()
