"""The task `autoencode`: texts out of the user's files, to be written again."""

import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import (
    table,
    table_checks,
    table_files,
    task_files,
    text_to_text,
)
from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.task import Source, Task
from electra_jax.tasks.tfds_reader import read_tfds_rows

NAME = "autoencode"
METRICS = ("elbo", "f1", "exact_match")
LINES = ".txt"  # A text on each line.

_OTHERS = (
    "other_text",
    "target",
    "negative",
    "label",
    "source_language",
    "target_language",
)
_log = logging.getLogger(__name__)


def autoencoding_task(options: Mapping[str, Any]) -> Task:
  """Makes the task that writes texts again from a few numbers.

  Args:
    options: of config.table: `text`, the column of the text, and `id`, that of
      an identifier; `train`, `dev`, `test`, `dev_percent` and `dataset` as of
      `text_to_text.generation_task`. A .txt has a text on each line and no
      column but `text`.

  Raises:
    UserError: no column is named, or one of another task is.
  """
  if not options.get("text"):
    raise UserError(
        "config.table.text is empty; name the column that holds the text by"
        " --config.table.text"
    )
  for role in _OTHERS:
    if options.get(role):
      raise UserError(
          f"config.table.{role} is {options[role]!r}, and task={NAME} learns to"
          " write each text of config.table.text again; leave it out"
      )
  if options.get("id") == options["text"]:
    raise UserError(
        "config.table.text and config.table.id both name the column"
        f" {options['text']!r}; name a column of its own for each"
    )
  text_to_text.check_dataset(options)
  return Task(
      name=NAME,
      kind=text_to_text.KIND,
      metrics=METRICS,
      read=read_texts,
      check=_check,
  )


def read_texts(source: Source, split: str) -> list[GenerationExample]:
  """Reads a split; each text is its own target.

  Blank texts are left out, with a warning that counts them and names the first.

  Args:
    source: its options are those of `autoencoding_task`.
    split: "train", "dev" or "test".

  Raises:
    MissingSplitError: no file is named, and none is found in the folder.
    UserError: a file or column is missing, or all texts are blank; with file
      and line.
  """
  return table.read_split(source, split, _read, _find)


def _find(source: Source, split: str) -> pathlib.Path | str:
  """Returns the file of a split, or the name of a data set that has it."""
  if source.options.get("dataset"):
    return text_to_text.find_dataset(source, split)
  suffixes = (*table_files.SUFFIXES, LINES)
  return table.find_split(source, split, name=NAME, suffixes=suffixes)


def _read(source: Source, split: str) -> list[GenerationExample]:
  place, options = _find(source, split), source.options
  columns = [options[name] for name in ("text", "id") if options.get(name)]
  if isinstance(place, str):
    rows = read_tfds_rows(place, split)
  elif place.suffix.lower() == LINES:
    rows = _lines(place, columns)
  else:
    rows = table_files.read_rows(place, columns)
  examples, blank, count = [], [], 0
  for number, (where, row) in enumerate(rows):
    text, *rest = (
        text_to_text.read_cell(row, column, role, where)
        for column, role in zip(columns, ("text", "id"), strict=False)
    )
    name, count = "".join(rest) or str(number), count + 1
    if text.strip():
      examples.append(GenerationExample(name, text, None, text))
    else:
      blank.append(where)
  if not examples:
    told = f", only {count:,} blank ones" if count else ""
    raise UserError(f"{place} holds no text{told}; write at least one")
  if blank:
    _log.warning(
        "%s of %s texts of %s in %s are blank and are left out; the first is"
        " %s",
        *(f"{len(blank):,}", f"{count:,}", split, place, blank[0]),
    )
  return examples


def _lines(
    path: pathlib.Path, columns: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
  if len(columns) > 1:
    raise UserError(
        f"config.table.id is {columns[1]!r} and {path} has a text on each line"
        f" and no columns; give one of {', '.join(table_files.SUFFIXES)}"
    )
  for number, line in task_files.read_lines(path):
    yield f"{path}:{number}", {columns[0]: line}


def _check(
    source: Source, splits: Mapping[str, Sequence[GenerationExample]]
) -> list[str]:
  """Returns notes on texts that dev shares with train."""
  table.check_one_dev(source, _find)
  return table_checks.shared_texts(splits["train"], splits["dev"])
