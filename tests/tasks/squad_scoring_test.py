"""SQuAD scores: each rule of the definitions, with values worked by hand."""

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import Answer, QuestionExample
from electra_jax.tasks.squad_scoring import (
    exact_match,
    f1,
    normalize,
    score_v1,
    score_v2,
)


def question(name, *golds, **options):
  answers = tuple(Answer(gold, 0) for gold in golds)
  return QuestionExample(name, "?", "", answers, not golds, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat", "cat"),
        ("  a  dog\tand\nAN owl\u00a0", "dog and owl"),
        ("U.S.A.", "usa"),
        ("a.b the-end", "ab theend"),  # Punctuation goes before articles.
        ("theatre, Athens", "theatre athens"),
        ("Zoë «quoted» · 5€", "zoë «quoted» · 5€"),  # ASCII marks only.
        ("“the” x", "“ ” x"),  # An article ends at any other character.
        ("İ", "i\u0307"),
        ("$1,000.50", "100050"),
        ("The", ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_normalize(text, expected):
  assert normalize(text) == expected


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "overlap"),
    [
        ("the Cat!", ["cat"], 1, 1),
        ("cat", ["dog"], 0, 0),
        ("a black cat", ["black dog"], 0, 1 / 2),  # 1 of 2 and 1 of 2.
        (
            "cat cat dog",
            ["cat bird"],
            0,
            2 / 5,
        ),  # A word counts once per match.
        ("cat cat", ["cat cat cat"], 0, 4 / 5),
        ("dog cat", ["cat dog"], 0, 1),  # The order does not matter.
        ("b c", ["b", "b c d e", "x"], 0, 2 / 3),  # The best gold counts.
        ("b", ["x", "B."], 1, 1),
        ("café", ["cafe"], 0, 0),
        ("", ["cat"], 0, 0),
        ("cat", [""], 0, 0),
        ("", [""], 1, 1),
        ("the", [""], 1, 1),
    ],
)
def test_exact_match_and_f1(prediction, golds, exact, overlap):
  assert exact_match(prediction, golds) == exact
  assert f1(prediction, golds) == pytest.approx(overlap)


def test_version_1():
  examples = [
      question("1", "cat", "the black cat"),
      question("2", "1895"),
      question("3", "b c"),
      question("4", "A"),
  ]
  texts = {"1": "Black cat", "2": "1943", "3": "b", "4": "the", "5": "unused"}
  assert score_v1(examples, texts) == {
      "exact_match": pytest.approx(100 * 2 / 4),
      # Two texts without a word match exactly but have no word in common.
      "f1": pytest.approx(100 * (1 + 0 + 2 / 3 + 0) / 4),
  }


def test_version_2():
  examples = [
      question("right", "cat"),
      question("half", "black dog", "!"),
      question("refused", "cat"),
      question("empty"),
      question("guessed"),
  ]
  texts = {
      "right": "the cat",
      "half": "black cat",
      "refused": "cat",
      "empty": "cat",
      "guessed": "cat",
  }
  null_odds = {
      "right": -5.0,
      "half": -2.75,  # At the threshold: answered.
      "refused": -2.5,
      "empty": 3.0,
      "guessed": -4.0,
  }
  # Upwards from 2 of 5 unanswered: right 3, guessed 2, half 2 or 2.5,
  # refused 3 or 3.5, empty 2 or 2.5.
  assert score_v2(examples, texts, null_odds) == pytest.approx(
      {
          "exact": 100 * 2 / 5,
          "f1": 100 * 2.5 / 5,
          "total": 5,
          "HasAns_exact": 100 * 1 / 3,
          "HasAns_f1": 100 * 1.5 / 3,
          "HasAns_total": 3,
          "NoAns_exact": 100 * 1 / 2,
          "NoAns_f1": 100 * 1 / 2,
          "NoAns_total": 2,
          "best_exact": 100 * 3 / 5,
          "best_exact_thresh": -5.0,  # The least of equals.
          "best_f1": 100 * 3.5 / 5,
          "best_f1_thresh": -2.5,
      }
  )


def test_the_threshold_is_the_callers():
  examples = [question("1", "cat"), question("2")]
  texts = {"1": "cat", "2": "cat"}
  null_odds = {"1": 0.0, "2": 1.0}
  answers = {
      t: score_v2(examples, texts, null_odds, threshold=t)["exact"]
      for t in (-1.0, 0.0, 0.5, 1.0)
  }
  assert answers == {-1.0: 50.0, 0.0: 100.0, 0.5: 100.0, 1.0: 50.0}


def test_equal_odds_are_taken_in_turn():
  # No threshold can tell these apart, yet the official script stops between.
  examples = [question("1", "cat"), question("2"), question("3", "cat")]
  texts = {"1": "cat", "2": "cat", "3": "dog"}
  result = score_v2(examples, texts, dict.fromkeys("123", 0.5))
  assert result["best_exact"] == pytest.approx(100 * 2 / 3)
  assert result["best_exact_thresh"] == 0.5
  result = score_v2(
      [examples[1], examples[0]], texts, dict.fromkeys("123", 0.5)
  )
  assert (result["best_exact"], result["best_exact_thresh"]) == (50.0, 0.0)


def test_an_empty_best_text_costs_nothing_where_there_is_no_answer():
  examples = [question("1"), question("2", "cat")]
  texts = {"1": "", "2": "cat"}
  result = score_v2(examples, texts, {"1": -9.0, "2": -8.0})
  assert result["exact"] == result["NoAns_exact"] == result["best_f1"] == 100
  assert result["best_f1_thresh"] == -8.0


def test_gold_answers_without_a_word_are_dropped():
  examples = [question("1", "the", "cat"), question("2", "the")]
  texts = {"1": "a", "2": "an"}
  null_odds = dict.fromkeys("12", -9.0)
  result = score_v2(examples, texts, null_odds)
  assert result["exact"] == 50.0  # The second has only "" left, and matches.
  assert result["HasAns_total"] == 2  # Yet both count as answered,
  refused = score_v2(examples, texts, dict.fromkeys("12", 9.0))
  assert refused["exact"] == 0.0  # so that a refusal is wrong.


def test_groups_that_do_not_occur_are_left_out():
  some = score_v2([question("1", "cat")], {"1": "cat"}, {"1": -9.0})
  none = score_v2([question("1")], {"1": "cat"}, {"1": 9.0})
  assert "HasAns_f1" in some and "NoAns_f1" not in some
  assert "HasAns_f1" not in none and "NoAns_f1" in none


@pytest.mark.parametrize(
    "score",
    [
        score_v1,
        lambda examples, texts: score_v2(examples, texts, {"1": 0.0, "2": 0.0}),
    ],
)
def test_what_cannot_be_scored(score):
  with pytest.raises(UserError, match="no question to score"):
    score([], {})
  with pytest.raises(UserError, match="no prediction for question '2'"):
    score([question("1", "cat"), question("2", "cat")], {"1": "cat"})
  with pytest.raises(UserError, match="question '1' comes without gold"):
    score([question("1", has_gold=False)], {"1": "cat"})


def test_every_question_needs_null_odds():
  with pytest.raises(UserError, match="no prediction for question '1'"):
    score_v2([question("1", "cat")], {"1": "cat"}, {})


def test_version_1_knows_no_empty_gold():
  with pytest.raises(UserError, match=r"question '1' .* SQuAD 2\.0"):
    score_v1([question("1")], {"1": "cat"})
