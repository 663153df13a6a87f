"""One run at a time in a workdir: a lock that outlives no process.

The lock is a file that names its owner. On the owner's machine it is seen at
once whether that process lives. From elsewhere (another host of a pod, another
container) it is known by its beat: the owner counts a number in the file up
every few seconds, and one that does not within a longer time is dead. No two
machines' clocks are compared.

On a local disk the file is made by a hard link, which fails where there is one
already, and taken over under a lock of the kernel on the old file. Object
stores have neither: there the file is written, and read again after a while;
whoever's is found then holds it, and everyone else gives up.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator

from etils import epath

from electra_jax.disk.json_files import read_json
from electra_jax.disk.owner import Owner
from electra_jax.errors import UserError
from electra_jax.files import is_remote, write_whole, writing
from electra_jax.runs.environment import command

LOCK_FILE = "lock.json"

_log = logging.getLogger(__name__)
_BEAT_SECS = 5.0
_PATIENCE_SECS = 30.0  # Without a beat for so long, an owner is dead.
_SETTLING_SECS = 3.0  # For two that write an object at once to see the last.


@dataclasses.dataclass(frozen=True)
class _Lock:
  """What the file says.

  Attributes:
    token: a random text, of this lock alone.
    owner: see `Owner`.
    command: what the owner was started with.
    beat: number that the owner counts up.
  """

  token: str
  owner: dict[str, str | int]
  command: list[str]
  beat: int = 0

  @property
  def holder(self) -> str:
    """The owner, in words."""
    owner = Owner.from_json(self.owner)
    return str(owner) if owner is not None else "a process"


@contextlib.contextmanager
def locked(workdir: epath.PathLike) -> Iterator[Callable[[], None]]:
  """Holds the lock of a workdir, which is made if it is not there.

  Yields:
    What raises a UserError once another process has taken the lock over, as it
    may after this one was taken for dead.

  Raises:
    UserError: another process holds it, or the place cannot be written.
  """
  path = epath.Path(workdir) / LOCK_FILE
  own = _Lock(secrets.token_hex(16), Owner.here().to_json(), command())
  with writing(workdir):
    epath.Path(workdir).mkdir(parents=True, exist_ok=True)
  _acquire(path, own)
  stop = threading.Event()
  beating = threading.Thread(
      target=_beat, args=(path, own, stop), name="workdir-lock", daemon=True
  )
  beating.start()

  def check() -> None:
    held = _read(path)
    if held is None or held.token != own.token:
      taken = "is gone" if held is None else f"was taken over by {held.holder}"
      raise UserError(
          f"the lock {path} {taken}, so this run ends; what it has saved stays"
      )

  try:
    yield check
  finally:
    stop.set()
    beating.join()
    _release(path, own)


def is_lock(path: epath.PathLike) -> bool:
  """Says whether a file is a lock of this program."""
  return epath.Path(path).exists() and _read(epath.Path(path)) is not None


def _acquire(path: epath.Path, own: _Lock) -> None:
  while not _create(path, own):
    held = _read(path)
    if held is None:
      if not path.exists() and not os.path.islink(path):
        continue  # It was released meanwhile.
      raise UserError(
          f"{path} is no lock of this program; move it away, or choose another"
          " --workdir"
      )
    _check_dead(path, held)
    if _take_over(path, held, own):
      _log.warning(
          "%s was left by %s, which has ended; taking over", path, held.holder
      )
      return


def _create(path: epath.Path, own: _Lock) -> bool:
  """Writes a lock where there is none; returns whether it is ours."""
  if path.exists() or (not is_remote(path) and os.path.islink(path)):
    return False
  if is_remote(path):
    return _write_and_settle(path, own)
  made = path.with_name(f".{path.name}.{own.token}")
  write_whole(made, [_text(own)])
  try:
    with writing(path):
      try:
        os.link(made, path)
      except FileExistsError:
        return False
      except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
          raise
        return _create_without_links(path, own)  # As exFAT has none.
  finally:
    made.unlink(missing_ok=True)
  return True


def _create_without_links(path: epath.Path, own: _Lock) -> bool:
  try:
    with open(path, "x", encoding="utf-8") as file:
      file.write(_text(own))
  except FileExistsError:
    return False
  return True


def _write_and_settle(path: epath.Path, own: _Lock) -> bool:
  with writing(path):
    path.write_text(_text(own))
  time.sleep(_SETTLING_SECS)
  held = _read(path)
  return held is not None and held.token == own.token


def _take_over(path: epath.Path, held: _Lock, own: _Lock) -> bool:
  """Puts a lock in a dead one's place; False if another was quicker."""
  if is_remote(path):
    return _write_and_settle(path, own)
  try:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
  except FileNotFoundError:
    return False
  try:
    # Of those who found it dead only one holds this at a time, and the next
    # finds another file under the name.
    with contextlib.suppress(OSError):  # Where the disk has no such locks.
      fcntl.flock(file, fcntl.LOCK_EX)
    found = _read(path)
    if found is None or (found.token, found.beat) != (held.token, held.beat):
      return False
    write_whole(path, [_text(own)])
    return True
  finally:
    os.close(file)


def _check_dead(path: epath.Path, held: _Lock) -> None:
  """Raises UserError where a lock's owner lives; may wait for a beat."""
  owner = Owner.from_json(held.owner)
  is_alive = None if owner is None else owner.is_alive()
  if is_alive is None:
    _log.warning(
        "%s is held by %s; waiting for up to %.0f s to see whether that lives",
        *(path, held.holder, _PATIENCE_SECS),
    )
    is_alive = _has_beaten(path, held)
  if is_alive:
    raise UserError(
        f"workdir {path.parent} is in use by {held.holder}"
        f" ({' '.join(held.command)[:200]}); wait for its end, stop it, or"
        " choose another --workdir"
    )


def _has_beaten(path: epath.Path, held: _Lock) -> bool:
  deadline = time.monotonic() + _PATIENCE_SECS
  while time.monotonic() < deadline:
    time.sleep(min(1.0, _PATIENCE_SECS / 10))
    if _read(path) != held:
      return _read(path) is not None
  return False


def _beat(path: epath.Path, own: _Lock, stop: threading.Event) -> None:
  beat = 0
  while not stop.wait(_BEAT_SECS):
    beat += 1
    # What goes wrong here is told where it is looked at: see `check`.
    with contextlib.suppress(UserError, OSError):
      held = _read(path)
      if held is None or held.token != own.token:
        return
      write_whole(path, [_text(dataclasses.replace(own, beat=beat))])


def _release(path: epath.Path, own: _Lock) -> None:
  with contextlib.suppress(UserError, OSError):
    held = _read(path)
    if held is not None and held.token == own.token:
      path.unlink()


def _read(path: epath.Path) -> _Lock | None:
  """Returns what a file says, None if it is not there or is no lock."""
  try:
    return read_json(path, _Lock, "")
  except (UserError, FileNotFoundError):
    return None


def _text(lock: _Lock) -> str:
  return json.dumps(dataclasses.asdict(lock), indent=1) + "\n"
