"""The `table` task: text and labels out of the user's own columns."""

import hashlib
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import table_files, task_files
from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.table_checks import check_table
from electra_jax.tasks.table_files import SUFFIXES
from electra_jax.tasks.task import MissingSplitError, Source, Task

NAME = "table"
METRICS = {
    "classification": ("accuracy", "macro_f1"),
    "multilabel": ("micro_f1", "macro_f1", "exact_match"),
    "regression": ("spearman", "pearson", "mse"),
}
DEFAULT_SEPARATOR = "|"


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
      dev_percent: share of the training file's rows that is held out as dev;
        0 where dev has a file.
    Only kind, text and label must be there.

  Raises:
    UserError: the kind is unknown, a column is not named or named twice, or a
      number is out of its range.
  """
  kind = options.get("kind")
  if kind not in METRICS:
    raise UserError(
        f"config.table.kind is {kind!r}; choose --config.table.kind of"
        f" {', '.join(METRICS)}"
    )
  for column in ("text", "label"):
    if not options.get(column):
      raise UserError(
          f"config.table.{column} is {options.get(column)!r}; name the column"
          f" of the table that holds it by --config.table.{column}"
      )
  _check_columns(options)
  _check_numbers(options)
  label_range = options.get("label_range") or None
  return Task(
      name=NAME,
      kind=kind,
      metrics=METRICS[kind],
      read=read_table,
      check=_check,
      labels=_named_labels(options),
      label_range=label_range and tuple(map(float, label_range)),
      learns_dev_labels=bool(options.get("dev_percent")),
  )


def _check_columns(options: Mapping[str, Any]) -> None:
  names = ("text", "other_text", "label")
  columns = [options[name] for name in names if options.get(name)]
  for column in columns:
    if columns.count(column) > 1:
      keys = [f"config.table.{n}" for n in names if options.get(n) == column]
      raise UserError(
          f"{' and '.join(keys)} both name the column {column!r}; name a column"
          " of its own for each"
      )


def _check_numbers(options: Mapping[str, Any]) -> None:
  percent = float(options.get("dev_percent") or 0)
  if not 0 <= percent < 100:
    raise UserError(
        f"config.table.dev_percent is {percent:g}; it must be at least 0 and"
        " below 100"
    )
  label_range = options.get("label_range") or ()
  if label_range and not (
      len(label_range) == 2 and label_range[0] < label_range[1]
  ):
    raise UserError(
        f"config.table.label_range is {tuple(label_range)}; give the smallest"
        ' and the largest rating, as in --config.table.label_range="(1,5)"'
    )


def _named_labels(options: Mapping[str, Any]) -> tuple[str, ...]:
  labels = tuple(map(_text, options.get("labels") or ()))
  for label in labels:
    if labels.count(label) > 1:
      raise UserError(
          f"config.table.labels names {label!r} {labels.count(label)} times;"
          " name each label once"
      )
  if len(labels) == 1 and options["kind"] == "classification":
    raise UserError(
        f"config.table.labels names {labels[0]!r} alone and a class needs"
        " another; write them as in --config.table.labels=\"('no','yes')\""
    )
  return labels


def read_table(source: Source, split: str) -> list[TextExample]:
  """Reads a split of the user's table.

  Blanks around a label are no part of it.

  Args:
    source: its options are those of `table_task`.
    split: "train", "dev" or "test"; only "test" may lack labels.

  Raises:
    MissingSplitError: no file is named, and none is found in the folder.
    UserError: a file, column or value is missing or not of the form.
  """
  return read_split(source, split, _read, find_split)


def read_split(
    source: Source,
    split: str,
    read: Callable[[Source, str], list[Any]],
    find: Callable[[Source, str], pathlib.Path],
) -> list[Any]:
  """Reads a split, which `dev_percent` may cut out of the training file.

  Args:
    source: its options are those of `table_task`.
    split: which one.
    read, find: the file of a split.
  """
  percent = float(source.options.get("dev_percent") or 0)
  if split == "dev" and percent and not _has_file(source, "dev", find):
    return _held_out(read(source, "train"), percent, is_held_out=True)
  examples = read(source, split)
  if split == "train" and percent and not _has_file(source, "dev", find):
    return _held_out(examples, percent, is_held_out=False)
  return examples


def _read(source: Source, split: str) -> list[TextExample]:
  path = find_split(source, split)
  options = {**source.options, "labels": _named_labels(source.options)}
  columns = [options.get(k) for k in ("text", "other_text", "label", "id")]
  rows = table_files.read_rows(path, [column for column in columns if column])
  examples = []
  for i, (place, row) in enumerate(rows):
    _check_answer(row, columns, place)
    examples.append(_make_example(options, row, str(i), place, split))
  if not examples:
    raise UserError(f"{path} holds no row; write at least one")
  return examples


def _check_answer(
    row: Mapping[str, Any], columns: Sequence[str | None], place: str
) -> None:
  """Refuses a row whose label Prodigy's annotator has not accepted."""
  answer = row.get("answer")
  if (
      answer in ("reject", "ignore")
      and "_task_hash" in row
      and "answer" not in columns
  ):
    raise UserError(
        f"{place} has {answer!r} under 'answer', so that its label is not what"
        " the annotator says; keep the rows whose answer is 'accept' alone"
    )


def _has_file(
    source: Source, split: str, find: Callable[[Source, str], pathlib.Path]
) -> bool:
  try:
    find(source, split)
  except MissingSplitError:
    return False
  return True


def _held_out(
    examples: Sequence[Any], percent: float, *, is_held_out: bool
) -> list[Any]:
  """Returns the examples on one side of the split by a hash of their texts.

  The side of a row depends on nothing but its texts: neither on its place nor
  on the other rows, and rows with equal texts stay together. What a share
  holds out, a larger one does, too.
  """
  kept = [e for e in examples if (_place(e) < percent / 100) == is_held_out]
  if not kept:
    raise UserError(
        f"config.table.dev_percent={percent:g} of {len(examples):,} rows leaves"
        f" none for {'dev' if is_held_out else 'train'}; give more rows, or set"
        " another --config.table.dev_percent"
    )
  return kept


def _place(example: Any) -> float:
  """Returns a number in [0, 1) that depends on the texts alone."""
  texts = repr(("dev", example.text, example.other_text))
  digest = hashlib.sha256(texts.encode("utf-8", "surrogatepass")).digest()
  return int.from_bytes(digest[:8], "big") / 2**64


def _check(
    source: Source, splits: Mapping[str, Sequence[TextExample]]
) -> list[str]:
  """Returns notes on a table; see `table_checks.check_table`."""
  options = source.options
  check_one_dev(source, find_split)
  return check_table({**options, "labels": _named_labels(options)}, splits)


def check_one_dev(
    source: Source, find: Callable[[Source, str], pathlib.Path]
) -> None:
  """Raises a UserError where dev has a file and is a share of train, too."""
  percent = float(source.options.get("dev_percent") or 0)
  if percent and _has_file(source, "dev", find):
    raise UserError(
        f"config.table.dev_percent is {percent:g} and dev has a file,"
        f" {find(source, 'dev')}; set --config.table.dev_percent=0 to use the"
        " file, or move it away"
    )


def find_split(
    source: Source,
    split: str,
    *,
    name: str = NAME,
    suffixes: Sequence[str] = SUFFIXES,
) -> pathlib.Path:
  """Finds the file of a split.

  Args:
    source: names it, or the folder that holds it or its task's folder.
    split: which one.
    name: of the task.
    suffixes: of files.

  Raises:
    MissingSplitError: there is none.
    UserError: the named file is none, or of another kind.
  """
  if named := source.options.get(split):
    path = pathlib.Path(named)
    if path.suffix.lower() not in suffixes:
      raise UserError(
          f"config.table.{split} is {named!r}, whose name ends with none of"
          f" {', '.join(suffixes)}; convert it or rename it"
      )
    if not path.is_file():
      raise UserError(
          f"there is no file {named!r}; mend --config.table.{split}"
      )
    return path
  hint = ""
  if split == "dev":
    hint = (
        ", or set --config.table.dev_percent=10 to hold out a tenth of the"
        " training file"
    )
  if source.folder is None:
    raise MissingSplitError(
        f"the task {name!r} has no {split!r} file; name it by"
        f" --config.table.{split}=PATH, or name a folder that holds {split}.csv"
        f" by --config.data.folder{hint}"
    )
  try:
    return task_files.find_file(
        source,
        name,
        split,
        folders=(name,),
        names=tuple(f"{split}{suffix}" for suffix in suffixes),
    )
  except MissingSplitError as error:
    raise MissingSplitError(f"{error}{hint}") from error


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
    label = _parse_label(
        options, read_cell(row, options["label"], place), place
    )
  return TextExample(
      id=_text(read_cell(row, name, place)) if name else number,
      text=read_text(row, options["text"], place),
      other_text=read_text(row, other_text, place) if other_text else None,
      label=label,
  )


def read_text(row: Mapping[str, Any], column: str, place: str) -> str:
  """Returns a cell as text, or raises a UserError that names the place."""
  value = read_cell(row, column, place)
  if isinstance(value, (list, dict, bytes)):
    raise UserError(
        f"{place} has a {type(value).__name__} in the column {column!r}; write"
        " it as one text"
    )
  return _text(value)


def read_cell(row: Mapping[str, Any], column: str, place: str) -> Any:
  """Returns a cell, or raises a UserError where there is none."""
  if column not in row:
    raise UserError(
        f"{place} has no column {column!r}, only {list(row)}; name one of them"
        " by --config.table.text and --config.table.label, or write the names"
        " of the columns into the first line"
    )
  if row[column] is None:
    raise UserError(f"{place} has nothing in the column {column!r}; fill it in")
  return row[column]


def _parse_label(
    options: Mapping[str, Any], value: Any, place: str
) -> str | tuple[str, ...] | float:
  if options["kind"] == "regression":
    return read_number(value, place)
  labels = options["labels"]
  if options["kind"] == "multilabel" and isinstance(value, list):
    found = tuple(_label_text(cell, place).strip() for cell in value)
  elif options["kind"] == "multilabel":
    separator = options.get("separator") or DEFAULT_SEPARATOR
    # A shell passes on "\\t" as it was typed.
    separator = separator.replace("\\t", "\t")
    cells = _label_text(value, place).split(separator)
    found = tuple(cell.strip() for cell in cells if cell.strip())
  else:
    found = (_label_text(value, place).strip(),)
  if "" in found:
    raise UserError(f"{place} has an empty label; fill it in")
  for label in found if labels else ():
    task_files.check_label(label, labels, place)
  return found[0] if options["kind"] == "classification" else found


def _label_text(value: Any, place: str) -> str:
  if isinstance(value, (list, dict)):
    raise UserError(
        f"{place} has the label {value!r}, which is not one label; give a list"
        " of texts and set --config.table.kind=multilabel for several at once"
    )
  return _text(value)


def read_number(value: Any, place: str) -> float:
  """Returns a cell as a finite number, or raises a UserError."""
  # Python reads "1_000", too, and takes a truth value for a number.
  is_odd = isinstance(value, bool) or "_" in str(value)
  try:
    number = math.nan if is_odd else float(value)
  except (TypeError, ValueError):
    number = math.nan
  if not math.isfinite(number):
    raise UserError(
        f"{place} has the rating {value!r}; a regression needs a number, with a"
        " decimal point and without marks of thousands, as 1234.5"
    )
  return number


def _text(value: Any) -> str:
  """Writes a cell as text; a truth value as JSON does."""
  return str(value).lower() if isinstance(value, bool) else str(value)
