"""The one exception that is meant for the user's eyes."""

import re
from collections.abc import Iterable

_LONG_WORD = re.compile(r"\S{400,}")
_WORD, _SENTENCE, _END = 200, 1_000, 300  # Characters that are kept.


class UserError(Exception):
  """A mistake the user can mend, told in one sentence.

  The sentence names the value, the place and the fix. The command line prints
  it without a traceback and ends with exit status 2. Values are as long as
  users' files make them: a word of 400 characters is cut off, and of a sentence
  that is too long for a screen the middle is left out, for its end has the fix.
  """

  def __init__(self, sentence: str):
    words = _LONG_WORD.sub(lambda word: f"{word[0][:_WORD]}...", sentence)
    if len(words) > _SENTENCE + _END:
      words = f"{words[:_SENTENCE]} ... {words[-_END:]}"
    super().__init__(words)


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
