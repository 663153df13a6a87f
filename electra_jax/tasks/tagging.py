"""Tagging tasks: the first column of a file is the word, the last one the tag.

The files of CoNLL-2000 and CoNLL-2003 are read as they are, and so is CoNLL-U
for parts of speech.
"""

import functools
import pathlib
import re
from collections.abc import Iterable, Sequence

from electra_jax.errors import UserError, shown
from electra_jax.tasks import tag_files, tag_schemes, task_files
from electra_jax.tasks.examples import TaggedExample
from electra_jax.tasks.tag_files import Row, TagFile
from electra_jax.tasks.task import MissingSplitError, Source, Task

SPAN_TASKS = ("chunk", "ner")  # Their tags mark spans of words.

_SUFFIXES = (".txt", ".conll", ".tsv", ".conllu", ".bio", ".iob", ".bmes")
_SPAN_TAG = re.compile(f"O|[{''.join(sorted(tag_schemes.LETTERS))}](-.+)?")
# What stands in the last column of a file that does not tell its tags.
_NO_TAGS = ({"_"}, {"-"}, {"?"})


def read_tagging(name: str, source: Source, split: str) -> list[TaggedExample]:
  """Reads a split of a tagging task.

  Args:
    name: "chunk", "ner" or "pos".
    source: where the files are, named `train.txt`, `.conll`, `.tsv` and so on.
    split: "train", "dev" or "test".

  Returns:
    The sentences, with the tags as the file has them. A test split may be
    without: it then has one column less than the training split, or one alone,
    or a last column of nothing but "_", "-" or "?".

  Raises:
    MissingSplitError: there is no such file.
    UserError: a line has no tag or another number of columns than the others,
      or a tag is not of the form.

  Source: release finetune/tagging/tagging_tasks.py:TaggingTask, which drops
  the last sentence of a file that does not end with an empty line.
  """
  path = _find(name, source, split)
  file = _read_file(name, path)
  is_test = split == "test"
  if is_test and _lacks_tags(name, source, file):
    words = [[row.cells[0] for row in s] for s in file.sentences]
    return [TaggedExample(str(i), tuple(w), None) for i, w in enumerate(words)]
  if file.width < 2:
    row = file.sentences[0][0]
    raise UserError(
        f"{path}:{row.line} has only the column {shown(row.cells[0])}; write a word"
        " and its tag, with a blank or a tab between them"
    )
  if name in SPAN_TASKS:
    _check_tags(name, path, file)
  return make_tagged_examples(
      ([row.cells[0] for row in s], [row.cells[-1] for row in s])
      for s in file.sentences
  )


def make_tagged_examples(
    sentences: Iterable[tuple[Sequence[str], Sequence[str]]],
) -> list[TaggedExample]:
  """Numbers sentences of words and tags."""
  return [
      TaggedExample(str(i), tuple(words), tuple(tags))
      for i, (words, tags) in enumerate(sentences)
  ]


def _find(name: str, source: Source, split: str) -> pathlib.Path:
  names = tuple(f"{split}{suffix}" for suffix in _SUFFIXES)
  return task_files.find_file(source, name, split, folders=(name,), names=names)


def _read_file(name: str, path: pathlib.Path) -> TagFile:
  file = tag_files.read_columns(path)
  if not tag_files.is_conllu(file):
    tag_files.check_first_column(path, file)
    tag_files.check_words(path, file)
    return file
  if name in SPAN_TASKS:
    raise UserError(
        f"{path} is a CoNLL-U file, which the task {name!r} cannot read, for it"
        " does not say where spans are; write a word and its tag on each line"
    )
  return tag_files.universal_tags(file)


def _lacks_tags(name: str, source: Source, file: TagFile) -> bool:
  """Says whether a test file has no tags."""
  if file.width == 1:
    return True
  last = {row.cells[-1] for sentence in file.sentences for row in sentence}
  if last in _NO_TAGS:
    return True
  try:
    train = _read_file(name, _find(name, source, "train"))
  except MissingSplitError:
    return False
  return file.width == train.width - 1


def _check_tags(name: str, path: pathlib.Path, file: TagFile) -> None:
  """Refuses tags that mark no spans, and letters of no common scheme."""
  letters, typed, bare = {}, None, None
  for row in (row for sentence in file.sentences for row in sentence):
    tag = row.cells[-1]
    if not _SPAN_TAG.fullmatch(tag):
      raise UserError(
          f"{path}:{row.line} has the tag {tag!r}; the task {name!r} needs O, or"
          " a letter for the place in a span (B, I, E, S, or L and U, or M) and"
          " then, behind a hyphen, its type, if there are several"
      )
    letter, hyphen, _ = tag.partition("-")
    letters.setdefault(letter, row)
    if hyphen:
      typed = typed or row
    elif tag != tag_schemes.OUTSIDE:
      bare = bare or row
  if typed and bare:
    raise UserError(
        f"{path}:{bare.line} has the tag {bare.cells[-1]!r} without a type and"
        f" line {typed.line} has {typed.cells[-1]!r} with one; give all spans a"
        " type, or none"
    )
  if not tag_schemes.schemes_with(letters):
    raise UserError(
        f"{path} mixes schemes: {_first_uses(letters)}; write all tags in one"
        " scheme, such as B and I, or B, I, E and S"
    )


def _first_uses(letters: dict[str, Row]) -> str:
  rows = {k: row for k, row in letters.items() if k != tag_schemes.OUTSIDE}
  uses = [f"{row.cells[-1]!r} on line {row.line}" for row in rows.values()]
  return ", ".join(uses)


def _task(name: str) -> Task:
  is_spans = name in SPAN_TASKS
  spans = ("span_f1", "span_precision", "span_recall") if is_spans else ()
  read = functools.partial(read_tagging, name)
  metrics = (*spans, "accuracy")
  return Task(name, "tagging", metrics, read, marks_spans=is_spans)


TAGGING_TASKS = {name: _task(name) for name in (*SPAN_TASKS, "pos")}
