"""The task `embedding`: texts, or pairs of texts, out of the user's files."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import table, table_checks, table_files, task_files
from electra_jax.tasks.examples import PairExample
from electra_jax.tasks.task import Source, Task

NAME = "embedding"
RETRIEVAL = ("recall_at_1", "recall_at_10", "mrr")
LINES = ".txt"  # A text on each line.


def embedding_task(options: Mapping[str, Any]) -> Task:
  """Makes the task that reads the user's texts to embed.

  Args:
    options: of config.table: `text`, and the columns that may be there:
      `other_text`, what belongs to it, `negative`, what does not, and `label`,
      a number that says how much alike the two are. A .txt has a text on each
      line and no column but `text`.

  Raises:
    UserError: a column is not named, or named twice.
  """
  columns = _columns(options)
  if not options.get("text"):
    raise UserError(
        "config.table.text is empty; name the column that holds the text by"
        " --config.table.text"
    )
  for role in ("negative", "label"):
    if options.get(role) and not options.get("other_text"):
      raise UserError(
          f"config.table.{role} is {options[role]!r} and config.table.other_text"
          " is empty; name the column of the text's partner by"
          " --config.table.other_text"
      )
  for column in columns.values():
    if list(columns.values()).count(column) > 1:
      keys = [f"config.table.{k}" for k, v in columns.items() if v == column]
      raise UserError(
          f"{' and '.join(keys)} both name the column {column!r}; name a column"
          " of its own for each"
      )
  correlations = ("spearman", "pearson") if options.get("label") else ()
  return Task(
      name=NAME,
      kind="embedding",
      metrics=(*correlations, *RETRIEVAL),
      read=read_pairs,
      check=_check,
      takes_pairs=bool(options.get("other_text")),
  )


def read_pairs(source: Source, split: str) -> list[PairExample]:
  """Reads a split of the user's texts or pairs.

  Args:
    source: its options are those of `embedding_task`.
    split: "train", "dev" or "test".

  Raises:
    MissingSplitError: no file is named, and none is found in the folder.
    UserError: a file or column is missing, or a side of a pair is empty, with
      file and line.
  """
  return table.read_split(source, split, _read, _find)


_find = functools.partial(
    table.find_split, name=NAME, suffixes=(*table_files.SUFFIXES, LINES)
)


def _read(source: Source, split: str) -> list[PairExample]:
  path, columns = _find(source, split), _columns(source.options)
  if path.suffix.lower() == LINES:
    rows = _lines(path, columns)
  else:
    rows = table_files.read_rows(path, list(columns.values()))
  examples = [
      _make_example(columns, row, str(number), place)
      for number, (place, row) in enumerate(rows)
  ]
  if not examples:
    raise UserError(f"{path} holds no text; write at least one")
  return examples


def _columns(options: Mapping[str, Any]) -> dict[str, str]:
  names = ("text", "other_text", "negative", "label", "id")
  return {name: options[name] for name in names if options.get(name)}


def _lines(path: pathlib.Path, columns: Mapping[str, str]) -> table_files.Rows:
  if more := [role for role in columns if role != "text"]:
    role = more[0]
    raise UserError(
        f"config.table.{role} is {columns[role]!r} and {path} has a text on each"
        f" line and no columns; give one of {', '.join(table_files.SUFFIXES)}"
    )
  for number, line in task_files.read_lines(path):
    if line.strip():
      yield f"{path}:{number}", {columns["text"]: line}


def _make_example(
    columns: Mapping[str, str], row: Mapping[str, Any], number: str, place: str
) -> PairExample:
  def text(role):
    if role not in columns:
      return None
    found = table.read_text(row, columns[role], place)
    if not found.strip():
      raise UserError(
          f"{place} has nothing in the column {columns[role]!r}; fill it in, or"
          " leave the row out"
      )
    return found

  label = None
  if "label" in columns:
    label = table.read_number(
        table.read_cell(row, columns["label"], place), place
    )
  return PairExample(
      text("id") or number,
      text("text"),
      text("other_text"),
      text("negative"),
      label,
  )


def _check(
    source: Source, splits: Mapping[str, Sequence[PairExample]]
) -> list[str]:
  """Returns notes on texts that dev shares with train."""
  table.check_one_dev(source, _find)
  return table_checks.shared_texts(splits["train"], splits["dev"])
