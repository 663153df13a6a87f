"""The ten GLUE tasks, as tab-separated files.

Read are the layouts of the release (`cola/train.tsv`), of the GLUE download
(`CoLA/train.tsv`) and, for MRPC, its original two files with `dev_ids.tsv`.
"""

import functools
import logging
import math
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from electra_jax.errors import UserError
from electra_jax.tasks import task_files
from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.task import MissingSplitError, Source, Task

MAX_DAMAGED_SHARE = 0.01
DIAGNOSTIC = "diagnostic"

_BINARY_LABELS = ("0", "1")
_NLI_LABELS = ("contradiction", "entailment", "neutral")
_TWO_WAY_LABELS = ("entailment", "not_entailment")
_DIAGNOSTIC_FOLDERS = ("mnli", "MNLI", "diagnostic", "ax", "AX")
_DOWNLOAD_FOLDERS = {
    "cola": "CoLA",
    "sst": "SST-2",
    "mrpc": "MRPC",
    "sts": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
}


class Columns(NamedTuple):
  """Where a file has what, counted from 0, or back from the end from -1.

  Attributes:
    text: the text, or the first of a pair.
    other_text: the second of a pair, or None.
    label: None where the file has no labels.
    id: the index that the GLUE server asks for, or None.
    has_header: whether the first line holds names.
  """

  text: int
  other_text: int | None
  label: int | None = None
  id: int | None = None
  has_header: bool = True


# Release, finetune/classification/classification_tasks.py, but for wnli.
TRAIN_COLUMNS = {
    "cola": Columns(3, None, 1, has_header=False),
    "sst": Columns(0, None, 1),
    "mrpc": Columns(3, 4, 0),
    "sts": Columns(-3, -2, -1),
    "qqp": Columns(3, 4, 5),
    "mnli": Columns(8, 9, -1),
    "qnli": Columns(1, 2, 3),
    "rte": Columns(1, 2, 3),
    "wnli": Columns(1, 2, 3),
}
TEST_COLUMNS = {
    "cola": Columns(1, None, id=0),
    "sst": Columns(1, None, id=0),
    "mrpc": Columns(3, 4, id=0),
    "sts": Columns(-2, -1, id=0),
    "qqp": Columns(1, 2, id=0),
    "mnli": Columns(8, 9, id=0),
    "qnli": Columns(1, 2, id=0),
    "rte": Columns(1, 2, id=0),
    "wnli": Columns(1, 2, id=0),
    "ax": Columns(1, 2, id=0),
}


class _Row(NamedTuple):
  """One good line: its number in the file, its row from 0, its cells."""

  line: int
  row: int
  cells: list[str]


def read_glue(name: str, source: Source, split: str) -> list[TextExample]:
  """Reads a split of a GLUE task.

  Quote characters are ordinary. A line with too few columns is left out, with
  a warning, as in the release; more than 1 % of them are an error.

  Args:
    name: one of the ten tasks.
    source: where the files are.
    split: "train", "dev" or "test", for mnli with "_matched" or "_mismatched"
      after the last two, or mnli's "diagnostic", which is "test" of ax.

  Returns:
    The examples; test examples are identified by the file's index.

  Raises:
    MissingSplitError: the data holds no such split.
    UserError: the file is damaged, or holds an unknown label.

  Source: release finetune/classification/classification_tasks.py.
  """
  if name == "ax" and split != "test":
    raise MissingSplitError(
        f"'ax' is a diagnostic test set and has no split {split!r}; train"
        " 'mnli', which predicts it as well"
    )
  if name == "ax" or (name == "mnli" and split == DIAGNOSTIC):
    name, split = "ax", DIAGNOSTIC
  try:
    path = _find(name, source, split)
  except MissingSplitError:
    if name == "mrpc" and (examples := _read_original_mrpc(source, split)):
      return examples
    raise
  is_test = split.startswith("test") or split == DIAGNOSTIC
  columns = (TEST_COLUMNS if is_test else TRAIN_COLUMNS)[name]
  rows = _read_rows(path, columns)
  return [_make_example(name, path, columns, row) for row in rows]


def _find(name: str, source: Source, split: str) -> pathlib.Path:
  if name == "ax":
    folders = _DIAGNOSTIC_FOLDERS
  else:
    folders = (name, _DOWNLOAD_FOLDERS[name])
  return task_files.find_file(
      source, name, split, folders=folders, names=(f"{split}.tsv",)
  )


def _read_rows(path: pathlib.Path, columns: Columns) -> Iterator[_Row]:
  """Yields the good lines of a file; fails at its end if it has too few."""
  count, damaged, header = 0, [], None
  places = [c for c in columns[:4] if c is not None]
  needed = max(c + 1 if c >= 0 else -c for c in places)
  for line, text in task_files.read_lines(path):
    cells = text.split("\t")
    if columns.has_header and header is None:
      header = cells
      if len(header) < needed:
        raise _too_narrow(path, line, len(header), needed)
      # Columns that are counted from the end need rows as wide as the header.
      needed = len(header)
    elif text.strip():
      if len(cells) >= needed:
        yield _Row(line, count, cells)
      else:
        damaged.append((line, len(cells)))
      count += 1
  if len(damaged) > MAX_DAMAGED_SHARE * count:
    raise _too_narrow(path, *damaged[0], needed)
  if not count:
    raise UserError(f"{path} holds no example; fetch the file again")
  if damaged:
    logging.warning(
        "%s: left out %d of %d lines, which have fewer than %d columns; the"
        " first is line %d",
        path,
        len(damaged),
        count,
        needed,
        damaged[0][0],
    )


def _too_narrow(
    path: pathlib.Path, line: int, found: int, needed: int
) -> UserError:
  return UserError(
      f"{path}:{line} has {found} columns between tabs but {needed} are needed;"
      " fetch the file again, or check that it belongs to this task"
  )


def _make_example(
    name: str, path: pathlib.Path, columns: Columns, row: _Row
) -> TextExample:
  cells = row.cells
  label = None
  if columns.label is not None:
    label = _parse_label(name, cells[columns.label], f"{path}:{row.line}")
  return TextExample(
      id=str(row.row) if columns.id is None else cells[columns.id],
      text=cells[columns.text],
      other_text=(
          None if columns.other_text is None else cells[columns.other_text]
      ),
      label=label,
  )


def _parse_label(name: str, text: str, place: str) -> str | float:
  task = GLUE_TASKS[name]
  if task.kind == "classification":
    return task_files.check_label(text, task.labels, place)
  smallest, largest = task.label_range
  try:
    rating = float(text)
  except ValueError:
    rating = math.nan
  if not smallest <= rating <= largest:
    raise UserError(
        f"{place} has the rating {text!r}; it must be a number from"
        f" {smallest:g} to {largest:g}"
    )
  return rating


def _read_original_mrpc(source: Source, split: str) -> list[TextExample]:
  """Reads MRPC's own files; GLUE cuts dev out of train by `dev_ids.tsv`.

  Returns:
    The examples, none if the files are not there. Test examples have labels,
    and their row is the index that the GLUE server asks for.

  Raises:
    UserError: the list of dev pairs is missing or matches nothing.
  """
  columns = TRAIN_COLUMNS["mrpc"]
  part = "test" if split == "test" else "train"
  try:
    path = _find_original_mrpc(source, split, f"msr_paraphrase_{part}.txt")
  except MissingSplitError:
    return []
  rows = _read_rows(path, columns)
  if split != "test":
    ids_path = _find_original_mrpc(source, split, "dev_ids.tsv")
    dev_ids = {line for _, line in task_files.read_lines(ids_path)}
    is_dev = split == "dev"
    rows = [r for r in rows if ("\t".join(r.cells[1:3]) in dev_ids) == is_dev]
    if not rows:
      raise UserError(
          f"{ids_path} leaves no {split} pair of {path}; fetch both again"
      )
  return [_make_example("mrpc", path, columns, row) for row in rows]


def _find_original_mrpc(source: Source, split: str, name: str) -> pathlib.Path:
  return task_files.find_file(
      source, "mrpc", split, folders=("mrpc", "MRPC"), names=(name,)
  )


def _task(
    name: str,
    labels: tuple[str, ...],
    leaderboard: dict[str, str],
    *,
    kind: str = "classification",
    metrics: tuple[str, ...] = ("accuracy",),
    **others: Any,
) -> Task:
  return Task(
      name=name,
      kind=kind,
      metrics=metrics,
      read=functools.partial(read_glue, name),
      labels=labels,
      leaderboard=leaderboard,
      **others,
  )


_ALL = (
    _task(
        "cola",
        _BINARY_LABELS,
        {"test": "CoLA.tsv"},
        metrics=("mcc", "accuracy"),
    ),
    _task("sst", _BINARY_LABELS, {"test": "SST-2.tsv"}),
    _task(
        "mrpc",
        _BINARY_LABELS,
        {"test": "MRPC.tsv"},
        metrics=("accuracy", "f1"),
        doubles_pairs=True,
    ),
    _task(
        "sts",
        (),
        {"test": "STS-B.tsv"},
        kind="regression",
        metrics=("spearman", "pearson", "mse"),
        label_range=(0.0, 5.0),
        doubles_pairs=True,
    ),
    _task(
        "qqp",
        _BINARY_LABELS,
        {"test": "QQP.tsv"},
        metrics=("accuracy", "f1"),
    ),
    _task(
        "mnli",
        _NLI_LABELS,
        {
            "test_matched": "MNLI-m.tsv",
            "test_mismatched": "MNLI-mm.tsv",
            DIAGNOSTIC: "AX.tsv",
        },
        dev_splits=("dev_matched", "dev_mismatched"),
        test_splits=("test_matched", "test_mismatched", DIAGNOSTIC),
    ),
    _task("qnli", _TWO_WAY_LABELS, {"test": "QNLI.tsv"}),
    _task("rte", _TWO_WAY_LABELS, {"test": "RTE.tsv"}),
    _task("wnli", _BINARY_LABELS, {"test": "WNLI.tsv"}),
    _task("ax", _NLI_LABELS, {"test": "AX.tsv"}, dev_splits=()),
)
GLUE_TASKS = {task.name: task for task in _ALL}
