"""A word on each score of a task: what it is, and what guessing gives."""

import collections
from collections.abc import Mapping, Sequence

from electra_jax.tasks.examples import Example
from electra_jax.tasks.task import Task

_MEANINGS = {
    "accuracy": "percent right",
    "active_units": "dimensions of z whose mean varies over texts by 0.01",
    "bleu": "BLEU of sacrebleu: pieces of up to four words shared with targets",
    "chrf": "chrF of sacrebleu: pieces of up to six letters shared with targets",
    "elbo": "nats a text, the evidence lower bound of its log-likelihood, with"
    " z drawn: -(reconstruction + kl); higher is better",
    "exact": "percent whose answer is right as a whole",
    "exact_match": "percent whose answer is right as a whole",
    "f1": "percent, precision and recall in one (of answers: of their words)",
    "kl": "nats that a draw of z may tell of its text; 0 is collapse",
    "loss": "nats an example, or a token to write, costs; 0 is perfect",
    "macro_f1": "percent, the mean F1 of the classes: rare ones count as much",
    "mcc": "Matthews correlation in percent; 0 is guessing",
    "mrr": "percent, the mean of 1 / rank of what belongs to a text",
    "micro_f1": "percent, F1 over all pairs of example and class",
    "mse": "mean squared error; 0 is perfect",
    "mutual_information": "nats that z tells of which text of the split it was"
    " drawn for, estimated; the log of the number of texts at most",
    "pearson": "linear correlation in percent; 0 is guessing",
    "rate": "nats that the bottleneck keeps of a text; 0 is nothing",
    "recall_at_1": "percent of texts to which the right one is nearest of all",
    "recall_at_10": "percent of texts with the right one among the 10 nearest",
    "reconstruction": "nats that a text costs where z is drawn; 0 is perfect",
    "rouge1": "ROUGE-1, F1 of the words shared with a target",
    "rouge2": "ROUGE-2, F1 of the pairs of words shared with a target",
    "rougeL": "ROUGE-L, F1 of the longest common sequence of words",
    "rougeLsum": "ROUGE-L of a summary whose sentences are lines",
    "span_f1": "percent, F1 of spans whose type and both ends are right",
    "span_precision": "of predicted spans, the percent that is right",
    "span_recall": "of true spans, the percent that is found",
    "spearman": "rank correlation in percent; 0 is guessing",
}
_NO_SCALE = (
    "active_units",
    "elbo",
    "kl",
    "loss",
    "mse",
    "mutual_information",
    "rate",
    "reconstruction",
)
_PREFIXES = {  # Of SQuAD 2.0's scores.
    "HasAns_": " that have an answer",
    "NoAns_": " that have none",
    "best_": ", at the best threshold",
}


def explain_score(name: str) -> str:
  """Says what a score is.

  >>> explain_score("rte/dev/accuracy")
  'percent right; 100 is perfect'

  Args:
    name: its metric is behind the last slash.

  Returns:
    A phrase, or nothing for a name that is not known.
  """
  metric = name.rpartition("/")[2]
  if metric.endswith("_thresh"):
    return "log-odds of no answer above which none is given, at its best"
  of, prefix = next(
      ((of, p) for p, of in _PREFIXES.items() if metric.startswith(p)), ("", "")
  )
  metric = metric.removeprefix(prefix)
  if metric == "total":
    return f"number of questions{of}"
  meaning = _MEANINGS.get(metric, "")
  meaning += of if meaning else ""
  if not meaning or metric in _NO_SCALE:
    return meaning
  return f"{meaning}; 100 is perfect"


def explain_scores(
    names: Sequence[str],
    tasks: Mapping[str, Task],
    examples: Mapping[tuple[str, str], Sequence[Example]],
) -> list[str]:
  """Returns a line for each score that has a word.

  Args:
    names: of scores, as "rte/dev/accuracy".
    tasks: by name.
    examples: by task and split, with their labels.
  """
  lines = []
  for name in names:
    told = explain_score(name)
    task, split, metric = name.split("/", 2)
    if metric == "accuracy" and tasks[task].kind == "classification":
      told += _commonest(examples[task, split])
    if told:
      lines.append(f"{name}: {told}")
  return lines


def _commonest(examples: Sequence[Example]) -> str:
  labels = [example.label for example in examples]
  ((label, count),) = collections.Counter(labels).most_common(1)
  share = 100 * count / len(labels)
  return f"; always answering {label!r} gives {share:.1f}"
