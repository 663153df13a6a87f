"""Scores: values worked by hand, undefined cases, clear errors."""

import importlib.util
import math
import sys
import warnings

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.scoring import METRICS, check_packages, score


def one(metric, gold, predicted, labels=()):
  """Returns one score; any warning is an error."""
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    return score([metric], gold, predicted, labels=labels)[metric]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", 100 * 3 / 5),
        ("f1", 100 * 4 / 6),  # 2 of 3 found, 1 of 3 wrong.
        # The other class: 1 right of 2 found and of 2 there.
        ("macro_f1", 100 * (4 / 6 + 2 / 4) / 2),
        ("micro_f1", 100 * 3 / 5),
        ("mcc", 100 * (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2)),
    ],
)
def test_two_classes(metric, expected):
  gold, predicted = list("11100"), list("11001")
  assert one(metric, gold, predicted, "01") == pytest.approx(expected)


def test_the_last_label_is_the_positive_one():
  gold, predicted = ["good", "good", "bad"], ["good", "bad", "bad"]
  labels = ("bad", "good")
  assert one("f1", gold, predicted, labels) == pytest.approx(200 / 3)
  assert one("f1", ["bad"] * 3, predicted, labels) == 0.0
  assert one("f1", ["bad"] * 3, ["bad"] * 3, labels) == 0.0


@pytest.mark.parametrize("labels", [(), ("a", "b", "c")])
def test_f1_is_for_two_labels(labels):
  with pytest.raises(UserError, match=r"for two labels .* 'macro_f1'"):
    one("f1", ["a"], ["a"], labels)


def test_three_classes():
  gold, predicted = list("aabbc"), list("abbbb")
  assert one("accuracy", gold, predicted) == pytest.approx(60)
  assert one("micro_f1", gold, predicted) == pytest.approx(60)
  macro = (2 / 3 + 4 / 6 + 0) / 3  # c is never found.
  assert one("macro_f1", gold, predicted) == pytest.approx(100 * macro)
  absent = one("macro_f1", gold, predicted, "abcd")
  assert absent == pytest.approx(100 * macro)


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [("0101", "1111"), ("1111", "0101"), ("1111", "1111"), ("0", "0")],
)
def test_mcc_of_a_constant(gold, predicted):
  assert one("mcc", list(gold), list(predicted), "01") == 0.0


def test_ratings():
  gold, predicted = [0.0, 1.0, 2.0, 5.0], [1.0, 2.0, 3.0, 4.0]
  assert one("mse", gold, predicted) == 1.0
  # Deviations -2 -1 0 3 and -1.5 -0.5 0.5 1.5: 8 by the root of 14 times 5.
  expected = 100 * 8 / math.sqrt(14 * 5)
  assert one("pearson", gold, predicted) == pytest.approx(expected)
  assert one("spearman", gold, predicted) == pytest.approx(100)
  assert one("spearman", gold, predicted[::-1]) == pytest.approx(-100)
  # Ranks 1 2.5 2.5 4 and 1 2 3 4: deviations give 4.5 by that of 4.5 times 5.
  expected = 100 * 4.5 / math.sqrt(4.5 * 5)
  assert one("spearman", [0, 1, 1, 2], predicted) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize(
    ("gold", "predicted"),
    [([1.0, 2.0], [3.0, 3.0]), ([1.0, 1.0], [0.0, 2.0]), ([1.0], [2.0])],
)
def test_correlation_with_a_constant(metric, gold, predicted):
  assert one(metric, gold, predicted) == 0.0


def test_several_classes_at_once():
  gold = [("a", "b"), ("b",), (), ("c",)]
  predicted = [("b", "a"), ("b", "c"), (), ("a",)]
  assert one("exact_match", gold, predicted) == 50.0
  assert one("exact_match", ["ab", "ab"], ["ba", "ab"]) == 50.0
  # 3 right of 5 found and of 4 there.
  assert one("micro_f1", gold, predicted) == pytest.approx(100 * 6 / 9)
  macro = (2 / 3 + 1 + 0) / 3
  assert one("macro_f1", gold, predicted) == pytest.approx(100 * macro)


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1"])
def test_no_class_anywhere(metric):
  assert one(metric, [(), ()], [(), ()], ("a", "b")) == 0.0
  assert one(metric, [(), ("a",)], [(), ()], ("a", "b")) == 0.0


def test_spans():
  gold = [
      ["B-NP", "I-NP", "E-NP", "O", "S-VP"],
      ("S-NP", "S-NP", "B-PP", "E-PP"),
  ]
  predicted = [
      ["B-NP", "I-NP", "E-NP", "S-VP", "S-VP"],
      # Two phrases for one, and one of another type.
      ("B-NP", "E-NP", "B-VP", "E-VP"),
  ]
  # Found: NP, VP, VP, NP, VP. There: NP, VP, NP, NP, PP. Right: NP, VP.
  assert one("span_precision", gold, predicted) == pytest.approx(40)
  assert one("span_recall", gold, predicted) == pytest.approx(40)
  assert one("span_f1", gold, predicted) == pytest.approx(40)
  assert one("accuracy", gold, predicted) == pytest.approx(100 * 4 / 9)


def test_phrases_of_one_type_side_by_side():
  gold = [["B-NP", "E-NP", "S-NP", "B-NP", "I-NP", "E-NP"]]
  assert one("span_f1", gold, gold) == 100.0
  predicted = [["B-NP", "E-NP", "B-NP", "I-NP", "I-NP", "E-NP"]]
  # 1 right of 2 found and of 3 there.
  assert one("span_f1", gold, predicted) == pytest.approx(40)


@pytest.mark.parametrize("metric", ["span_f1", "span_precision", "span_recall"])
def test_no_span(metric):
  assert one(metric, [["O", "O"]], [["O", "O"]]) == 0.0
  assert one(metric, [["S-NP", "O"]], [["O", "O"]]) == 0.0
  assert one(metric, [["O", "O"]], [["S-NP", "O"]]) == 0.0


def test_tags_that_are_no_spans():
  gold, predicted = [["NN", "VB"], ["DT"]], [["NN", "NN"], ["DT"]]
  assert one("accuracy", gold, predicted) == pytest.approx(200 / 3)


def test_scores_come_in_the_order_asked_for_as_plain_numbers():
  scores = score(["mcc", "f1", "accuracy"], list("01"), list("01"), labels="01")
  assert list(scores.items()) == [("mcc", 100), ("f1", 100), ("accuracy", 100)]
  assert {type(value) for value in scores.values()} == {float}


@pytest.mark.parametrize("metric", METRICS)
def test_unequal_numbers_of_examples(metric):
  with pytest.raises(ValueError, match="1 predictions for 2 examples"):
    one(metric, ["a", "b"], ["a"], "ab")


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_to_score(metric):
  with pytest.raises(UserError, match="no example to score"):
    one(metric, [], [])


def test_an_unknown_metric():
  with pytest.raises(UserError, match=r"'f2' is unknown; choose .*'accuracy'"):
    one("f2", ["a"], ["a"])


@pytest.mark.parametrize(
    ("metric", "package"),
    [
        ("f1", "sklearn"),
        ("macro_f1", "sklearn"),
        ("mcc", "sklearn"),
        ("pearson", "scipy"),
        ("span_f1", "seqeval"),
    ],
)
def test_a_missing_package(metric, package, monkeypatch):
  monkeypatch.setitem(sys.modules, package, None)
  with pytest.raises(UserError, match=rf"'{metric}' .*electra-jax\[finetune\]"):
    one(metric, ["a"], ["a"], "ab")


def test_all_packages_that_are_missing_are_named_at_once(monkeypatch):
  found = importlib.util.find_spec
  monkeypatch.setattr(
      "importlib.util.find_spec",
      lambda name: None if name in ("sklearn", "seqeval") else found(name),
  )
  with pytest.raises(
      UserError, match=r"scores need seqeval, scikit-learn, which are not"
  ):
    check_packages()
