"""Files of one of Hugging Face's models: config.json and the weights."""

import json
import pickle
import types
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from etils import epath

from electra_jax.errors import UserError

CONFIG_FILE = "config.json"
_WEIGHTS_FILE, _OLD_WEIGHTS_FILE = "model.safetensors", "pytorch_model.bin"
# Of safetensors; the integers are those of counters.
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
}


def read_config(folder: epath.Path) -> dict[str, Any]:
  """Returns what config.json says, nothing where there is none.

  Raises:
    UserError: it is damaged.
  """
  path = folder / CONFIG_FILE
  if not path.exists():
    return {}
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f"{path} is damaged ({error}); copy it again") from error


def read_tensors(folder: epath.Path) -> dict[str, np.ndarray]:
  """Returns the weights by name.

  Raises:
    UserError: they are missing or damaged, or need a missing package.
  """
  path = folder / _WEIGHTS_FILE
  if path.exists():
    return _parse_safetensors(path)
  path = folder / _OLD_WEIGHTS_FILE
  if path.exists():
    return _unpickle(path)
  raise UserError(
      f"{folder} holds neither {_WEIGHTS_FILE} nor {_OLD_WEIGHTS_FILE}; give"
      " the whole folder that transformers' save_pretrained wrote"
  )


def write_model(
    folder: epath.Path,
    config: Mapping[str, Any],
    tensors: dict[str, np.ndarray],
) -> None:
  """Writes weights and config.json into a folder, which is made."""
  folder.mkdir(parents=True, exist_ok=True)
  data = _import_safetensors().numpy.save(tensors, metadata={"format": "pt"})
  (folder / _WEIGHTS_FILE).write_bytes(data)
  (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2))


def _parse_safetensors(path: epath.Path) -> dict[str, np.ndarray]:
  safetensors = _import_safetensors()
  try:
    records = safetensors.deserialize(path.read_bytes())
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


def _unpickle(path: epath.Path) -> dict[str, np.ndarray]:
  try:
    import torch
  except ImportError as error:
    raise UserError(
        f"{path} can be read by PyTorch alone; run pip install torch, or save"
        f" the model as {_WEIGHTS_FILE}"
    ) from error
  try:
    with path.open("rb") as file:
      tensors = torch.load(file, map_location="cpu", weights_only=True)
  except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
    raise UserError(f"{path} is damaged ({error}); copy it again") from error
  return {name: tensor.float().numpy() for name, tensor in tensors.items()}


def _import_safetensors() -> types.ModuleType:
  try:
    import safetensors.numpy
  except ImportError as error:
    raise UserError(
        "Hugging Face's weights need a package that is not installed; run pip"
        " install 'electra-jax[interop]'"
    ) from error
  return safetensors
