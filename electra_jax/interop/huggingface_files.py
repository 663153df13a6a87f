"""Files of one of Hugging Face's models: config.json and the weights.

Weights stand in one file or in several, whose index names the file of each
tensor. A folder is data of somebody else: whatever its files hold ends in a
sentence, no Python object of theirs is ever made, and no path in an index
leads out of the folder.
"""

import json
import pickle
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from etils import epath

from electra_jax.disk.json_files import read_object
from electra_jax.errors import UserError

CONFIG_FILE = "config.json"
WEIGHTS_FILE, OLD_WEIGHTS_FILE = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"  # Behind either name, where there are several files.
# Of safetensors. Whole numbers are read because counters lie among weights.
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read_config(folder: epath.Path) -> dict[str, Any]:
  """Returns what config.json says, nothing where there is none.

  Raises:
    UserError: it is damaged, or no JSON object.
  """
  return read_object(folder / CONFIG_FILE)


def read_tensors(folder: epath.Path) -> dict[str, np.ndarray]:
  """Returns the weights by name, of whatever number format they have.

  Raises:
    UserError: they are missing or damaged, or need a missing package.
  """
  for name, read in (
      (WEIGHTS_FILE, _read_safetensors),
      (OLD_WEIGHTS_FILE, _read_pickled),
  ):
    if (folder / name).exists():
      return read(folder / name)
    if (folder / (name + INDEX)).exists():
      return _read_shards(folder / (name + INDEX), read)
  raise UserError(
      f"{folder} holds neither {WEIGHTS_FILE} nor {OLD_WEIGHTS_FILE}, nor the"
      f" {INDEX} of either; give the whole folder that transformers'"
      " save_pretrained wrote"
  )


def write_model(
    folder: epath.Path,
    config: Mapping[str, Any],
    tensors: dict[str, np.ndarray],
) -> None:
  """Writes weights and config.json into a folder, which is made."""
  folder.mkdir(parents=True, exist_ok=True)
  data = _import_safetensors().numpy.save(tensors, metadata={"format": "pt"})
  (folder / WEIGHTS_FILE).write_bytes(data)
  (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2))


def _read_shards(
    index: epath.Path, read: Callable[[epath.Path], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
  places = read_object(index).get("weight_map")
  if not isinstance(places, dict) or not places:
    raise UserError(
        f"{index} is damaged: its weight_map is {_described(places)} where the file"
        " of each tensor belongs; copy it again"
    )
  found = {}
  for file in dict.fromkeys(map(str, places.values())):
    # A name alone: no path, which could lead to other folders.
    if epath.Path(file).name != file or file in ("", ".", ".."):
      raise UserError(
          f"{index} names {file!r}, which is no file of its own folder; copy"
          " the folder again"
      )
    if not (index.parent / file).exists():
      raise UserError(
          f"{index} names {file}, which is not there; copy all files of the"
          " model into the folder"
      )
    found[file] = read(index.parent / file)
  for name, file in places.items():
    if name not in found[str(file)]:
      raise UserError(
          f"{index} says that {name!r} is in {file}, which lacks it; copy the"
          " folder again"
      )
  return {name: x for shard in found.values() for name, x in shard.items()}


def _read_safetensors(path: epath.Path) -> dict[str, np.ndarray]:
  safetensors = _import_safetensors()
  try:
    records = safetensors.deserialize(path.read_bytes())
  except OSError as error:
    raise UserError(
        f"cannot read {path}: {error.strerror}; copy it again"
    ) from error
  except safetensors.SafetensorError as error:
    raise UserError(f"{path} is damaged ({error}); copy it again") from error
  tensors = {}
  for name, record in records:
    if record["dtype"] not in _DTYPES:
      raise UserError(
          f"{path} holds {name!r} as {record['dtype']}, which is none of"
          f" {', '.join(_DTYPES)}; save the model in float32"
      )
    array = np.frombuffer(record["data"], _DTYPES[record["dtype"]])
    tensors[name] = array.reshape(record["shape"])
  return tensors


def _read_pickled(path: epath.Path) -> dict[str, np.ndarray]:
  """Reads what torch.save wrote, by PyTorch's reader of tensors alone."""
  try:
    import torch
  except ImportError as error:
    raise UserError(
        f"{path} can be read by PyTorch alone; run pip install torch, or save"
        f" the model as {WEIGHTS_FILE}"
    ) from error
  try:
    with path.open("rb") as file:
      values = torch.load(file, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError as error:
    raise UserError(
        f"{path} is damaged, or holds Python objects beside its tensors, which"
        " could run code and are not loaded; save the model as"
        f" {WEIGHTS_FILE}"
    ) from error
  except (
      *(OSError, RuntimeError, EOFError, ValueError, KeyError),
      *(TypeError, AttributeError, IndexError, AssertionError),
  ) as error:  # PyTorch's reader ends in any of them on bytes that are none.
    told = str(error).partition("\n")[0]
    raise UserError(
        f"{path} is damaged ({type(error).__name__}: {told}); copy it again"
    ) from error
  if not isinstance(values, Mapping):
    raise UserError(
        f"{path} holds {_described(values)} where tensors by name belong; save the"
        f" model's state_dict, or the model as {WEIGHTS_FILE}"
    )
  for name, value in values.items():
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
      raise UserError(
          f"{path} holds {_described(value)} as {name!r} where a dense tensor"
          f" belongs; save the model's state_dict, or the model as"
          f" {WEIGHTS_FILE}"
      )
  return {
      str(name): (x.float() if x.is_floating_point() else x).detach().numpy()
      for name, x in values.items()
  }


def _import_safetensors() -> types.ModuleType:
  try:
    import safetensors.numpy
  except ImportError as error:
    raise UserError(
        "Hugging Face's weights need a package that is not installed; run pip"
        " install 'electra-jax[interop]'"
    ) from error
  return safetensors


def _described(value: Any) -> str:
  """Says what a value is that should be something else."""
  kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
  if isinstance(value, bool | int | float):
    return repr(value)
  return kinds.get(type(value), f"a {type(value).__name__}")
