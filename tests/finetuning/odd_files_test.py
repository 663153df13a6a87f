"""Fine-tuning on what real files hold: odd offsets, quotes, line ends."""

import json
import pathlib

import pytest

from electra_jax.finetuning import finetune
from tests import helpers


def write_odd_squad(folder: pathlib.Path) -> dict[str, str]:
  """SQuAD 2.0 files with what real ones hold; returns dev contexts by id."""
  folder.mkdir(parents=True)
  filler = "the dog saw the cat near the old house . " * 12
  contexts = [
      "In 1905 Zo\u00eb\u202fK\u00fcnstler (born 1880) moved to Paris.",
      filler + "Long after that Anna Miller came home . " + filler,
      "Nothing is told here.",
  ]

  def question(number, text, context, answers, **more):
    answers = [
        {"text": a, "answer_start": context.find(a) + shift}
        for a, shift in answers
    ]
    return {"id": number, "question": text, "answers": answers, **more}

  first, second, third = contexts
  questions = [
      (first, question("a", "Who moved ?", first, [("Zo\u00eb\u202fK\u00fcnstler", 0)])),
      (first, question("b", "When ?", first, [("1905", 0), ("In 1905", 0)])),
      (second, question("c", "Who came home ?", second, [("Anna Miller", 0)])),
      (third, question("d", "Who ?", third, [], is_impossible=True)),
      # An offset that does not hold the answer: left out of training.
      (first, question("e", "Where to ?", first, [("Paris", -7)])),
  ]  # fmt: skip
  for split in ("train", "dev"):
    paragraphs = [
        {"context": context, "qas": [question]}
        for context, question in questions
        if split == "train" or question["id"] != "e"
    ]
    data = {
        "version": "v2.0",
        "data": [{"title": "t", "paragraphs": paragraphs}],
    }
    text = json.dumps(data, ensure_ascii=split == "train")
    (folder / f"{split}.json").write_text(text, encoding="utf-8")
  return {question["id"]: context for context, question in questions}


@pytest.mark.slow
def test_odd_questions_are_learned_decoded_and_scored(
    tmp_path, synthetic_task, caplog
):
  contexts = write_odd_squad(tmp_path / "squad")
  overrides = {
      **synthetic_task,
      "data.folder": str(tmp_path),
      "train.num_epochs": 60.0,
      "train.batch_size": 8,
      "optimizer.learning_rate": 2e-3,
      "optimizer.layerwise_decay": 1.0,
      "model.hidden_dropout": 0.0,
      "model.attention_dropout": 0.0,
      "model.num_layers": 2,
  }
  workdir = tmp_path / "run"
  result = finetune.finetune(
      helpers.finetune_config("squad", **overrides), workdir
  )
  assert "1" in caplog.text and "answer" in caplog.text  # Of "e".
  scores = result.summary["median"]
  assert scores["squad/dev/total"] == 4
  assert scores["squad/dev/best_exact"] >= 75
  folder = workdir / "seed_0/predictions"
  records = {
      r["id"]: r for r in helpers.read_records(folder / "squad_dev.jsonl")
  }
  assert records.keys() == {"a", "b", "c", "d"}
  for name, record in records.items():
    context = contexts[name]
    assert record["text"] == context[record["start"] : record["end"]] != ""
  assert records["a"]["text"] == "Zo\u00eb\u202fK\u00fcnstler"
  assert records["c"]["text"] == "Anna Miller"  # Behind the first window.


@pytest.mark.slow
def test_odd_sentences_are_learned_and_scored(tmp_path, synthetic_task):
  (tmp_path / "CoLA").mkdir()
  good, bad = 'gj04\t1\t\tHe said "yes .', "gj04\t0\t*\tSaid he yes ."
  text = "\r\n".join([good, bad] * 8) + "\r\n"  # No header, one open quote.
  for split in ("train", "dev"):
    (tmp_path / f"CoLA/{split}.tsv").write_bytes(text.encode())
  (tmp_path / "CoLA/test.tsv").write_text('index\tsentence\n0\t"Yes" , he\n')
  overrides = {
      **synthetic_task,
      "data.folder": str(tmp_path),
      "train.num_epochs": 20.0,
  }
  workdir = tmp_path / "run"
  result = finetune.finetune(
      helpers.finetune_config("cola", **overrides), workdir, quiet=True
  )
  assert result.summary["median"]["cola/dev/mcc"] == pytest.approx(100)
  records = helpers.read_records(workdir / "seed_0/predictions/cola_dev.jsonl")
  assert records[0]["text"] == 'He said "yes .' and len(records) == 16
  file = workdir / "seed_0/leaderboard/CoLA.tsv"
  assert file.read_text().splitlines()[0] == "index\tprediction"
