"""Texts longer than a row: all of them read, or told how much was not."""

import json
import random

import pytest

from electra_jax import api
from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from tests import helpers

WORDS = "the a small old red house river road tree cat saw was"
FILLER = WORDS.split()


@pytest.fixture(scope="module", name="folder")
def long_texts(tmp_path_factory):
  """Texts of 25 words whose label follows from the last one alone."""
  folder = tmp_path_factory.mktemp("long")
  rng = random.Random(0)
  for split, count in (("train", 64), ("dev", 32)):
    rows = []
    for i in range(count):
      words = rng.choices(FILLER, k=24)
      rows.append(f"{' '.join(words)} {('bad', 'good')[i % 2]},{i % 2}\n")
    (folder / f"{split}.csv").write_text("text,label\n" + "".join(rows))
  return folder


def config_of(synthetic_task, folder, **overrides):
  asked = {"data.folder": str(folder), "data.max_length": 10}
  asked |= {"data.doc_stride": 8}
  return helpers.finetune_config("table", **synthetic_task | asked | overrides)


@pytest.mark.slow
def test_the_end_of_long_texts_is_learned_in_windows(
    synthetic_task, folder, tmp_path, capsys
):
  config = config_of(
      synthetic_task, folder, **{"data.windows": "max", "train.num_epochs": 8.0}
  )
  summary = finetune.finetune(config, tmp_path / "run").summary
  assert summary["median"]["table/dev/accuracy"] >= 90
  out = capsys.readouterr().out
  assert "table: 64 texts of train in 256 windows, pooled by their max" in out
  assert "table: 32 texts of dev in 128 windows" in out
  assert "lose their end" not in out
  path = tmp_path / "run/seed_0/predictions/table_dev.jsonl"
  assert {r["windows"] for r in helpers.read_records(path)} == {4}


@pytest.mark.slow
def test_what_is_cut_is_told_everywhere(
    synthetic_task, folder, tmp_path, capsys, caplog
):
  run = tmp_path / "run"
  config = config_of(synthetic_task, folder, **{"train.num_epochs": 0.25})
  finetune.finetune(config, run)
  out = capsys.readouterr().out
  told = "texts are longer than config.data.max_length=10 tokens and lose"
  for split, count in (("train", 64), ("dev", 32)):
    assert f"table: in {split} {count:,} of {count:,} {told}" in out
  assert "--config.data.windows=mean" in out
  assert "labels       train: 0 32 (50.0%), 1 32 (50.0%)" in out
  scores = api.evaluate(run)
  assert f"table: 32 of 32 {told}" in caplog.text
  assert json.loads(json.dumps(scores)).keys() == scores.keys()
  caplog.clear()
  with pytest.raises(SystemExit):
    text = " ".join(FILLER)
    cli.main(["predict", "--workdir", str(run), "--json", "the cat", "", text])
  first, second = map(json.loads, capsys.readouterr().out.splitlines())
  assert (second["index"], second["cut_tokens"]) == (2, len(FILLER) - 8)
  assert "cut_tokens" not in first
  assert f"table: 1 of 2 {told}" in caplog.text


def test_windows_that_are_none(synthetic_task, folder):
  with pytest.raises(UserError, match="'all'; it must be 'first', 'max' or"):
    config_of(synthetic_task, folder, **{"data.windows": "all"})
