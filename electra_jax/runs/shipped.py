"""Models that come with the package: a name in the place of a workdir.

Each is a folder of `electra_jax/shipped/`, laid out as a workdir with one file
of weights (`training.weights_file`). It is read and never written. A folder of
the same name, where the command runs, goes before it.
"""

import os
import pathlib

from etils import epath

from electra_jax.errors import UserError
from electra_jax.files import absolute

SHIPPED = pathlib.Path(__file__).parents[1] / "shipped"


def names() -> list[str]:
  """Returns the names, as "tiny-en"."""
  folders = SHIPPED.iterdir() if SHIPPED.is_dir() else ()
  return sorted(
      folder.name.replace("_", "-")
      for folder in folders
      if (folder / "config.json").exists()
  )


def is_shipped(workdir: epath.PathLike) -> bool:
  """Says whether a name is that of a shipped model, and no folder's."""
  name = os.fspath(workdir)
  return name in names() and not epath.Path(name).exists()


def place_of(workdir: epath.PathLike) -> epath.Path:
  """Returns the folder that a workdir's path or a shipped model's name means.

  Args:
    workdir: a local or gs:// folder, or a name of `names`.
  """
  if not is_shipped(workdir):
    return epath.Path(workdir)
  return epath.Path(SHIPPED / os.fspath(workdir).replace("-", "_"))


def absolute_or_name(workdir: str) -> str:
  """Returns a path that holds anywhere, or a shipped model's name as it is."""
  return workdir if is_shipped(workdir) else absolute(workdir)


def check_not_shipped(workdir: epath.PathLike) -> None:
  """Checks that what a verb is to write is not called as a shipped model.

  Raises:
    UserError: it is, so that its name would stand for two things.
  """
  if os.fspath(workdir) in names():
    raise UserError(
        f"{workdir} is a model that comes with the package and is not written"
        " into; choose another --workdir, and start it from that model by"
        f" --config.init_from={workdir}"
    )
