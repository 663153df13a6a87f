"""Several seeds: summed up, continued, and only the best model kept."""

import numpy as np
import pytest

from electra_jax.api import evaluate
from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from electra_jax.finetuning.model import FinetunedModel
from tests import helpers

THREE = {"seeds": 3, "train.keep_all_models": False}


@pytest.fixture(scope="module", name="one_seed")
def a_finished_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("seeds")
  config = helpers.finetune_config("table")
  summary = finetune.finetune(config, workdir, quiet=True).summary
  return workdir, summary


def test_seeds_are_summed_up_and_only_the_best_model_kept(tmp_path, capsys):
  config = helpers.finetune_config("table", **THREE)
  result = finetune.finetune(config, tmp_path)
  shown = capsys.readouterr().out
  assert "(best)" in shown and "standard deviation" in shown
  summary = result.summary
  values = [s["table/dev/accuracy"] for s in summary["seeds"].values()]
  assert summary["median"]["table/dev/accuracy"] == np.median(values)
  best = summary["best_seed"]
  assert values[best] == max(values)
  kept = [p.parent.name for p in tmp_path.glob("seed_*/checkpoints")]
  assert kept == [f"seed_{best}"]
  with pytest.raises(UserError, match=f"no model of seed {(best + 1) % 3}"):
    evaluate(tmp_path, seed=(best + 1) % 3)


@pytest.mark.slow
def test_a_finished_seed_is_not_run_again_and_more_can_follow(one_seed):
  workdir, summary = one_seed
  scores = workdir / "seed_0/scores.json"
  before = scores.stat().st_mtime_ns
  config = helpers.finetune_config("table", seeds=2)
  result = finetune.finetune(config, workdir, quiet=True)
  assert scores.stat().st_mtime_ns == before
  assert set(result.summary["seeds"]) == {"0", "1"}
  assert result.summary["seeds"]["0"] == summary["seeds"]["0"]


@pytest.mark.slow
def test_fewer_seeds_leave_the_best_one_best(tmp_path):
  config = helpers.finetune_config("table", **THREE)
  summary = finetune.finetune(config, tmp_path, quiet=True).summary
  fewer = helpers.finetune_config("table", seeds=1)
  again = finetune.finetune(fewer, tmp_path, quiet=True).summary
  assert again == summary
  assert FinetunedModel(tmp_path).tasks.keys() == {"table"}


def test_a_workdir_of_another_run_is_refused(one_seed, tiny_run):
  workdir, _ = one_seed
  config = helpers.finetune_config("table", **{"optimizer.learning_rate": 0.5})
  with pytest.raises(UserError, match=r"learning_rate = 0.001 and this"):
    finetune.finetune(config, workdir, quiet=True)
  table = workdir / "synthetic_task/table/train.csv"
  *_, last = table.read_text().splitlines()
  table.write_text(f"{table.read_text()}{last}\n")
  with pytest.raises(UserError, match="with another examples digest"):
    finetune.finetune(helpers.finetune_config("table"), workdir, quiet=True)
  with pytest.raises(UserError, match="holds a run of another verb"):
    finetune.finetune(helpers.finetune_config("table"), tiny_run, quiet=True)
