"""Scratch folders: a target is built beside its place, then appears whole.

A scratch folder has a random name and a marker file, which says whose it is.
What a killed process leaves is removed by the next one that writes the same
target: only a folder whose marker names that very folder and target, and an
owner that is seen to be dead. No name alone makes a folder ours, no symbolic
link is followed, and whatever else lies in a scratch folder stays.
"""

import contextlib
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator

from etils import epath

from electra_jax.disk.owner import Owner
from electra_jax.errors import UserError
from electra_jax.files import is_remote, writing

MARKER = "electra_jax_scratch.json"

_PROGRAM = "electra_jax"
_CONTENT, _REPLACED = "content", "replaced"
_MARKER_BYTES = 4096  # More is not ours.


class Scratch:
  """A folder that may take its target's place.

  Attributes:
    target: what it is for.
    folder: the folder that is filled, empty at first.
  """

  def __init__(self, target: epath.PathLike, root: epath.Path):
    self.target = epath.Path(target)
    self.folder = root / _CONTENT
    self._root = root

  def publish(self, *, replace: bool = False) -> None:
    """Puts the folder in its target's place.

    Args:
      replace: whether a folder that is there is removed; an empty one is.

    Raises:
      UserError: the disk refuses, or something is there.
    """
    if not replace:
      self._check_free()
    if is_remote(self.target):
      self.folder.rename(self.target)
      return
    with writing(self.target):
      if os.path.lexists(self.target):
        os.rename(self.target, self._root / _REPLACED)
      try:
        os.rename(self.folder, self.target)
      except OSError:
        _put_back(self._root, self.target)
        raise

  def _check_free(self) -> None:
    is_there = self.target.exists() or os.path.islink(self.target)
    if is_there and (not self.target.is_dir() or any(self.target.iterdir())):
      raise UserError(
          f"{self.target} has come to be while its files were made, and is not"
          " overwritten; choose another place"
      )


@contextlib.contextmanager
def open_scratch(target: epath.PathLike) -> Iterator[Scratch]:
  """Makes a scratch folder and removes it in the end, whatever happens.

  Args:
    target: a folder, local or gs://, that `publish` puts in its place.

  Raises:
    UserError: the place cannot be written.
  """
  target = epath.Path(target)
  if not is_remote(target):
    remove_leftovers(target)
  root = target.with_name(f"{target.name}.scratch-{secrets.token_hex(8)}")
  with writing(target):
    target.parent.mkdir(parents=True, exist_ok=True)
    root.mkdir()
    try:
      (root / MARKER).write_text(_marker(root, target))
      (root / _CONTENT).mkdir()
    except BaseException:
      _remove(root)
      raise
  try:
    yield Scratch(target, root)
  finally:
    _remove(root)


def new_folder(path: epath.PathLike, name: str) -> epath.Path:
  """Returns the place of a folder to be made.

  Args:
    path: a local or gs:// folder.
    name: what the command line calls it.

  Raises:
    UserError: it is empty, or something is there.
  """
  if not os.fspath(path):
    raise UserError(f"{name} is empty; give the folder to write")
  check_no_link(path, name)
  path = epath.Path(path)
  if path.exists():
    raise UserError(f"{path} exists; choose another {name}, or delete it")
  return path


def check_no_link(path: epath.PathLike, flag: str) -> None:
  """Raises UserError where a symbolic link stands in a folder's place."""
  if not is_remote(path) and os.path.islink(path):
    raise UserError(
        f"{path} is a symbolic link to {os.readlink(path)}, and links are not"
        f" written through; give the folder itself as {flag}"
    )


def check_no_link_inside(*paths: epath.PathLike) -> None:
  """Raises UserError where a link stands in the place of a folder of ours.

  Args:
    *paths: folders inside a workdir that are written into.
  """
  for path in paths:
    if not is_remote(path) and os.path.islink(path):
      raise UserError(
          f"{path} is a symbolic link to {os.readlink(path)}, and links inside a"
          " workdir are not written through; put the folder itself there, or let"
          " the whole workdir lie elsewhere"
      )


def remove_leftovers(target: epath.PathLike) -> None:
  """Removes what killed processes left of a target on a local disk.

  One that was killed while it put a new folder in the target's place gives the
  old one back.
  """
  target = pathlib.Path(os.path.abspath(target))
  try:
    with os.scandir(target.parent) as entries:
      names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
  except OSError:
    return
  for name in names:
    root = target.parent / name
    if _is_abandoned(root, target):
      _put_back(root, target)
      _remove(root)


def _marker(root: epath.Path, target: epath.Path) -> str:
  record = {
      "program": _PROGRAM,
      "folder": root.name,
      "target": target.name,
      "owner": Owner.here().to_json(),
  }
  return json.dumps(record, indent=1) + "\n"


def _is_abandoned(root: pathlib.Path, target: pathlib.Path) -> bool:
  """Says whether a folder is scratch of this target and its owner is dead."""
  try:
    marker = os.open(root / MARKER, os.O_RDONLY | os.O_NOFOLLOW)
    with open(marker, "rb") as file:
      record = json.loads(file.read(_MARKER_BYTES))
  except (OSError, ValueError):
    return False
  if not isinstance(record, dict):
    return False
  owner = Owner.from_json(record.pop("owner", None))
  ours = {"program": _PROGRAM, "folder": root.name, "target": target.name}
  return record == ours and owner is not None and owner.is_alive() is False


def _put_back(root: epath.PathLike, target: epath.PathLike) -> None:
  replaced = pathlib.Path(root) / _REPLACED
  if os.path.lexists(replaced) and not os.path.lexists(target):
    os.rename(replaced, target)


def _remove(root: epath.PathLike) -> None:
  """Removes the parts of a scratch folder, and the folder if that empties it."""
  if is_remote(root):
    if epath.Path(root).exists():
      epath.Path(root).rmtree()
    return
  root = pathlib.Path(root)
  with contextlib.suppress(OSError):  # No reason to fail; the next one tries.
    for part in (root / _CONTENT, root / _REPLACED):
      if part.is_symlink():  # As a target that was one.
        part.unlink()
      elif part.exists():
        shutil.rmtree(part)
    (root / MARKER).unlink(missing_ok=True)
    root.rmdir()
