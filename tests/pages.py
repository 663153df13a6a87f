"""Reads the pages of the documentation: blocks, markers, commands, links.

A comment `<!-- test: NAME TEXT -->` above a block is a marker:

  given A B       stand-in files that lie in the page's folder from here on
  with VERB F G   flags behind every `electra-jax VERB` of the block
  replace A => B  other text in the block
  file NAME       the block is the content of a file
  fails TEXT      the block ends with another status than 0 and prints TEXT
  skip REASON     the block is checked and not run
"""

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Iterator

from tests import helpers

MARKERS = ("given", "with", "replace", "file", "fails", "skip")

_MARKER = re.compile(r"<!-- test: (\w+) (.+) -->")
_FENCE = re.compile(r"```(\w*)")
_HEADING = re.compile(r"#+ (.+)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`([^`]+)`")
# What launch/env has run.
_LAUNCHED = re.compile(r"^COMMAND=\((.*?)\)", re.DOTALL | re.MULTILINE)
_OPERATORS = re.compile(r"[|&;<>]+")


@dataclasses.dataclass(frozen=True)
class Block:
  """A fenced block of a page.

  Attributes:
    place: page and line, as "docs/pretrain.md:12".
    language: behind the fence.
    text: as it is shown.
    markers: name and text of each, in order.
  """

  place: str
  language: str
  text: str
  markers: tuple[tuple[str, str], ...]

  def marked(self, name: str) -> list[str]:
    """Returns the texts of a marker."""
    return [text for marker, text in self.markers if marker == name]

  @property
  def tested(self) -> str:
    """The text with the replacements of its markers."""
    text = self.text
    for replacement in self.marked("replace"):
      shown, _, put_in = replacement.partition(" => ")
      assert shown in text, f"{self.place}: {shown!r} is not in the block"
      text = text.replace(shown, put_in)
    return text

  def commands(self) -> Iterator[list[str]]:
    """Yields the words of each command; an operator as | is a word."""
    text = self.text.replace("\\\n", " ")
    for line in _LAUNCHED.sub(_as_command, text).splitlines():
      lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
      lexer.whitespace_split = True
      command = []
      for word in lexer:
        if command and _OPERATORS.fullmatch(word) and word != ">":
          yield command
          command = []
        else:
          command.append(word)
      if command:
        yield command


def _as_command(launched: re.Match) -> str:
  return " ".join(["electra-jax", *launched[1].split()])


def all_pages(*, with_launch: bool = False) -> list[pathlib.Path]:
  """Returns the README, docs/, and launch/ if it is asked for."""
  root = helpers.ROOT
  pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
  return pages + (sorted((root / "launch").glob("*.md")) if with_launch else [])


def name_of(page: pathlib.Path) -> str:
  """Returns the path of a page from the root."""
  return page.relative_to(helpers.ROOT).as_posix()


def read_blocks(page: pathlib.Path) -> list[Block]:
  """Returns the fenced blocks of a page in order."""
  blocks, markers = [], []
  lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
  for number, line in lines:
    place = f"{name_of(page)}:{number}"
    if found := _MARKER.fullmatch(line):
      assert found[1] in MARKERS, f"{place}: unknown marker {found[1]}"
      markers.append((found[1], found[2]))
    elif found := _FENCE.match(line):
      body = []
      for _, inside in lines:
        if inside.startswith("```"):
          break
        body.append(inside)
      text = "\n".join(body) + "\n"
      blocks.append(Block(place, found[1], text, tuple(markers)))
      markers = []
    else:
      assert not markers, f"{place}: a marker stands right above its block"
  return blocks


def read_prose(page: pathlib.Path) -> str:
  """Returns a page without its blocks and comments."""
  text = page.read_text(encoding="utf-8")
  text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
  return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def links_of(page: pathlib.Path) -> list[str]:
  """Returns the targets of all links and pictures."""
  return _LINK.findall(read_prose(page))


def inline_code(page: pathlib.Path) -> list[str]:
  """Returns all code within sentences and tables, each on one line."""
  return [" ".join(code.split()) for code in _INLINE.findall(read_prose(page))]


def anchors_of(page: pathlib.Path) -> set[str]:
  """Returns the anchors of a page's headings, as GitHub makes them."""
  anchors = set()
  for line in read_prose(page).splitlines():
    if heading := _HEADING.fullmatch(line):
      kept = re.sub(r"[^\w\- ]", "", heading[1].lower())
      anchors.add(kept.strip().replace(" ", "-"))
  return anchors
