"""Text as a terminal may show it."""

import re

# Controls, which a terminal obeys; line ends; marks that turn the direction of
# what follows; halves of surrogate pairs, which nothing can encode.
HIDDEN = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_HIDDEN = re.compile(f"[{HIDDEN}]")


def visible(text: str) -> str:
  r"""Writes characters that a terminal would obey as escapes, as \x1b."""
  return _HIDDEN.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def visible_token(token: str) -> str:
  """Writes a token without the marks of its tokenizer, "##" or "▁"."""
  return visible(token.removeprefix("##").removeprefix("▁"))
