"""Parallel corpora as Moses writes them: a file for each language, in lines.

Line n of one file is the translation of line n of the other. The name of both
is the same but for its end, which is the language: `train.en` and `train.de`,
`corpus.de-en.de` and `corpus.de-en.en`; either may be packed as `.gz`.
"""

import itertools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from electra_jax.errors import UserError
from electra_jax.tasks import task_files
from electra_jax.tasks.table_files import Rows
from electra_jax.tasks.task import MissingSplitError, Source

SOURCE, TARGET = "source", "target"  # The columns of their rows.


class Files(NamedTuple):
  """The two files of a split."""

  source: pathlib.Path
  target: pathlib.Path


def find_parallel(
    source: Source, task: str, split: str, languages: tuple[str, str]
) -> Files:
  """Finds the two files of a split.

  Args:
    source: its options name the beginning of their names, up to the language,
      or its folder or a folder of the task's name in it holds them.
    task: its name.
    split: which one.
    languages: that the names end with, the source's first.

  Raises:
    MissingSplitError: there is none of them.
    UserError: there is one of the two.
  """
  if named := source.options.get(split):
    start = pathlib.Path(named)
    names = _names(start.name, languages)
    found = [start.parent / x for x in names if (start.parent / x).is_file()]
    if not found:
      raise UserError(
          f"there is no file {start.parent / names[0]}; give by"
          f" --config.table.{split} what stands before the language in the"
          " names of both files"
      )
    return _both(found[0], languages)
  if source.folder is None:
    raise MissingSplitError(
        f"the task {task!r} has no {split!r} files; name the folder that holds"
        f" {_names(split, languages)[0]} by --config.data.folder"
    )
  path = task_files.find_file(
      source, task, split, folders=(task,), names=_names(split, languages)
  )
  return _both(path, languages)


def read_parallel(files: Files) -> Rows:
  """Yields the place and both sides of each pair, which may be empty.

  Raises:
    UserError: one file has more lines than the other, or one is not UTF-8.
  """
  sides = map(task_files.read_lines, files)
  for source, target in itertools.zip_longest(*sides):
    if source is None or target is None:
      raise UserError(_lengths(files))
    yield (
        f"{files.source}:{source[0]}",
        {SOURCE: source[1], TARGET: target[1]},
    )


def _lengths(files: Files) -> str:
  counts = [sum(1 for _ in task_files.read_lines(path)) for path in files]
  longer, shorter = files if counts[0] > counts[1] else files[::-1]
  return (
      f"{longer} has {max(counts):,} lines and {shorter} {min(counts):,}:"
      f" {longer}:{min(counts) + 1} has no partner; line n of one must be the"
      " translation of line n of the other"
  )


def _names(start: str, languages: tuple[str, str]) -> Sequence[str]:
  """Returns what the file of the source may be called."""
  one, other = languages
  middles = ("", f".{one}-{other}", f".{other}-{one}")
  return [
      f"{start}{middle}.{one}{end}" for middle in middles for end in ("", ".gz")
  ]


def _both(source: pathlib.Path, languages: tuple[str, str]) -> Files:
  one, other = languages
  stem = source.name.removesuffix(".gz").removesuffix(f".{one}")
  for end in ("", ".gz"):
    target = source.with_name(f"{stem}.{other}{end}")
    if target.is_file():
      return Files(source, target)
  raise UserError(
      f"there is {source} and no {source.with_name(f'{stem}.{other}')} beside"
      " it; put it there, or mend --config.table.target_language"
  )
