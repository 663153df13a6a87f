"""What looks wrong in the labels of a table: refused, or told in a note.

A label is a name of its own as it stands in the file: whatever differs in one
letter is another class. What people mean is often less than that, so labels
that look like one label, several labels, row numbers or gaps are found here.
`config.table.labels` has the last word: with it only the names in it count.
"""

import collections
import itertools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks.examples import (
    GenerationExample,
    PairExample,
    TextExample,
)
from electra_jax.text.visible import visible

# Spellings of a truth value: JSON's, Python's, and those of spreadsheets.
_TRUE = "true t yes y 1 1.0 on wahr ja vrai oui verdadero sí"
_FALSE = "false f no n 0 0.0 off falsch nein faux non falso"
_TRUTH = dict.fromkeys(_TRUE.split(), True) | dict.fromkeys(
    _FALSE.split(), False
)
# What other programs write into a cell that holds nothing.
_GAPS = ("nan", "null", "n/a", "#n/a", "<na>", "nat", "undefined")
_SEPARATORS = ("|", ",", ";", "/", "\t", "&", "+")
_FEW = 10  # Rows, or classes, below which nothing can be told.
_SHOWN = 6  # Labels that a message lists.

Splits = Mapping[str, Sequence[TextExample]]


def check_table(options: Mapping[str, Any], splits: Splits) -> list[str]:
  """Looks at the labels and texts of a table before anything is learned.

  Args:
    options: of `table.table_task`.
    splits: examples by split, "train" among them.

  Returns:
    A sentence for each thing that looks wrong and may be right.

  Raises:
    UserError: labels that are surely not meant as they stand: one label in
      several spellings, a label of its own for most rows, a list written as
      text, several labels behind another separator, or a rating out of
      `config.table.label_range`.
  """
  notes = _text_notes(splits)
  if options["kind"] == "regression":
    return notes + _rating_notes(options, splits)
  rows = [_labels_of(e) for split in splits.values() for e in split]
  counts = collections.Counter(label for row in rows for label in row)
  train = [_labels_of(e) for e in splits["train"]]
  if options.get("labels"):
    return notes + _unused_notes(train, options["labels"])
  _check_spellings(counts)
  _check_lists(counts)
  _check_ids(train)
  return (
      notes
      + _separator_notes(options, counts)
      + _number_notes(counts)
      + _gap_notes(counts)
      + _rare_notes(train, counts)
      + _empty_notes(options, train)
  )


def describe_labels(
    kind: str, labels: Sequence[str], examples: Sequence[TextExample]
) -> str:
  """Says how often each label occurs, or how ratings lie, in one line."""
  if kind == "regression":
    ratings = [e.label for e in examples if e.label is not None]
    if not ratings:
      return "no ratings"
    mean = sum(ratings) / len(ratings)
    return f"{min(ratings):g} to {max(ratings):g}, mean {mean:.4g}"
  rows = [_labels_of(example) for example in examples]
  counts = collections.Counter(label for row in rows for label in row)
  if not counts:
    return "no labels"
  order = sorted(labels, key=lambda label: -counts[label])
  shown = ", ".join(
      f"{visible(label)} {counts[label]:,} ({counts[label] / len(rows):.1%})"
      for label in order[:12]
  )
  more = len(order) - 12
  return f"{shown}{f' and {more} more' if more > 0 else ''}"


def _labels_of(example: TextExample) -> tuple[str, ...]:
  if example.label is None:
    return ()
  is_one = isinstance(example.label, str)
  return (example.label,) if is_one else tuple(example.label)


def _check_spellings(counts: Mapping[str, int]) -> None:
  """Refuses labels that are one label to a reader's eye."""
  families = (
      ("case, blanks or invisible characters", _folded),
      ("the way a number is written", _number),
      ("the way a truth value is written", lambda x: _TRUTH.get(_folded(x))),
  )
  for difference, key in families:
    groups = collections.defaultdict(list)
    for label in sorted(counts):
      if (value := key(label)) is not None:
        groups[value].append(label)
    for alike in groups.values():
      if len(alike) > 1 and (key is not families[2][1] or _is_mixed(alike)):
        raise UserError(
            f"the labels {_listed(alike, counts)} differ in {difference} alone"
            " and would be learned as different classes; write them alike in"
            f" the files, or, if they are meant, name {_ALL_LABELS}"
        )


def _is_mixed(alike: Sequence[str]) -> bool:
  """Says whether truth values are more than an initial beside another."""
  return any(len(_folded(label)) > 1 for label in alike) or any(
      label in ("0", "1") for label in alike
  )


def _check_lists(counts: Mapping[str, int]) -> None:
  for label in counts:
    if label[:1] + label[-1:] in ("[]", "{}", "()") and len(label) > 1:
      raise UserError(
          f"the label {label!r} ({_rows(counts[label])}) is a list written as"
          " text; write the labels with"
          " config.table.separator between them, or as lists in JSON lines,"
          " and set --config.table.kind=multilabel; if it is one label, name"
          f" {_ALL_LABELS}"
      )


def _check_ids(train: Sequence[Sequence[str]]) -> None:
  """Refuses a column in which most rows have a label of their own."""
  counts = collections.Counter(label for row in train for label in row)
  alone = [row for row in train if any(counts[label] == 1 for label in row)]
  if len(train) < _FEW or 2 * len(alone) <= len(train):
    return
  examples = [label for row in alone for label in row if counts[label] == 1]
  advice = ""
  if all(_number(label) is not None for label in counts):
    advice = ", or set --config.table.kind=regression to learn numbers"
  raise UserError(
      f"{len(alone):,} of {len(train):,} training rows have a label that no"
      f" other row has, such as {', '.join(map(repr, examples[:3]))}, as if the"
      " column identified rows; name the column of the labels by"
      f" --config.table.label{advice}; if they are meant, name {_ALL_LABELS}"
  )


def _separator_notes(
    options: Mapping[str, Any], counts: Mapping[str, int]
) -> list[str]:
  """Finds labels that are several labels behind another separator."""
  is_multilabel = options["kind"] == "multilabel"
  own = (options.get("separator") or "|").replace("\\t", "\t")
  notes = []
  for separator in _SEPARATORS:
    if is_multilabel and separator == own:
      continue
    joined = {
        label: [part.strip() for part in label.split(separator)]
        for label in counts
        if separator in label.strip(separator)
    }
    if not _is_joined(joined, counts):
      continue
    setting = (
        f"--config.table.kind=multilabel --config.table.separator={separator!r}"
    )
    if is_multilabel:
      raise UserError(
          f"the labels {_listed(joined, counts)} would each be learned as one"
          f" and look like several behind {separator!r}, while"
          f" config.table.separator is {own!r}; set"
          f" --config.table.separator={separator!r}, or name {_ALL_LABELS}"
      )
    notes.append(
        f"the labels {_listed(joined, counts)} look like several behind"
        f" {separator!r} and are each learned as one class; to learn them"
        f" one by one set {setting}"
    )
  return notes


def _is_joined(
    joined: Mapping[str, Sequence[str]], counts: Mapping[str, int]
) -> bool:
  """Says whether the parts of labels occur elsewhere, too."""
  uses = collections.Counter(
      part for parts in joined.values() for part in set(parts)
  )
  for label in counts:
    if label not in joined:
      uses[label] += 1
  parts = {part for parts in joined.values() for part in parts}
  shared = [part for part in parts if uses[part] > 1]
  return 2 * len(shared) > len(parts) or any(
      all(uses[part] > 1 for part in parts) for parts in joined.values()
  )


def _number_notes(counts: Mapping[str, int]) -> list[str]:
  numbers = [_number(label) for label in counts]
  if None in numbers or len(numbers) < 3:
    return []
  if len(numbers) <= _FEW and all(n == int(n) for n in numbers):
    return []
  return [
      f"the {len(counts)} labels are numbers, {min(numbers):g} to"
      f" {max(numbers):g}, and each is learned as a class without order; for"
      " ratings set --config.table.kind=regression"
  ]


def _gap_notes(counts: Mapping[str, int]) -> list[str]:
  gaps = [x for x in counts if _folded(x) in _GAPS or x == "None"]
  return [
      f"the label {label!r} ({_rows(counts[label])}) looks like an empty cell"
      " and is learned as a class; take these rows out of the files if it is"
      " none"
      for label in gaps
  ]


def _rare_notes(
    train: Sequence[Sequence[str]], counts: Mapping[str, int]
) -> list[str]:
  seen = collections.Counter(label for row in train for label in row)
  notes = []
  if once := [label for label in seen if seen[label] == 1]:
    notes.append(
        f"{_some(once, 'label')} {'occurs' if len(once) == 1 else 'occur'} once"
        " in training, which is too little to learn from; add rows, or take"
        " these out"
    )
  if never := [label for label in counts if not seen[label]]:
    notes.append(_never(never))
  if seen and max(seen.values()) / len(train) > 0.95 and len(seen) > 1:
    label, count = seen.most_common(1)[0]
    notes.append(
        f"{count / len(train):.1%} of the training rows have the label"
        f" {label!r}: a model that always says so is as accurate; compare"
        " macro_f1"
    )
  return notes


def _unused_notes(
    train: Sequence[Sequence[str]], labels: Sequence[str]
) -> list[str]:
  seen = {label for row in train for label in row}
  never = [label for label in labels if label not in seen]
  return [_never(never)] if never else []


def _never(labels: Sequence[str]) -> str:
  return (
      f"{_some(labels, 'label')} {'occurs' if len(labels) == 1 else 'occur'} in"
      " no training row: nothing is learned of"
      f" {'it' if len(labels) == 1 else 'them'}; add rows"
  )


def _empty_notes(
    options: Mapping[str, Any], train: Sequence[Sequence[str]]
) -> list[str]:
  empty = sum(not row for row in train)
  if options["kind"] != "multilabel" or not empty:
    return []
  return [
      f"{empty:,} of {len(train):,} training rows have an empty cell in"
      f" config.table.label={options['label']!r}: they are learned as rows of"
      " which no label holds; take them out if their labels are not known"
  ]


def _rating_notes(options: Mapping[str, Any], splits: Splits) -> list[str]:
  label_range = options.get("label_range")
  for split, examples in splits.items():
    for example in examples if label_range else ():
      low, high = label_range
      if example.label is not None and not low <= example.label <= high:
        raise UserError(
            f"row {example.id} of {split} has the rating {example.label:g},"
            f" which is not in config.table.label_range=({low:g}, {high:g});"
            " mend the row, or widen the range"
        )
  ratings = sorted(e.label for e in splits["train"] if e.label is not None)
  if len(set(ratings)) == 1:
    return [f"all {len(ratings):,} training ratings are {ratings[0]:g}"]
  steps = {b - a for a, b in itertools.pairwise(ratings)}
  if len(ratings) >= _FEW and steps == {1.0}:
    return [
        f"the training ratings are {ratings[0]:g} to {ratings[-1]:g}, each"
        " once, as if the column numbered the rows; name the column of the"
        " ratings by --config.table.label if it does"
    ]
  return []


def _text_notes(splits: Splits) -> list[str]:
  notes = []
  for split, examples in splits.items():
    if empty := sum(not e.text.strip() for e in examples):
      notes.append(
          f"{empty:,} of {len(examples):,} texts of {split} are empty; take"
          " these rows out, or name another column by --config.table.text"
      )
    quoted = sum(
        len(e.text) > 1 and e.text[0] == e.text[-1] == '"' for e in examples
    )
    if 10 * quoted > len(examples):
      notes.append(
          f"{quoted:,} of {len(examples):,} texts of {split} stand between"
          " quotes, which are read as part of the text; in a .tsv file quotes"
          " are ordinary: if they mark cells, name the file .csv (its"
          " delimiter is found)"
      )
  known = {(e.text, e.other_text) for e in splits["train"]}
  for split, examples in splits.items():
    if split != "train":
      both = sum((e.text, e.other_text) in known for e in examples)
      if both:
        notes.append(
            f"{both:,} of {len(examples):,} texts of {split} stand in train,"
            " too: their scores say little of new texts"
        )
  return notes


_ALL_LABELS = "all labels by --config.table.labels=\"('first','second',…)\""


def _folded(label: str) -> str:
  """Returns what is left of a label for a reader in a hurry."""
  visible = (c for c in label if unicodedata.category(c) != "Cf")
  plain = unicodedata.normalize("NFKC", "".join(visible)).casefold()
  return " ".join(plain.split())


def _number(label: str) -> float | None:
  if "_" in label or not any(c.isdigit() for c in label):
    return None
  try:
    return float(label)
  except ValueError:
    return None


def _rows(count: int) -> str:
  return f"{count:,} row{'' if count == 1 else 's'}"


def _listed(labels: Iterable[str], counts: Mapping[str, int]) -> str:
  order = sorted(labels, key=lambda label: (-counts[label], label))
  shown = [f"{label!r} ({_rows(counts[label])})" for label in order[:_SHOWN]]
  more = len(order) - _SHOWN
  return f"{', '.join(shown)}{f' and {more} more' if more > 0 else ''}"


def _some(labels: Sequence[str], noun: str) -> str:
  shown = ", ".join(map(repr, sorted(labels)[:_SHOWN]))
  if len(labels) == 1:
    return f"the {noun} {shown}"
  more = len(labels) - _SHOWN
  return f"{len(labels)} {noun}s ({shown}{', …' if more > 0 else ''})"


def shared_texts(
    train: Iterable[PairExample | GenerationExample],
    dev: Sequence[PairExample | GenerationExample],
) -> list[str]:
  """Returns a note on texts of dev that stand in train as well, if any do."""
  seen = {example.text for example in train}
  shared = sum(example.text in seen for example in dev)
  if not shared:
    return []
  return [f"{shared:,} of {len(dev):,} texts of dev stand in train as well"]
