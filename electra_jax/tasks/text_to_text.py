"""Tasks that write text: `translate`, `summarise` and `answer`.

Their pairs come from a table with a column for each side, from two files of a
parallel corpus (`parallel_files`), from a data set of tensorflow-datasets, or,
to answer, from files as SQuAD has them.
"""

import functools
import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import parallel_files, table, table_files
from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.question_files import squad_examples
from electra_jax.tasks.task import Source, Task
from electra_jax.tasks.tfds_reader import read_tfds_rows

KIND = "generation"
METRICS = {
    "translate": ("chrf", "bleu"),
    "summarise": ("rouge1", "rouge2", "rougeLsum"),
    "answer": ("f1", "exact_match", "rougeL"),
}
SOURCE, TARGET = parallel_files.SOURCE, parallel_files.TARGET
DATASET = "tfds:"  # What stands before the name of a data set.

_COLUMNS = ("text", "other_text", "target", "id")
_LANGUAGES = ("source_language", "target_language")
_SQUAD = ".json"
_log = logging.getLogger(__name__)


def generation_task(name: str, options: Mapping[str, Any]) -> Task:
  """Makes one of the tasks that write text.

  Args:
    name: a key of METRICS.
    options: of config.table, by name
      text, target: the columns of the source and of what is to be written.
      other_text: a column that is read behind the source, such as the context
        of a question, or "".
      id: the column that identifies a row, or "" for its number from 0.
      train, dev, test: the file of that split, or of a parallel corpus what
        stands before the language in the names of both; "" to look for
        `train.tsv`, … in the folder.
      source_language, target_language: the ends of the names of a parallel
        corpus' files, or "" for a table.
      dataset: "tfds:NAME/CONFIG:VERSION", or "" for files.
      dev_percent: share of the training pairs that is held out as dev, chosen
        by the source, so that equal sources stay together; 0 where dev has a
        file.

  Raises:
    UserError: a column or a language is not named, or named twice, or what is
      given does not go together.
  """
  columns = _columns(options)
  for role in ("text", "target"):
    if role not in columns:
      raise UserError(
          f"config.table.{role} is empty; name the column that holds the"
          f" {SOURCE if role == 'text' else TARGET} by --config.table.{role}"
      )
  for column in columns.values():
    if list(columns.values()).count(column) > 1:
      keys = [f"config.table.{k}" for k, v in columns.items() if v == column]
      raise UserError(
          f"{' and '.join(keys)} both name the column {column!r}; name a column"
          " of its own for each"
      )
  _check_places(options)
  return Task(
      name=name,
      kind=KIND,
      metrics=METRICS[name],
      read=functools.partial(read_texts, name),
      check=functools.partial(_check, name),
      takes_pairs="other_text" in columns,
  )


def read_texts(
    name: str, source: Source, split: str
) -> list[GenerationExample]:
  """Reads a split.

  A pair with an empty side is left out, with a warning that counts them and
  names the first. In "test" all may lack a target, which is then to be
  written.

  Args:
    name: of the task.
    source: its options are those of `generation_task`.
    split: "train", "dev" or "test".

  Raises:
    MissingSplitError: no file is named, and none is found in the folder.
    UserError: a file or column is missing, the files of a parallel corpus have
      different numbers of lines, or no pair is left; with file and line.
  """
  read, find = (functools.partial(x, name) for x in (_read, _find))
  return table.read_split(source, split, read, find)


def _columns(options: Mapping[str, Any]) -> dict[str, str]:
  return {name: options[name] for name in _COLUMNS if options.get(name)}


def _languages(options: Mapping[str, Any]) -> tuple[str, str] | None:
  one, other = (options.get(name) or "" for name in _LANGUAGES)
  return (one, other) if one else None


def _check_places(options: Mapping[str, Any]) -> None:
  one, other = (options.get(name) or "" for name in _LANGUAGES)
  if bool(one) != bool(other) or (one and one == other):
    raise UserError(
        f"config.table.source_language is {one!r} and"
        f" config.table.target_language {other!r}; name the two ends of the"
        " files' names, as in --config.table.source_language=en"
        " --config.table.target_language=de, or neither for a table"
    )
  check_dataset(options)
  dataset = options.get("dataset") or ""
  if dataset and one:
    raise UserError(
        f"config.table.dataset is {dataset!r} and config.table.source_language"
        f" {one!r}; a data set has columns, which config.table.text and"
        " config.table.target name: leave the languages out"
    )
  if one and options.get("other_text"):
    raise UserError(
        f"config.table.other_text is {options['other_text']!r}, and the files"
        f" of the languages {one} and {other} have no such column; leave it out"
    )


def check_dataset(options: Mapping[str, Any]) -> None:
  """Raises a UserError for a data set of no name."""
  dataset = options.get("dataset") or ""
  if dataset and not dataset.removeprefix(DATASET):
    raise UserError(
        f"config.table.dataset is {dataset!r} and names none; give it as in"
        " --config.table.dataset=tfds:wmt14_translate/de-en"
    )


def find_dataset(source: Source, split: str) -> str:
  """Returns the name of the data set that brings a split.

  Raises:
    MissingSplitError: it has no such split.
    UserError: tensorflow-datasets is not installed, or cannot bring the data.
  """
  dataset = source.options["dataset"].removeprefix(DATASET)
  next(read_tfds_rows(dataset, split), None)  # Tells a split that is not there.
  return dataset


def _find(name: str, source: Source, split: str) -> Any:
  """Returns where a split is: a path, two, or the name of a data set."""
  options = source.options
  if options.get("dataset"):
    return find_dataset(source, split)
  if languages := _languages(options):
    return parallel_files.find_parallel(source, name, split, languages)
  suffixes = table_files.SUFFIXES
  if name == "answer":
    suffixes = (*suffixes, _SQUAD)
  return table.find_split(source, split, name=name, suffixes=suffixes)


def _read(name: str, source: Source, split: str) -> list[GenerationExample]:
  place = _find(name, source, split)
  columns = _columns(source.options)
  if isinstance(place, pathlib.Path) and place.suffix.lower() == _SQUAD:
    found = _from_questions(place)
  elif isinstance(place, parallel_files.Files):
    columns = {"text": SOURCE, "target": TARGET}
    found = _from_rows(parallel_files.read_parallel(place), columns, split)
  elif isinstance(place, pathlib.Path):
    rows = table_files.read_rows(place, list(columns.values()))
    found = _from_rows(rows, columns, split)
  else:
    found = _from_rows(read_tfds_rows(place, split), columns, split)
  return _not_empty(list(found), place, split)


def _from_rows(
    rows: table_files.Rows, columns: Mapping[str, str], split: str
) -> Iterator[tuple[str, GenerationExample]]:
  for number, (place, row) in enumerate(rows):

    def text(role, row=row, place=place):
      if role not in columns:
        return None
      return read_cell(row, columns[role], role, place)

    read = text("id") or str(number), text("text"), text("other_text")
    target = text("target") if split != "test" else _maybe(row, columns, place)
    yield place, GenerationExample(*read, target)


def _maybe(row, columns, place) -> str | None:
  """Returns the target of a row to predict, if it tells one."""
  if row.get(columns["target"]) in (None, ""):
    return None
  return read_cell(row, columns["target"], "target", place)


def read_cell(
    row: Mapping[str, Any], column: str, role: str, place: str
) -> str:
  """Returns a cell as text; "" where there is nothing.

  Args:
    row: by column.
    column: one of them.
    role: the key of config.table that names it.
    place: of the row.

  Raises:
    UserError: there is no such column, or what it holds is no text.
  """
  if column not in row:
    raise UserError(
        f"{place} has no column {column!r}, only {list(row)}; name one of them"
        f" by --config.table.{role}"
    )
  return "" if row[column] is None else table.read_text(row, column, place)


def _from_questions(
    path: pathlib.Path,
) -> Iterator[tuple[str, GenerationExample]]:
  for place, found in squad_examples(path):
    texts = list(dict.fromkeys(answer.text for answer in found.answers))
    target = texts[0] if texts else "" if found.has_gold else None
    yield (
        place,
        GenerationExample(
            str(found.id),
            found.question,
            found.context,
            target,
            tuple(texts[1:]),
        ),
    )


def _not_empty(
    found: Sequence[tuple[str, GenerationExample]], place: Any, split: str
) -> list[GenerationExample]:
  """Leaves out pairs with an empty side, and says so."""
  whole = [e for _, e in found if not _has_empty_side(e)]
  where = "/".join(map(str, place)) if isinstance(place, tuple) else place
  if not found:
    raise UserError(f"{where} holds no pair; write at least one")
  empty = [p for p, example in found if _has_empty_side(example)]
  if not whole:
    raise UserError(
        f"all {len(found):,} pairs of {where} have an empty side, the first"
        f" {empty[0]}; fill them in, or name other columns by"
        " --config.table.text and --config.table.target"
    )
  if empty:
    _log.warning(
        "%s of %s pairs of %s in %s have an empty side and are left out; the"
        " first is %s",
        *(f"{len(empty):,}", f"{len(found):,}", split, where, empty[0]),
    )
  has_target = [example.target is not None for example in whole]
  if any(has_target) and not all(has_target):
    raise UserError(
        f"{where} tells the target of {sum(has_target):,} of"
        f" {len(whole):,} texts of {split}; tell all of them, or none"
    )
  return whole


def _has_empty_side(example: GenerationExample) -> bool:
  sides = (example.text, example.other_text, example.target)
  return any(side is not None and not side.strip() for side in sides)


def _check(
    name: str, source: Source, splits: Mapping[str, Sequence[GenerationExample]]
) -> list[str]:
  """Returns notes on sources that dev shares with train."""
  table.check_one_dev(source, functools.partial(_find, name))
  seen = {(e.text, e.other_text) for e in splits["train"]}
  shared = sum((e.text, e.other_text) in seen for e in splits["dev"])
  if not shared:
    return []
  return [
      f"{shared:,} of {len(splits['dev']):,} sources of dev stand in train as"
      " well"
  ]
