"""Tags that mark spans of words: every common scheme, read and written.

A tag is O, or a letter that says where in its span a word stands, then a hyphen
and the span's type; the letter stands alone where all spans are of one type.
Models learn one scheme, BIOES; answers go back in the scheme of the data.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from electra_jax.errors import UserError

OUTSIDE = "O"
BIOES = "BIOES"

# Letters that always begin a span, and letters behind which one has ended.
_BEGINS = frozenset("BSUW")
_ENDS = frozenset("ESLUW")


class Scheme(NamedTuple):
  """The letters of one scheme.

  Attributes:
    begin: of the first word of a span of several words.
    inside: of those between.
    end: of the last word.
    single: of a span of one word.
    parts_neighbours: whether `begin`, or `end`, is only written where a span of
      the same type stands right before it, or behind it; `inside` elsewhere.
  """

  begin: str
  inside: str
  end: str
  single: str
  parts_neighbours: bool = False


# The first that fits is taken. Sources: Ramshaw and Marcus (1995) for IOB,
# Sang and Veenstra (1999) for IOB1 to IOE2, Ratinov and Roth (2009) for BILOU;
# BMES and BMEWO are used in Chinese word segmentation.
SCHEMES = {
    "IOB2": Scheme("B", "I", "I", "B"),
    BIOES: Scheme("B", "I", "E", "S"),
    "BILOU": Scheme("B", "I", "L", "U"),
    "BMES": Scheme("B", "M", "E", "S"),
    "BMEWO": Scheme("B", "M", "E", "W"),
    "BIEO": Scheme("B", "I", "E", "B"),
    "IOB1": Scheme("B", "I", "I", "B", parts_neighbours=True),
    "IOE2": Scheme("I", "I", "E", "E"),
    "IOE1": Scheme("I", "I", "E", "E", parts_neighbours=True),
}
LETTERS = frozenset("".join("".join(s[:4]) for s in SCHEMES.values()))


class Span(NamedTuple):
  """Words `start` to `end - 1`, of a type that may be empty."""

  start: int
  end: int
  type: str


def read_spans(tags: Sequence[str]) -> list[Span]:
  """Finds the spans that tags of any scheme mark.

  A span starts at B, S, U or W, behind O, behind E, S, L, U or W, and where the
  type changes; the release does not look at the type there, which joins
  neighbours in the IOB1 form. Broken sequences are read as seqeval reads them.

  Source: release finetune/tagging/tagging_utils.py.
  """
  spans = []
  letter_before, type_before = OUTSIDE, ""
  for i, tag in enumerate(tags):
    letter, _, type_here = tag.partition("-")
    if letter != OUTSIDE:
      starts = (
          letter in _BEGINS
          or letter_before == OUTSIDE
          or letter_before in _ENDS
          or type_here != type_before
      )
      start = i if starts else spans.pop().start
      spans.append(Span(start, i + 1, type_here))
    letter_before, type_before = letter, type_here
  return spans


def write_tags(
    spans: Sequence[Span], length: int, scheme: str
) -> tuple[str, ...]:
  """Marks spans by the tags of a scheme, a key of SCHEMES, in `length` words."""
  begin, inside, end, single, parts_neighbours = SCHEMES[scheme]
  tags = [OUTSIDE] * length
  for number, span in enumerate(spans):
    letters = [inside] * (span.end - span.start)
    if parts_neighbours:
      if begin != inside and _touch(spans, number - 1, number):
        letters[0] = begin
      if end != inside and _touch(spans, number, number + 1):
        letters[-1] = end
    elif len(letters) == 1:
      letters[0] = single
    else:
      letters[0], letters[-1] = begin, end
    for i, letter in enumerate(letters, span.start):
      tags[i] = f"{letter}-{span.type}" if span.type else letter
  return tuple(tags)


def convert_tags(tags: Sequence[str], scheme: str) -> tuple[str, ...]:
  """Rewrites tags of any scheme in another, a key of SCHEMES."""
  return write_tags(read_spans(tags), len(tags), scheme)


def schemes_with(letters: Iterable[str]) -> list[str]:
  """Returns the schemes that know all of these letters, O left aside."""
  letters = set(letters) - {OUTSIDE}
  return [n for n, scheme in SCHEMES.items() if letters <= set(scheme[:4])]


def find_scheme(sentences: Iterable[Sequence[str]]) -> tuple[str, list[int]]:
  """Finds the scheme in which tags are written.

  Args:
    sentences: the tags of each.

  Returns:
    The scheme that most sentences follow to the letter, and the numbers of the
    sentences that do not.

  Raises:
    UserError: no scheme knows all the letters that occur.
  """
  distinct = {}
  for number, tags in enumerate(sentences):
    distinct.setdefault(tuple(tags), []).append(number)
  letters = {tag.partition("-")[0] for tags in distinct for tag in tags}
  candidates = schemes_with(letters)
  if not candidates:
    raise UserError(
        f"no scheme of tags has all the letters {', '.join(sorted(letters))};"
        " write the tags of train and dev in one scheme, such as B and I"
    )
  found = {}
  for scheme in candidates:
    found[scheme] = sorted(
        number
        for tags, numbers in distinct.items()
        if convert_tags(tags, scheme) != tags
        for number in numbers
    )
    if not found[scheme]:
      break
  best = min(found, key=lambda scheme: len(found[scheme]))
  return best, found[best]


def _touch(spans: Sequence[Span], first: int, second: int) -> bool:
  """Says whether two spans are neighbours of the same type."""
  if first < 0 or second >= len(spans):
    return False
  return (
      spans[first].end == spans[second].start
      and spans[first].type == spans[second].type
  )
