"""What a checkpoint refuses, and what it says."""

import errno
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from electra_jax.errors import UserError
from electra_jax.training.checkpoint import Checkpointer, NonFiniteError
from electra_jax.training.checkpoint_record import Window
from electra_jax.training.optimizer import OptimizerConfig, make_optimizer
from electra_jax.training.step import abstract_state, make_state

OPTIMIZER = make_optimizer(OptimizerConfig(0.1, 10, 0))
HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def init(width=3):
  return lambda: {"layer": {"kernel": jnp.arange(width, dtype=jnp.float32)}}


def abstract(width=3):
  state = abstract_state(init(width), OPTIMIZER)
  return state, jax.tree.map(lambda _: HERE, state)


def test_what_is_saved_comes_back(tmp_path):
  checkpointer = Checkpointer(tmp_path)
  state = make_state(init(), OPTIMIZER)
  checkpointer.save(state, 7)
  checkpointer.wait()
  restored = checkpointer.restore_latest(*abstract())
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  params = checkpointer.read_params(abstract()[0].params)
  np.testing.assert_array_equal(params["layer"]["kernel"], [0, 1, 2])


def test_an_empty_folder_holds_nothing(tmp_path):
  checkpointer = Checkpointer(tmp_path)
  assert checkpointer.restore_latest(*abstract()) is None
  with pytest.raises(UserError, match="there is no checkpoint in"):
    checkpointer.read_params(abstract()[0].params)


def test_a_checkpoint_of_another_model_is_refused_and_kept(tmp_path):
  checkpointer = Checkpointer(tmp_path)
  checkpointer.save(make_state(init(), OPTIMIZER), 7)
  checkpointer.wait()
  with pytest.raises(
      UserError, match=r"as float32\[3\] and this model needs float32\[4\]"
  ):
    checkpointer.restore_latest(*abstract(4))
  assert checkpointer.steps() == [7]


def test_a_full_disk_is_one_sentence_and_names_the_last_good_one(tmp_path):
  checkpointer = Checkpointer(tmp_path)
  state = make_state(init(), OPTIMIZER)
  checkpointer.save(state, 7)
  checkpointer.wait()

  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")

  checkpointer._manager.save = full
  with pytest.raises(UserError, match=r"No space left.*last good one is 7"):
    checkpointer.save(state, 8)


def save(folder, *steps, width=3, window=None):
  with Checkpointer(folder) as checkpointer:
    for step in steps:
      state = make_state(init(width), OPTIMIZER)
      state = state._replace(step=jnp.asarray(step, jnp.int32))
      checkpointer.save(state, step, window)


def restore(folder, width=3):
  with Checkpointer(folder) as checkpointer:
    return checkpointer.restore_latest(*abstract(width))


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def flip(path: pathlib.Path, place: int, bit: int = 0):
  content = bytearray(path.read_bytes())
  content[place] ^= 1 << bit
  path.write_bytes(content)


def test_no_flipped_bit_of_any_file_goes_unnoticed(tmp_path, caplog):
  save(tmp_path / "saved", 1, 2)
  rng = np.random.default_rng(0)
  files = [p for p in (tmp_path / "saved/2").rglob("*") if p.stat().st_size]
  files = [p.relative_to(tmp_path / "saved") for p in files if p.is_file()]
  outcomes = []
  for trial, file in enumerate(files):
    folder = tmp_path / f"trial_{trial}"
    shutil.copytree(tmp_path / "saved", folder)
    size = (folder / file).stat().st_size
    flip(folder / file, int(rng.integers(size)), int(rng.integers(8)))
    caplog.clear()
    state = restore(folder)
    step = int(state.step)
    expected = make_state(init(), OPTIMIZER)._replace(step=jnp.asarray(step))
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    # A bit that no value hangs on may be passed over.
    assert step == 2 or "checkpoint" in caplog.text
    outcomes.append(step)
  assert {1, 2} == set(outcomes)  # Some bits do matter.


def change_value(folder, step):
  """Writes a checkpoint of other values, orbax's own checks satisfied."""
  save(folder / "other", step, width=3)
  with Checkpointer(folder / "changed") as checkpointer:
    state = make_state(init(), OPTIMIZER)
    kernel = state.params["layer"]["kernel"].at[1].add(2.0**-20)
    state = state._replace(
        step=jnp.asarray(step, jnp.int32), params={"layer": {"kernel": kernel}}
    )
    checkpointer.save(state, step)
  shutil.rmtree(folder / str(step) / "state")
  shutil.copytree(
      folder / "changed" / str(step) / "state", folder / str(step) / "state"
  )
  shutil.rmtree(folder / "changed")
  shutil.rmtree(folder / "other")


def test_changed_values_are_named_and_the_checkpoint_before_is_used(
    tmp_path, caplog
):
  save(tmp_path, 1, 2)
  change_value(tmp_path, 2)
  with Checkpointer(tmp_path) as checkpointer:
    params = checkpointer.read_params(abstract()[0].params)
    assert checkpointer.restored_step == 1
  np.testing.assert_array_equal(params["layer"]["kernel"], [0, 1, 2])
  assert "params/layer/kernel has other values than were saved" in caplog.text
  assert "2" in names(tmp_path)  # Who only reads puts nothing aside.
  assert int(restore(tmp_path).step) == 1
  assert names(tmp_path) == ["1", "broken-2"]


def test_broken_checkpoints_of_one_step_are_all_kept(tmp_path):
  save(tmp_path, 1)
  for _ in range(3):
    save(tmp_path, 2)
    shutil.rmtree(tmp_path / "2" / "state" / "d")
    assert int(restore(tmp_path).step) == 1
  assert names(tmp_path) == ["1", "broken-2", "broken-2-2", "broken-2-3"]


@pytest.mark.parametrize(
    "content", [None, "", "{", "null", "[]", "{}", '{"step": 2}', "[" * 99999]
)
def test_a_checkpoint_without_its_record_is_not_believed(tmp_path, content):
  save(tmp_path, 1, 2)
  record = tmp_path / "2" / "record" / "metadata"
  record.unlink()
  if content is not None:
    record.write_text(content)
  assert int(restore(tmp_path).step) == 1


def test_an_edited_record_is_not_believed(tmp_path):
  save(tmp_path, 1, 2)
  path = tmp_path / "2" / "record" / "metadata"
  record = json.loads(path.read_text())
  record["arrays"]["step"]["checksum"] += 1
  path.write_text(json.dumps(record))
  assert int(restore(tmp_path).step) == 1


def test_a_renamed_checkpoint_is_not_believed(tmp_path):
  save(tmp_path, 1, 2)
  (tmp_path / "2").rename(tmp_path / "5")
  assert int(restore(tmp_path).step) == 1
  assert names(tmp_path) == ["1", "broken-5"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nothing_that_is_not_finite_is_saved(tmp_path, bad):
  save(tmp_path, 1)
  state = make_state(init(), OPTIMIZER)
  params = {"layer": {"kernel": jnp.asarray([0, bad, 2], jnp.float32)}}
  with Checkpointer(tmp_path) as checkpointer:
    with pytest.raises(NonFiniteError, match=r"step 2 has made params/layer/k"):
      checkpointer.save(state._replace(params=params), 2)
    assert checkpointer.steps() == [1]


def test_want_of_memory_is_no_broken_checkpoint(tmp_path, monkeypatch):
  save(tmp_path, 1, 2)

  def fail(*args):
    raise ValueError("RESOURCE_EXHAUSTED: Out of memory allocating")

  monkeypatch.setattr(Checkpointer, "_restore_state", fail)
  with pytest.raises(UserError, match="not read for want of memory"):
    restore(tmp_path)
  assert names(tmp_path) == ["1", "2"]


def test_a_file_in_the_folders_place_is_named(tmp_path):
  (tmp_path / "checkpoints").write_text("mine")
  with pytest.raises(UserError, match="checkpoints is a file"):
    Checkpointer(tmp_path / "checkpoints")


def test_an_open_window_comes_back_to_the_bit(tmp_path):
  window = Window(4, {"loss": (0.1 + 0.2, 1 / 3)})
  save(tmp_path, 7, window=window)
  with Checkpointer(tmp_path) as checkpointer:
    assert checkpointer.window(7) == Window(4, {"loss": (0.1 + 0.2, 1 / 3)})
    assert checkpointer.window(8) is None


def test_other_devices_find_the_same_checksums(tmp_path):
  mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
  save(tmp_path, 2, width=16)
  state = abstract(16)[0]
  spread = jax.tree.map(
      lambda x: jax.sharding.NamedSharding(
          mesh, jax.sharding.PartitionSpec(*("x",) * len(x.shape))
      ),
      state,
  )
  with Checkpointer(tmp_path) as checkpointer:
    assert int(checkpointer.restore_latest(state, spread).step) == 2


@pytest.mark.parametrize("error", [ValueError(), TypeError("no dict\nat all")])
def test_damaged_times_are_told_in_a_sentence(tmp_path, monkeypatch, error):
  def damaged(*args, **kwargs):
    raise error

  monkeypatch.setattr(ocp, "CheckpointManager", damaged)
  with pytest.raises(UserError, match=r"_METADATA below .* is damaged") as told:
    Checkpointer(tmp_path)
  assert len(str(told.value).splitlines()) == 1
