"""Fine-tuning on small files of real kinds: what is answered is what was told."""

import pathlib
import shutil

import pytest

from electra_jax.finetuning import finetune
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.tasks.question_files import read_squad
from electra_jax.tasks.task import Source
from tests import helpers

CASES = pathlib.Path(__file__).parents[1] / "cases"
QUICK = {
    "random_init": True,
    "data.synthetic": False,
    "train.batch_size": 8,
    "optimizer.learning_rate": 2e-3,
    "optimizer.layerwise_decay": 1.0,
    "model.hidden_dropout": 0.0,
    "model.attention_dropout": 0.0,
}


def run(task, folder, workdir, **overrides):
  config = helpers.finetune_config(
      task, **QUICK, **{"data.folder": str(folder)}, **overrides
  )
  finetune.finetune(config, workdir, quiet=True)
  return workdir


@pytest.mark.slow
def test_the_occurrence_that_the_data_names_is_answered(tmp_path):
  case = CASES / "qa-repeated-answer"
  (tmp_path / "squad").mkdir()
  for split in ("train", "dev"):
    shutil.copy(case / "squad/train.json", tmp_path / f"squad/{split}.json")
  workdir = run(
      "squad",
      tmp_path,
      tmp_path / "run",
      **{
          "data.tokenizer": str(case / "vocab.txt"),
          "train.num_epochs": 100.0,
      },
  )
  records = helpers.read_records(workdir / "seed_0/predictions/squad_dev.jsonl")
  assert [record["start"] for record in records] == [19, 6, 22]
  model = FinetunedModel(workdir)
  examples = read_squad("squad", Source(case), "train")
  answers = model.predict(examples).records
  assert [answer["start"] for answer in answers] == [19, 6, 22]
  assert answers[0]["context"] == examples[0].context


@pytest.mark.slow
def test_tags_without_type_and_a_test_split_without_tags(tmp_path, golden):
  tokenizer = {
      "data.tokenizer": str(golden / "vocab.txt"),
      "train.num_epochs": 20.0,
  }
  (tmp_path / "ner").mkdir()
  for path in (CASES / "ner-tags-without-type/ner").iterdir():
    shutil.copy(path, tmp_path / "ner")
  words = ["the", "young", "cook", "sees", "the", "old", "river", "."]
  (tmp_path / "ner/test.tsv").write_text("\n".join(words))
  workdir = run("ner", tmp_path, tmp_path / "run", **tokenizer)
  predictions = workdir / "seed_0/predictions"
  expected = {"words": words, "tags": list("OOBOOBIO")}
  (test,) = helpers.read_records(predictions / "ner_test.jsonl")
  assert {key: test[key] for key in expected} == expected
  assert "gold" not in test
  dev = helpers.read_records(predictions / "ner_dev.jsonl")
  assert all(record["gold"] == record["tags"] for record in dev)
  model = FinetunedModel(workdir)
  assert model.tasks["ner"].tag_scheme == "IOB2"
  typed = parse_inputs(model.task(), [" ".join(words)])
  (record,) = model.predict(typed).records
  assert record["tags"] == list("OOBOOBIO")
  assert record["text"] == " ".join(words)
