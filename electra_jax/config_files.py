"""Files of configs, and the arguments "small,runlocal" behind their colon."""

import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Any

from electra_jax.errors import UserError


def load_config(config_flag: str, overrides: Sequence[str]):
  """Loads a locked config file and applies overrides.

  Args:
    config_flag: "FILE.py" or "FILE.py:ARG".
    overrides: "--config.key=value" each.

  Raises:
    UserError: no such file, an unknown key (the nearest one is named) or a
      value of another type.
  """
  from absl import flags
  from ml_collections import config_flags

  config = call_file(
      config_flag,
      "get_config",
      kind="config",
      example="configs/pretrain.py:small",
  )
  values = flags.FlagValues()
  argv = ["electra-jax", *overrides]
  try:
    config_flags.DEFINE_config_dict(
        "config", config, lock_config=True, flag_values=values, sys_argv=argv
    )
    values(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as e:
    reason = " ".join(str(e).replace("\\n", " ").replace("\\'", "'").split())
    raise UserError(f"config {config_flag}: {reason}") from e
  return config.lock()


def call_file(flag: str, function: str, *, kind: str, example: str) -> Any:
  """Calls a function of a Python file and returns what it returns.

  Args:
    flag: "FILE.py", or "FILE.py:ARG" for a call with "ARG" in place of None.
    function: its name.
    kind: what the file is, for messages: "config" or "sweep".
    example: a flag that works.

  Raises:
    UserError: there is no such file, or the function refuses its argument.
  """
  path, _, argument = flag.partition(":")
  spec = importlib.util.spec_from_file_location(f"electra_jax_{kind}", path)
  if spec is None or not pathlib.Path(path).is_file():
    raise UserError(
        f"there is no {kind} file {path!r}; give the path of a .py file, such"
        f" as {example}"
    )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  try:
    return getattr(module, function)(argument or None)
  except (UserError, ValueError) as error:
    raise UserError(f"{kind} {flag}: {error}") from error


def parse_arg(arg: str | None, **defaults):
  """Parses "value,switch,key=value" against named defaults.

  The first bare word sets the first default; later bare words are switches
  and set a boolean default to True; "key=value" sets any default in its type.

  Args:
    arg: the text behind the colon, or None.
    **defaults: allowed names with their defaults.

  Returns:
    A dict like `defaults`.

  Raises:
    UserError: a name is not among the defaults.
  """
  values = dict(defaults)
  first = next(iter(defaults))
  for place, part in enumerate(filter(None, (arg or "").split(","))):
    name, equals, text = part.partition("=")
    if not equals and place == 0 and name not in defaults:
      values[first] = name
    elif name not in defaults:
      raise UserError(
          f"config argument {part!r} is not one of {', '.join(defaults)}"
      )
    elif isinstance(defaults[name], bool):
      values[name] = not equals or text.lower() in ("true", "1", "yes")
    else:
      values[name] = type(defaults[name])(text)
  return values
