"""Predictions: numbers of the model in words, worked out by hand."""

import json
import math

import numpy as np
import pytest
from etils import epath

from electra_jax.models.task_heads import SpanBeam
from electra_jax.tasks.examples import (
    Answer,
    QuestionExample,
    TaggedExample,
    TextExample,
)
from electra_jax.tasks.features import FeatureOptions, make_features
from electra_jax.tasks.prediction_files import write_outputs
from electra_jax.tasks.predictions import (
    DecodeOptions,
    Predictions,
    decode,
    has_gold,
    score,
)
from electra_jax.tasks.registry import TASKS
from electra_jax.tasks.task import Task
from electra_jax.text.tokenizer import Tokenizer

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g ##x who ?"
TOKENIZER = Tokenizer("wordpiece", PIECES.replace(" ", "\n").encode())
OPTIONS = DecodeOptions()
HALF = math.log(2)


def task_of(kind, *labels, metrics=("accuracy",), **options):
  return Task("t", kind, metrics, lambda *_: [], labels, **options)


def run(task, examples, outputs, *, options=OPTIONS, **cutting):
  """Decodes outputs; their records must be fit for a file."""
  features = make_features(task, examples, TOKENIZER, FeatureOptions(**cutting))
  predictions = decode(task, examples, features, outputs, options)
  assert len(predictions.values) == len(predictions.records) == len(examples)
  json.dumps(predictions.records)
  return predictions


def texts(*labels):
  return [
      TextExample(str(i), "ab"[i % 2], None, label)
      for i, label in enumerate(labels)
  ]


# --- Classes ---

COLOURS = task_of("classification", "red", "green", "blue")


def test_classes():
  logits = np.log(np.asarray([[1, 2, 1], [8, 1, 1]], np.float32)) + 3
  predictions = run(COLOURS, texts("red", "red"), logits)
  assert predictions.values == ["green", "red"]
  first, second = predictions.records
  assert first.pop("probability") == pytest.approx(0.5)
  assert first.pop("probabilities") == pytest.approx(
      {"red": 0.25, "green": 0.5, "blue": 0.25}
  )
  assert first == {"id": "0", "text": "a", "gold": "red", "label": "green"}
  assert second["probability"] == pytest.approx(0.8)
  # Mean of -log 1/4 and -log 8/10, the probabilities of the gold class.
  expected = (math.log(4) + math.log(10 / 8)) / 2
  assert predictions.loss == pytest.approx(expected, rel=1e-6)
  scores = score(COLOURS, texts("red", "red"), predictions, OPTIONS)
  assert scores == {"accuracy": 50.0, "loss": predictions.loss}


def test_pairs_without_gold():
  pair = [TextExample("x", "a", "b", None)]
  predictions = run(COLOURS, pair, np.zeros((1, 3), np.float32))
  assert predictions.loss is None
  (record,) = predictions.records
  assert record["other_text"] == "b" and "gold" not in record
  assert predictions.values == ["red"]  # The first of equals.


def test_large_logits_do_not_overflow():
  logits = np.asarray([[1e4, 0.0, -1e4]], np.float32)
  predictions = run(COLOURS, texts("green"), logits)
  assert predictions.records[0]["probability"] == 1.0
  assert predictions.loss == pytest.approx(1e4)


# --- Several classes, ratings ---


def test_sets_of_classes():
  task = task_of(
      "multilabel", "x", "y", "z", metrics=("micro_f1", "exact_match")
  )
  logits = np.asarray([[HALF, -HALF, 3.0], [-1, 0, -2]], np.float32)
  predictions = run(task, texts(("x", "z"), ("y",)), logits)
  # A probability of exactly a half is not above it.
  assert predictions.values == [("x", "z"), ()]
  just = np.asarray([[0.01, -0.01, 0.01]], np.float32)
  assert run(task, texts(("x",)), just).values == [("x", "z")]
  record = predictions.records[0]
  assert record["labels"] == ["x", "z"]
  assert record["gold"] == ("x", "z")
  assert record["probabilities"] == pytest.approx(
      {"x": 2 / 3, "y": 1 / 3, "z": 1 / (1 + math.exp(-3))}
  )
  assert predictions.loss is None
  # Two of three found, nothing beside them: F1 is 2·2 / (2 + 3).
  scores = score(task, texts(("x", "z"), ("y",)), predictions, OPTIONS)
  assert scores == pytest.approx({"micro_f1": 80.0, "exact_match": 50.0})


def test_ratings_are_on_the_scale_of_the_data():
  task = task_of("regression", metrics=("mse",), label_range=(1.0, 5.0))
  outputs = np.asarray([[0.0], [0.25], [1.5]], np.float32)
  predictions = run(task, texts(1.0, 3.0, 5.0), outputs)
  assert predictions.values == [1.0, 2.0, 7.0]
  assert predictions.records[1] == {
      "id": "1", "text": "b", "gold": 3.0, "rating": 2.0,
  }  # fmt: skip
  scores = score(task, texts(1.0, 3.0, 5.0), predictions, OPTIONS)
  assert scores == pytest.approx({"mse": 5 / 3})


# --- Tags ---

TAGGING = task_of("tagging", "O", "S-PER", "S-LOC", metrics=("span_f1",))


def one_hot(rows, scale):
  return np.log(1 + scale * np.eye(3, dtype=np.float32)[np.asarray(rows)])


def test_tags_are_joined_over_windows():
  examples = [
      TaggedExample("0", ("a", "bx", "c", "d"), ("S-PER", "O", "S-LOC", "O")),
      TaggedExample("1", ("e",), None),
  ]
  # Two words, two words, one word; the slot behind it is no word.
  logits = one_hot([[1, 0], [2, 2], [0, 1]], scale=7)
  predictions = run(TAGGING, examples, logits, max_length=5)
  assert predictions.values == [["S-PER", "O", "S-LOC", "S-LOC"], ["O"]]
  assert predictions.records == [
      {
          "id": "0",
          "words": ["a", "bx", "c", "d"],
          "tags": ["S-PER", "O", "S-LOC", "S-LOC"],
          "probabilities": [0.8] * 4,
          "gold": ["S-PER", "O", "S-LOC", "O"],
      },
      {"id": "1", "words": ["e"], "tags": ["O"], "probabilities": [0.8]},
  ]
  found = Predictions(predictions.values[:1], predictions.records[:1])
  # Two spans of two, and one too many.
  scores = score(TAGGING, examples[:1], found, OPTIONS)
  assert scores == pytest.approx({"span_f1": 80.0})


def test_tags_are_answered_as_the_data_writes_them():
  labels = ("O", "B", "E", "S")
  task = task_of(
      "tagging",
      *labels,
      metrics=("span_f1", "accuracy"),
      marks_spans=True,
      tag_scheme="IOB2",
  )
  examples = [
      TaggedExample("0", ("a", "b", "c", "d"), ("B", "I", "O", "B")),
      TaggedExample("1", ("e", "f"), None, text="e f"),
  ]
  logits = np.eye(4)[np.asarray([[1, 2, 3, 3], [1, 0, 0, 0]])] * 50
  predictions = run(task, examples, logits)
  # Learnt and scored are the first; a B that nothing follows stays a span.
  assert predictions.values == [["B", "E", "S", "S"], ["B", "O"]]
  assert [r["tags"] for r in predictions.records] == [
      ["B", "I", "B", "B"],
      ["B", "O"],
  ]
  assert predictions.records[0]["gold"] == ["B", "I", "O", "B"]
  assert predictions.records[1]["text"] == "e f"
  found = Predictions(predictions.values[:1], predictions.records[:1])
  scores = score(task, examples[:1], found, OPTIONS)
  assert scores == pytest.approx({"span_f1": 80.0, "accuracy": 75.0})


def test_a_gold_tag_that_training_never_saw_is_a_mistake():
  task = task_of("tagging", "N", "V")
  examples = [TaggedExample("0", ("a", "b"), ("N", "UH"))]
  logits = np.asarray([[[2.0, 1.0], [3.0, 1.0]]], np.float32)
  predictions = run(task, examples, logits)
  assert score(task, examples, predictions, OPTIONS) == {"accuracy": 50.0}


# --- Questions ---

SQUAD, SQUADV1 = TASKS["squad"], TASKS["squadv1"]
WINDOWS = {"max_length": 9, "max_query_length": 2, "doc_stride": 3}


def question(context, *answers, **options):
  return QuestionExample("q", "who ?", context, answers, **options)


def beam_of(*windows, size=2):
  """A beam of the spans, (start, end, probability), and the null odds."""
  n = len(windows)
  starts = np.full((n, size), -50.0, np.float32)
  ends = np.full((n, size, size), -50.0, np.float32)
  start_index = np.zeros((n, size), np.int32)
  end_index = np.zeros((n, size, size), np.int32)
  odds = np.zeros(n, np.float32)
  for i, (spans, null) in enumerate(windows):
    odds[i] = null
    for j, (start, end, probability) in enumerate(spans):
      start_index[i, j], end_index[i, j, 0] = start, end
      starts[i, j] = ends[i, j, 0] = np.log(probability) / 2
  return SpanBeam(starts, start_index, ends, end_index, odds)


def test_the_best_span_over_all_windows():
  # Behind [CLS] who ? [SEP] come a b ##x c, and in the other window c d e f.
  example = question("A bx C d e f", Answer("d e", 7), Answer("d", 7))
  beam = beam_of(([(4, 4, 0.1), (0, 0, 0.9)], -1.0), ([(5, 6, 0.3)], -5.0))
  predictions = run(SQUAD, [example], beam, **WINDOWS)
  assert predictions.values == ["d e"]
  (record,) = predictions.records
  assert record.pop("probability") == pytest.approx(0.75)
  assert record == {
      "id": "q",
      "question": "who ?",
      "context": "A bx C d e f",
      "answer": "d e",
      "text": "d e",
      "start": 7,
      "end": 10,
      "null_odds": -5.0,  # The lowest of the windows.
      "gold": ["d e", "d"],
  }
  (answer,) = predictions.answers
  assert [best.text for best in answer.n_best] == ["d e", "A"]
  assert predictions.loss is None


@pytest.mark.parametrize(
    ("task", "null_odds", "threshold", "expected"),
    [
        (SQUAD, -3.0, -2.75, "a"),
        (SQUAD, -2.75, -2.75, "a"),  # It must be exceeded.
        (SQUAD, -2.5, -2.75, ""),
        (SQUAD, -2.5, 0.0, "a"),
        (SQUADV1, 9.0, -2.75, "a"),  # There is always an answer.
    ],
)
def test_no_answer_above_the_threshold(task, null_odds, threshold, expected):
  options = DecodeOptions(null_threshold=threshold)
  beam = beam_of(([(4, 4, 0.5)], null_odds))
  predictions = run(task, [question("a b")], beam, options=options)
  assert predictions.values == [expected]
  (record,) = predictions.records
  assert (record["answer"], record["text"]) == (expected, "a")
  assert record["null_odds"] == null_odds


def test_the_released_threshold_is_the_default():
  assert DecodeOptions() == DecodeOptions(20, 30, -2.75)


def test_limits_of_answers():
  beam = beam_of(([(4, 6, 0.5), (5, 5, 0.4)], 0.0))
  example = question("a b c")
  for options, n_best in (
      (DecodeOptions(), ["a b c", "b"]),
      (DecodeOptions(n_best_size=1), ["a b c"]),
      (DecodeOptions(max_answer_length=2), ["b"]),
  ):
    predictions = run(SQUADV1, [example], beam, options=options)
    assert [b.text for b in predictions.answers[0].n_best] == n_best


def test_questions_without_gold():
  example = question("a b", has_gold=False)
  predictions = run(SQUAD, [example], beam_of(([(5, 5, 0.5)], -9.0)))
  assert "gold" not in predictions.records[0]
  assert predictions.values == ["b"]


def test_ids_that_are_whole_numbers_stay_numbers(tmp_path):
  examples = [question("a b", Answer("b", 2))._replace(id=i) for i in (7, "x")]
  beam = beam_of(([(5, 5, 0.5)], -9.0), ([(5, 5, 0.5)], -9.0))
  for task, name in ((SQUAD, "exact"), (SQUADV1, "exact_match")):
    predictions = run(task, examples, beam)
    assert [record["id"] for record in predictions.records] == [7, "x"]
    assert score(task, examples, predictions, OPTIONS)[name] == 100.0
    write_outputs(
        epath.Path(tmp_path) / name, task, "dev", examples, predictions, OPTIONS
    )
    folder = tmp_path / name / "predictions"
    for kind in ("preds", "predictions", "nbest"):
      found = json.loads((folder / f"{task.name}_dev_{kind}.json").read_text())
      assert list(found) == ["7", "x"]  # JSON knows no other names.


def test_questions_are_scored_as_their_version_asks():
  examples = [
      question("a b", Answer("b", 2))._replace(id="0"),
      question("c d", is_impossible=True)._replace(id="1"),
  ]
  beam = beam_of(([(5, 5, 0.5)], -9.0), ([(4, 4, 0.5)], 2.0))
  predictions = run(SQUAD, examples, beam)
  scores = score(SQUAD, examples, predictions, OPTIONS)
  assert (scores["exact"], scores["f1"]) == (100.0, 100.0)
  assert (scores["HasAns_total"], scores["NoAns_total"]) == (1, 1)
  # With a threshold that nothing exceeds, the second is answered, and wrong.
  options = DecodeOptions(null_threshold=3.0)
  assert score(SQUAD, examples, predictions, options)["exact"] == 50.0
  first = run(SQUADV1, examples[:1], beam_of(([(4, 4, 0.5)], 9.0)))
  scores = score(SQUADV1, examples[:1], first, OPTIONS)
  assert scores == {"exact_match": 0.0, "f1": 0.0}


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_main_metric_of_every_task_is_scored(name):
  task = TASKS[name]
  if not task.dev_splits:
    return  # The diagnostic set is only predicted.
  if task.kind == "questions":
    examples = [question("b c", Answer("b", 0))]
    predictions = run(task, examples, beam_of(([(4, 4, 0.5)], -9.0)))
  elif task.kind == "tagging":
    examples = [TaggedExample("0", ("a", "b"), ("S-X", "O"))]
    predictions = Predictions([["S-X", "O"]], [])
  elif task.kind == "regression":
    examples = texts(0.0, 1.0)
    predictions = Predictions([0.0, 1.0], [])
  else:
    examples = texts(*task.labels)
    predictions = Predictions(list(task.labels), [], loss=0.0)
  scores = score(task, examples, predictions, OPTIONS)
  assert scores[task.metrics[0]] == pytest.approx(100.0)
  assert ("loss" in scores) == (task.kind == "classification")


def test_a_split_has_gold_if_every_example_has():
  assert has_gold(texts("red", "blue"))
  assert not has_gold(texts("red", None))
  assert has_gold(texts(0.0))
  assert has_gold(texts(()))  # No class holds: that is told.
  assert has_gold([TaggedExample("0", ("a",), ("N",))])
  assert not has_gold([TaggedExample("0", ("a",), None)])
  assert has_gold([question("a", is_impossible=True)])
  assert not has_gold([question("a", has_gold=False)])


# --- Windows ---

LONG = {"max_length": 4, "doc_stride": 2, "windows": "mean"}


def windowed(task, outputs, how, labels=(None, None)):
  examples = [
      TextExample("0", "a b a b a", None, labels[0]),  # Three windows.
      TextExample("1", "b", None, labels[1]),
  ]
  options = DecodeOptions(windows=how)
  return run(task, examples, np.asarray(outputs), options=options, **LONG)


def test_classes_are_pooled_over_windows():
  task = Task(
      "t", "classification", ("accuracy",), lambda *_: [], ("no", "yes")
  )
  shares = np.asarray([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
  for how, expected in (
      ("mean", [0.6, 0.4]),
      ("max", [0.9 / 1.6, 0.7 / 1.6]),
      ("first", [0.9, 0.1]),
  ):
    found = windowed(task, np.log(shares), how, labels=("yes", "no"))
    first, second = found.records
    assert list(first["probabilities"].values()) == pytest.approx(expected)
    assert found.values == ["no", "yes"] and first["windows"] == 3
    assert "windows" not in second and "cut_tokens" not in first
    assert second["probability"] == pytest.approx(0.8)
    nats = -np.log([expected[1], 0.2]).mean()
    assert found.loss == pytest.approx(nats)


def test_several_labels_and_ratings_are_pooled_over_windows():
  task = Task("t", "multilabel", ("micro_f1",), lambda *_: [], ("x", "y"))
  outputs = [[-2.0, 5.0], [3.0, -5.0], [-2.0, -5.0], [1.0, 1.0]]
  assert windowed(task, outputs, "max").values == [("x", "y"), ("x", "y")]
  assert windowed(task, outputs, "mean").values == [(), ("x", "y")]
  task = Task(
      "t", "regression", ("mse",), lambda *_: [], label_range=(0.0, 10.0)
  )
  outputs = [[0.1], [0.5], [0.3], [0.2]]
  assert windowed(task, outputs, "max").values == pytest.approx([5, 2])
  assert windowed(task, outputs, "mean").values == pytest.approx([3, 2])


def test_what_was_not_read_is_told():
  task = Task(
      "t", "classification", ("accuracy",), lambda *_: [], ("no", "yes")
  )
  examples = [TextExample("0", "a b a b a", None, None), *texts(None)]
  found = run(task, examples, np.zeros((2, 2)), max_length=4)
  assert found.records[0]["cut_tokens"] == 3
  assert "cut_tokens" not in found.records[1]
