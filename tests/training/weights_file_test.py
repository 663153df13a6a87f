"""One file of weights: what is written comes back, what is damaged does not."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState
from electra_jax.training.weights_file import (
    RECORD_FILE,
    WEIGHTS_FILE,
    find_weights_file,
    write_weights_file,
)

PARAMS = {
    "encoder": {"kernel": np.linspace(-1, 1, 12, dtype=np.float32)},
    "head": {"bias": np.array([[1.5, -3e-3]], np.float32)},
}


def abstract_of(params, dtype=jnp.float32):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), params)


@pytest.fixture(name="folder")
def a_folder(tmp_path):
  write_weights_file(tmp_path, PARAMS, 12)
  return tmp_path


def test_all_or_some_come_back_rounded_once(folder):
  with Checkpointer(folder) as checkpointer:
    params = checkpointer.read_params(abstract_of(PARAMS))
    head = checkpointer.read_params(abstract_of({"head": PARAMS["head"]}))
    assert checkpointer.steps() == [checkpointer.restored_step] == [12]
  for name, array in (("encoder", "kernel"), ("head", "bias")):
    rounded = PARAMS[name][array].astype(jnp.bfloat16).astype(np.float32)
    assert params[name][array].dtype == np.float32
    np.testing.assert_array_equal(params[name][array], rounded)
  np.testing.assert_array_equal(head["head"]["bias"], params["head"]["bias"])


def test_float32_is_kept_bit_for_bit(tmp_path):
  size = write_weights_file(tmp_path, PARAMS, 12, "float32")
  assert size == (tmp_path / WEIGHTS_FILE).stat().st_size
  with Checkpointer(tmp_path) as checkpointer:
    params = checkpointer.read_params(abstract_of(PARAMS))
  jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


def test_nothing_is_saved_beside_it(folder):
  before = sorted(path.name for path in folder.iterdir())
  state = TrainState(np.int32(13), PARAMS, ())
  with Checkpointer(folder) as checkpointer:
    assert checkpointer.has_weights_alone
    for act in (
        lambda: checkpointer.save(state, 13),
        lambda: checkpointer.read_latest(state, state),
        lambda: checkpointer.restore_latest(state, state),
    ):
      with pytest.raises(UserError, match=r"weights alone.*--config.init_from"):
        act()
  assert sorted(path.name for path in folder.iterdir()) == before


def test_a_changed_byte_is_told(folder):
  path = folder / WEIGHTS_FILE
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  with pytest.raises(UserError, match=f"{WEIGHTS_FILE} is damaged"):
    find_weights_file(folder).read(abstract_of(PARAMS), None)


def test_a_missing_file_or_record_is_told(folder):
  (folder / WEIGHTS_FILE).unlink()
  with pytest.raises(UserError, match="cannot be read"):
    find_weights_file(folder).read(abstract_of(PARAMS), None)
  (folder / RECORD_FILE).write_text(json.dumps({"step": "12"}))
  with pytest.raises(UserError, match=f"{RECORD_FILE} is damaged"):
    Checkpointer(folder)


def test_another_model_is_told(folder):
  found = find_weights_file(folder)
  other = {"head": {"bias": np.zeros((2, 2), np.float32)}}
  with pytest.raises(UserError, match=r"'head/bias' as \[1, 2\].*\[2, 2\]"):
    found.read(abstract_of(other), None)
  with pytest.raises(UserError, match="'tail' as nothing"):
    found.read(abstract_of({"tail": np.zeros(1, np.float32)}), None)


def test_a_folder_of_checkpoints_has_none(tmp_path):
  assert find_weights_file(tmp_path) is None
  assert find_weights_file(tmp_path / "not there") is None
