"""Labels that are not what they seem: refused or told, never learned quietly."""

import re

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.table_checks import check_table, describe_labels

OPTIONS = {"kind": "classification", "text": "text", "label": "label"}


def rows(*labels, first=0):
  """A row for each label, with a text of its own."""
  return [
      TextExample(str(i), f"text {i}", None, label)
      for i, label in enumerate(labels, start=first)
  ]


def notes_on(train, dev=(), **options):
  return check_table(OPTIONS | options, {"train": train, "dev": list(dev)})


def refused(train, *parts, dev=(), **options):
  with pytest.raises(UserError) as caught:
    notes_on(train, dev, **options)
  for part in parts:
    assert part in str(caught.value)


def test_a_clean_table_has_no_note():
  assert not notes_on(rows(*["good", "bad"] * 20))
  assert not notes_on(rows(*["cast", "music"] * 9), kind="multilabel")
  assert not notes_on(rows(1.0, 3.5, 2.0, 1.0), kind="regression")
  assert not notes_on(rows(*"12345" * 4)), "stars"


@pytest.mark.parametrize(
    "labels",
    [
        ("Good", "good"),
        ("good", "good\u200b"),
        ("very good", "very  good"),
        ("caf\u00e9", "cafe\u0301"),
        ("Stra\u00dfe", "STRASSE"),
        ("\uff21", "A"),
        ("1", "1.0"),
        ("7", "07"),
    ],
)
def test_one_label_in_two_spellings(labels):
  train = rows(*(["other"] * 5 + [labels[0]] * 12 + [labels[1]] * 3))
  parts = (f"{labels[0]!r} (12 rows)", f"{labels[1]!r} (3 rows)")
  refused(train, *parts, "config.table.labels")
  # Between the splits as well, which would else end long afterwards.
  refused(rows(*["other", labels[0]] * 5), repr(labels[1]), dev=rows(labels[1]))
  assert not notes_on(train, labels=("other", *labels))


@pytest.mark.parametrize(
    "labels",
    [("true", "yes"), ("True", "1"), ("no", "0"), ("FALSE", "f"), ("ja", "y")],
)
def test_one_truth_value_in_two_spellings(labels):
  parts = ("truth value", *(f"{label!r} (4 rows)" for label in labels))
  refused(rows(*[*labels, "other"] * 4), *parts)


def test_letters_are_no_truth_values():
  assert not notes_on(rows(*["t", "y", "f", "n"] * 4))
  assert not notes_on(rows(*["yes", "no"] * 4))
  assert not notes_on(rows(*["0", "1"] * 4))


def test_a_label_for_each_row():
  parts = ("12 of 12 training rows", "'0', '1', '2'", "--config.table.label")
  numbers = rows(*map(str, range(12)))
  refused(numbers, *parts, "--config.table.kind=regression")
  names = [f"user-{i}" for i in range(8)] + ["user-0"] * 6
  refused(rows(*(names + [f"u{i}" for i in range(8)])), "15 of 22 training")
  assert not notes_on(numbers, labels=tuple(map(str, range(12))))
  refused(rows(*[(f"a{i}", "b") for i in range(12)]), kind="multilabel")


def test_several_labels_in_a_cell():
  train = rows(*["cast", "music", "cast,music"] * 5)
  (note,) = notes_on(train)
  assert "'cast,music' (5 rows)" in note
  assert "--config.table.kind=multilabel" in note and "separator=','" in note
  # None stands alone, but parts come again.
  (note,) = notes_on(rows(*["a;b", "b;c", "c;a"] * 5))
  assert "separator=';'" in note
  assert not notes_on(rows(*["Paris, France", "Lyon, France"] * 5))
  assert not notes_on(rows(*["yes/maybe", "no"] * 5))


def test_several_labels_behind_another_separator():
  def sets(*cells):
    return rows(*[tuple(cell.split("|")) for cell in cells] * 5)

  parts = ("'cast,music' (5 rows)", "config.table.separator is '|'")
  train = sets("cast", "music", "cast,music")
  refused(train, *parts, "--config.table.separator=','", kind="multilabel")
  assert not notes_on(
      train, kind="multilabel", labels=("cast", "music", "cast,music")
  )
  train = sets("a|b", "b", "a")
  assert not notes_on(train, kind="multilabel")


def test_a_list_written_as_text():
  refused(
      rows(*["['a', 'b']", "['a']"] * 6), "a list written as text", "6 rows"
  )


def test_labels_that_are_numbers():
  (note,) = notes_on(rows(*map(str, [*range(12)] * 2)))
  assert "0 to 11" in note and "--config.table.kind=regression" in note
  (note,) = notes_on(rows(*["0.5", "1", "1.5"] * 3))
  assert "0.5 to 1.5" in note


def test_rare_and_missing_labels():
  train = rows(*["a", "b"] * 8, "c")
  (note,) = notes_on(train)
  assert "'c'" in note and "once in training" in note
  (note,) = notes_on(rows(*["a", "b"] * 8), dev=rows("d", first=90))
  assert "'d'" in note and "no training row" in note
  (note,) = notes_on(rows(*["a", "b"] * 8), labels=("a", "b", "e"))
  assert "'e'" in note
  (note,) = notes_on(rows(*["a"] * 98, "b", "b"))
  assert "98.0%" in note and "'a'" in note


def test_gaps():
  (note,) = notes_on(rows(*["a", "b", "nan"] * 4))
  assert "'nan' (4 rows)" in note
  (note,) = notes_on(rows(*[("a",), ("b",), ()] * 4), kind="multilabel")
  assert "4 of 12 training rows have an empty cell" in note


def test_ratings():
  options = {"kind": "regression", "label_range": (1, 5)}
  refused(rows(1.0, 6.0), "row 1 of train has the rating 6", **options)
  refused(rows(1.0), "row 7 of dev", dev=rows(0.5, first=7), **options)
  (note,) = notes_on(rows(*map(float, range(20))), kind="regression")
  assert "numbered the rows" in note
  (note,) = notes_on(rows(*[3.0] * 4), kind="regression")
  assert "all 4 training ratings are 3" in note


def test_texts():
  train = rows(*["a", "b"] * 8)
  (note,) = notes_on(train, dev=train[:2])
  assert "2 of 2 texts of dev stand in train" in note
  train[3] = train[3]._replace(text=" ")
  (note,) = notes_on(train)
  assert "1 of 16 texts of train are empty" in note
  quoted = [e._replace(text=f'"{e.text}"') for e in rows(*["a", "b"] * 8)]
  (note,) = notes_on(quoted)
  assert "16 of 16 texts of train stand between quotes" in note


def test_the_balance_of_classes():
  examples = rows(*["bad"] * 30, *["good"] * 10)
  told = describe_labels("classification", ("good", "bad"), examples)
  assert told == "bad 30 (75.0%), good 10 (25.0%)"
  many = tuple(f"c{i:02}" for i in range(20))
  told = describe_labels("classification", many, rows(*many))
  assert re.search(r"c11 1 \(5.0%\) and 8 more$", told)
  told = describe_labels("multilabel", ("a", "b"), rows(("a", "b"), (), ("a",)))
  assert told == "a 2 (66.7%), b 1 (33.3%)"
  told = describe_labels("regression", (), rows(1.0, 2.0, 4.5))
  assert told == "1 to 4.5, mean 2.5"
  assert describe_labels("regression", (), rows(None)) == "no ratings"
  told = describe_labels("classification", ("\x1b[2J",), rows("\x1b[2J"))
  assert told == "\\x1b[2J 1 (100.0%)"
