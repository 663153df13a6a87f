"""Scores of predictions, by scikit-learn, scipy and seqeval.

All are percentages but `mse`. Where a score is not defined (a correlation with
a constant, say) it is 0. Questions are scored in squad_scoring.py.
"""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from electra_jax.errors import UserError

# What is imported for scores, and what it is called where it is installed from.
PACKAGES = {"scipy": "scipy", "seqeval": "seqeval", "sklearn": "scikit-learn"}


def check_packages() -> None:
  """Raises a UserError unless everything that scores is installed.

  Called before training, which would be lost without its scores.
  """
  missing = [
      package
      for name, package in PACKAGES.items()
      if importlib.util.find_spec(name) is None
  ]
  if missing:
    are = "are" if len(missing) > 1 else "is"
    raise UserError(
        f"scores need {', '.join(missing)}, which {are} not installed; run pip"
        " install 'electra-jax[finetune]'"
    )


def score(
    metrics: Sequence[str],
    gold: Sequence[Any],
    predicted: Sequence[Any],
    *,
    labels: Sequence[str] = (),
) -> dict[str, float]:
  """Scores predictions.

  Args:
    metrics: names in METRICS.
    gold: for each example a class, a number, a tuple of classes that hold at
      once, or a list of tags.
    predicted: the same in the same order.
    labels: all classes; where there are two, `f1` is that of the last.

  Returns:
    The score by metric, in the order of `metrics`.

  Raises:
    UserError: there is nothing to score, a metric is unknown or does not fit
      the labels, or a package is not installed.
  """
  if not len(gold):
    raise UserError("there is no example to score; give a split that has some")
  if len(gold) != len(predicted):
    raise ValueError(f"{len(predicted)} predictions for {len(gold)} examples")
  scores = {}
  for name in metrics:
    if name not in METRICS:
      raise UserError(
          f"metric {name!r} is unknown; choose of {sorted(METRICS)}"
      )
    try:
      value = METRICS[name](gold, predicted, labels)
    except ImportError as error:
      raise UserError(
          f"the metric {name!r} needs a package that is not installed; run pip"
          " install 'electra-jax[finetune]'"
      ) from error
    scores[name] = value if name == "mse" else 100 * value
  return scores


def _accuracy(gold: Sequence, predicted: Sequence, _) -> float:
  """Share of right examples; of right words where examples are sentences."""
  if not isinstance(gold[0], str):
    gold = [tag for tags in gold for tag in tags]
    predicted = [tag for tags in predicted for tag in tags]
  return float(np.mean([g == p for g, p in zip(gold, predicted, strict=True)]))


def _exact_match(gold: Sequence, predicted: Sequence, _) -> float:
  """Share of examples of which all classes are right, in any order."""
  gold, predicted = _indicators(gold, predicted)
  return float(np.mean((gold == predicted).all(axis=1)))


def _binary_f1(
    gold: Sequence, predicted: Sequence, labels: Sequence[str]
) -> float:
  if len(labels) != 2:
    raise UserError(
        f"the metric 'f1' is for two labels and not for {list(labels)}; choose"
        " 'macro_f1' or 'micro_f1'"
    )
  is_positive = [
      np.array([c == labels[1] for c in s]) for s in (gold, predicted)
  ]
  return _indicator_f1(*is_positive)


def _macro_f1(gold: Sequence, predicted: Sequence, _) -> float:
  """Mean F1 of the classes that occur in gold or prediction."""
  gold, predicted = _indicators(gold, predicted)
  scores = map(_indicator_f1, gold.T, predicted.T)
  return float(np.mean(list(scores))) if gold.size else 0.0


def _micro_f1(gold: Sequence, predicted: Sequence, _) -> float:
  """F1 over all pairs of example and class."""
  gold, predicted = _indicators(gold, predicted)
  return _indicator_f1(gold.ravel(), predicted.ravel()) if gold.size else 0.0


def _indicators(
    gold: Sequence, predicted: Sequence
) -> tuple[Bool[np.ndarray, "B C"], Bool[np.ndarray, "B C"]]:
  """Says of each example and each class that occurs whether it holds."""
  if isinstance(gold[0], str):
    gold, predicted = [(g,) for g in gold], [(p,) for p in predicted]
  classes = sorted({c for some in (*gold, *predicted) for c in some})
  return tuple(
      np.array([[c in some for c in classes] for some in side], bool)
      for side in (gold, predicted)
  )


def _indicator_f1(
    gold: Bool[np.ndarray, " N"], predicted: Bool[np.ndarray, " N"]
) -> float:
  from sklearn import metrics

  return float(metrics.f1_score(gold, predicted, zero_division=0))


def _matthews(gold: Sequence, predicted: Sequence, _) -> float:
  from sklearn import metrics

  if len({*gold, *predicted}) == 1:
    return 0.0
  return float(metrics.matthews_corrcoef(gold, predicted))


def _correlation(gold: Sequence, predicted: Sequence, _, *, kind: str) -> float:
  from scipy import stats

  gold = np.asarray(gold, np.float64)
  predicted = np.asarray(predicted, np.float64)
  if not np.ptp(gold) or not np.ptp(predicted):
    return 0.0
  return float(getattr(stats, kind)(gold, predicted).statistic)


def _squared_error(gold: Sequence, predicted: Sequence, _) -> float:
  gold = np.asarray(gold, np.float64)
  return float(np.mean((gold - np.asarray(predicted, np.float64)) ** 2))


def _span_score(gold: Sequence, predicted: Sequence, _, *, kind: str) -> float:
  """Scores spans: type and both ends must be right; BIO and BIOES tags."""
  from seqeval import metrics

  gold, predicted = [list(g) for g in gold], [list(p) for p in predicted]
  return float(getattr(metrics, kind)(gold, predicted, zero_division=0))


METRICS: dict[str, Callable[[Sequence, Sequence, Sequence[str]], float]] = {
    "accuracy": _accuracy,
    "exact_match": _exact_match,
    "f1": _binary_f1,
    "macro_f1": _macro_f1,
    "mcc": _matthews,
    "micro_f1": _micro_f1,
    "mse": _squared_error,
    "pearson": functools.partial(_correlation, kind="pearsonr"),
    "span_f1": functools.partial(_span_score, kind="f1_score"),
    "span_precision": functools.partial(_span_score, kind="precision_score"),
    "span_recall": functools.partial(_span_score, kind="recall_score"),
    "spearman": functools.partial(_correlation, kind="spearmanr"),
}
