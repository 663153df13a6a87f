"""Numbers of the model -> answers in words, and what they score.

Where a long text was read in windows, their scores are pooled first.
"""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from electra_jax.tasks import (
    generation_scoring,
    retrieval,
    scoring,
    squad_scoring,
    tag_schemes,
)
from electra_jax.tasks.examples import (
    Example,
    GenerationExample,
    PairExample,
    QuestionExample,
    TaggedExample,
)
from electra_jax.tasks.features import Features, learnt_tags
from electra_jax.tasks.span_answers import (
    QuestionAnswer,
    SpanScores,
    decode_answers,
)
from electra_jax.tasks.task import Task
from electra_jax.tasks.text_windows import first_windows, pool


@dataclasses.dataclass(frozen=True)
class DecodeOptions:
  """How the answer to an example is chosen.

  Attributes:
    n_best_size: candidates kept for each question.
    max_answer_length: pieces of an answer at most.
    null_threshold: a question has no answer where the log-odds of that exceed
      this number; -2.75 as released.
    are_separate: whether starts and ends of answers are chosen apart.
    windows: how scores of an example's windows are pooled; one of
      `text_windows.WINDOWS`.
  """

  n_best_size: int = 20
  max_answer_length: int = 30
  null_threshold: float = squad_scoring.NO_ANSWER_THRESHOLD
  windows: str = "first"
  are_separate: bool = False


class Predictions(NamedTuple):
  """What a model says of a split, in the order of its examples.

  Attributes:
    values: as `scoring.score` takes them: classes, tuples of them, ratings,
      tags as learnt, or the texts of answers ("" for none); of generation, the
      written texts; of an embedding,
      what `retrieval.find_partners` returns.
    records: the same with text, probability and gold, for people; tags in the
      scheme of the data; of a long text also how many `windows` of it were
      read, or how many of its tokens were not (`cut_tokens`).
    answers: of questions, with candidates and null odds.
    loss: mean cross-entropy of the gold classes in nats, where there are any;
      of generation, of the tokens of targets.
    rate: mean nats that a bottleneck keeps of a text, where there is one.
    latent: scores of an autoencoder's z, by name, where targets are told.
  """

  values: list[Any]
  records: list[dict[str, Any]]
  answers: Sequence[QuestionAnswer] = ()
  loss: float | None = None
  rate: float | None = None
  latent: Mapping[str, float] = types.MappingProxyType({})


def decode(
    task: Task,
    examples: Sequence[Example],
    features: Features,
    outputs: Any,
    options: DecodeOptions,
) -> Predictions:
  """Says in words what the model's outputs mean.

  Args:
    task: of which kind the outputs are.
    examples: of the split.
    features: of the examples.
    outputs: of `TaskModel` for all texts of the features, in their order.
    options: how answers to questions are chosen.
  """
  if task.kind == "questions":
    return _decode_answers(task, examples, features, outputs, options)
  if task.kind == "tagging":
    return _decode_tags(task, examples, features, outputs)
  if task.kind == "embedding":
    return _decode_pairs(task, examples, features, outputs)

  def pooled(values):
    return pool(values, features.examples, options.windows)

  if task.kind == "regression":
    found = _decode_ratings(task, examples, outputs, pooled)
  elif task.kind == "multilabel":
    found = _decode_label_sets(task.labels, examples, outputs, pooled)
  else:
    found = _decode_classes(task.labels, examples, features, outputs, pooled)
  counts = np.bincount(features.examples, minlength=len(examples))
  for record, count, cut in zip(
      found.records, counts, features.cut_pieces, strict=True
  ):
    if count > 1:
      record["windows"] = int(count)
    if cut:
      record["cut_tokens"] = int(cut)
  return found


def score(
    task: Task,
    examples: Sequence[Example],
    predictions: Predictions,
    options: DecodeOptions,
) -> dict[str, float]:
  """Scores the predictions of a split that tells the answers.

  Returns:
    The task's metrics in percent (mse as it is), `loss` in nats where the
    kind has one, `rate` in nats where there is a bottleneck, and what
    `latent_scores` has of an autoencoder.
  """
  if task.kind == "questions":
    best = {answer.id: answer.text for answer in predictions.answers}
    if not task.may_lack_answer:
      return squad_scoring.score_v1(examples, best)
    null_odds = {a.id: a.null_odds for a in predictions.answers}
    return squad_scoring.score_v2(
        examples, best, null_odds, threshold=options.null_threshold
    )
  if task.kind == "embedding":
    return retrieval.score_partners(task.metrics, examples, predictions.values)
  if task.kind == "generation":
    metrics = [x for x in task.metrics if x not in predictions.latent]
    scores = dict(predictions.latent) | generation_scoring.score_texts(
        metrics, examples, predictions.values
    )
  else:
    if task.kind == "tagging":
      gold = [list(learnt_tags(task, example)) for example in examples]
    else:
      gold = [example.label for example in examples]
    scores = scoring.score(
        task.metrics, gold, predictions.values, labels=task.labels
    )
  if predictions.loss is not None:
    scores["loss"] = predictions.loss
  if predictions.rate is not None:
    scores["rate"] = predictions.rate
  return scores


def has_gold(examples: Sequence[Example]) -> bool:
  """Says whether a split can be scored."""
  return all(_gold(example) is not None for example in examples)


def _decode_classes(labels, examples, features, logits, pooled) -> Predictions:
  log_probs = _log_softmax(logits)
  if len(features) > len(examples):
    shares = pooled(np.exp(log_probs))
    log_probs = np.log(shares / shares.sum(-1, keepdims=True))
  chosen = log_probs.argmax(-1)
  values = [labels[i] for i in chosen]
  records = [
      _text_record(example)
      | {
          "label": value,
          "probability": float(np.exp(row.max())),
          "probabilities": _by_label(labels, np.exp(row)),
      }
      for example, value, row in zip(examples, values, log_probs, strict=True)
  ]
  loss = None
  if has_gold(examples):
    gold = features.targets["labels"][first_windows(features.examples)]
    loss = -float(log_probs[np.arange(len(gold)), gold].mean())
  return Predictions(values, records, loss=loss)


def _decode_label_sets(labels, examples, logits, pooled) -> Predictions:
  probabilities = pooled(1 / (1 + np.exp(-np.asarray(logits, np.float64))))
  values = [
      tuple(label for label, p in zip(labels, row, strict=True) if p > 0.5)
      for row in probabilities
  ]
  records = [
      _text_record(example)
      | {"labels": list(value), "probabilities": _by_label(labels, row)}
      for example, value, row in zip(
          examples, values, probabilities, strict=True
      )
  ]
  return Predictions(values, records)


def _decode_ratings(task, examples, outputs, pooled) -> Predictions:
  low, high = task.label_range
  outputs = pooled(np.asarray(outputs, np.float64))
  values = [low + float(x) * (high - low) for x in outputs[:, 0]]
  records = [
      _text_record(example) | {"rating": value}
      for example, value in zip(examples, values, strict=True)
  ]
  return Predictions(values, records)


def _decode_tags(task, examples, features, logits) -> Predictions:
  log_probs = _log_softmax(logits)
  chosen, best = log_probs.argmax(-1), np.exp(log_probs.max(-1))
  values = [[] for _ in examples]
  probabilities = [[] for _ in examples]
  counts = features.targets["weights"].sum(-1).astype(int)
  for number, example in enumerate(features.examples):
    count = counts[number]
    values[example] += [task.labels[i] for i in chosen[number, :count]]
    probabilities[example] += [float(p) for p in best[number, :count]]
  records = []
  for example, tags, probability in zip(
      examples, values, probabilities, strict=True
  ):
    record = {
        "id": example.id,
        "words": list(example.words),
        "tags": _as_in_data(task, tags),
        "probabilities": [round(p, 6) for p in probability],
    }
    if example.text is not None:
      record["text"] = example.text
    if example.tags is not None:
      record["gold"] = list(example.tags)
    records.append(record)
  return Predictions(values, records)


def _decode_pairs(task, examples, features, vectors) -> Predictions:
  kept = task.vectors.dimensions or vectors.shape[1]
  found = retrieval.find_partners(
      vectors[:: features.group, :kept],
      vectors[1 :: features.group, :kept],
      features.targets["text_ids"][1 :: features.group],
  )
  return Predictions(found, retrieval.records_of(examples, found))


def _decode_answers(task, examples, features, beam, options) -> Predictions:
  scores = [
      SpanScores(*(part[i] for part in beam[:-1]), float(beam[-1][i]))
      for i in range(len(features))
  ]
  answers = decode_answers(
      examples,
      features.spans,
      features.contexts,
      scores,
      n_best_size=options.n_best_size,
      max_answer_length=options.max_answer_length,
      are_separate=options.are_separate,
  )
  threshold = options.null_threshold if task.may_lack_answer else None
  values, records = [], []
  for example, answer in zip(examples, answers, strict=True):
    values.append(answer.final_text(threshold))
    record = {
        "id": example.id,
        "question": example.question,
        "context": example.context,
        "answer": values[-1],
        "text": answer.text,
        "start": answer.start,
        "end": answer.end,
        "probability": answer.probability,
        "null_odds": answer.null_odds,
    }
    if example.has_gold:
      record["gold"] = [gold.text for gold in example.answers]
    records.append(record)
  return Predictions(values, records, answers)


def _as_in_data(task: Task, tags: Sequence[str]) -> list[str]:
  """Writes learnt tags in the scheme of the data."""
  if not task.tag_scheme:
    return list(tags)
  return list(tag_schemes.convert_tags(tags, task.tag_scheme))


def _text_record(example) -> dict[str, Any]:
  record = {"id": example.id, "text": example.text}
  if example.other_text is not None:
    record["other_text"] = example.other_text
  if example.label is not None:
    record["gold"] = example.label
  return record


def _gold(example: Example) -> Any:
  if isinstance(example, TaggedExample):
    return example.tags
  if isinstance(example, QuestionExample):
    return True if example.has_gold else None
  if isinstance(example, PairExample):
    return True  # Who belongs to whom, the file tells.
  if isinstance(example, GenerationExample):
    return example.target
  return example.label


def _by_label(labels, probabilities) -> dict[str, float]:
  return {
      label: float(p) for label, p in zip(labels, probabilities, strict=True)
  }


def _log_softmax(logits) -> np.ndarray:
  logits = np.asarray(logits, np.float64)
  shifted = logits - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
