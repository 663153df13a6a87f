"""Paths that hold anywhere, files that are whole or not there at all."""

from collections.abc import Iterable

from etils import epath


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
