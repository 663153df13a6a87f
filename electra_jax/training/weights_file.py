"""One file of weights in the place of checkpoints, as a shipped model has it.

In the folder of the checkpoints lie `weights.safetensors`, the parameters by
path in bfloat16 or float32, and `weights.json`, which tells the step and the
file's SHA-256. There is no optimizer's state: the model answers and is started
from, and cannot be resumed.
"""

import hashlib
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from electra_jax.disk.json_files import read_json
from electra_jax.errors import UserError
from electra_jax.files import write_whole
from electra_jax.trees import path_names

WEIGHTS_FILE, RECORD_FILE = "weights.safetensors", "weights.json"
_FIX = "install the package, or copy the folder, again"
_DTYPES = {"F32": np.float32, "BF16": jnp.bfloat16}


class WeightsRecord(NamedTuple):
  """What lies beside the weights.

  Attributes:
    step: updates done.
    sha256: of the file.
  """

  step: int
  sha256: str


class WeightsFile(NamedTuple):
  """A file of weights.

  Attributes:
    folder: where it lies.
    record: what is said of it.
  """

  folder: epath.Path
  record: WeightsRecord

  def read(self, abstract: Any, shardings: Any) -> Any:
    """Reads parameters, in the number format that is asked for.

    Args:
      abstract: shapes and dtypes, of all parameters or some of them.
      shardings: where each is to lie.

    Raises:
      UserError: the file is missing, damaged, or of another model.
    """
    arrays = self._arrays()
    leaves = []
    for name, wanted in path_names(abstract):
      found = arrays.get(name)
      if found is None or found.shape != wanted.shape:
        told = "nothing" if found is None else f"{list(found.shape)}"
        raise UserError(
            f"{self.folder / WEIGHTS_FILE} holds {name!r} as {told} and this"
            f" model needs {list(wanted.shape)}; give the config it was trained"
            " with, or another workdir"
        )
      leaves.append(found.astype(wanted.dtype))
    tree = jax.tree.unflatten(jax.tree.structure(abstract), leaves)
    return jax.device_put(tree, shardings)

  def _arrays(self) -> dict[str, np.ndarray]:
    import safetensors

    path = self.folder / WEIGHTS_FILE
    try:
      data = path.read_bytes()
    except OSError as error:
      raise UserError(
          f"{path} cannot be read ({error.strerror or error}); {_FIX}"
      ) from error
    if hashlib.sha256(data).hexdigest() != self.record.sha256:
      raise UserError(
          f"{path} is damaged: it is not the file that {RECORD_FILE} beside it"
          f" tells of; {_FIX}"
      )
    return {
        name: np.frombuffer(x["data"], _DTYPES[x["dtype"]]).reshape(x["shape"])
        for name, x in safetensors.deserialize(data)
    }


def find_weights_file(folder: epath.PathLike) -> WeightsFile | None:
  """Finds the file in a folder of checkpoints; None where there is none.

  Raises:
    UserError: its record is damaged.
  """
  folder = epath.Path(folder)
  try:
    record = read_json(folder / RECORD_FILE, WeightsRecord, _FIX)
  except FileNotFoundError:
    return None
  return WeightsFile(folder, record)


def write_weights_file(
    folder: epath.PathLike, params: Any, step: int, dtype: str = "bfloat16"
) -> int:
  """Writes parameters into a folder, which is there.

  Args:
    folder: of the checkpoints.
    params: arrays.
    step: updates done.
    dtype: "bfloat16", half the size, or "float32".

  Returns:
    The file's size in bytes.
  """
  import safetensors.numpy

  tensors = {
      name: np.ascontiguousarray(np.asarray(leaf).astype(jnp.dtype(dtype)))
      for name, leaf in path_names(params)
  }
  data = safetensors.numpy.save(tensors)
  record = WeightsRecord(step, hashlib.sha256(data).hexdigest())
  folder = epath.Path(folder)
  write_whole(folder / WEIGHTS_FILE, [data])
  write_whole(folder / RECORD_FILE, [json.dumps(record._asdict(), indent=1)])
  return len(data)
