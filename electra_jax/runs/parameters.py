"""How many parameters a run's networks have, for the record."""

import json
from typing import Any

from etils import epath

from electra_jax.files import write_whole
from electra_jax.trees import count_parameters, path_names

_FILE = "parameters.json"


def note_parameters(workdir: epath.PathLike, params: Any) -> None:
  """Writes the number of parameters by network, and every shape by path.

  Nothing is written where that is noted already.

  Args:
    workdir: of the run.
    params: arrays or their shapes, networks first.

  Raises:
    UserError: the disk is full, or the place cannot be written.
  """
  path = epath.Path(workdir) / _FILE
  if path.exists():
    return
  sizes = {name: count_parameters(tree) for name, tree in params.items()}
  shapes = {name: list(leaf.shape) for name, leaf in path_names(params)}
  write_whole(path, [json.dumps({"networks": sizes, "arrays": shapes})])
