"""Compiled programs are kept on disk, so that the next start only reads them.

jax files a program under a key made of its code and constants, the versions,
XLA's flags and the devices; what is read back is the machine code that was
written, so results do not depend on it. Of several processes the first one
writes and all read: hosts that share no disk need a gs:// folder.
"""

import contextlib
import hashlib
import logging
import os
import pathlib
import platform
import stat
import tempfile

import jax
from etils import epath
from jax.experimental.compilation_cache import compilation_cache as of_jax

from electra_jax.errors import UserError
from electra_jax.files import absolute

OFF = ("", "none")

_log = logging.getLogger(__name__)
_LIMIT_BYTES = 2 * 2**30  # A program of two networks has 0.1 to 100 MB.
_MODE = 0o700  # Of new folders; under umask 002 the group could write there.
_MIN_COMPILE_SECS = 0.1  # Less than that is not worth a file.
_MIN_COMPILE_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def enable(folder: epath.PathLike | None = None) -> str | None:
  """Keeps what is compiled from now on, and reads what has been kept.

  A folder that cannot be written is told in a warning and not used. What it
  holds is run as it stands, so that one that others may write is refused.

  Args:
    folder: a local or gs:// folder, kept as it is; "" or "none" for no cache;
      None for the one that jax has been told (JAX_COMPILATION_CACHE_DIR), else
      for one in the user's cache folder, in which what was not used for the
      longest time makes way beyond 2 GiB. Let nobody write there whom you
      would not let run programs as you.

  Returns:
    The folder, or None where nothing is kept.

  Raises:
    UserError: it belongs to another user, or others may write there.
  """
  if folder is None and (told := jax.config.jax_compilation_cache_dir):
    if "://" not in told:
      with contextlib.suppress(OSError):  # jax says so when it writes there.
        os.makedirs(told, mode=_MODE, exist_ok=True)
    _check_private(told)
    return told
  chosen = None
  if folder is None:
    chosen = _writable(default_folder())
    if chosen is not None:
      _prune(pathlib.Path(chosen))
  elif str(folder) not in OFF:
    chosen = _writable(absolute(str(folder)))
  if _MIN_COMPILE_VARIABLE not in os.environ:
    jax.config.update(_MIN_COMPILE_VARIABLE.lower(), _MIN_COMPILE_SECS)
  jax.config.update("jax_compilation_cache_dir", chosen)
  of_jax.reset_cache()  # It would stay with the folder it has begun with.
  return chosen


def default_folder() -> str:
  """Returns the folder in the user's cache folder, one for each processor.

  XLA runs code made for another processor after no more than a warning, and
  home folders are shared by unlike machines.
  """
  base = os.environ.get("XDG_CACHE_HOME", "")
  if not os.path.isabs(base):
    base = os.path.expanduser("~/.cache")
  return os.path.join(base, "electra_jax", "xla", _processor())


def _processor() -> str:
  """Names what machine code depends on: architecture, model, features."""
  kinds = ("model name", "flags", "cpu part", "features")
  described = {platform.processor()}
  with contextlib.suppress(OSError):  # Linux alone has the file.
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    described |= {line for line in lines if line.lower().startswith(kinds)}
  digest = hashlib.sha256("\n".join(sorted(described)).encode())
  return f"{platform.machine()}-{digest.hexdigest()[:12]}"


def _writable(folder: str) -> str | None:
  if "://" in folder:  # jax tells in a warning what it cannot write there.
    return folder
  try:
    os.makedirs(folder, mode=_MODE, exist_ok=True)
    _check_private(folder)
    with tempfile.TemporaryFile(dir=folder):
      return folder
  except OSError as error:
    _log.warning(
        "compiled programs are not kept: folder %s cannot be written (%s);"
        " name another with --compilation-cache, or none",
        folder,
        error.strerror,
    )
    return None


def _check_private(folder: str) -> None:
  """Raises UserError for a local folder in which others may lay programs."""
  if "://" in folder or not hasattr(os, "getuid"):
    return
  try:
    info = os.stat(folder)
  except OSError:
    return
  if info.st_uid not in (os.getuid(), 0):
    reason, fix = f"belongs to user {info.st_uid}", "take one of your own"
  elif info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    reason = f"may be written by others (mode {stat.filemode(info.st_mode)})"
    fix = f"empty it and run chmod go-w {folder}"
  else:
    return
  raise UserError(
      f"the compilation cache {folder} {reason}, and what it holds is run as"
      f" you; {fix}, or name another with --compilation-cache, or none"
  )


def _prune(folder: pathlib.Path) -> None:
  # Other processes may add and remove files meanwhile; the next start goes on.
  with contextlib.suppress(OSError):
    found = [(path, path.stat()) for path in folder.rglob("*")]
    found.sort(key=lambda f: max(f[1].st_atime, f[1].st_mtime), reverse=True)
    size = 0
    for path, info in found:
      size += info.st_size
      if size > _LIMIT_BYTES and path.is_file():
        path.unlink()
