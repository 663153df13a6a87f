"""Columns of words and tags: one word a line, an empty line after a sentence.

Columns are separated by tabs if the file has any, so that a word may hold a
blank, and otherwise by blanks. All lines must have as many. Lines of comments
before a sentence, as annotation tools write them, and `-DOCSTART-` are no
words.
"""

import collections
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from electra_jax.errors import UserError
from electra_jax.tasks import task_files

_TABS, _BLANKS = re.compile(r"\t+"), re.compile(r"[ \t]+")
# "# sent_id = 5" and "# newdoc" of CoNLL-U, "#begin document" of CoNLL-2012.
_COMMENT = re.compile(
    r"#\s*[^\s=]+\s*=(\s.*|\S*)|#\s*new(doc|par)|#\s*(begin|end) document.*"
)
_HASH = re.compile(r"#(\s.*)?")
_DOCUMENT_START = "-DOCSTART-"
_WORD_NAMES = ("word", "words", "token", "tokens", "form")
_TAG_NAMES = ("tag", "tags", "pos", "upos", "label", "labels", "ner", "ner_tag")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*:(?=.)")
_JOINED = re.compile(r".+/[^/]+")
# Columns of CoNLL-U, counted from 0.
_CONLLU_WIDTH, _CONLLU_FORM, _CONLLU_UPOS = 10, 1, 3
_CONLLU_NUMBER = re.compile(r"\d+([-.]\d+)?")


class Row(NamedTuple):
  """One word: the number of its line, from 1, and its cells."""

  line: int
  cells: list[str]


class TagFile(NamedTuple):
  """The sentences of a file, each with a word at least.

  Attributes:
    width: the number of columns of every row.
    sentences: rows of each, in order.
  """

  width: int
  sentences: list[list[Row]]


def read_columns(path: pathlib.Path) -> TagFile:
  """Reads the sentences of a file.

  A line is a comment if it reads like "# key = value", and if it begins with "#"
  and a blank, stands before the first word of a sentence and has another number
  of columns than the words. Any other line that begins with "#" is a word.

  Raises:
    UserError: the file holds no sentence, or a line has more or fewer columns
      than the others.
  """
  lines = [
      (number, line.strip(" \t") if line.strip() else "")
      for number, line in task_files.read_lines(path)
  ]
  words = [
      (number, line)
      for number, line in lines
      if line and not line.startswith(("#", _DOCUMENT_START))
  ]
  words = words or [pair for pair in lines if pair[1].startswith("#")]
  if not words:
    raise UserError(f"{path} holds no sentence; fetch the file again")
  separator = _TABS if any("\t" in line for _, line in words) else _BLANKS
  widths = collections.Counter(len(separator.split(line)) for _, line in words)
  width = widths.most_common(1)[0][0]
  sentences, sentence = [], []
  for number, line in lines:
    cells = separator.split(line) if line else []
    is_comment = _COMMENT.fullmatch(line) is not None
    if not line or is_comment or cells[0] == _DOCUMENT_START:
      sentences.append(sentence)
      sentence = []
    elif sentence or len(cells) == width or not _HASH.fullmatch(line):
      sentence.append(Row(number, [cell.strip(" ") for cell in cells]))
  sentences = [s for s in [*sentences, sentence] if s]
  _check_width(path, sentences, width, is_tabs=separator is _TABS)
  if not sentences:
    raise UserError(f"{path} holds no sentence; fetch the file again")
  return TagFile(width, sentences)


def is_conllu(file: TagFile) -> bool:
  """Says whether a file has the ten columns of CoNLL-U."""
  return file.width == _CONLLU_WIDTH and all(
      _CONLLU_NUMBER.fullmatch(row.cells[0])
      for sentence in file.sentences
      for row in sentence
  )


def universal_tags(file: TagFile) -> TagFile:
  """Takes the words of CoNLL-U and their universal parts of speech.

  Ranges of words that are written as one ("1-2") and words that are not written
  ("1.1") are left out, so that every syntactic word comes once.
  """
  sentences = [
      [
          Row(row.line, [row.cells[_CONLLU_FORM], row.cells[_CONLLU_UPOS]])
          for row in sentence
          if row.cells[0].isdecimal()
      ]
      for sentence in file.sentences
  ]
  return TagFile(2, [s for s in sentences if s])


def check_first_column(path: pathlib.Path, file: TagFile) -> None:
  """Refuses files whose first column counts the words of each sentence.

  Raises:
    UserError: it does; the word, which is needed there, stands elsewhere.
  """
  counts = [[row.cells[0] for row in s] for s in file.sentences]
  is_long = max(map(len, counts)) > 1
  for start in (0, 1):
    if is_long and file.width > 2 and all(_counts(c, start) for c in counts):
      line = file.sentences[0][0].line
      raise UserError(
          f"{path}:{line} begins with {counts[0][0]!r}, for the first column"
          " counts the words; the word must come first and its tag last, as"
          " cut -f2,3 leaves them"
      )


def check_words(path: pathlib.Path, file: TagFile) -> None:
  """Refuses files whose words or tags hold more than a word or a tag.

  Raises:
    UserError: the first line names the columns, all words begin with the name
      of a language, or words and tags are joined.
  """
  rows = [row for sentence in file.sentences for row in sentence]
  first, place = rows[0].cells, f"{path}:{rows[0].line}"
  if first[0].lower() in _WORD_NAMES and first[-1].lower() in _TAG_NAMES:
    raise UserError(
        f"{place} names the columns, {' and '.join(map(repr, first[:4]))}, and"
        " would be learnt as a word and its tag; take the line away"
    )
  if len(rows) < 2:
    return
  language = _LANGUAGE.match(first[0])
  if language and all(row.cells[0].startswith(language[0]) for row in rows):
    raise UserError(
        f"{place}: each word begins with {language[0]!r}, as WikiANN marks its"
        f" language; take that away, for example with sed 's/^{language[0]}//'"
    )
  cells = [cell for row in rows for cell in row.cells]
  if file.width > 1 and all(map(_JOINED.fullmatch, cells)):
    raise UserError(
        f"{place} holds {' and '.join(map(repr, first[:2]))}, words and tags"
        " joined by '/'; write one word a line, a tab and its tag"
    )


def _counts(cells: Sequence[str], start: int) -> bool:
  return list(cells) == [str(i) for i in range(start, start + len(cells))]


def _check_width(
    path: pathlib.Path,
    sentences: Iterable[Sequence[Row]],
    width: int,
    *,
    is_tabs: bool,
) -> None:
  rows = [row for sentence in sentences for row in sentence]
  usual = next((row.line for row in rows if len(row.cells) == width), None)
  for row in rows:
    if len(row.cells) != width:
      raise UserError(
          f"{path}:{row.line} has {_columns(len(row.cells))},"
          f" {' and '.join(map(repr, row.cells[:4]))}, where line {usual} has"
          f" {width}, between {'tabs' if is_tabs else 'blanks'}; write a word,"
          " the same columns on each line and the tag last, with tabs between"
          " them if a word holds a blank"
      )


def _columns(number: int) -> str:
  return "1 column" if number == 1 else f"{number} columns"
