"""One run by 1, 2 and 4 processes: same rows, same losses, one checkpoint."""

import pathlib
import shutil
import signal

import numpy as np
import pytest

from tests import helpers, processes

STEPS, SAVED, KILLED = 24, 4, 6
CONFIG = (
    "--config.data.synthetic=False",
    "--config.model.hidden_size=64",
    "--config.model.embedding_size=32",
    "--config.model.num_layers=1",
    "--config.model.generator_width_ratio=0.5",
    f"--config.train.num_steps={STEPS}",
    f"--config.train.checkpoint_every_steps={SAVED}",
    "--config.train.eval_every_steps=5",
    "--config.train.log_every_steps=1",
)
LOSSES = ("mlm_loss", "rtd_loss", "loss", "replaced_share")

pytestmark = pytest.mark.slow


def command(workdir, store, *more):
  return (
      *("pretrain", "--workdir", workdir),
      *("--config", helpers.ROOT / "configs/pretrain.py:small,runlocal"),
      f"--config.data.store={store}",
      *CONFIG,
      *more,
  )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, store) -> pathlib.Path:
  workdir = tmp_path_factory.mktemp("undisturbed")
  processes.run(*command(workdir, store))
  return workdir


@pytest.fixture(scope="module")
def killed(tmp_path_factory, store) -> pathlib.Path:
  """A workdir that four processes wrote, parameters split, until killed."""
  workdir = tmp_path_factory.mktemp("killed")
  split = ("--config.mesh.fsdp=2",)
  four = processes.start_together(*command(workdir, store, *split), count=4)
  try:
    processes.wait_until((workdir / "checkpoints" / str(SAVED)).is_dir)
    metrics = workdir / "metrics.jsonl"
    processes.stop(four[0], metrics, KILLED, signal.SIGKILL)
  finally:
    for process in four:
      process.kill()
      process.communicate()
  assert SAVED <= last_saved(workdir) < STEPS
  return workdir


def test_four_processes_found_the_same_losses(killed, undisturbed):
  assert_same_losses(killed, undisturbed, steps=KILLED)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_processes_go_on(tmp_path, store, killed, undisturbed, count):
  shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
  begin = last_saved(tmp_path)
  printed = processes.run_together(*command(tmp_path, store), count=count)
  assert f"steps {begin} to {STEPS}" in printed[0]
  assert_same_losses(tmp_path, undisturbed, steps=STEPS)
  ours, expected = (
      helpers.read_params(folder, STEPS) for folder in (tmp_path, undisturbed)
  )
  for (path, a), (_, b) in zip(
      helpers.path_names(ours), helpers.path_names(expected), strict=True
  ):
    # A rounding of a tiny gradient may turn Adam's step: see programs_test.
    np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4, err_msg=path)


def last_saved(workdir) -> int:
  names = [path.name for path in (workdir / "checkpoints").iterdir()]
  return max(int(name) for name in names if name.isdigit())


def assert_same_losses(workdir, undisturbed, steps):
  ours, expected = (
      {r["step"]: r for r in helpers.read_metrics(folder, "train")}
      for folder in (workdir, undisturbed)
  )
  assert set(range(1, steps + 1)) <= set(ours)
  for step, record in ours.items():
    for name in LOSSES:
      np.testing.assert_allclose(
          record[name], expected[step][name], rtol=2e-4, err_msg=f"{step}"
      )
