"""Paths that hold anywhere, files that are whole or not there at all."""

import pathlib
import tempfile
from collections.abc import Iterable

from etils import epath

from electra_jax.errors import UserError


def absolute(path: str) -> str:
  """Returns a path that holds from any folder; "" and gs:// stay as they are."""
  return path if not path or "://" in path else str(epath.Path(path).absolute())


def write_whole(path: epath.PathLike, lines: Iterable[str]) -> None:
  """Writes text under another name first; an error leaves the path as it was.

  Args:
    path: a local or gs:// file.
    lines: with their ends.
  """
  path = epath.Path(path)
  partial = path.with_name(f"{path.name}.partial")
  try:
    with partial.open("wb") as file:
      for line in lines:
        # Half a surrogate pair, as JSON may hold, is no reason to lose a file.
        file.write(line.encode("utf-8", "replace"))
    partial.replace(path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def writable_folder(path: epath.PathLike, flag: str) -> pathlib.Path:
  """Makes a local folder, and tries whether it can be written.

  Raises:
    UserError: it cannot.
  """
  if "://" in str(path):
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
