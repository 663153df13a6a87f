"""Files of predictions: for people, for leaderboards."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from electra_jax.files import to_json, write_whole
from electra_jax.tasks.examples import Example
from electra_jax.tasks.predictions import DecodeOptions, Predictions
from electra_jax.tasks.span_answers import QuestionAnswer
from electra_jax.tasks.task import Task


def write_outputs(
    folder: epath.Path,
    task: Task,
    split: str,
    examples: Sequence[Example],
    answers: Predictions,
    options: DecodeOptions,
) -> None:
  """Writes a split's predictions, for people and for leaderboards.

  Args:
    folder: gets `predictions/` and, where there is a server, `leaderboard/`.
    task: of the examples.
    split: which they are.
    examples: of the split.
    answers: in their order.
    options: the threshold of "no answer".
  """
  name = f"{task.name}_{split}"
  place = folder / "predictions"
  place.mkdir(parents=True, exist_ok=True)
  write_predictions(place / f"{name}.jsonl", answers.records)
  if task.kind == "questions":
    write_squad_files(
        place,
        name,
        answers.answers,
        threshold=options.null_threshold,
        may_lack_answer=task.may_lack_answer,
    )
  if split in task.leaderboard:
    place = folder / "leaderboard"
    place.mkdir(parents=True, exist_ok=True)
    write_leaderboard(
        place / task.leaderboard[split],
        [example.id for example in examples],
        answers.values,
        task,
    )


def write_leaderboard(
    path: epath.PathLike,
    ids: Sequence[str],
    predictions: Sequence[str] | Sequence[float],
    task: Task,
) -> None:
  """Writes one file of a GLUE submission.

  Args:
    path: with the name the server asks for, such as "STS-B.tsv".
    ids: identifiers in the order of the file.
    predictions: classes by name, or ratings on the scale of the data; these are
      clipped to the task's range and keep three decimals.
    task: says whether they are ratings.
  """
  if task.kind == "regression":
    low, high = task.label_range
    predictions = [f"{min(max(p, low), high):.3f}" for p in predictions]
  rows = zip(ids, predictions, strict=True)
  lines = (f"{i}\t{prediction}\n" for i, prediction in rows)
  write_whole(path, itertools.chain(["index\tprediction\n"], lines))


def write_predictions(
    path: epath.PathLike, records: Iterable[Mapping[str, Any]]
) -> None:
  """Writes JSON lines, one record on each."""
  write_whole(path, (_to_json(record) + "\n" for record in records))


def write_squad_files(
    folder: epath.PathLike,
    name: str,
    answers: Sequence[QuestionAnswer],
    *,
    threshold: float,
    may_lack_answer: bool,
) -> None:
  """Writes answers as SQuAD's evaluation scripts read them.

  `NAME_preds.json` tells the best text of every question, and
  `NAME_null_odds.json` how likely there is none: the two files that the SQuAD
  2.0 script takes together with a threshold. `NAME_predictions.json` is the
  final word, with "" for no answer: for readers, and for servers that take one
  file. `NAME_nbest.json` lists the candidates.

  Args:
    folder: exists.
    name: of task and split.
    answers: in any order.
    threshold: a question with greater null odds is left unanswered.
    may_lack_answer: whether it may be; otherwise every question is answered and
      no null odds are written.

  Source: release finetune/qa/qa_metrics.py:write_predictions, for the names.
  """
  best = {answer.id: answer.text for answer in answers}
  null_odds = {answer.id: answer.null_odds for answer in answers}
  final = {
      answer.id: answer.final_text(threshold if may_lack_answer else None)
      for answer in answers
  }
  n_best = {
      answer.id: [candidate._asdict() for candidate in answer.n_best]
      for answer in answers
  }
  contents = {"preds": best, "predictions": final, "nbest": n_best}
  if may_lack_answer:
    contents["null_odds"] = null_odds
  for kind, content in contents.items():
    path = epath.Path(folder) / f"{name}_{kind}.json"
    write_whole(path, [_to_json(content, indent=2) + "\n"])


def _to_json(value: Any, **options: Any) -> str:
  return to_json(value, ensure_ascii=False, **options)
