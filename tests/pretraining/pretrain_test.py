"""Whole runs on the shipped config: stop, resume, kill, break, two processes."""

import json
import pathlib
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax import config_files
from electra_jax.api import evaluate
from electra_jax.cli.display import render_detection
from electra_jax.errors import UserError
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.pretraining.pretrain import pretrain
from electra_jax.progress import Progress
from electra_jax.runs import workdir as workdirs
from electra_jax.store.feed import Feed
from electra_jax.store.reader import open_store
from electra_jax.training import loop
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState
from tests import helpers, processes

# Evaluations and checkpoints make a run slow enough to be hit in the middle.
STEPS = 16
NARROW = (
    "--config.model.hidden_size=64",
    "--config.model.embedding_size=32",
    "--config.model.num_layers=1",
    "--config.model.generator_width_ratio=0.5",
    f"--config.train.num_steps={STEPS}",
    "--config.train.checkpoint_every_steps=4",
    "--config.train.keep_checkpoints=2",
    "--config.train.eval_every_steps=5",
    "--config.train.log_every_steps=1",
)


def command(workdir, store, *more):
  return (
      *("pretrain", "--workdir", workdir),
      *("--config", helpers.ROOT / "configs/pretrain.py:small,runlocal"),
      *("--config.data.synthetic=False", f"--config.data.store={store}"),
      *NARROW,
      *more,
  )


@pytest.fixture(scope="module", name="finished")
def uninterrupted(tmp_path_factory, store) -> pathlib.Path:
  workdir = tmp_path_factory.mktemp("runs") / "finished"
  output = processes.run(*command(workdir, store))
  (workdir.parent / "output.txt").write_text(output)
  return workdir


def assert_same_end(workdir, finished):
  helpers.assert_equal_trees(
      helpers.read_params(workdir, STEPS), helpers.read_params(finished, STEPS)
  )


def test_a_killed_and_stopped_run_ends_in_the_same_bits(
    tmp_path, store, finished
):
  metrics = tmp_path / "metrics.jsonl"
  for step, number in ((5, signal.SIGKILL), (9, signal.SIGTERM)):
    process = processes.start(*command(tmp_path, store))
    output = processes.stop(process, metrics, step, number)
  assert "the same command resumes" in output
  processes.run(*command(tmp_path, store))
  assert_same_end(tmp_path, finished)
  steps = [r["step"] for r in helpers.read_metrics(tmp_path, "train")]
  assert steps == list(range(1, STEPS + 1))
  # The same rows with the same noise, each evaluation once.
  samples = (tmp_path / "samples.jsonl").read_bytes()
  assert samples == (finished / "samples.jsonl").read_bytes()
  assert samples.count(b"\n") == 4


def test_a_run_ends_with_its_report(finished):
  text = (finished / "report.html").read_text()
  assert f"finished at step {STEPS}" in text
  assert text.count('data-step="') == 4
  assert "Rows of the training split" in text
  assert (finished / "report/rtd_auc.svg").exists()


def test_a_finished_run_run_again_changes_nothing(tmp_path, finished):
  shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
  result = pretrain(workdirs.load(finished).config, tmp_path, quiet=True)
  assert result.step == STEPS
  assert_same_end(tmp_path, finished)


@pytest.mark.slow
def test_a_broken_checkpoint_is_named_and_the_one_before_used(
    tmp_path, store, finished
):
  shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
  for file in (tmp_path / f"checkpoints/{STEPS}/state").rglob("*"):
    if file.is_file() and file.parent.name == "d":
      file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  output = processes.run(*command(tmp_path, store))
  assert f"checkpoints/{STEPS} cannot be read" in output
  assert "steps 12 to" in output
  assert_same_end(tmp_path, finished)


@pytest.mark.slow
def test_two_processes_read_the_same_rows_and_find_the_same_losses(
    tmp_path, store, finished
):
  processes.run_together(*command(tmp_path, store))
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


def test_only_the_newest_checkpoints_are_kept(finished):
  kept = {p.name for p in (finished / "checkpoints").iterdir() if p.is_dir()}
  assert kept == {"12", "16"}


def test_evaluate_repeats_the_runs_last_figures(finished):
  figures = evaluate(finished)
  recorded = helpers.read_metrics(finished, "validation")[-1]
  for name in ("mlm_loss", "rtd_loss", "rtd_auc", "loss"):
    np.testing.assert_allclose(figures[name], recorded[name], rtol=1e-4)
  assert 0 < figures["unigram_entropy"] < np.log(256)


def test_a_log_names_stages_evaluations_and_a_judged_sentence(finished):
  told = (finished.parent / "output.txt").read_text()
  places = [
      told.index(words)
      for words in (
          "loading or initialising the weights …",
          "compiling the training step …",
          "step 5: masked-LM loss ",
          "a held-out sentence; behind a replaced token",
          "step 10: masked-LM loss ",
          "step 15: masked-LM loss ",
      )
  ]
  assert places == sorted(places)
  assert "0.5 is guessing, 1 is perfect" in told and "\x1b" not in told
  # At the end each figure is told once, with a word.
  assert f"step {STEPS}: masked-LM" not in told
  for name, value in helpers.read_metrics(finished, "validation")[-1].items():
    if name not in ("step", "group"):
      assert told.count(f"  {name} ") == 1, name
      assert f"{value:.4f}" in told
  assert told.count("  unigram_entropy ") == 1
  # The sentence is the first of those that the evaluation keeps.
  sample = helpers.read_records(finished / "samples.jsonl")[-1]
  row = sample["rows"][0]
  assert row["replaced"]
  for place, new in row["replaced"].items():
    new, old = (x.removeprefix("##") for x in (new, row["tokens"][int(place)]))
    assert f"{new}({old} {row['probabilities'][int(place)]:.0%})" in told


def test_predict(finished):
  predictor = PretrainedModel(finished)
  (detection,) = predictor.detect(["dra dre dri dro"])
  assert detection.tokens == detection.originals
  assert detection.tokens[0] == "[CLS]" and detection.tokens[-1] == "[SEP]"
  assert all(0 < p < 1 for p in detection.probabilities)
  (corrupted,) = predictor.detect_held_out(1)
  replaced = [
      a != b for a, b in zip(corrupted.tokens, corrupted.originals, strict=True)
  ]
  assert 0 < sum(replaced) <= 5
  assert "(" in render_detection(corrupted).plain
  first, second = predictor.fill("dra [MASK] dri [MASK]", top=3)
  assert len(first.tokens) == len(second.tokens) == 3
  assert first.probabilities == sorted(first.probabilities, reverse=True)
  with pytest.raises(UserError, match=r"no \[MASK\] to fill"):
    predictor.fill("dra")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, store):
  config = helpers.store_config(
      store,
      **{
          "optimizer.learning_rate": 1e30,
          "optimizer.warmup_steps": 0,
          "train.checkpoint_every_steps": 1,
      },
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
  feed = Feed(open_store(store).split("train"), seed=0, global_batch_size=8)

  @jax.jit
  def train_step(state, batch):
    return state._replace(step=state.step + 1), {"tokens": batch.input_ids}

  with pytest.raises(Exception, match=r"[Dd]isallowed host-to-device"):
    loop.run(
        TrainState(jnp.zeros((), jnp.int32), {}, ()),
        train_step,
        (feed.batch(step) for step in range(3)),  # Not put on the devices.
        lambda params: loop.Evaluation({}),
        Checkpointer(tmp_path),
        None,
        loop.LoopConfig(3, 1, 0, 0, 8),
        Progress(quiet=True),
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
  config = helpers.store_config(store, **overrides)
  with pytest.raises(UserError, match=message):
    pretrain(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def test_a_workdir_of_another_run_is_refused(finished, store):
  config = helpers.store_config(store, **{"model.hidden_size": 128})
  with pytest.raises(UserError, match=r"hidden_size = 64 and this"):
    pretrain(config, finished, quiet=True)


def test_the_store_is_read_as_prepared(store):
  assert open_store(store).manifest.length == 32
  config = config_files.load_config(
      str(helpers.ROOT / "configs/pretrain.py"), []
  )
  assert config.data.length == 128
