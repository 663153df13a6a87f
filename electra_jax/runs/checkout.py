"""The git checkout that the package runs from."""

import pathlib
import subprocess


def git(*words: str) -> str | None:
  """Returns what a git command says of the checkout, None where there is none.

  An installed package has none, even where it lies in another repository.
  """
  root = pathlib.Path(__file__).parents[2]
  if not (root / ".git").exists() or not (root / "setup.py").exists():
    return None
  try:
    done = subprocess.run(
        ["git", "-C", str(root), *words],
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()
