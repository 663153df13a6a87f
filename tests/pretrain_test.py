"""Whole runs on the shipped config: stop, resume, kill, break, two processes."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from electra_jax import cli, programs
from electra_jax.data.feed import Feed
from electra_jax.data.store import open_store
from electra_jax.errors import UserError
from electra_jax.evaluate import evaluate
from electra_jax.made_up import make_store
from electra_jax.predict import Predictor
from electra_jax.pretrain import pretrain
from electra_jax.printing import render
from electra_jax.training import loop, sharding
from electra_jax.training.checkpoint import Checkpointer
from tests import helpers

STEPS = 12
NARROW = (
    "--config.model.hidden_size=64",
    "--config.model.embedding_size=32",
    "--config.model.num_layers=1",
    f"--config.train.num_steps={STEPS}",
    "--config.train.checkpoint_every_steps=4",
    "--config.train.eval_every_steps=6",
    "--config.train.log_every_steps=1",
)


@pytest.fixture(scope="module", name="store")
def made_up_store(tmp_path_factory) -> str:
  path = tmp_path_factory.mktemp("data") / "store"
  make_store(path, length=32)
  return str(path)


@pytest.fixture(scope="module", name="finished")
def uninterrupted(tmp_path_factory, store) -> pathlib.Path:
  workdir = tmp_path_factory.mktemp("runs") / "finished"
  assert run_command(workdir, store).wait() == 0
  return workdir


def run_command(workdir, store, *more) -> subprocess.Popen:
  command = [
      *(sys.executable, "-m", "electra_jax", "pretrain", "--workdir", workdir),
      *("--config", helpers.ROOT / "configs/pretrain.py:small,runlocal"),
      *("--config.data.made_up=False", f"--config.data.store={store}"),
      *NARROW,
      *more,
  ]
  return subprocess.Popen(
      list(map(str, command)),
      cwd=helpers.ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
  )


def stop_after(workdir, process, step: int, number: int) -> int:
  """Sends a signal once metrics show the step; returns the exit status."""
  deadline = time.monotonic() + 120
  metrics = workdir / "metrics.jsonl"
  while process.poll() is None and time.monotonic() < deadline:
    if metrics.exists() and f'"step": {step},' in metrics.read_text():
      process.send_signal(number)
      break
    time.sleep(0.005)
  return process.wait(timeout=120)


def assert_equal_states(actual, expected) -> None:
  assert actual.keys() == expected.keys()
  for path, value in expected.items():
    np.testing.assert_array_equal(actual[path], value, err_msg=path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_ends_in_the_same_bits(tmp_path, store, finished, number):
  # Slow enough to be hit in the middle: it logs, evaluates and saves often.
  process = run_command(tmp_path, store)
  status = stop_after(tmp_path, process, 5, number)
  if number == signal.SIGTERM and status != 0:
    assert status == 128 + signal.SIGTERM
    assert "the same command resumes" in process.stdout.read()
  again = run_command(tmp_path, store)
  output = again.communicate()[0]
  assert again.returncode == 0, output
  assert_equal_states(
      helpers.read_params(tmp_path, STEPS), helpers.read_params(finished, STEPS)
  )
  steps = [r["step"] for r in helpers.read_metrics(tmp_path, "train")]
  assert sorted(set(steps)) == steps


def test_a_finished_run_run_again_changes_nothing(finished, store):
  before = helpers.read_params(finished, STEPS)
  process = run_command(finished, store)
  assert process.wait() == 0
  assert_equal_states(helpers.read_params(finished, STEPS), before)


def test_a_broken_checkpoint_is_named_and_the_one_before_used(
    tmp_path, store, finished
):
  process = run_command(tmp_path, store)
  assert process.wait() == 0
  for file in (tmp_path / f"checkpoints/{STEPS}/state").rglob("*"):
    if file.is_file() and file.parent.name == "d":
      file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  again = run_command(tmp_path, store)
  output = again.communicate()[0]
  assert again.returncode == 0, output
  assert f"checkpoints/{STEPS} cannot be read" in output
  assert "steps 8 to" in output
  assert_equal_states(
      helpers.read_params(tmp_path, STEPS), helpers.read_params(finished, STEPS)
  )


def test_two_processes_read_the_same_rows_and_find_the_same_losses(
    tmp_path, store, finished
):
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  processes = [
      run_command(
          tmp_path,
          store,
          f"--coordinator=localhost:{port}",
          "--num-processes=2",
          f"--process-id={i}",
      )
      for i in range(2)
  ]
  outputs = [p.communicate(timeout=300)[0] for p in processes]
  assert [p.returncode for p in processes] == [0, 0], outputs
  for group in ("train", "validation"):
    ours = helpers.read_metrics(tmp_path, group)
    expected = helpers.read_metrics(finished, group)
    assert len(ours) == len(expected) > 0
    for a, b in zip(ours, expected, strict=True):
      for name in ("mlm_loss", "rtd_loss", "loss", "replaced_share"):
        np.testing.assert_allclose(a[name], b[name], rtol=2e-4, err_msg=name)


def test_workdir_explains_the_run(finished):
  environment = json.loads((finished / "environment.json").read_text())
  assert environment["packages"]["jax"] == jax.__version__
  assert environment["devices"]
  assert json.loads((finished / "config.json").read_text())["seed"] == 0
  assert list((finished / "tensorboard").glob("events.*"))
  assert not list(finished.glob("*.tmp"))


def test_only_the_newest_checkpoints_are_kept(tmp_path, store):
  process = run_command(tmp_path, store, "--config.train.keep_checkpoints=2")
  assert process.wait() == 0
  kept = {p.name for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()}
  assert kept == {"8", "12"}


def test_evaluate_repeats_the_runs_last_figures(finished):
  figures = evaluate(finished)
  recorded = helpers.read_metrics(finished, "validation")[-1]
  for name in ("mlm_loss", "rtd_loss", "rtd_auc", "loss"):
    np.testing.assert_allclose(figures[name], recorded[name], rtol=1e-4)
  assert 0 < figures["unigram_entropy"] < np.log(256)


def test_predict(finished):
  predictor = Predictor(finished)
  (detection,) = predictor.detect(["dra dre dri dro"])
  assert detection.tokens == detection.originals
  assert detection.tokens[0] == "[CLS]" and detection.tokens[-1] == "[SEP]"
  assert all(0 < p < 1 for p in detection.probabilities)
  (corrupted,) = predictor.detect_held_out(1)
  replaced = [
      a != b for a, b in zip(corrupted.tokens, corrupted.originals, strict=True)
  ]
  assert 0 < sum(replaced) <= 5
  assert "(" in render(corrupted).plain
  first, second = predictor.fill("dra [MASK] dri [MASK]", top=3)
  assert len(first.tokens) == len(second.tokens) == 3
  assert first.probabilities == sorted(first.probabilities, reverse=True)
  with pytest.raises(UserError, match=r"no \[MASK\] to fill"):
    predictor.fill("dra")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, store):
  config = helpers.tiny_config(
      **{
          "data.made_up": False,
          "data.store": store,
          "optimizer.learning_rate": 1e30,
          "optimizer.warmup_steps": 0,
          "model.num_layers": 1,
          "train.checkpoint_every_steps": 1,
      }
  )
  with pytest.raises(UserError, match=r"the loss of step \d+ is (nan|inf)"):
    pretrain(config, tmp_path, quiet=True)
  saved = [p for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
  for path in saved:
    state = helpers.read_params(tmp_path, int(path.name))
    assert np.isfinite(
        state["opt_state/1/mu/embeddings/layer_norm/scale"]
    ).all()


def test_the_loop_admits_no_hidden_transfer(tmp_path, store):
  config = helpers.tiny_config(**{"model.num_layers": 1})
  parts = programs.build(
      config,
      programs.vocabulary_of(open_store(store).tokenizer()),
      sharding.make_mesh(devices=jax.devices()[:1]),
  )
  feed = Feed(open_store(store).split("train"), seed=0, global_batch_size=8)
  with pytest.raises(Exception, match=r"[Dd]isallowed host-to-device"):
    loop.run(
        parts.init(),
        parts.train_step,
        (feed.batch(step) for step in range(3)),  # Not put on the devices.
        lambda params: {},
        Checkpointer(tmp_path),
        None,
        loop.LoopConfig(3, 1, 0, 0, 8),
        quiet=True,
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.store": ""}, "data.store is empty; give the folder"),
        ({"data.store": "/nowhere"}, "/nowhere"),
        ({"data.length": 64}, "rows of 32 tokens and config.data.length is 64"),
        ({"train.batch_size": 12}, "12 does not divide over the 8"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, store, overrides, message):
  overrides = {"data.made_up": False, "data.store": store} | overrides
  with pytest.raises(UserError, match=message):
    pretrain(helpers.tiny_config(**overrides), tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def test_a_workdir_of_another_run_is_refused(finished, store):
  config = helpers.tiny_config(
      **{
          "data.made_up": False,
          "data.store": store,
          "model.num_layers": 1,
          "model.hidden_size": 128,
      }
  )
  with pytest.raises(UserError, match=r"hidden_size = 64 and this"):
    pretrain(config, finished, quiet=True)


def test_the_store_is_read_as_prepared(store):
  assert open_store(store).manifest.length == 32
  config = cli.load_config(str(helpers.ROOT / "configs/pretrain.py"), [])
  assert config.data.length == 128
