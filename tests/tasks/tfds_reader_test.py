"""tensorflow-datasets: its own form of each task becomes ours."""

import sys
import types

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import (
    Answer,
    QuestionExample,
    TaggedExample,
    TextExample,
)
from electra_jax.tasks.registry import TASKS, find_task
from electra_jax.tasks.task import MissingSplitError, Source
from electra_jax.tasks.tfds_reader import DATASETS

TFDS = Source(use_tfds=True)


class DatasetNotFoundError(Exception):
  pass


def classes(*names):
  return types.SimpleNamespace(names=list(names))


@pytest.fixture
def datasets(monkeypatch):
  """Returns the dict out of which the stand-in serves: name -> features, splits.

  Records have the types that tensorflow-datasets gives: bytes and numpy.
  """
  served = {}

  class Builder:

    def __init__(self, name):
      if name not in served:
        raise DatasetNotFoundError(f"no {name}\nand much more")
      features, self._splits = served[name]
      self.info = types.SimpleNamespace(features=features, splits=self._splits)
      self._is_prepared = False

    def download_and_prepare(self):
      self._is_prepared = True

    def as_dataset(self, *, split, shuffle_files):
      assert self._is_prepared and not shuffle_files
      return self._splits[split]

  module = types.ModuleType("tensorflow_datasets")
  module.builder = Builder
  module.as_numpy = iter
  module.core = types.SimpleNamespace(DatasetNotFoundError=DatasetNotFoundError)
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
  return served


def serve_glue(datasets, name, labels, texts, splits):
  features = dict.fromkeys(texts) | {"label": labels, "idx": None}
  datasets[DATASETS[name]] = (features, splits)


def glue(index, label, **texts):
  record = {name: text.encode() for name, text in texts.items()}
  return {"idx": np.int32(index), "label": label, **record}


def test_one_sentence_in_the_order_of_the_file(datasets):
  records = [
      glue(10, np.int64(0), sentence="zehn"),
      glue(2, np.int64(1), sentence="schön"),
      glue(3, np.int64(-1), sentence="drei"),
  ]
  labels = classes("unacceptable", "acceptable")
  serve_glue(datasets, "cola", labels, ["sentence"], {"validation": records})
  assert TASKS["cola"].read(TFDS, "dev") == [
      TextExample("2", "schön", None, "1"),
      TextExample("3", "drei", None, None),
      TextExample("10", "zehn", None, "0"),
  ]


@pytest.mark.parametrize(
    ("name", "texts", "names", "expected"),
    [
        (
            "mrpc",
            ("sentence1", "sentence2"),
            ("not_equivalent", "equivalent"),
            "1",
        ),
        (
            "qqp",
            ("question1", "question2"),
            ("not_duplicate", "duplicate"),
            "1",
        ),
        (
            "mnli",
            ("premise", "hypothesis"),
            ("entailment", "neutral", "contradiction"),
            "neutral",
        ),
        (
            "qnli",
            ("question", "sentence"),
            ("entailment", "not_entailment"),
            "not_entailment",
        ),
        (
            "rte",
            ("sentence1", "sentence2"),
            ("entailment", "not_entailment"),
            "not_entailment",
        ),
        (
            "wnli",
            ("sentence1", "sentence2"),
            ("not_entailment", "entailment"),
            "1",
        ),
    ],
)
def test_pairs_and_the_order_of_their_labels(
    datasets, name, texts, names, expected
):
  record = glue(0, np.int64(1), **dict(zip(texts, ("A", "B"), strict=True)))
  serve_glue(datasets, name, classes(*names), texts, {"train": [record]})
  assert TASKS[name].read(TFDS, "train") == [
      TextExample("0", "A", "B", expected)
  ]


def test_ratings(datasets):
  texts = {"sentence1": "A", "sentence2": "B"}
  records = [
      glue(i, np.float32(v), **texts) for i, v in enumerate((3.8, 0, -1))
  ]
  serve_glue(datasets, "sts", None, texts, {"train": records})
  assert [e.label for e in TASKS["sts"].read(TFDS, "train")] == [3.8, 0.0, None]


def test_splits_of_mnli_and_the_diagnostic_set(datasets):
  texts = ("premise", "hypothesis")
  labels = classes("entailment", "neutral", "contradiction")

  def record(text):
    return glue(0, np.int64(-1), premise=text, hypothesis="B")

  names = ("validation_matched", "validation_mismatched", "test_matched")
  splits = {name: [record(name)] for name in names}
  serve_glue(datasets, "mnli", labels, texts, splits)
  serve_glue(datasets, "ax", labels, texts, {"test": [record("ax")]})
  read = TASKS["mnli"].read
  for split in ("dev_matched", "dev_mismatched", "test_matched"):
    (example,) = read(TFDS, split)
    assert example.text == split.replace("dev", "validation")
  assert read(TFDS, "diagnostic") == TASKS["ax"].read(TFDS, "test")
  assert read(TFDS, "diagnostic")[0].text == "ax"
  with pytest.raises(
      MissingSplitError, match=r"glue/mnli.*'train'.*test_matched"
  ):
    read(TFDS, "train")


def test_squad(datasets):
  record = {
      "id": b"56dd",
      "title": b"Normans",
      "context": "Zoë lived in France.".encode(),
      "question": b"Where?",
      "answers": {
          "text": np.array([b"France", b"in France"], object),
          "answer_start": np.array([13, 10], np.int32),
      },
  }
  datasets["squad/v1.1"] = ({}, {"validation": [record]})
  expected = QuestionExample(
      "56dd",
      "Where?",
      "Zoë lived in France.",
      (Answer("France", 13), Answer("in France", 10)),
  )
  assert TASKS["squadv1"].read(TFDS, "dev") == [expected]
  none = {"text": np.array([], object), "answer_start": np.array([], np.int32)}
  record = record | {"answers": none, "is_impossible": np.True_}
  datasets["squad/v2.0"] = ({}, {"train": [record]})
  assert TASKS["squad"].read(TFDS, "train") == [
      expected._replace(answers=(), is_impossible=True)
  ]
  with pytest.raises(MissingSplitError, match="'test'"):
    TASKS["squad"].read(TFDS, "test")


def test_mrqa(datasets):
  record = {
      "qid": b"da0e",
      "context": "Zoë lived in France.".encode(),
      "question": b"Where?",
      "answers": np.array([b"Gaul", b"France"], object),
      "detected_answers": {
          "text": np.array([b"france", b"Zo"], object),
          "char_spans": {"start": [[13], [0, 4]], "end": [[18], [2, 8]]},
      },
  }
  datasets["mrqa/news_qa"] = ({}, {"train": [record], "validation": [record]})
  (train,) = TASKS["newsqa"].read(TFDS, "train")
  assert train.id == "da0e"
  assert train.answers == (Answer("France", 13), Answer("Gaul", -1))
  (dev,) = TASKS["newsqa"].read(TFDS, "dev")
  assert dev.answers == (Answer("Gaul", -1), Answer("France", 13))


def test_conll_2003(datasets):
  def feature(*names):
    return types.SimpleNamespace(feature=classes(*names))

  features = {
      "ner": feature("O", "B-PER", "I-PER"),
      "chunks": feature("O", "B-NP", "I-NP"),
      "pos": feature("NNP", "VBD"),
      "tokens": None,
  }
  empty = {name: np.array([], np.int64) for name in features}
  record = {
      "tokens": np.array([b"Zo\xc3\xab", b"Lee", b"sang"], object),
      "ner": np.array([1, 2, 0]),
      "chunks": np.array([1, 2, 0]),
      "pos": np.array([0, 0, 1]),
  }
  datasets["conll2003"] = (features, {"dev": [empty, record]})
  for name, tags in (
      ("ner", ("B-PER", "I-PER", "O")),
      ("chunk", ("B-NP", "I-NP", "O")),
      ("pos", ("NNP", "NNP", "VBD")),
  ):
    assert TASKS[name].read(TFDS, "dev") == [
        TaggedExample("0", ("Zoë", "Lee", "sang"), tags)
    ]


def test_every_task_has_a_dataset():
  assert set(DATASETS) == set(TASKS) - {"reviews"}


def test_errors(datasets, monkeypatch):
  with pytest.raises(UserError) as error:
    TASKS["cola"].read(TFDS, "train")
  assert "cannot bring glue/cola: no glue/cola; check" in str(error.value)
  options = {"kind": "regression", "text": "a", "label": "b"}
  with pytest.raises(UserError, match="no data for the task 'table'"):
    find_task("table", options).read(TFDS, "train")
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  with pytest.raises(UserError, match=r"glue/cola.*electra-jax\[tfds\]"):
    TASKS["cola"].read(TFDS, "train")


def test_pairs_of_any_dataset_are_read(datasets):
  pairs = [{"en": b"a house", "de": "ein H\u00e4uschen".encode()}]
  datasets["wmt14_translate/de-en"] = ({}, {"train": pairs})
  options = {
      "text": "en",
      "target": "de",
      "dataset": "tfds:wmt14_translate/de-en",
  }
  task = find_task("translate", options)
  source = Source(options=options)
  (found,) = task.read(source, "train")
  assert found[:4] == ("0", "a house", None, "ein H\u00e4uschen")
  with pytest.raises(MissingSplitError, match="no split 'dev'"):
    task.read(source, "dev")
  options["target"] = "fr"
  task = find_task("translate", options)
  told = r"wmt14_translate/de-en train row 0 has no column 'fr'"
  with pytest.raises(UserError, match=told):
    task.read(Source(options=options), "train")
