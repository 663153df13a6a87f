"""Where documents of text end, and what white space is left in them."""

import html
import re
from collections.abc import Callable, Iterable, Iterator

from electra_jax.errors import UserError

DOCUMENT_PER = ("blank-line", "line", "file")
WIKI = "wiki"  # <doc …> … </doc>, as WikiExtractor writes.
MAX_DOCUMENT_CHARACTERS = 1 << 22
MAX_LINE_CHARACTERS = 1 << 16

_LINE_END = re.compile(r"\r\n?|[\u2028\u2029\x85\v\f]")
_SPACE = re.compile(r"\s")
_WIKI_START = re.compile(r"<doc [^>]*>\s*")
_WIKI_END = "</doc>"


def ends_document(document_per: str) -> Callable[[str], bool]:
  """Returns what says of a line whether a document ends with it."""
  return {
      "blank-line": str.isspace,
      "line": lambda line: line.endswith("\n"),
      "file": lambda line: False,
      WIKI: lambda line: line.startswith(_WIKI_END),
  }[document_per]


def check_document_per(document_per: str) -> None:
  """Raises UserError where there is no such choice."""
  if document_per not in DOCUMENT_PER:
    raise UserError(
        f"--document-per {document_per} is unknown; choose one of"
        f" {', '.join(DOCUMENT_PER)}"
    )


def join_lines(lines: Iterable[str], document_per: str) -> Iterator[str]:
  """Joins lines to documents, none much longer than 4 million characters.

  Args:
    lines: with their ends, or pieces of them, see `TextStream.pieces`.
    document_per: one of `DOCUMENT_PER`, or `WIKI`.

  Yields:
    The documents; some may hold nothing but white space.
  """
  is_end = ends_document(document_per)
  document, size = [], 0
  for line in lines:
    if document_per == WIKI and line.startswith(("<doc ", _WIKI_END)):
      line = "\n" if line.startswith(_WIKI_END) else _WIKI_START.sub("", line)
      ends = line == "\n"
    else:
      ends = is_end(line)
    document.append(line)
    size += len(line)
    if ends or size >= MAX_DOCUMENT_CHARACTERS:
      yield _unescaped(document, document_per)
      document, size = [], 0
  yield _unescaped(document, document_per)


def _unescaped(document: list[str], document_per: str) -> str:
  text = "".join(document)
  return html.unescape(text) if document_per == WIKI else text


def split_document(text: str) -> Iterator[str]:
  """Cleans a document, and cuts it where it is longer than two of the longest.

  Args:
    text: of any length.

  Yields:
    Documents of at most about 8 million characters, cut behind a line or, where
    lines are longer, at white space; none without text.
  """
  start = 0
  while start < len(text):
    stop = len(text)
    if stop - start > 2 * MAX_DOCUMENT_CHARACTERS:
      stop = _end_of_line(text, start + MAX_DOCUMENT_CHARACTERS)
    if document := clean(text[start:stop]):
      yield document
    start = stop


def clean(text: str) -> str:
  """Collapses white space inside lines and drops empty lines.

  A line of more than `MAX_LINE_CHARACTERS` is cut at white space, so that what
  it takes to turn it into tokens stays bounded.
  """
  if not text.isascii():
    text = text.encode("utf-8", "replace").decode("utf-8")  # Lone surrogates.
  lines = []
  for line in _LINE_END.sub("\n", text).split("\n"):
    if len(line) <= MAX_LINE_CHARACTERS:
      lines.append(" ".join(line.split()))
    else:
      lines += (" ".join(part.split()) for part in _cut_line(line))
  return "\n".join(line for line in lines if line)


def _cut_line(line: str) -> Iterator[str]:
  start = 0
  while start < len(line):
    stop = start + MAX_LINE_CHARACTERS
    if stop < len(line):
      words = line[start:stop].rsplit(None, 1)
      if len(words) == 2:
        stop = start + len(words[0])
    yield line[start:stop]
    start = stop


def _end_of_line(text: str, place: int) -> int:
  """Finds where a line, or else a word, ends near to a place in a text."""
  limit = place + MAX_LINE_CHARACTERS
  end = text.find("\n", place, limit)
  if end < 0:
    space = _SPACE.search(text, place, limit)
    end = space.start() if space else place
  return end
