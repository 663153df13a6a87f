"""Frozen dataclasses read from nested mappings: names, types and ranges.

A field says what values it takes by one of the functions below. What a config
or a `config.json` holds is checked against it in one place, so that a mistake
is told with its key, its value and what would be right.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from electra_jax.config_files import unknown_key
from electra_jax.errors import UserError, shown

Section = TypeVar("Section")
Number = int | float


class Check(NamedTuple):
  """What values a field takes.

  Attributes:
    is_right: whether a value of the field's type is one of them.
    text: the same in words, behind "it must be".
  """

  is_right: Callable[[Any], bool]
  text: str


def number(
    *,
    least: Number | None = None,
    above: Number | None = None,
    most: Number | None = None,
    below: Number | None = None,
    or_else: tuple[Number, ...] = (),
    hint: str = "",
) -> Any:
  """Returns a field for a finite number within bounds.

  Args:
    least: smallest value.
    above: what the value must exceed.
    most: largest value.
    below: what the value must stay under.
    or_else: values outside of the bounds that are right as well.
    hint: what else a user may need to know.
  """

  def is_right(value):
    if value in or_else:
      return True
    return (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )

  bounds = (
      ("at least", least),
      ("above", above),
      ("at most", most),
      ("below", below),
  )
  text = " and ".join(f"{w} {b:g}" for w, b in bounds if b is not None)
  text = ", or ".join([text, *(f"{value:g}" for value in or_else)])
  text = text or "finite"
  return _field(is_right, text + (f"; {hint}" if hint else ""))


def choice(*names: str) -> Any:
  """Returns a field for one of several names."""
  quoted = [repr(name) for name in names]
  listed = " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
  return _field(lambda value: value in names, listed)


def with_default(default: Any, field: Any) -> Any:
  """Gives a field of `number` or `choice` a default.

  Configs that were written before there was such a field may lack it.
  """
  return dataclasses.field(default=default, metadata=field.metadata)


def read_section(
    kind: type[Section], values: Any, place: str = "config"
) -> Section:
  """Reads a dataclass, and the dataclasses in it, from a nested mapping.

  Args:
    kind: the dataclass.
    values: by field; a field with a default may be left out.
    place: where the values stand, for messages.

  Raises:
    UserError: a key is missing or unknown, or a value is of another type or
      out of range; the sentence names all of it.
  """
  if not isinstance(values, Mapping):
    raise UserError(
        f"{place} is {shown(values)}; it must be a section of keys:"
        f" {', '.join(field.name for field in dataclasses.fields(kind))}"
    )
  fields = {field.name: field for field in dataclasses.fields(kind)}
  for name in values:
    if name not in fields:
      raise UserError(unknown_key(f"{place}.{name}", list(fields)))
  hints = type_hints(kind)
  read = {}
  for name, field in fields.items():
    if name in values:
      read[name] = _read_value(
          field, hints[name], values[name], f"{place}.{name}"
      )
    elif field.default is dataclasses.MISSING:
      raise UserError(
          f"{place}.{name} is missing; compare with the shipped config"
      )
  return kind(**read)


def merged(values: Mapping[str, Any], own: Any, place: str) -> dict[str, Any]:
  """Returns nested values with others in place of some.

  Args:
    values: by key, sections nested.
    own: the others, in the same sections.
    place: where they stand, for messages.

  Raises:
    UserError: a key that is not among the values.
  """
  if not isinstance(own, Mapping):
    raise UserError(f"{place} is {shown(own)}; it must be a section of keys")
  new = dict(values)
  for key, value in own.items():
    if key not in values:
      raise UserError(unknown_key(f"{place}.{key}", list(values)))
    if isinstance(values[key], Mapping):
      value = merged(values[key], value, f"{place}.{key}")
    new[key] = value
  return new


def replaced(section: Section, changes: Mapping[str, Any]) -> Section:
  """Returns a section with other values, checked as those that are read.

  Args:
    section: of any dataclass that `read_section` reads.
    changes: values by dotted key, as {"train.num_steps": 4}.

  Raises:
    UserError: an unknown key, another type, a value out of range.
  """
  own: dict[str, Any] = {}
  for name, value in changes.items():
    *path, key = name.split(".")
    part = own
    for step in path:
      part = part.setdefault(step, {})
    part[key] = value
  values = merged(dataclasses.asdict(section), own, "config")
  return read_section(type(section), values)


@functools.cache
def type_hints(kind: type) -> Mapping[str, Any]:
  """Returns the types of a dataclass's fields by name."""
  return typing.get_type_hints(kind)


def _field(is_right: Callable[[Any], bool], text: str) -> Any:
  return dataclasses.field(metadata={"check": Check(is_right, text)})


def _read_value(field, hint, value, place: str) -> Any:
  if dataclasses.is_dataclass(hint):
    return read_section(hint, value, place)
  if isinstance(hint, types.UnionType):  # Of a type and None.
    if value is None:
      return None
    hint = next(
        kind for kind in typing.get_args(hint) if kind is not type(None)
    )
  value = _converted(hint, value, place)
  check = field.metadata.get("check")
  if check is not None and not check.is_right(value):
    raise UserError(f"{place} is {shown(value)}; it must be {check.text}")
  return value


def _converted(hint, value, place: str) -> Any:
  if type(value) is int and abs(value) >= _MOST:
    raise UserError(f"{place} is {shown(value)}; it must be below 2^64")
  origin = typing.get_origin(hint) or hint
  if origin is tuple and isinstance(value, list | tuple):
    item, _ = typing.get_args(hint)
    return tuple(_converted(item, part, place) for part in value)
  if origin is float and type(value) is int:
    return float(value)
  is_mapping = origin is Mapping and isinstance(value, Mapping)
  if not is_mapping and type(value) is not origin:
    wanted = _TYPE_NAMES.get(origin, origin.__name__)
    raise UserError(f"{place} is {shown(value)}; it must be {wanted}")
  return value


_MOST = 2**64  # Of whole numbers: as many bits as a seed has.
_TYPE_NAMES = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    tuple: "a list",
    Mapping: "a section of keys",
}
