"""Files of a seed: which are written for which task and split."""

import json
import pathlib

import numpy as np
import pytest
from etils import epath

from electra_jax.finetuning.task_data import TaskData, read_task
from electra_jax.models.task_heads import SpanBeam
from electra_jax.tasks.examples import QuestionExample
from electra_jax.tasks.features import FeatureOptions, make_features
from electra_jax.tasks.prediction_files import write_outputs
from electra_jax.tasks.predictions import DecodeOptions, decode
from electra_jax.tasks.registry import find_task
from electra_jax.tasks.synthetic import write_synthetic_task
from electra_jax.tasks.task import Source
from electra_jax.text.tokenizer import Tokenizer

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c who ?"
TOKENIZER = Tokenizer("wordpiece", PIECES.replace(" ", "\n").encode())
OPTIONS = DecodeOptions()


def synthetic(name, folder):
  write_synthetic_task(name, folder, num_train=6, num_dev=4, num_test=3)
  return read_task(find_task(name), Source(folder))


def write(folder, data, split, make_outputs):
  """Decodes made-up outputs and returns the files that were written."""
  examples = data.splits[split]
  features = make_features(data.task, examples, TOKENIZER, FeatureOptions())
  outputs = make_outputs(len(features))
  answers = decode(data.task, examples, features, outputs, OPTIONS)
  write_outputs(
      epath.Path(folder), data.task, split, examples, answers, OPTIONS
  )
  paths = filter(pathlib.Path.is_file, folder.rglob("*"))
  return {str(path.relative_to(folder)): path.read_text() for path in paths}


def logits(num_classes):
  return lambda n: np.eye(num_classes, dtype=np.float32)[
      np.arange(n) % num_classes
  ]


def test_predictions_of_every_split_and_a_file_for_the_server(tmp_path):
  data = synthetic("mnli", tmp_path / "data")
  files = write(tmp_path / "out", data, "dev_matched", logits(3))
  assert set(files) == {"predictions/mnli_dev_matched.jsonl"}
  records = [json.loads(r) for r in files.popitem()[1].splitlines()]
  examples = data.splits["dev_matched"]
  assert [r["gold"] for r in records] == [e.label for e in examples]
  labels = list(data.task.labels)
  assert [r["label"] for r in records] == [*labels, labels[0]]

  for split, name in (
      ("test_matched", "MNLI-m.tsv"),
      ("test_mismatched", "MNLI-mm.tsv"),
      ("diagnostic", "AX.tsv"),
  ):
    folder = tmp_path / split
    files = write(folder, data, split, logits(3))
    assert set(files) == {
        f"predictions/mnli_{split}.jsonl", f"leaderboard/{name}",
    }  # fmt: skip
    assert files[f"leaderboard/{name}"] == (
        "index\tprediction\n0\tcontradiction\n1\tentailment\n2\tneutral\n"
    )


def test_ratings_reach_the_server_on_its_scale(tmp_path):
  data = synthetic("sts", tmp_path / "data")
  outputs = np.asarray([[0.5], [-0.1], [1.2]], np.float32)
  files = write(tmp_path / "out", data, "test", lambda n: outputs)
  assert files["leaderboard/STS-B.tsv"] == (
      "index\tprediction\n0\t2.500\n1\t0.000\n2\t5.000\n"
  )
  # People see what the model said.
  record = json.loads(files["predictions/sts_test.jsonl"].splitlines()[2])
  assert record["rating"] == pytest.approx(6.0)


def test_tags_have_one_file(tmp_path):
  data = synthetic("pos", tmp_path / "data")
  num_words = max(len(e.words) for e in data.splits["test"])
  shape = (num_words, len(data.task.labels))
  files = write(
      tmp_path / "out",
      data,
      "test",
      lambda n: np.zeros((n, *shape), np.float32),
  )
  (name,) = files
  assert name == "predictions/pos_test.jsonl"
  for line, example in zip(
      files[name].splitlines(), data.splits["test"], strict=True
  ):
    assert len(json.loads(line)["tags"]) == len(example.words)


@pytest.mark.parametrize("name", ["squad", "squadv1"])
def test_answers_have_the_files_of_the_scripts(tmp_path, name):
  task = find_task(name)
  question = QuestionExample("q", "who ?", "a b", (), has_gold=False)
  beam = SpanBeam(
      np.zeros((1, 1), np.float32),
      np.full((1, 1), 4, np.int32),
      np.zeros((1, 1, 1), np.float32),
      np.full((1, 1, 1), 4, np.int32),
      np.asarray([-1.5], np.float32),
  )
  data = TaskData(task, {"test": [question]})
  files = write(tmp_path, data, "test", lambda n: beam)
  place = f"predictions/{name}_test"
  kinds = ["preds", "predictions", "nbest"]
  if name == "squad":
    kinds.append("null_odds")
    odds = json.loads(files[f"{place}_null_odds.json"])
    assert odds == {"q": -1.5}
  assert set(files) == {f"{place}.jsonl", *(f"{place}_{k}.json" for k in kinds)}
  assert json.loads(files[f"{place}_preds.json"]) == {"q": "a"}
  # The odds exceed the threshold: SQuAD 2.0's final word is "no answer".
  final = "" if name == "squad" else "a"
  assert json.loads(files[f"{place}_predictions.json"]) == {"q": final}
  assert json.loads(files[f"{place}.jsonl"])["answer"] == final


def test_files_are_written_anew(tmp_path):
  data = synthetic("rte", tmp_path / "data")
  first = write(tmp_path / "out", data, "test", logits(2))
  again = write(
      tmp_path / "out", data, "test", lambda n: np.eye(3, 2, -1, np.float32)
  )
  assert first.keys() == again.keys()
  assert first["leaderboard/RTE.tsv"] != again["leaderboard/RTE.tsv"]
