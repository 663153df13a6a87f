"""A task's answers: who is taken for whom, and the most confident mistakes."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from electra_jax.reporting import records as files
from electra_jax.reporting.records import RunRecord, number
from electra_jax.tasks.squad_scoring import normalize
from electra_jax.text.visible import visible

MOST_MISTAKES = 12
_CONTEXT = 140  # Characters that are shown on either side of an answer.
_LONGEST_TEXT = 600

Part = tuple[str, str]  # Text, and what it is: "", "answer", "gold", "both".
Answers = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Mistake:
  """An example that was answered wrongly.

  Attributes:
    parts: its text, with what is marked in it.
    question: what was asked, or "".
    answer: what the model said.
    gold: what is true.
    confidence: the probability of the answer, how far off a rating is, or None.
  """

  parts: Sequence[Part]
  answer: str
  gold: str
  confidence: float | None
  question: str = ""


@dataclasses.dataclass(frozen=True)
class TaskAnswers:
  """What a model said of a split that tells the answers.

  Attributes:
    task: its name.
    split: its name.
    kind: "classification", "multilabel", "regression", "tagging",
      "questions", "generation".
    count: examples.
    wrong: those answered wrongly; of ratings 0; of written texts those that
      are not a target, word by word.
    labels: classes; of tagging, tags.
    confusion: [classes, classes] by true class, then by answer; None where
      there are no classes.
    ratings: true ones and answers.
    mistakes: the most confident first; of written texts some from all over
      the split, right ones included.
  """

  task: str
  split: str
  kind: str
  count: int
  wrong: int
  labels: Sequence[str]
  confusion: np.ndarray | None
  ratings: tuple[Sequence[float], Sequence[float]]
  mistakes: Sequence[Mistake]


def answers_of(run: RunRecord) -> list[TaskAnswers]:
  """Reads the answers of the best seed, of every split that can be checked."""
  best = run.scores.get("best_seed")
  folder = run.path / f"seed_{best}" / "predictions"
  found = []
  for task, split in _splits(run.main_scores):
    path = folder / f"{task}_{split}.jsonl"
    if (answers := _checked(path)) and (kind := _kind_of(answers[0])):
      found.append(_READERS[kind](task, split, answers))
  return found


def _splits(names: Sequence[str]) -> list[tuple[str, str]]:
  """Returns tasks with the splits that select the best seed."""
  parts = [name.split("/") for name in names]
  return [(part[0], part[1]) for part in parts if len(part) == 3]


def _checked(path: epath.Path) -> Answers:
  return [x for x in files.read_lines(path) if x.get("gold") is not None]


def _kind_of(answer: Mapping[str, Any]) -> str | None:
  signs = {
      "written": "generation",
      "words": "tagging",
      "context": "questions",
      "rating": "regression",
      "labels": "multilabel",
      "label": "classification",
  }
  return next((kind for sign, kind in signs.items() if sign in answer), None)


def _classes(task: str, split: str, answers: Answers) -> TaskAnswers:
  pairs = [(str(a["gold"]), str(a.get("label"))) for a in answers]
  wrong = [
      a for a, (gold, said) in zip(answers, pairs, strict=True) if gold != said
  ]
  mistakes = _most(
      wrong,
      lambda a: number(a.get("probability")) or 0.0,
      lambda a, p: Mistake(_text(a), str(a.get("label")), str(a["gold"]), p),
  )
  labels, confusion = _count(pairs)
  return TaskAnswers(
      task, split, "classification", len(answers), len(wrong),
      labels, confusion, ((), ()), mistakes,
  )  # fmt: skip


def _label_sets(task: str, split: str, answers: Answers) -> TaskAnswers:
  wrong = [a for a in answers if _names(a["gold"]) != _names(a.get("labels"))]

  def confidence(answer):
    # Of what is one too many or one too few, the surest.
    chances = answer.get("probabilities")
    chances = chances if isinstance(chances, dict) else {}
    odd = _names(answer["gold"]) ^ _names(answer.get("labels"))
    sure = [number(chances.get(name)) or 0.0 for name in odd]
    return max((max(p, 1 - p) for p in sure), default=0.0)

  mistakes = _most(
      wrong,
      confidence,
      lambda a, p: Mistake(
          _text(a), _listed(a.get("labels")), _listed(a["gold"]), p
      ),
  )
  return TaskAnswers(
      task, split, "multilabel", len(answers), len(wrong),
      (), None, ((), ()), mistakes,
  )  # fmt: skip


def _ratings(task: str, split: str, answers: Answers) -> TaskAnswers:
  whole = [
      a
      for a in answers
      if number(a["gold"]) is not None and number(a.get("rating")) is not None
  ]
  mistakes = _most(
      whole,
      lambda a: abs(a["rating"] - a["gold"]),
      lambda a, off: Mistake(
          _text(a), f"{a['rating']:.2f}", f"{a['gold']:g}", off
      ),
  )
  both = [a["gold"] for a in whole], [a["rating"] for a in whole]
  return TaskAnswers(
      task, split, "regression", len(whole), 0, (), None, both, mistakes
  )


def _tags(task: str, split: str, answers: Answers) -> TaskAnswers:
  pairs, wrong, total = [], [], 0
  for answer in answers:
    tags, gold = _list(answer.get("tags")), _list(answer["gold"])
    these = [(str(g), str(t)) for g, t in zip(gold, tags, strict=False)]
    pairs += these
    total += len(these)
    if any(g != t for g, t in these):
      wrong.append(answer)

  def confidence(answer):
    chances = _list(answer.get("probabilities"))
    marked = zip(
        _list(answer["gold"]), _list(answer.get("tags")), chances, strict=False
    )
    return max((number(p) or 0.0 for g, t, p in marked if g != t), default=0.0)

  mistakes = _most(
      wrong, confidence, lambda a, p: Mistake(_tagged(a), "", "", p)
  )
  labels, confusion = _count(pairs)
  return TaskAnswers(
      task, split, "tagging", len(answers), len(wrong),
      labels, confusion, ((), ()), mistakes,
  )  # fmt: skip


def _questions(task: str, split: str, answers: Answers) -> TaskAnswers:
  wrong = [a for a in answers if not _is_right(a)]
  mistakes = _most(
      wrong,
      _confidence,
      lambda a, p: Mistake(
          _marked(a),
          visible(str(a.get("answer"))) or "(no answer)",
          _listed(a["gold"]) or "(no answer)",
          p,
          visible(str(a.get("question"))),
      ),
  )
  return TaskAnswers(
      task, split, "questions", len(answers), len(wrong),
      (), None, ((), ()), mistakes,
  )  # fmt: skip


def _texts(task: str, split: str, answers: Answers) -> TaskAnswers:
  wrong = [a for a in answers if a.get("written") not in _golds(a)]
  step = max(len(answers) // MOST_MISTAKES, 1)
  samples = [
      Mistake(_text(a), _cut(str(a.get("written"))), _listed(_golds(a)), None)
      for a in answers[::step][:MOST_MISTAKES]
  ]
  return TaskAnswers(
      task, split, "generation", len(answers), len(wrong),
      (), None, ((), ()), samples,
  )  # fmt: skip


def _golds(answer: Mapping[str, Any]) -> list[Any]:
  gold = answer["gold"]
  return gold if isinstance(gold, list) else [gold]


_READERS = {
    "generation": _texts,
    "classification": _classes,
    "multilabel": _label_sets,
    "regression": _ratings,
    "tagging": _tags,
    "questions": _questions,
}


def _most(
    wrong: Iterable[dict[str, Any]],
    by: Callable[[dict[str, Any]], float],
    show: Callable[[dict[str, Any], float], Mistake],
) -> list[Mistake]:
  rated = sorted(((by(answer), i, answer) for i, answer in enumerate(wrong)),
                 key=lambda item: (-item[0], item[1]))  # fmt: skip
  return [show(answer, value) for value, _, answer in rated[:MOST_MISTAKES]]


def _count(pairs: Sequence[tuple[str, str]]):
  """Returns the classes and how often each is taken for each."""
  counted = collections.Counter(pairs)
  labels = sorted({label for pair in pairs for label in pair})
  confusion = np.zeros((len(labels), len(labels)), np.int64)
  for (gold, said), count in counted.items():
    confusion[labels.index(gold), labels.index(said)] = count
  return labels, confusion


def _confidence(answer: Mapping[str, Any]) -> float:
  """Returns the probability of an answer to a question, or of there being none."""
  if answer.get("answer"):
    return number(answer.get("probability")) or 0.0
  odds = number(answer.get("null_odds"))
  return 0.0 if odds is None else 1 / (1 + math.exp(-min(max(odds, -50), 50)))


def _is_right(answer: Mapping[str, Any]) -> bool:
  said = normalize(str(answer.get("answer")))
  gold = [normalize(str(text)) for text in _list(answer["gold"])]
  return said in gold or not (said or gold)


def _text(answer: Mapping[str, Any]) -> list[Part]:
  parts = [(_cut(str(answer.get("text", ""))), "")]
  if "other_text" in answer:
    parts.append((_cut(str(answer["other_text"])), "other"))
  return parts


def _tagged(answer: Mapping[str, Any]) -> list[Part]:
  """Returns words, each wrong one with what it was called and what it is."""
  parts = []
  for word, tag, gold in zip(
      _list(answer.get("words")),
      _list(answer.get("tags")),
      _list(answer["gold"]),
      strict=False,
  ):
    word, tag, gold = (visible(str(x)) for x in (word, tag, gold))
    if tag != gold:
      parts.append((f"{word} {tag}, not {gold}", "wrong"))
    elif tag != "O":
      parts.append((f"{word} {tag}", "tag"))
    else:
      parts.append((word, ""))
  return parts


def _marked(answer: Mapping[str, Any]) -> list[Part]:
  """Returns the context around the answer and the true one, both marked."""
  context = str(answer.get("context", ""))
  spans = []
  start, end = answer.get("start"), answer.get("end")
  are_places = type(start) is int and type(end) is int
  if are_places and answer.get("answer") and 0 <= start < end <= len(context):
    spans.append((start, end, "answer"))
  for text in _list(answer["gold"])[:1]:
    place = context.find(str(text)) if text else -1
    if place >= 0:
      spans.append((place, place + len(str(text)), "gold"))
  if not spans:
    return [(_cut(context), "")]
  first = max(0, min(span[0] for span in spans) - _CONTEXT)
  end = min(len(context), max(span[1] for span in spans) + _CONTEXT)
  parts, done = [("…" if first else "", "")], first
  edges = sorted({first, end, *(x for s in spans for x in s[:2])})
  for low, high in itertools.pairwise(edges):
    marks = {s[2] for s in spans if s[0] <= low and high <= s[1]}
    mark = "both" if len(marks) == 2 else next(iter(marks), "")
    parts.append((_shortened(context[low:high], bool(marks)), mark))
    done = high
  parts.append(("…" if done < len(context) else "", ""))
  return [part for part in parts if part[0]]


def _shortened(text: str, is_marked: bool) -> str:
  if is_marked or len(text) <= 3 * _CONTEXT:
    return visible(text.replace("\n", " "))
  return visible(f"{text[:_CONTEXT]} … {text[-_CONTEXT:]}".replace("\n", " "))


def _cut(text: str) -> str:
  text = visible(text.replace("\n", " "))
  return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _names(value: Any) -> set[str]:
  return {str(x) for x in _list(value)}


def _list(value: Any) -> list[Any]:
  return list(value) if isinstance(value, list) else []


def _listed(value: Any) -> str:
  return visible(" | ".join(dict.fromkeys(str(x) for x in _list(value))))
