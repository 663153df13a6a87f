"""Tagging tasks, as columns: one word a line, an empty line after a sentence.

The first column is the word and the last one the tag, so that the files of
CoNLL-2000 and CoNLL-2003 are read as they are.
"""

import functools
import re
from collections.abc import Iterable, Sequence

from electra_jax.errors import UserError
from electra_jax.tasks import task_files
from electra_jax.tasks.examples import TaggedExample
from electra_jax.tasks.task import Source, Task

OUTSIDE = "O"
SPAN_TASKS = ("chunk", "ner")  # Their tags mark spans of words.

_SUFFIXES = (".txt", ".conll", ".tsv")
_BLANKS = re.compile(r"[ \t]+")  # Others, as U+00A0, may be a word.
_SPAN_TAG = re.compile(r"O|[BIES]-.+")


def read_tagging(name: str, source: Source, split: str) -> list[TaggedExample]:
  """Reads a split of a tagging task.

  Args:
    name: "chunk", "ner" or "pos".
    source: where the files are, named `train.txt`, `.conll` or `.tsv`.
    split: "train", "dev" or "test".

  Returns:
    The sentences, in "chunk" and "ner" with tags as of `to_bioes`.

  Raises:
    MissingSplitError: there is no such file.
    UserError: a line has no tag, or its tag is not of the form.

  Source: release finetune/tagging/tagging_tasks.py:TaggingTask, which drops
  the last sentence of a file that does not end with an empty line.
  """
  names = tuple(f"{split}{suffix}" for suffix in _SUFFIXES)
  path = task_files.find_file(source, name, split, folders=(name,), names=names)
  sentences, sentence = [], []
  for number, line in task_files.read_lines(path):
    cells = _BLANKS.split(line.strip(" \t"))
    if cells == [""]:
      sentences.append(sentence)
      sentence = []
    elif cells[0] != "-DOCSTART-":
      _check(name, cells, f"{path}:{number}")
      sentence.append((cells[0], cells[-1]))
  sentences = [s for s in [*sentences, sentence] if s]
  if not sentences:
    raise UserError(f"{path} holds no sentence; fetch the file again")
  return make_tagged_examples(name, (zip(*s, strict=True) for s in sentences))


def make_tagged_examples(
    name: str, sentences: Iterable[tuple[Sequence[str], Sequence[str]]]
) -> list[TaggedExample]:
  """Numbers sentences of words and tags, and brings the tags into shape."""
  examples = []
  for i, (words, tags) in enumerate(sentences):
    tags = to_bioes(tags) if name in SPAN_TASKS else tuple(tags)
    examples.append(TaggedExample(str(i), tuple(words), tags))
  return examples


def to_bioes(tags: Sequence[str]) -> tuple[str, ...]:
  """Turns tags of any IOB or BIOES form into BIOES.

  A tag is "O", or a prefix, a hyphen and a type, which may hold hyphens. A span
  starts at B or S, after O, and where the type changes; the release does not
  look at the type there, which joins neighbours in the IOB1 form.

  Returns:
    One tag for each: S for a span of one word, else B, I ..., E; O outside.

  Source: release finetune/tagging/tagging_utils.py.
  """
  spans = []
  type_before = ""
  for i, tag in enumerate(tags):
    prefix, _, type_here = tag.partition("-")
    if tag != OUTSIDE:
      if prefix in ("B", "S") or type_here != type_before:
        spans.append((i, type_here, []))
      spans[-1][2].append("I")
    type_before = type_here
  bioes = [OUTSIDE] * len(tags)
  for start, type_here, letters in spans:
    letters[0], letters[-1] = "B", "E"
    if len(letters) == 1:
      letters[0] = "S"
    for i, letter in enumerate(letters, start):
      bioes[i] = f"{letter}-{type_here}"
  return tuple(bioes)


def _check(name: str, cells: Sequence[str], place: str) -> None:
  if len(cells) < 2:
    raise UserError(
        f"{place} has only the column {cells[0]!r}; write a word and its tag,"
        " with a blank or a tab between them"
    )
  if name in SPAN_TASKS and not _SPAN_TAG.fullmatch(cells[-1]):
    raise UserError(
        f"{place} has the tag {cells[-1]!r}; the task {name!r} needs O, or B-,"
        " I-, E- or S- and a type"
    )


def _task(name: str) -> Task:
  is_spans = name in SPAN_TASKS
  spans = ("span_f1", "span_precision", "span_recall") if is_spans else ()
  read = functools.partial(read_tagging, name)
  return Task(name, "tagging", (*spans, "accuracy"), read)


TAGGING_TASKS = {name: _task(name) for name in (*SPAN_TASKS, "pos")}
