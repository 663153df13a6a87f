"""The one exception that is meant for the user's eyes."""

from collections.abc import Iterable


class UserError(Exception):
  """A mistake the user can mend, told in one sentence.

  The sentence names the value, the place and the fix. The command line prints
  it without a traceback and ends with exit status 2.
  """


def shown(value: object, longest: int = 80) -> str:
  """Returns a value for a sentence, cut off where it is long.

  >>> shown("x" * 100, longest=9)
  "'xxxxx..."
  """
  if isinstance(value, int) and value.bit_length() > 1_000:
    return f"a number of {value.bit_length():,} bits"
  text = repr(value)
  return text if len(text) <= longest else f"{text[: longest - 3]}..."


def listed(names: Iterable[object], most: int = 20, longest: int = 60) -> str:
  """Returns names for a sentence, which stays one however many there are.

  >>> listed(["id", "text"])
  "['id', 'text']"

  Args:
    names: what is listed.
    most: names that are shown.
    longest: characters of a name that are shown.
  """
  names = list(names)
  told = [shown(name, longest) for name in names[:most]]
  if names[most:]:
    told.append(f"{len(names) - most:,} more")
  return f"[{', '.join(told)}]"
