"""Files of predictions: what the servers want, whole or not at all."""

import json

import pytest

from electra_jax.tasks.prediction_files import (
    write_leaderboard,
    write_predictions,
    write_squad_files,
)
from electra_jax.tasks.span_answers import NBest, QuestionAnswer
from electra_jax.tasks.task import Task


def task(kind="classification", **options):
  return Task("t", kind, ("accuracy",), lambda source, split: [], **options)


def test_classes_are_written_by_name(tmp_path):
  path = tmp_path / "RTE.tsv"
  labels = ["not_entailment", "entailment"]
  write_leaderboard(path, ["0", "1"], labels, task())
  assert path.read_bytes() == (
      b"index\tprediction\n0\tnot_entailment\n1\tentailment\n"
  )


def test_ratings_stay_in_their_range(tmp_path):
  path = tmp_path / "STS-B.tsv"
  ratings = [-0.2, 0.0, 2.34567, 5.0, 5.4]
  similarity = task("regression", label_range=(0.0, 5.0))
  write_leaderboard(path, list("01234"), ratings, similarity)
  assert path.read_text() == (
      "index\tprediction\n0\t0.000\n1\t0.000\n2\t2.346\n3\t5.000\n4\t5.000\n"
  )


def test_ids_and_predictions_must_match(tmp_path):
  with pytest.raises(ValueError, match="shorter"):
    write_leaderboard(tmp_path / "a.tsv", ["0", "1"], ["x"], task())
  assert list(tmp_path.iterdir()) == []


def test_json_lines(tmp_path):
  path = tmp_path / "p.jsonl"
  records = [{"id": "0", "label": "Ä\n"}, {"id": "1", "label": None}]
  write_predictions(path, iter(records))
  assert path.read_text(encoding="utf-8") == (
      '{"id": "0", "label": "Ä\\n"}\n{"id": "1", "label": null}\n'
  )


def test_half_a_surrogate_pair_does_not_lose_the_file(tmp_path):
  write_predictions(tmp_path / "p.jsonl", [{"text": "x\ud800"}])
  assert json.loads((tmp_path / "p.jsonl").read_text()) == {"text": "x\ud800"}


def test_a_failure_leaves_the_old_file(tmp_path):
  def records():
    yield {"id": "new"}
    raise KeyboardInterrupt

  path = tmp_path / "p.jsonl"
  write_predictions(path, [{"id": "old"}])
  with pytest.raises(KeyboardInterrupt):
    write_predictions(path, records())
  assert path.read_text() == '{"id": "old"}\n'
  assert list(tmp_path.iterdir()) == [path]


ANSWERS = [
    QuestionAnswer(
        "q1",
        "Zürich",
        3,
        9,
        0.75,
        -2.5,
        [NBest("Zürich", 3, 9, 0.75, -0.5), NBest("x", 0, 1, 0.25, -1.5)],
    ),
    QuestionAnswer("q2", "b", 1, 2, 1.0, -2.75, [NBest("b", 1, 2, 1.0, -0.1)]),
    QuestionAnswer("q3", "", 0, 0, 0.0, -9.0, []),
]


def read(folder):
  return {
      path.name: json.loads(path.read_text(encoding="utf-8"))
      for path in folder.iterdir()
  }


def test_squad_files(tmp_path):
  write_squad_files(
      tmp_path, "squad_dev", ANSWERS, threshold=-2.75, may_lack_answer=True
  )
  assert read(tmp_path) == {
      "squad_dev_preds.json": {"q1": "Zürich", "q2": "b", "q3": ""},
      "squad_dev_predictions.json": {"q1": "", "q2": "b", "q3": ""},
      "squad_dev_null_odds.json": {"q1": -2.5, "q2": -2.75, "q3": -9.0},
      "squad_dev_nbest.json": {
          "q1": [
              {
                  "text": "Zürich",
                  "start": 3,
                  "end": 9,
                  "probability": 0.75,
                  "log_prob": -0.5,
              },
              ANSWERS[0].n_best[1]._asdict(),
          ],
          "q2": [ANSWERS[1].n_best[0]._asdict()],
          "q3": [],
      },
  }


def test_where_every_question_has_an_answer_none_is_withheld(tmp_path):
  write_squad_files(
      tmp_path, "v1", ANSWERS, threshold=-2.75, may_lack_answer=False
  )
  files = read(tmp_path)
  assert set(files) == {"v1_preds.json", "v1_predictions.json", "v1_nbest.json"}
  assert files["v1_predictions.json"] == files["v1_preds.json"]
  assert files["v1_preds.json"]["q1"] == "Zürich"
