"""Runs of a toy step, killed anywhere: same records, nothing not finite."""

import contextlib
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_file_loader

from electra_jax.errors import UserError
from electra_jax.progress import Progress
from electra_jax.training import loop
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState
from electra_jax.training.writers import ScalarWriter

STEPS = 20
HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
# Records, checkpoints and evaluations at steps that do not fall together.
CONFIG = loop.LoopConfig(STEPS, 6, 5, 4, 8)
RATES = ("steps_per_sec", "rows_per_sec")


class Killed(BaseException):
  """The process ends here."""


@jax.jit
def train_step(state, batch):
  value = state.params["x"] * 0.9 + batch
  sums = {
      "loss": (jnp.sum(value), jnp.ones(())),
      "odd": (value[0] / 3, batch + 1),
  }
  return TrainState(state.step + 1, {"x": value}, ()), sums


def batches(start, last=None, bad=None):
  for step in range(start, STEPS + 1):
    if step == last:
      raise Killed
    with jax.transfer_guard("allow"):
      batch = jnp.asarray(np.inf if step == bad else step / 7, jnp.float32)
    yield batch


def evaluate(params):
  x = float(jax.device_get(params["x"])[0])
  return loop.Evaluation({"x": x}, {"rows": [x], "texts": [f"x is {x}"]})


def run(workdir, last=None, bad=None, config=CONFIG):
  fresh = TrainState(
      jnp.zeros((), jnp.int32), {"x": jnp.arange(3, dtype=jnp.float32)}, ()
  )
  fresh = jax.device_put(fresh, HERE)  # As what is restored: compiled once.
  abstract = jax.eval_shape(lambda: fresh)
  with contextlib.ExitStack() as stack:
    checkpointer = stack.enter_context(Checkpointer(workdir / "checkpoints"))
    shardings = jax.tree.map(lambda _: HERE, abstract)
    state = checkpointer.restore_latest(abstract, shardings) or fresh
    writer = ScalarWriter(workdir, int(state.step))
    stack.callback(writer.close)
    return loop.run(
        state,
        train_step,
        batches(int(state.step), last, bad),
        evaluate,
        checkpointer,
        writer,
        config,
        Progress(quiet=True),
    )


def records(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
      {name: x for name, x in json.loads(line).items() if name not in RATES}
      for line in lines
  ]


def text_of(value):
  return value.tensor.string_val


def points(workdir):
  found = []
  for path in (workdir / "tensorboard").iterdir():
    for event in event_file_loader.EventFileLoader(str(path)).Load():
      found += [
          (event.step, value.tag, *value.tensor.float_val, *text_of(value))
          for value in event.summary.value
          if value.tag.split("/")[1] not in RATES
      ]
  return sorted(found)


def files(workdir):
  return {
      path: (path.read_bytes(), path.stat().st_mtime_ns)
      for path in sorted(workdir.rglob("*"))
      if path.is_file()
  }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("undisturbed")
  run(workdir)
  return workdir


def test_records_of_an_undisturbed_run(undisturbed):
  steps = {"train": [], "validation": []}
  for record in records(undisturbed):
    steps[record["group"]].append(record["step"])
  assert steps == {"train": [6, 12, 18, 20], "validation": [5, 10, 15, 20]}
  assert len(points(undisturbed)) == 4 * 2 + 4 * 2
  texts = [point for point in points(undisturbed) if "samples" in point[1]]
  assert texts[0][2].startswith(b"x is ")


@pytest.mark.parametrize("kills", [(3,), (7,), (9,), (13, 13, 14), (17, 19)])
def test_killed_runs_have_the_records_of_an_undisturbed_one(
    tmp_path, undisturbed, kills
):
  for last in kills:
    with pytest.raises(Killed):
      run(tmp_path, last)
  result = run(tmp_path)
  assert records(tmp_path) == records(undisturbed)
  assert points(tmp_path) == points(undisturbed)
  # Byte for byte: what stands there holds no time.
  name = "samples.jsonl"
  assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()
  again = run(tmp_path / "other")
  np.testing.assert_array_equal(
      result.state.params["x"], again.state.params["x"]
  )


def test_a_finished_run_changes_no_file(tmp_path):
  run(tmp_path)
  before = files(tmp_path)
  assert run(tmp_path).step == STEPS
  assert files(tmp_path) == before


def test_a_cut_off_record_is_dropped(tmp_path, undisturbed):
  with pytest.raises(Killed):
    run(tmp_path, 14)
  path = tmp_path / "metrics.jsonl"
  path.write_text(path.read_text() + path.read_text()[:20])
  [events] = (tmp_path / "tensorboard").iterdir()
  events.write_bytes(events.read_bytes() + events.read_bytes()[:20])
  run(tmp_path)
  assert records(tmp_path) == records(undisturbed)


def test_records_are_never_truncated_in_place(tmp_path, monkeypatch):
  run(tmp_path)
  text = (tmp_path / "metrics.jsonl").read_text()

  def killed(*args):
    raise Killed

  monkeypatch.setattr("os.fsync", killed)
  with pytest.raises(Killed):
    ScalarWriter(tmp_path, 7)
  assert (tmp_path / "metrics.jsonl").read_text() == text


def test_lines_that_are_no_records_are_told(tmp_path, caplog):
  lines = [
      "junk",
      "[]",
      '{"step": 1, "group": "train"}',
      '{"group": 1}',
      "null",
  ]
  (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
  ScalarWriter(tmp_path, 5)
  assert records(tmp_path) == [{"step": 1, "group": "train"}]
  assert caplog.text.count("is no record") == 3


def test_no_record_is_written_through_a_link(tmp_path):
  (tmp_path / "mine").write_text("")
  (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "mine")
  writer = ScalarWriter(tmp_path, 0)
  writer.write(1, "train", {"loss": 1.0})
  writer.close()
  assert (tmp_path / "mine").read_text() == ""
  assert len(records(tmp_path)) == 1


def test_the_rate_is_that_of_steps_alone(tmp_path, monkeypatch):
  now = 0.0

  def taking(secs, function):
    def run_slowly(*args):
      nonlocal now
      now += secs
      return function(*args)

    return run_slowly

  clock = types.SimpleNamespace(monotonic=lambda: now)
  monkeypatch.setattr(loop, "time", clock)
  is_compiled = False

  def compiled_step(state, batch):
    nonlocal is_compiled, now
    now += 1 if is_compiled else 100
    is_compiled = True
    return step(state, batch)

  step = train_step
  monkeypatch.setitem(globals(), "train_step", compiled_step)
  monkeypatch.setitem(globals(), "evaluate", taking(100, evaluate))
  monkeypatch.setattr(Checkpointer, "save", taking(100, Checkpointer.save))
  run(tmp_path, config=loop.LoopConfig(STEPS, 5, 5, 5, 8))
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  found = [json.loads(line) for line in lines]
  rates = [r["steps_per_sec"] for r in found if r["group"] == "train"]
  assert rates == [1.0] * 4


def test_a_loss_that_is_not_finite_names_the_checkpoint_to_go_back_to(tmp_path):
  with pytest.raises(
      UserError,
      match=r"loss of step 11 is inf; the last good .* step 8: resume",
  ):
    run(tmp_path, bad=10)
  assert run(tmp_path).step == STEPS  # As the message advises.


def test_before_the_first_checkpoint_there_is_nothing_to_go_back_to(tmp_path):
  with pytest.raises(UserError, match=r"step 3 is inf; nothing has been saved"):
    run(tmp_path, bad=2)
  assert not list((tmp_path / "checkpoints").iterdir())


def test_an_update_that_is_not_finite_is_not_saved(tmp_path, monkeypatch):
  usual = train_step

  @jax.jit
  def step_of_finite_losses(state, batch):
    state, _ = usual(state, batch)
    return state, {"loss": (jnp.ones(()), jnp.ones(()))}

  monkeypatch.setitem(globals(), "train_step", step_of_finite_losses)
  with pytest.raises(
      UserError, match=r"update of step 12 has made params/x .* is of step 8"
  ):
    run(tmp_path, bad=10)
  names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
  assert names == {"4", "8"}
