"""Paths that hold anywhere, files that are whole or not there at all."""

import contextlib
import errno
import json
import math
import os
import pathlib
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from etils import epath

from electra_jax.errors import UserError

SWEEP_FILE = "sweep.json"  # In the folder above the workdirs of a sweep.
# Links of the system to what a process has open, which may be a file.
_STREAMS = ("/dev/fd/", "/dev/stdout", "/dev/stderr", "/proc/")
_FIXES = {
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room there, or choose another place",
    errno.EFBIG: "lift the limit on the size of files, or choose another place",
    errno.EACCES: "give yourself permission to write there, or choose another",
    errno.EPERM: "give yourself permission to write there, or choose another",
    errno.EROFS: "choose a place on a disk that can be written",
    errno.EEXIST: "choose a place whose parents are all folders",
    errno.ENOTDIR: "choose a place whose parents are all folders",
}
# As `text.visible` escapes them, but for what JSON escapes itself.
_HIDDEN = re.compile(
    "[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

# What stands behind the "?" of a URL may be a signature, and what stands before
# its "@" a password.
_URL = re.compile(r"(\b[a-zA-Z][\w+.-]*://)([^\s/@]*@)?([^\s?#]*)([?#]\S*)?")


def absolute(path: str) -> str:
  """Returns a path that holds from any folder; "" and gs:// stay as they are."""
  return (
      path if not path or is_remote(path) else str(epath.Path(path).absolute())
  )


def is_remote(path: epath.PathLike) -> bool:
  """Says whether a path is a URL such as gs://bucket/store."""
  return "://" in os.fspath(path)


@contextlib.contextmanager
def writing(path: epath.PathLike) -> Iterator[None]:
  """Raises UserError where the system does not let a place be written.

  Args:
    path: what the message calls the place.
  """
  try:
    yield
  except OSError as error:
    reason = error.strerror or str(error).split("\n")[0][:200]
    place = error.filename or path
    beside = "" if str(place) == str(path) else f", at {place}"
    fix = _FIXES.get(error.errno, "check the path, and its disk")
    raise UserError(
        f"{path} cannot be written ({reason}{beside}); {fix}"
    ) from error


def write_whole(path: epath.PathLike, lines: Iterable[str | bytes]) -> None:
  """Writes a file under another name first; an error leaves it as it was.

  The other name is a new one each time, so that nothing else is written over;
  where the path is a symbolic link, a file takes the link's place. What is no
  file, as /dev/stdout or a pipe, is written to and stays what it is.

  Args:
    path: a local or gs:// file.
    lines: with their ends; or parts of any kind.

  Raises:
    UserError: the disk is full, or the place cannot be written.
  """
  path = epath.Path(path)
  if _is_device(path):
    with writing(path), open(path, "wb") as file:
      file.writelines(_encoded(lines))
    return
  partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
  try:
    with writing(path), _create(partial) as file:
      file.writelines(_encoded(lines))
      if not is_remote(path):  # A machine that stops keeps the file as well.
        file.flush()
        os.fsync(file.fileno())
    with writing(path):
      partial.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)
    raise


def _is_device(path: epath.Path) -> bool:
  if is_remote(path):
    return False
  if os.path.abspath(path).startswith(_STREAMS):
    return True
  there = os.path.exists(path)
  return there and not os.path.isfile(path) and not os.path.isdir(path)


def _encoded(lines: Iterable[str | bytes]) -> Iterator[bytes]:
  for line in lines:
    # Half a surrogate pair, as JSON may hold, is no reason to lose a file.
    yield line.encode("utf-8", "replace") if isinstance(line, str) else line


def writable_folder(path: epath.PathLike, flag: str) -> pathlib.Path:
  """Makes a local folder, and tries whether it can be written.

  Raises:
    UserError: it cannot.
  """
  if is_remote(path):
    raise UserError(f"{flag} {path} is not a local folder; give one")
  folder = pathlib.Path(path)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      return folder
  except OSError as error:
    raise UserError(
        f"{flag}: folder {folder} cannot be written: {error.strerror}; give"
        " another"
    ) from error


def _create(path: epath.Path) -> BinaryIO:
  return path.open("wb") if is_remote(path) else open(path, "xb")


def without_url_secrets(value: Any) -> Any:
  """Returns a text, list or nested mapping without what URLs hide.

  >>> without_url_secrets("--data=https://host/a?sig=abc")
  '--data=https://host/a?…'
  """
  if isinstance(value, str):
    return _URL.sub(
        lambda m: (
            m[1] + ("***@" if m[2] else "") + m[3] + ("?…" if m[4] else "")
        ),
        value,
    )
  if isinstance(value, Mapping):
    return {name: without_url_secrets(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [without_url_secrets(item) for item in value]
  return value


def to_json(value: Any, **options: Any) -> str:
  """Returns JSON that every reader takes and every terminal may show.

  A number that is not finite becomes null: JSON has no NaN. Characters that a
  terminal would obey, and halves of surrogate pairs, are written as escapes,
  which mean the same.

  Args:
    value: what `json.dumps` takes.
    **options: of `json.dumps`.
  """
  text = json.dumps(_finite(value), allow_nan=False, **options)
  return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _finite(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(item) for item in value]
  is_odd = isinstance(value, float) and not math.isfinite(value)
  return None if is_odd else value
