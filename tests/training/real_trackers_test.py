"""Weights & Biases and MLflow themselves, offline; run where they are installed.

A run that was stopped and resumed is one run in each, with the very figures of
metrics.jsonl.
"""

import collections
import json
import struct

import pytest

from electra_jax.finetuning.finetune import finetune
from electra_jax.pretraining.pretrain import pretrain
from tests import helpers

pytestmark = pytest.mark.slow

SECRET = "s3cr3t-0123456789"


def expected(folder):
  """Metric name -> (step, value) of each record in metrics.jsonl."""
  found = collections.defaultdict(list)
  for record in helpers.read_records(folder / "metrics.jsonl"):
    for name, value in record.items():
      if name not in ("step", "group") and value is not None:
        found[f"{record['group']}/{name}"].append((record["step"], value))
  return found


def config_of(tracker, **overrides):
  return helpers.tiny_config(
      **{
          "trackers": tracker,
          "model.num_layers": 1,
          "train.num_steps": 6,
          "train.log_every_steps": 2,
          "train.eval_every_steps": 0,
          **overrides,
      }
  )


@pytest.fixture(params=["sqlite", "file"], name="mlflow")
def an_mlflow_place(request, tmp_path, monkeypatch):
  pytest.importorskip("mlflow")
  uri = f"{tmp_path}/mlflow"
  uri = f"sqlite:///{uri}.db" if request.param == "sqlite" else f"file:{uri}"
  monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
  monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
  monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trials")
  monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
  from mlflow import MlflowClient

  return MlflowClient()


def mlflow_runs(client):
  experiment = client.get_experiment_by_name("trials")
  return {
      run.info.run_name: run
      for run in client.search_runs([experiment.experiment_id])
  }


def test_mlflow_has_a_resumed_run_once(mlflow, tmp_path):
  workdir = tmp_path / "run"
  pretrain(config_of("mlflow"), workdir, quiet=True)
  longer = config_of("mlflow", **{"train.num_steps": 10})
  for _ in range(2):  # The second finds it finished.
    result = pretrain(longer, workdir, quiet=True)
  (run,) = mlflow_runs(mlflow).values()
  assert run.info.status == "FINISHED"
  assert run.data.params["train.batch_size"] == "8"
  assert run.data.tags["changed.train.num_steps"] == "10"
  for name, values in expected(workdir).items():
    history = mlflow.get_metric_history(run.info.run_id, name)
    assert [(m.step, m.value) for m in history] == values
  *_, last = mlflow.get_metric_history(run.info.run_id, "final/rtd_auc")
  assert (last.step, last.value) == (10, result.evaluation["rtd_auc"])
  assert SECRET not in str(run.to_dictionary())


def test_mlflow_has_seeds_under_their_summary(mlflow, tmp_path):
  config = helpers.finetune_config(
      "sst", **{"train.num_epochs": 1.0, "seeds": 2, "trackers": "mlflow"}
  )
  summary = finetune(config, tmp_path / "sst", quiet=True).summary
  runs = mlflow_runs(mlflow)
  assert set(runs) == {"sst", "sst/seed_0", "sst/seed_1"}
  parent = runs["sst"]
  for seed in range(2):
    child = runs[f"sst/seed_{seed}"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    name = "sst/dev/accuracy"
    score = child.data.metrics[f"final/{name}"]
    assert score == summary["seeds"][str(seed)][name]
  median = parent.data.metrics["final/median/sst/dev/accuracy"]
  assert median == summary["median"]["sst/dev/accuracy"]
  assert parent.info.status == "FINISHED"


@pytest.fixture(name="wandb")
def an_offline_wandb(monkeypatch):
  wandb = pytest.importorskip("wandb")
  for name, value in (
      ("WANDB_MODE", "offline"),
      ("WANDB_SILENT", "true"),
      ("MY_PASSWORD", SECRET),
  ):
    monkeypatch.setenv(name, value)
  yield wandb
  wandb.teardown()


def wandb_records(workdir):
  """What lies in the offline files, in their order."""
  from wandb.proto.wandb_internal_pb2 import Record

  for path in sorted(workdir.glob("wandb/offline-run-*/*.wandb")):
    content = path.read_bytes()
    assert content.startswith(b":W&B") and SECRET.encode() not in content
    for data in log_records(content):
      yield Record.FromString(data)


def log_records(content):
  """Records of LevelDB's log format behind a header of seven bytes.

  A block of 32 KiB holds parts of records: checksum, length and type, which is
  1 for a whole record, or 2, 3, 4 for its first, middle and last part.
  """
  place, parts = 7, []
  while place + 7 <= len(content):
    room = -place % 32768
    if 0 < room < 7:  # Too little for a header: padding.
      place += room
      continue
    length, kind = struct.unpack_from("<HB", content, place + 4)
    place += 7
    parts.append(content[place : place + length])
    place += length
    if kind in (1, 4):
      yield b"".join(parts)
      parts = []


def wandb_history(records):
  found = collections.defaultdict(list)
  for record in records:
    if record.WhichOneof("record_type") == "history":
      row = {
          item.key or item.nested_key[0]: json.loads(item.value_json)
          for item in record.history.item
      }
      for name, value in row.items():
        if "/" in name:
          found[name].append((row["step"], value))
  return found


def test_wandb_has_a_resumed_run_once(wandb, tmp_path):
  workdir = tmp_path / "run"
  pretrain(config_of("wandb"), workdir, quiet=True)
  longer = config_of("wandb", **{"train.num_steps": 10})
  for _ in range(2):
    pretrain(longer, workdir, quiet=True)
  records = list(wandb_records(workdir))
  runs = [r.run for r in records if r.WhichOneof("record_type") == "run"]
  own = helpers.read_json(workdir / "trackers/wandb.json")
  assert {run.run_id for run in runs} == {own["id"]}
  assert {(run.display_name, run.run_group) for run in runs} == {("run", "run")}
  assert wandb_history(records) == expected(workdir)
  # A part of the run for each command that took a step.
  assert len(list(workdir.glob("wandb/offline-run-*"))) == 2
