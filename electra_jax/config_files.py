"""Files of configs, and the arguments "small,runlocal" behind their colon."""

import difflib
import importlib.util
import pathlib
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from electra_jax.errors import UserError

if TYPE_CHECKING:
  from ml_collections import ConfigDict

_PACKAGE = pathlib.Path(__file__).parent
# In an installed package, else in a checkout.
SHIPPED = next(
    (folder for folder in (_PACKAGE / "configs",) if folder.is_dir()),
    _PACKAGE.parent / "configs",
)
_PREFIX = "--config."
_SETTING = re.compile(r"\s*config\.([\w.]+) = (?:.*?\S)(?:\s+# (.*))?")


def load_config(
    config: str, overrides: Sequence[str] | Mapping[str, Any] = ()
) -> "ConfigDict":
  """Loads a config file and applies overrides.

  >>> config = load_config("pretrain:tiny", {"train.num_steps": 200})
  >>> config.train.num_steps, config.data.length
  (200, 32)

  Args:
    config: "FILE.py", "FILE.py:ARG", or a shipped file by its name, as in
      "pretrain:small".
    overrides: "--config.key=value" each, or values by dotted key.

  Returns:
    A locked ConfigDict.

  Raises:
    UserError: no such file, a file that does not run, an unknown key (its
      section's keys are listed) or a value of another type.
  """
  from ml_collections import ConfigDict

  loaded = call_file(
      config, "get_config", kind="config", example="pretrain:small"
  )
  if not isinstance(loaded, ConfigDict):
    raise UserError(
        f"config {config}: get_config returns a {type(loaded).__name__}; it"
        " must return a ml_collections.ConfigDict"
    )
  if isinstance(overrides, Mapping):
    _set_values(loaded, overrides)
  else:
    _set_flags(loaded, config, overrides)
  return loaded.lock()


def config_of(
    values: Mapping[str, Any],
    place: str,
    overrides: Sequence[str] | Mapping[str, Any] = (),
) -> "ConfigDict":
  """Does the same with values that a file of JSON holds.

  Args:
    values: by key, sections nested.
    place: what messages call the file.
    overrides: as of `load_config`.

  Raises:
    UserError: an unknown key or a value of another type.
  """
  loaded = _config_dict(values)
  if isinstance(overrides, Mapping):
    _set_values(loaded, overrides)
  else:
    _set_flags(loaded, place, overrides)
  return loaded.lock()


def _config_dict(values: Mapping[str, Any]) -> "ConfigDict":
  from ml_collections import ConfigDict, config_dict

  made = ConfigDict()
  for name, value in values.items():
    if isinstance(value, Mapping):
      value = _config_dict(value)
    elif isinstance(value, list):  # As JSON gives tuples.
      value = tuple(value)
    elif value is None:  # JSON does not tell the type of what is left out.
      value = config_dict.placeholder(object)
    made[name] = value
  return made


def describe_config(config: str, overrides: Sequence[str] = ()) -> str:
  """Returns the keys of a config with their values and comments, a line each.

  Args:
    config: as of `load_config`.
    overrides: as of `load_config`.
  """
  source = pathlib.Path(locate(config, "config", "pretrain:small")[0])
  comments: dict[str, str] = {}
  above = ""
  for line in source.read_text(encoding="utf-8").splitlines():
    if match := _SETTING.fullmatch(line):
      key, behind = match.groups()
      comments.setdefault(key, behind or above)
    is_comment = line.lstrip().startswith("#")
    above = line.lstrip().removeprefix("# ") if is_comment else ""
  lines = []
  for key, value in _flat(load_config(config, overrides)):
    comment = f"  # {comments[key]}" if comments.get(key) else ""
    lines.append(f"{_PREFIX}{key}={value!r}{comment}")
  return "\n".join(lines)


def locate(flag: str, kind: str, example: str) -> tuple[str, str | None]:
  """Returns the path of a file and the argument behind its colon.

  Args:
    flag: as of `load_config`.
    kind: what the file is, for messages.
    example: a flag that works.

  Raises:
    UserError: there is no such file.
  """
  path, _, argument = flag.partition(":")
  # "configs/pretrain.py" means the shipped file from any folder.
  within = path.removeprefix("configs/").removesuffix(".py")
  for found in (pathlib.Path(path), SHIPPED / f"{within}.py"):
    if found.suffix == ".py" and found.is_file():
      return str(found.absolute()), argument or None
  shipped = sorted(
      file.relative_to(SHIPPED).with_suffix("").as_posix()
      for file in SHIPPED.rglob("*.py")
  )
  raise UserError(
      f"there is no {kind} file {path!r}; give the path of a .py file, or one"
      f" that is shipped ({', '.join(shipped)}), such as {example}"
  )


def call_file(flag: str, function: str, *, kind: str, example: str) -> Any:
  """Calls a function of a Python file and returns what it returns.

  Args:
    flag: "FILE.py", or "FILE.py:ARG" for a call with "ARG" in place of None.
    function: its name.
    kind: what the file is, for messages: "config" or "sweep".
    example: a flag that works.

  Raises:
    UserError: there is no such file, it does not run, or the function refuses
      its argument.
  """
  path, argument = locate(flag, kind, example)
  spec = importlib.util.spec_from_file_location(f"electra_jax_{kind}", path)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    if not hasattr(module, function):
      raise UserError(f"it has no function {function}(arg)")
    return getattr(module, function)(argument)
  except (UserError, ValueError) as error:
    raise UserError(f"{kind} {flag}: {error}") from error
  except SyntaxError as error:
    raise UserError(
        f"{kind} {flag}: line {error.lineno} is not Python: {error.msg}"
    ) from error
  except (Exception, SystemExit) as error:  # The user's own code: anything.
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    place = f"line {lines[-1]}: " if lines else ""
    raise UserError(
        f"{kind} {flag}: {place}{type(error).__name__}: {error}"
    ) from error


def unknown_key(name: str, known: Sequence[str]) -> str:
  """Returns the sentence about a key that does not exist.

  Args:
    name: the dotted key.
    known: keys of its section.
  """
  place, _, key = name.rpartition(".")
  near = difflib.get_close_matches(key, known, n=1)
  meant = f"did you mean {place}.{near[0]}? " if near else ""
  listed = ", ".join(sorted(known))
  return f"{name} is no key of the config; {meant}{place} has {listed}"


def _set_flags(
    config: "ConfigDict", flag: str, overrides: Sequence[str]
) -> None:
  """Sets "--config.key=value"s, each in the type that the key has."""
  from absl import flags
  from ml_collections import config_flags

  for word in overrides:
    if word.startswith(_PREFIX):
      _section_of(config, word.removeprefix(_PREFIX).partition("=")[0])
  values = flags.FlagValues()
  argv = ["electra-jax", *overrides]
  try:
    config_flags.DEFINE_config_dict(
        "config", config, lock_config=True, flag_values=values, sys_argv=argv
    )
    values(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as e:
    reason = " ".join(str(e).replace("\\n", " ").replace("\\'", "'").split())
    raise UserError(f"config {flag}: {reason}") from e


def _set_values(config: "ConfigDict", values: Mapping[str, Any]) -> None:
  for name, value in values.items():
    section, key = _section_of(config, name)
    try:
      section[key] = value
    except (TypeError, ValueError) as error:
      raise UserError(
          f"config.{name} is {value!r}; it must be of type"
          f" {type(section[key]).__name__}"
      ) from error


def _section_of(config: "ConfigDict", name: str) -> tuple["ConfigDict", str]:
  """Returns the section of a dotted key, and its name in there."""
  section, place = config, "config"
  *path, key = name.split(".")
  for part in (*path, key):
    if not hasattr(section, "keys") or part not in section:
      known = list(section.keys()) if hasattr(section, "keys") else []
      raise UserError(unknown_key(f"{place}.{part}", known))
    parent, section, place = section, section[part], f"{place}.{part}"
  return parent, key


def _flat(tree: "ConfigDict", prefix: str = ""):
  for key, value in tree.items():
    if hasattr(value, "items"):
      yield from _flat(value, f"{prefix}{key}.")
    else:
      yield prefix + key, value


def parse_arg(arg: str | None, **defaults):
  """Parses "value,switch,key=value" against named defaults.

  The first bare word sets the first default; later bare words are switches
  and set a boolean default to True; "key=value" sets any default in its type.

  >>> parse_arg("tiny,runlocal", size="small", seeds=1, runlocal=False)
  {'size': 'tiny', 'seeds': 1, 'runlocal': True}

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
