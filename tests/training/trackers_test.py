"""What trackers get, once each, and that they never stop a training."""

import importlib.util
import threading

import pytest
from etils import epath

from electra_jax.errors import UserError
from electra_jax.runs.tracking import open_trackers
from electra_jax.training import trackers as module
from electra_jax.training.tracker import About
from electra_jax.training.trackers import (
    Trackers,
    tracker_names,
    without_secrets,
)
from electra_jax.training.writers import ScalarWriter
from tests import helpers


class Server:
  """Keeps what fake trackers are told."""

  def __init__(self):
    self.opened, self.records, self.ends = [], [], []
    self.fails_at = None

  def tracker(self, about, run_id, parent_id):
    if self.fails_at == "open":
      raise OSError("no way to https://me:hunter2@host/api")
    self.opened.append((about, run_id, parent_id))
    return _Tracker(self, run_id or f"id{len(self.opened)}")


class _Tracker:

  def __init__(self, server, run_id):
    self.server, self.id, self.parent_id = server, run_id, None

  def log(self, step, figures):
    if self.server.fails_at == step:
      raise ValueError(f"no step {step}")
    self.server.records.append((step, figures))

  def finish(self, scores, status):
    self.server.ends.append((scores, status))


@pytest.fixture(name="server")
def a_fake_tracker(monkeypatch):
  server = Server()
  monkeypatch.setitem(module.TRACKERS, "wandb", server.tracker)
  return server


def about(folder):
  return About("run", "group", "pretrain", epath.Path(folder), {"seed": 0})


def run(folder, steps, resume_step=0, finishes=True):
  with Trackers(["wandb"], about(folder), is_new=True) as trackers:
    writer = ScalarWriter(folder, resume_step, trackers)
    for step in steps:
      writer.write(step, "train", {"loss": 1 / step, "odd": float("nan")})
      if step % 4 == 0:
        writer.write(step, "validation", {"auc": step / 100})
    if finishes:
      trackers.finish({"auc": 0.5, "undefined": float("nan")})
    writer.close()


def told(folder):
  """The records of metrics.jsonl as a tracker gets them."""
  return [
      (
          record["step"],
          {
              f"{record['group']}/{name}": value
              for name, value in record.items()
              if name not in ("step", "group") and value is not None
          },
      )
      for record in helpers.read_records(folder / "metrics.jsonl")
  ]


def test_a_tracker_gets_what_the_workdir_has(server, tmp_path):
  run(tmp_path, range(1, 9))
  assert server.records == told(tmp_path)
  assert server.records[-1] == (8, {"validation/auc": 0.08})
  assert server.ends == [({"auc": 0.5}, "finished")]


def test_a_resumed_run_is_the_same_one_and_sends_nothing_twice(
    server, tmp_path
):
  run(tmp_path, range(1, 8), finishes=False)
  # Its checkpoint is of step 5: the steps behind it are done again.
  run(tmp_path, range(6, 11), resume_step=5)
  assert [run_id for _, run_id, _ in server.opened] == [None, "id1"]
  assert server.records == told(tmp_path)
  assert server.ends == [({}, "stopped"), ({"auc": 0.5}, "finished")]
  # A finished run that is called again has nothing to send.
  with Trackers(["wandb"], about(tmp_path), is_new=False) as trackers:
    ScalarWriter(tmp_path, 10, trackers)
    trackers.finish({"auc": 0.5})
  assert len(server.opened) == len(server.ends) == 2


def test_what_a_tracker_has_missed_is_sent_later(server, tmp_path, caplog):
  server.fails_at = 3
  run(tmp_path, range(1, 8))
  assert [step for step, _ in server.records] == [1, 2]
  (warning,) = caplog.messages
  assert "wandb gets no more figures of run" in warning
  assert "ValueError: no step 3" in warning and "goes on" in warning
  server.fails_at = None
  run(tmp_path, range(8, 10), resume_step=7)
  assert server.records == told(tmp_path)


def test_a_tracker_that_is_added_gets_all(server, tmp_path):
  writer = ScalarWriter(tmp_path, 0)
  for step in range(1, 4):
    writer.write(step, "train", {"loss": float(step)})
  run(tmp_path, range(4, 6), resume_step=3)
  assert server.records == told(tmp_path) and len(server.records) == 6


def test_failures_tell_no_secret_and_raise_nothing(server, tmp_path, caplog):
  server.fails_at = "open"
  run(tmp_path, range(1, 4))
  (warning,) = caplog.messages
  assert "https://***@host/api" in warning and "hunter2" not in warning
  assert len(told(tmp_path)) == 3


def test_a_failed_run_is_said_to_have_failed(server, tmp_path):
  trackers = Trackers(["wandb"], about(tmp_path), is_new=True)
  with pytest.raises(UserError), trackers:
    raise UserError("the loss is not finite")
  assert server.ends == [({}, "failed")]


def test_one_that_hangs_does_not_hold_up_the_end(
    server, tmp_path, caplog, monkeypatch
):
  monkeypatch.setattr(module, "_PATIENCE_SECS", 0.2)
  release = threading.Event()
  monkeypatch.setattr(_Tracker, "log", lambda *_: release.wait(60))
  run(tmp_path, [1])
  release.set()
  assert any("wandb has not taken all figures" in m for m in caplog.messages)


def test_secrets_are_blotted_out(monkeypatch):
  monkeypatch.setenv("SOME_API_KEY", "abcdef123456")
  assert without_secrets("gs://u:p@b/x abcdef123456") == "gs://***@b/x ***"


def test_all_missing_packages_are_named_at_once(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(
      UserError,
      match=r"needs wandb and mlflow; run pip install"
      r" 'electra-jax\[wandb,mlflow\]', or leave them out",
  ):
    tracker_names("wandb, mlflow")
  with pytest.raises(UserError, match="'tensorbord' is none of wandb, mlflow"):
    tracker_names("tensorbord")
  assert tracker_names("") == []


def test_runs_that_belong_together_have_one_group(
    server, tmp_path, monkeypatch
):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
  monkeypatch.setenv("WANDB_API_KEY", "abcdef123456")
  config = helpers.tiny_config(
      **{"trackers": "wandb", "data.store": "/x/abcdef123456"}
  )
  (tmp_path / "sweep").mkdir()
  (tmp_path / "sweep/sweep.json").write_text("{}")
  for folder in ("alone", "sweep/lr=1,seed=0", "sweep/lr=1,seed=1/pretrain"):
    with open_trackers(config, tmp_path / folder, "pretrain"):
      pass
  config = helpers.finetune_config("sst", trackers="wandb")
  with open_trackers(config, tmp_path / "sst", "finetune", seed=2):
    pass
  told = [about for about, _, _ in server.opened]
  assert [(x.group, x.name) for x in told] == [
      ("alone", "alone"),
      ("sweep", "lr=1,seed=0"),
      ("sweep", "lr=1,seed=1/pretrain"),
      ("sst", "sst/seed_2"),
  ]
  assert told[3].parent.kind == "summary" and told[3].parent.name == "sst"
  assert told[0].config["data.store"] == "/x/***"
  assert told[0].config["train.num_steps"] == 20
  assert "environment.device_kind" in told[0].config
  assert not any("command" in name for name in told[0].config)
