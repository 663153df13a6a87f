"""Arguments of configs: "small,runlocal" behind the colon of --config."""

from electra_jax.errors import UserError


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
