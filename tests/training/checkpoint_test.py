"""What a checkpoint refuses, and what it says."""

import errno

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.training.checkpoint import Checkpointer
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
  params = checkpointer.restore_params(abstract()[0].params)
  np.testing.assert_array_equal(params["layer"]["kernel"], [0, 1, 2])


def test_an_empty_folder_holds_nothing(tmp_path):
  checkpointer = Checkpointer(tmp_path)
  assert checkpointer.restore_latest(*abstract()) is None
  with pytest.raises(UserError, match="there is no checkpoint in"):
    checkpointer.restore_params(abstract()[0].params)


def test_a_checkpoint_of_another_model_is_refused_and_kept(tmp_path):
  checkpointer = Checkpointer(tmp_path)
  checkpointer.save(make_state(init(), OPTIMIZER), 7)
  checkpointer.wait()
  with pytest.raises(
      UserError, match=r"shape \(3,\) and this model needs \(4,\)"
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
