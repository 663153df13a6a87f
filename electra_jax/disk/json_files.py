"""JSON files, read with the shape and the types that they must have."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from etils import epath

from electra_jax.errors import UserError

_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "null",
}
_SHOWN = 60  # Characters of a wrong value that a message shows.


class _MismatchError(Exception):
  """A value is not of the kind that it must be."""

  def __init__(self, key: str, wanted: str, found: str):
    super().__init__(
        f"{f'the key {key!r}' if key else 'the whole'} must be {wanted} and is"
        f" {found}"
    )


def read_json(path: epath.PathLike, kind: Any, fix: str) -> Any:
  """Reads a file of JSON.

  Args:
    path: a local or gs:// file.
    kind: what it must hold: a dataclass or a NamedTuple, whose fields are the
      keys; `dict[str, X]`, `list[X]`, `tuple[X, ...]`, a union, `bool`, `int`,
      `float`, `str`, None or Any.
    fix: what to do about a damaged file, for the message.

  Returns:
    A value of that kind.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: it cannot be read, is no JSON, or holds another kind of thing.
  """
  try:
    content = epath.Path(path).read_bytes()
  except FileNotFoundError:
    raise
  except OSError as error:
    raise UserError(
        f"{path} cannot be read ({error.strerror or error}); {fix}"
    ) from error
  return parse_json(content, kind, str(path), fix)


def read_object(
    path: epath.PathLike, fix: str = "copy it again"
) -> dict[str, Any]:
  """Returns the JSON object of a file, an empty one where there is no file.

  Raises:
    UserError: the file cannot be read, or holds something else.
  """
  if not epath.Path(path).exists():
    return {}
  return read_json(path, dict[str, Any], fix)


def parse_json(content: bytes | str, kind: Any, place: str, fix: str) -> Any:
  """Does the same with the content of a file, which messages call `place`.

  Raises:
    UserError: as `read_json`.
  """
  try:
    if isinstance(content, bytes):
      content = content.decode("utf-8")
    if not content.strip():
      raise UserError(f"{place} is damaged: it is empty; {fix}")
    value = json.loads(content)
  except RecursionError as error:
    raise UserError(f"{place} is damaged: it is nested too deep; {fix}") from (
        error
    )
  except ValueError as error:  # Of the bytes, or the text.
    raise UserError(f"{place} is damaged: {error}; {fix}") from error
  return as_kind(value, kind, place, fix)


def as_kind(value: Any, kind: Any, place: str, fix: str) -> Any:
  """Does the same with what JSON has been read to.

  Raises:
    UserError: it is of another kind.
  """
  try:
    return _typed(value, kind, "")
  except _MismatchError as error:
    raise UserError(f"{place} is damaged: {error}; {fix}") from error


def _typed(value: Any, kind: Any, key: str) -> Any:
  """Turns a value of JSON into one of a kind.

  Raises:
    _MismatchError: it is none.
  """
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if kind is Any:
    return value
  if origin in (typing.Union, types.UnionType):
    return _one_of(value, args, key)
  if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
    return _record(value, kind, key)
  if origin in (tuple, list):
    _check(value, list, key, "a list")
    return origin(
        _typed(x, args[0], f"{key}[{i}]") for i, x in enumerate(value)
    )
  if origin in (dict, Mapping):
    _check(value, dict, key, "an object")
    return {n: _typed(x, args[1], _below(key, n)) for n, x in value.items()}
  kind = type(None) if kind is None else kind
  if kind is float and type(value) is int:
    return float(value)
  if type(value) is not kind:
    raise _MismatchError(key, _NAMES[kind], _shown(value))
  return value


def _one_of(value: Any, kinds: tuple[Any, ...], key: str) -> Any:
  problem = None
  for kind in kinds:
    try:
      return _typed(value, kind, key)
    except _MismatchError as error:
      problem = problem or error
  raise problem


def _record(value: Any, kind: Any, key: str) -> Any:
  _check(value, dict, key, "an object")
  hints = typing.get_type_hints(kind)
  if dataclasses.is_dataclass(kind):
    names = [field.name for field in dataclasses.fields(kind)]
    missing = dataclasses.MISSING
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is missing and field.default_factory is missing
    }
  else:
    names, needed = kind._fields, set(kind._fields) - set(kind._field_defaults)
  for name in value:
    if name not in names:
      raise _MismatchError(
          key, f"an object of {', '.join(names)}", f"one with {name!r} in it"
      )
  for name in sorted(needed - set(value)):
    raise _MismatchError(key, f"an object with {name!r} in it", "one without")
  return kind(
      **{n: _typed(x, hints[n], _below(key, n)) for n, x in value.items()}
  )


def _check(value: Any, kind: type, key: str, wanted: str) -> None:
  if not isinstance(value, kind):
    raise _MismatchError(key, wanted, _shown(value))


def _below(key: str, name: str) -> str:
  return f"{key}.{name}" if key else name


def _shown(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
