"""Exact match and F1 of answers, as SQuAD 1.1 and 2.0 define them.

Definitions: P. Rajpurkar et al., EMNLP 2016 and ACL 2018; where these leave a
case open, what the official evaluation scripts of either version do.
"""

import collections
import re
import string
from collections.abc import Callable, Mapping, Sequence

from electra_jax.errors import UserError
from electra_jax.tasks.examples import QuestionExample

# Release, configure_finetuning.py:qa_na_threshold.
NO_ANSWER_THRESHOLD = -2.75

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
  """Drops case, ASCII punctuation, English articles and extra white space."""
  text = text.lower().translate(_WITHOUT_PUNCTUATION)
  return " ".join(_ARTICLE.sub(" ", text).split())


def exact_match(prediction: str, golds: Sequence[str]) -> float:
  """Returns 1.0 if the prediction equals a gold answer once normalised."""
  prediction = normalize(prediction)
  return float(any(prediction == normalize(gold) for gold in golds))


def f1(
    prediction: str, golds: Sequence[str], *, both_empty: float = 1.0
) -> float:
  """Returns the best F1 of the prediction's words against a gold answer's.

  Args:
    prediction: a text; "" for no answer.
    golds: at least one.
    both_empty: the score where no word is left on either side; SQuAD 1.1 knows
      no empty answer and gives 0.0.

  Returns:
    Twice the words in common, by the number of words on both sides.
  """
  words = normalize(prediction).split()
  return max(
      _word_f1(words, normalize(gold).split(), both_empty) for gold in golds
  )


def _word_f1(
    words: Sequence[str], gold_words: Sequence[str], both_empty: float
) -> float:
  if not words and not gold_words:
    return both_empty
  common = collections.Counter(words) & collections.Counter(gold_words)
  return 2 * common.total() / (len(words) + len(gold_words))


def score_v1(
    examples: Sequence[QuestionExample], texts: Mapping[str | int, str]
) -> dict[str, float]:
  """Scores answers to questions that all have one.

  Args:
    examples: with gold answers.
    texts: the predicted answer by question.

  Returns:
    `exact_match` and `f1` in percent.

  Raises:
    UserError: there is no example, or one lacks a gold answer or a prediction.
  """
  _check(examples, texts)
  exact, overlap = 0.0, 0.0
  for example in examples:
    golds = [answer.text for answer in example.answers]
    if not golds:
      raise UserError(
          f"question {example.id!r} has no gold answer; score it by SQuAD 2.0,"
          " where a question may lack one"
      )
    exact += exact_match(texts[example.id], golds)
    overlap += f1(texts[example.id], golds, both_empty=0.0)
  return {
      "exact_match": 100 * exact / len(examples),
      "f1": 100 * overlap / len(examples),
  }


def score_v2(
    examples: Sequence[QuestionExample],
    texts: Mapping[str | int, str],
    null_odds: Mapping[str | int, float],
    *,
    threshold: float = NO_ANSWER_THRESHOLD,
) -> dict[str, float]:
  """Scores answers to questions of which some have none.

  A question counts as unanswered where its null odds exceed the threshold. The
  best threshold is looked for among the null odds of the questions, each in
  turn, even where equal odds cannot be told apart, as the official script does.

  Args:
    examples: with gold answers, or none where there is no answer.
    texts: the best answer by question, whether or not there is one.
    null_odds: by question; higher for "no answer", on any scale.
    threshold: on the same scale.

  Returns:
    `exact` and `f1` in percent and `total`, then each again over the questions
    with (`HasAns_`) and without an answer (`NoAns_`) where there are such; and
    `best_exact`, `best_exact_thresh`, `best_f1`, `best_f1_thresh`.

  Raises:
    UserError: there is no example, or one lacks gold or a prediction.
  """
  _check(examples, texts, null_odds)
  exact = _best_scores(exact_match, examples, texts)
  overlap = _best_scores(f1, examples, texts)
  taken = []
  for example, *raw in zip(examples, exact, overlap, strict=True):
    is_unanswered = null_odds[example.id] > threshold
    taken.append([float(not example.answers)] * 2 if is_unanswered else raw)
  answered = [bool(example.answers) for example in examples]
  groups = {
      "": taken,
      "HasAns_": [t for t, a in zip(taken, answered, strict=True) if a],
      "NoAns_": [t for t, a in zip(taken, answered, strict=True) if not a],
  }
  result = {}
  for prefix, scores in groups.items():
    if scores:
      result[f"{prefix}exact"] = 100 * sum(e for e, _ in scores) / len(scores)
      result[f"{prefix}f1"] = 100 * sum(f for _, f in scores) / len(scores)
      result[f"{prefix}total"] = len(scores)
  for name, raw in (("exact", exact), ("f1", overlap)):
    best, best_threshold = _best_threshold(examples, raw, texts, null_odds)
    result[f"best_{name}"] = best
    result[f"best_{name}_thresh"] = best_threshold
  return result


def _best_scores(
    metric: Callable[[str, list[str]], float],
    examples: Sequence[QuestionExample],
    texts: Mapping[str | int, str],
) -> list[float]:
  """Scores each best text, whatever its null odds."""
  scores = []
  for example in examples:
    golds = [a.text for a in example.answers if normalize(a.text)]
    scores.append(metric(texts[example.id], golds or [""]))
  return scores


def _best_threshold(
    examples: Sequence[QuestionExample],
    scores: Sequence[float],
    texts: Mapping[str | int, str],
    null_odds: Mapping[str | int, float],
) -> tuple[float, float]:
  """Returns the best score in percent and the least threshold that gives it."""
  # From a threshold below all odds, where nothing is answered, upwards.
  current = float(sum(not example.answers for example in examples))
  best, best_threshold = current, 0.0
  pairs = zip(examples, scores, strict=True)
  for example, score in sorted(pairs, key=lambda pair: null_odds[pair[0].id]):
    if example.answers:
      current += score
    elif texts[example.id]:
      current -= 1
    if current > best:
      best, best_threshold = current, null_odds[example.id]
  return 100 * best / len(examples), best_threshold


def _check(
    examples: Sequence[QuestionExample],
    *predictions: Mapping[str | int, str] | Mapping[str | int, float],
) -> None:
  if not examples:
    raise UserError("there is no question to score; give a split that has some")
  for example in examples:
    if not example.has_gold:
      raise UserError(
          f"question {example.id!r} comes without gold answers and cannot be"
          " scored; give a split that has them"
      )
    if not all(example.id in prediction for prediction in predictions):
      raise UserError(
          f"there is no prediction for question {example.id!r}; predict every"
          " question of the split"
      )
