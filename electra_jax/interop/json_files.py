"""JSON objects that other programs wrote: read, or told what is wrong."""

import json
from typing import Any

from etils import epath

from electra_jax.errors import UserError


def read_object(path: epath.Path) -> dict[str, Any]:
  """Returns the JSON object of a file, an empty one where there is no file.

  Raises:
    UserError: the file cannot be read, or holds something else.
  """
  try:
    value = json.loads(path.read_bytes())
  except (FileNotFoundError, NotADirectoryError):
    return {}
  except OSError as error:
    raise UserError(
        f"cannot read {path}: {error.strerror}; copy the folder again"
    ) from error
  except (ValueError, RecursionError) as error:
    raise UserError(f"{path} is damaged ({error}); copy it again") from error
  if not isinstance(value, dict):
    raise UserError(
        f"{path} is damaged: it holds {described(value)} where a JSON object"
        " belongs; copy it again"
    )
  return value


def described(value: Any) -> str:
  """Says what a value is that should be something else."""
  kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
  if isinstance(value, bool | int | float):
    return repr(value)
  return kinds.get(type(value), f"a {type(value).__name__}")
