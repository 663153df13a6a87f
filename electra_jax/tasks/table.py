"""The `table` task: text and labels out of the user's own columns."""

import csv
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import task_files
from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.task import MissingSplitError, Source, Task

NAME = "table"
METRICS = {
    "classification": ("accuracy", "macro_f1"),
    "multilabel": ("micro_f1", "macro_f1", "exact_match"),
    "regression": ("spearman", "pearson", "mse"),
}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
DEFAULT_SEPARATOR = "|"

_PARQUET_BATCH = 1024  # Rows that are turned into Python objects at a time.

# A place to name in an error, and the cells by their column.
_Rows = Iterator[tuple[str, Mapping[str, Any]]]


def table_task(options: Mapping[str, Any]) -> Task:
  """Makes the task that reads the user's table.

  Args:
    options: by name
      kind: "classification", "multilabel" (several labels at once) or
        "regression".
      text: the column of the text, or of the first of a pair.
      other_text: the column of the second of a pair, or "".
      label: the column of the label.
      id: the column that identifies a row, or "" for its number from 0.
      train, dev, test: the file of that split, or "" to look for
        `train.csv`, `.tsv`, `.jsonl` or `.parquet` in the folder.
      separator: what stands between several labels in one cell.
      labels: all labels in the order of their ids; empty where the training
        data tells them.
      label_range: smallest and largest rating of a regression.
    Only kind, text and label must be there.

  Raises:
    UserError: the kind is unknown, or a column is not named.
  """
  kind = options.get("kind")
  if kind not in METRICS:
    raise UserError(
        f"the task {NAME!r} has kind={kind!r}; choose one of {list(METRICS)}"
    )
  for column in ("text", "label"):
    if not options.get(column):
      raise UserError(
          f"the task {NAME!r} has {column}={options.get(column)!r}; name the"
          " column of the table that holds it"
      )
  label_range = options.get("label_range") or None
  return Task(
      name=NAME,
      kind=kind,
      metrics=METRICS[kind],
      read=read_table,
      labels=tuple(options.get("labels") or ()),
      label_range=label_range and tuple(map(float, label_range)),
  )


def read_table(source: Source, split: str) -> list[TextExample]:
  """Reads a split of the user's table.

  CSV is read with its quotes; in TSV a tab ends a cell and quotes are ordinary.
  Both begin with a line of names. JSON lines hold one object each.

  Args:
    source: its options are those of `table_task`.
    split: "train", "dev" or "test"; only "test" may lack labels.

  Returns:
    The examples.

  Raises:
    MissingSplitError: no file is named, and none is found in the folder.
    UserError: a file, column or value is missing or not of the form.
  """
  path = _find(source, split)
  examples = [
      _make_example(source.options, row, str(i), place, split)
      for i, (place, row) in enumerate(_READERS[path.suffix](path))
  ]
  if not examples:
    raise UserError(f"{path} holds no row; write at least one")
  return examples


def _find(source: Source, split: str) -> pathlib.Path:
  if named := source.options.get(split):
    path = pathlib.Path(named)
    if path.suffix not in SUFFIXES:
      raise UserError(
          f"{split}={named!r} is not named {'|'.join(SUFFIXES)}; convert it or"
          " rename it"
      )
    if not path.is_file():
      raise UserError(f"there is no file {split}={named!r}; mend the path")
    return path
  if source.folder is None:
    raise MissingSplitError(
        f"the task {NAME!r} has no {split!r} file; name it by {split}=PATH, or"
        f" give a folder that holds {split}.csv"
    )
  return task_files.find_file(
      source,
      NAME,
      split,
      folders=(NAME,),
      names=tuple(f"{split}{suffix}" for suffix in SUFFIXES),
  )


def _make_example(
    options: Mapping[str, Any],
    row: Mapping[str, Any],
    number: str,
    place: str,
    split: str,
) -> TextExample:
  other_text, name = options.get("other_text"), options.get("id")
  label = None
  if split != "test" or row.get(options["label"]) not in (None, ""):
    label = _parse_label(options, _cell(row, options["label"], place), place)
  return TextExample(
      id=_text(_cell(row, name, place)) if name else number,
      text=_text(_cell(row, options["text"], place)),
      other_text=_text(_cell(row, other_text, place)) if other_text else None,
      label=label,
  )


def _cell(row: Mapping[str, Any], column: str, place: str) -> Any:
  if column not in row:
    raise UserError(
        f"{place} has no column {column!r}, only {list(row)}; name the column"
        " as in the file"
    )
  if row[column] is None:
    raise UserError(f"{place} has nothing in the column {column!r}; fill it in")
  return row[column]


def _parse_label(
    options: Mapping[str, Any], value: Any, place: str
) -> str | tuple[str, ...] | float:
  if options["kind"] == "regression":
    return _number(value, place)
  labels = options.get("labels") or ()
  if options["kind"] == "classification":
    found = (_text(value),)
  elif isinstance(value, list):
    found = tuple(map(_text, value))
  else:
    cells = _text(value).split(options.get("separator") or DEFAULT_SEPARATOR)
    found = tuple(cell.strip() for cell in cells if cell.strip())
  if "" in found:
    raise UserError(f"{place} has an empty label; fill it in")
  if labels:
    for label in found:
      task_files.check_label(label, labels, place)
  return found[0] if options["kind"] == "classification" else found


def _number(value: Any, place: str) -> float:
  try:
    number = float(value)
  except (TypeError, ValueError):
    number = math.nan
  if not math.isfinite(number):
    raise UserError(
        f"{place} has the rating {value!r}; a regression needs a number"
    )
  return number


def _text(value: Any) -> str:
  """Writes a cell as text; a truth value as JSON does."""
  return str(value).lower() if isinstance(value, bool) else str(value)


def _read_csv(path: pathlib.Path) -> _Rows:
  lines = (f"{line}\n" for _, line in task_files.read_lines(path))
  reader = csv.reader(lines, strict=True)
  try:
    header = next(reader, [])
    for cells in reader:
      if cells:
        yield _named(path, reader.line_num, header, cells)
  except csv.Error as error:
    raise UserError(
        f"{path}:{reader.line_num} is not CSV ({error}); mend its quotes, or"
        " write it as JSON lines"
    ) from error


def _read_tsv(path: pathlib.Path) -> _Rows:
  header = None
  for number, line in task_files.read_lines(path):
    if header is None:
      header = line.split("\t")
    elif line:
      yield _named(path, number, header, line.split("\t"))


def _named(
    path: pathlib.Path, line: int, header: list[str], cells: list[str]
) -> tuple[str, dict[str, str]]:
  place = f"{path}:{line}"
  if len(cells) != len(header):
    raise UserError(
        f"{place} has {len(cells)} cells but the first line names"
        f" {len(header)} columns; mend the line"
    )
  return place, dict(zip(header, cells, strict=True))


def _read_parquet(path: pathlib.Path) -> _Rows:
  try:
    from pyarrow import lib, parquet
  except ImportError as error:
    raise UserError(
        f"reading {path} needs a package that is not installed; run pip install"
        " 'electra-jax[parquet]'"
    ) from error
  number = 0
  try:
    with parquet.ParquetFile(path) as table:
      for batch in table.iter_batches(_PARQUET_BATCH):
        for row in batch.to_pylist():
          yield f"{path}: row {number}", row
          number += 1
  except lib.ArrowException as error:
    raise UserError(
        f"{path} is not a parquet file ({error}); write it again"
    ) from error


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": task_files.read_objects,
    ".parquet": _read_parquet,
}
