"""Fine-tuning as a command: stopped and resumed, and as two processes."""

import pathlib
import signal

import pytest

from electra_jax.errors import UserError
from electra_jax.finetuning.model import FinetunedModel
from tests import helpers, processes

STEPS = 32
METRICS = "seed_0/metrics.jsonl"


def command(workdir):
  return (
      *("finetune", "--workdir", workdir),
      *("--config", helpers.ROOT / "configs/finetune.py:sst,runlocal"),
      "--config.model.num_layers=1",
      "--config.train.num_epochs=8",
      "--config.train.log_every_steps=1",
  )


@pytest.fixture(scope="module", name="whole")
def uninterrupted(tmp_path_factory) -> pathlib.Path:
  workdir = tmp_path_factory.mktemp("finetune") / "whole"
  processes.run(*command(workdir))
  return workdir


@pytest.mark.slow
def test_a_stopped_run_ends_in_the_same_bits(tmp_path, whole):
  process = processes.start(*command(tmp_path))
  output = processes.stop(process, tmp_path / METRICS, 4, signal.SIGTERM)
  assert "the same command resumes" in output
  assert not (tmp_path / "seed_0/scores.json").exists()
  with pytest.raises(UserError, match="run the same finetune command again"):
    FinetunedModel(tmp_path)
  processes.run(*command(tmp_path))
  helpers.assert_equal_trees(
      helpers.read_params(tmp_path / "seed_0", STEPS),
      helpers.read_params(whole / "seed_0", STEPS),
  )
  scores = (tmp_path / "scores.json").read_text()
  assert scores == (whole / "scores.json").read_text()


@pytest.mark.slow
def test_two_processes_find_the_same_losses_and_scores(tmp_path, whole):
  processes.run_together(*command(tmp_path))
  ours = helpers.read_records(tmp_path / METRICS)
  expected = helpers.read_records(whole / METRICS)
  losses, others = (
      [record["loss"] for record in records if record["group"] == "train"]
      for records in (ours, expected)
  )
  assert len(losses) == STEPS
  assert losses == pytest.approx(others, rel=1e-3)
  scores, expected = (
      helpers.read_json(folder / "scores.json")["median"]
      for folder in (tmp_path, whole)
  )
  assert scores == pytest.approx(expected, rel=1e-2)
