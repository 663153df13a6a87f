"""Whole fine-tunings on the shipped config: every kind, its files, answers."""

import functools
import json

import numpy as np
import pytest

from electra_jax.api import evaluate
from electra_jax.cli import main as cli
from electra_jax.cli.display import print_answers, render_prediction
from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from tests import helpers

EPOCHS = {"sst": 12.0, "sts": 4.0, "ner": 4.0, "squad": 4.0, "mnli+pos": 3.0}


@pytest.fixture(scope="module", name="trained")
def runs_of_every_kind(tmp_path_factory):
  """The workdir and scores of a finished run, by task."""
  root = tmp_path_factory.mktemp("finetune")

  @functools.cache
  def train(task):
    workdir = root / task.replace("+", "_")
    config = helpers.finetune_config(task, **{"train.num_epochs": EPOCHS[task]})
    return workdir, finetune.finetune(config, workdir, quiet=True).summary

  return train


@pytest.mark.parametrize(
    ("task", "score", "least"),
    [
        ("sst", "sst/dev/accuracy", 90),
        ("ner", "ner/dev/span_f1", 80),
        helpers.slow("sts", "sts/dev/spearman", 30),
        helpers.slow("squad", "squad/dev/best_f1", 60),
        helpers.slow("mnli+pos", "pos/dev/accuracy", 80),
    ],
)
def test_every_kind_learns(trained, task, score, least):
  workdir, summary = trained(task)
  assert summary["median"][score] >= least
  assert json.loads((workdir / "scores.json").read_text()) == summary
  # The saved model, read anew, gives the recorded scores.
  again = evaluate(workdir)
  assert again == pytest.approx(summary["seeds"]["0"], abs=1e-4)


@pytest.mark.slow
def test_glue_files_are_as_the_server_asks(trained):
  workdir, _ = trained("sts")
  lines = (workdir / "seed_0/leaderboard/STS-B.tsv").read_text().splitlines()
  assert lines[0] == "index\tprediction"
  assert [line.split("\t")[0] for line in lines[1:]] == list("01234567")
  assert all(0 <= float(line.split("\t")[1]) <= 5 for line in lines[1:])
  workdir, _ = trained("mnli+pos")
  names = {path.name for path in (workdir / "seed_0/leaderboard").iterdir()}
  assert names == {"MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"}
  first = (workdir / "seed_0/leaderboard/AX.tsv").read_text().splitlines()[1]
  assert first.split("\t")[1] in ("contradiction", "entailment", "neutral")


@pytest.mark.slow
def test_answers_are_slices_of_their_contexts(trained):
  workdir, _ = trained("squad")
  data = json.loads((workdir / "synthetic_task/squad/dev.json").read_text())
  contexts = {
      question["id"]: paragraph["context"]
      for article in data["data"]
      for paragraph in article["paragraphs"]
      for question in paragraph["qas"]
  }
  folder = workdir / "seed_0/predictions"
  records = helpers.read_records(folder / "squad_dev.jsonl")
  assert len(records) == len(contexts)
  for record in records:
    context = contexts[record["id"]]
    assert record["text"] == context[record["start"] : record["end"]] != ""
  assert any(record["answer"] == record["text"] for record in records)
  best = json.loads((folder / "squad_dev_preds.json").read_text())
  odds = json.loads((folder / "squad_dev_null_odds.json").read_text())
  assert set(best) == set(odds) == set(contexts)


def test_predictions_tell_text_probability_and_gold(trained):
  workdir, summary = trained("sst")
  records = helpers.read_records(workdir / "seed_0/predictions/sst_dev.jsonl")
  right = np.mean([record["label"] == record["gold"] for record in records])
  assert 100 * right == pytest.approx(summary["median"]["sst/dev/accuracy"])
  for record in records:
    assert sum(record["probabilities"].values()) == pytest.approx(1)
    assert record["probability"] == max(record["probabilities"].values())


def test_predictions_of_a_finished_model_can_be_written_later(
    trained, tmp_path
):
  workdir, _ = trained("sst")
  assert evaluate(workdir, split="test", output=tmp_path) == {}
  assert len(helpers.read_records(tmp_path / "predictions/sst_test.jsonl")) == 8
  assert (tmp_path / "leaderboard/SST-2.tsv").exists()


def test_a_user_is_answered(trained):
  model = FinetunedModel(trained("sst")[0])
  task = model.task()
  examples = parse_inputs(task, ["a fine film", '{"id": 9, "text": "dull"}'])
  first, second = model.predict(examples).records
  assert first["text"] == "a fine film" and second["id"] == "9"
  assert first["label"] in task.labels
  assert first["label"] in render_prediction(task, first).plain

  model = FinetunedModel(trained("ner")[0])
  examples = parse_inputs(model.task(), ["Ann's cat, in Paris."])
  assert examples[0].words == ("Ann's", "cat", ",", "in", "Paris", ".")
  (record,) = model.predict(examples).records
  assert len(record["tags"]) == 6
  assert "Paris/" in render_prediction(model.task(), record).plain


@pytest.mark.slow
def test_a_question_of_a_user_is_answered(trained):
  model = FinetunedModel(trained("squad")[0])
  lines = ["the fox saw the cat"]
  examples = parse_inputs(model.task(), lines, question="who was seen ?")
  (record,) = model.predict(examples).records
  assert record["text"] == lines[0][record["start"] : record["end"]]
  assert "who was seen ?" in render_prediction(model.task(), record).plain


@pytest.mark.slow
def test_a_long_context_is_answered_over_its_windows(trained):
  model = FinetunedModel(trained("squad")[0])
  # Nobody is named before the last window.
  filler = ". " * 150
  context = f"{filler}the fox saw the cat ."
  examples = parse_inputs(model.task(), [context], question="who was seen ?")
  (record,) = model.predict(examples).records
  assert record["text"] == context[record["start"] : record["end"]] != ""
  assert record["start"] >= len(filler)


@pytest.mark.slow
def test_answers_are_printed(trained, capsys):
  workdir, _ = trained("mnli+pos")
  print_answers(workdir, ["one text\tanother"], task="mnli", as_json=True)
  record = json.loads(capsys.readouterr().out)
  assert record["other_text"] == "another"
  with pytest.raises(SystemExit) as stop:
    cli.main(["predict", "--workdir", str(workdir), "--task", "pos", "a cat"])
  assert stop.value.code == 0
  assert "cat/" in capsys.readouterr().out


def test_what_belongs_to_the_other_verb_is_refused(trained, tiny_run):
  workdir, _ = trained("sst")
  with pytest.raises(UserError, match="has no split 'validation'; choose"):
    evaluate(workdir, split="validation")
  with pytest.raises(UserError, match="--max-rows 5 has no meaning for a fine"):
    evaluate(workdir, max_rows=5)
  with pytest.raises(
      UserError, match="--task sst has no meaning for a pretrain"
  ):
    evaluate(tiny_run, task="sst")
  with pytest.raises(UserError, match="holds a pretrain run; fine-tune it"):
    FinetunedModel(tiny_run)
  with pytest.raises(UserError, match="does not tell the answers"):
    evaluate(workdir, split="test")
  with pytest.raises(UserError, match="'rte' is not one that this model"):
    FinetunedModel(workdir).task("rte")
