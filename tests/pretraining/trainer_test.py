"""The step on one device and on eight, whole and in trainer."""

import functools
from unittest import mock

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.pretraining import trainer as trainers
from electra_jax.pretraining.trainer import make_mesh, make_trainer
from electra_jax.runs.networks import Vocabulary
from electra_jax.store.feed import Batch
from electra_jax.text.tokenizer import SpecialIds
from electra_jax.trees import path_names
from tests import helpers

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
VOCABULARY = Vocabulary(
    helpers.VOCAB_SIZE,
    SPECIAL,
    np.arange(helpers.VOCAB_SIZE) % 4 == 3,
    np.arange(helpers.VOCAB_SIZE),
)


def small_config(**overrides):
  narrow = {"model.num_layers": 1, "model.hidden_size": 128}  # Of two heads.
  return helpers.tiny_config(**narrow | overrides)


@functools.cache
def train_on_one_device():
  """The end and the figures of a run that others are compared with."""
  _, state, history = train(small_config())
  return state, history


def train(config, steps=3, devices=1):
  mesh = make_mesh(config, VOCABULARY, jax.devices()[:devices])
  trainer = make_trainer(config, VOCABULARY, mesh)
  state, history = trainer.init(), []
  for step in range(steps):
    batch = helpers.batch_of(config.train.batch_size, seed=step)
    state, sums = trainer.train_step(state, sharding.to_global(mesh, batch))
    history.append({k: float(v[0]) for k, v in sums.items()})
  return trainer, state, history


def assert_trees_close(test, actual, expected, **tolerance):
  for (path, a), (_, b) in zip(
      path_names(actual), path_names(expected), strict=True
  ):
    with test.subTest(path):
      np.testing.assert_allclose(np.asarray(a), np.asarray(b), **tolerance)


class MeshTest(parameterized.TestCase):

  def test_eight_devices_agree_with_one(self):
    self.assert_agrees(data=2, fsdp=2, tensor=2)

  @parameterized.parameters({"data": 8}, {"fsdp": 8})
  @pytest.mark.slow
  def test_eight_devices_on_one_axis_agree_with_one(self, **mesh):
    self.assert_agrees(**mesh)

  def assert_agrees(self, **mesh):
    expected, one = train_on_one_device()
    axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
    trainer, state, eight = train(small_config(**axes), devices=8)
    for a, b in zip(eight, one, strict=True):
      for name, value in b.items():
        np.testing.assert_allclose(a[name], value, rtol=2e-4, err_msg=name)
    # Adam without bias correction turns a rounding of a tiny gradient into a
    # visible step: only steps are compared, at the size of the learning rate.
    moved = jax.tree.map(lambda x: np.asarray(x), state.params)
    assert_trees_close(self, moved, expected.params, atol=2e-5, rtol=1e-4)
    kernel = state.params["discriminator"]["layer_0"]["intermediate"]["kernel"]
    share = mesh.get("fsdp", 1) * mesh.get("tensor", 1)
    self.assertEqual(
        kernel.addressable_shards[0].data.size * share, kernel.size
    )
    moment = jax.tree.leaves(
        jax.tree.map(lambda x: x.sharding, state.opt_state)
    )
    self.assertNotEmpty(moment)
    self.assertEqual(
        jax.tree.map(lambda x: x.sharding, state), trainer.shardings
    )


class ShardsTest(parameterized.TestCase):

  @parameterized.parameters(
      ({}, (8, 1, 1)),  # The CPU does not say what memory it has.
      ({"mesh.data": 4}, (4, 2, 1)),
      ({"mesh.data": 2, "mesh.tensor": 2}, (2, 2, 2)),
      ({"mesh.fsdp": 4}, (2, 4, 1)),
  )
  def test_what_is_left_open_is_filled_in(self, overrides, sizes):
    mesh = make_mesh(small_config(**overrides), VOCABULARY)
    self.assertEqual(tuple(mesh.shape.values()), sizes)

  def test_too_little_memory_splits_the_state(self):
    with mock.patch.object(trainers, "memory_of", lambda _: 1 << 20):
      mesh = make_mesh(small_config(), VOCABULARY)
    self.assertGreater(mesh.shape["fsdp"], 1)


class EvaluationTest(absltest.TestCase):

  @pytest.mark.slow
  def test_eight_devices_agree_with_one(self):
    # Eight devices need eight rows: the last three are empty.
    batch = helpers.batch_of(rows=5)
    filled = Batch(*(np.pad(rows, ((0, 3), (0, 0))) for rows in batch))
    one = self.evaluate(batch, devices=1)
    eight = self.evaluate(filled, devices=8, **{"mesh.fsdp": 2})
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6),
        eight,
        one,
    )

  def evaluate(self, batch, devices, **overrides):
    config = small_config(**overrides)
    mesh = make_mesh(config, VOCABULARY, jax.devices()[:devices])
    trainer = make_trainer(config, VOCABULARY, mesh)
    params = trainer.init().params
    return trainer.eval_step(params, batch, np.int32(0))


class AccumulationTest(parameterized.TestCase):

  @pytest.mark.slow
  def test_parts_add_up_to_the_whole(self):
    self.assert_parts_add_up(*train_on_one_device())

  @parameterized.parameters(
      {"objective.name": "electric", "objective.generator": "two_tower"},
      {
          "objective.name": "all_tokens_mlm",
          "model.embedding_sharing": "gradient_disentangled",
          "objective.masking_unit": "word",
      },
  )
  @pytest.mark.slow
  def test_parts_of_other_objectives_add_up(self, **overrides):
    _, whole, one = train(small_config(**overrides))
    self.assert_parts_add_up(whole, one, **overrides)

  def assert_parts_add_up(self, whole, one, **overrides):
    overrides |= {"train.accumulation_steps": 2, "mesh.fsdp": 2}
    config = small_config(**overrides)
    _, trainer, sums = train(config, devices=4)
    for a, b in zip(sums, one, strict=True):
      for name, value in b.items():
        np.testing.assert_allclose(a[name], value, rtol=2e-4, err_msg=name)
    assert_trees_close(self, trainer.params, whole.params, atol=2e-5, rtol=1e-4)


class DeterminismTest(absltest.TestCase):

  def test_two_runs_are_bit_identical(self):
    first, _ = train_on_one_device()
    _, second, _ = train(small_config())
    jax.tree.map(np.testing.assert_array_equal, first, second)

  @pytest.mark.slow
  def test_another_seed_is_another_run(self):
    _, first = train_on_one_device()
    _, _, second = train(small_config(seed=1), steps=1)
    self.assertNotEqual(first[0]["loss"], second[0]["loss"])

  def test_padding_rows_count_for_nothing(self):
    config = small_config()
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    trainer = make_trainer(config, VOCABULARY, mesh)
    params = trainer.init().params
    batch = helpers.batch_of()
    empty = Batch(
        np.where(np.arange(8)[:, None] < 5, batch.input_ids, 0),
        np.where(np.arange(8)[:, None] < 5, batch.segment_lengths, 0),
    )
    sums, histogram, bands, judged = trainer.eval_step(
        params, empty, np.int32(0)
    )
    tokens = batch.segment_lengths[:5, 1].sum()
    self.assertEqual(float(sums["rtd_loss"].weight), tokens)
    self.assertEqual(float(np.sum(histogram)), tokens)
    self.assertEqual(float(np.sum(bands)), tokens)
    self.assertEqual(int(judged.lengths[0]), batch.segment_lengths[0, 1])


class DonationTest(absltest.TestCase):

  def test_the_state_is_donated(self):
    config = small_config()
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    trainer = make_trainer(config, VOCABULARY, mesh)
    state = trainer.init()
    trainer.train_step(state, sharding.to_global(mesh, helpers.batch_of()))
    self.assertTrue(all(x.is_deleted() for x in jax.tree.leaves(state)))


class ErrorTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"train.batch_size": 10}, 4, "batch_size .* 10 does not divide over the 4"),
      ({"train.accumulation_steps": 3}, 1, "batch_size 8 does not divide into config.train.accumulation_steps 3"),
      ({"mesh.fsdp": 3}, 4, "asks for 3 devices and there are 4"),
      ({"mesh.data": 0}, 4, "mesh.data is 0; it must be at least 1, or -1"),
      ({"mesh.tensor": 0}, 4, "mesh.tensor is 0; it must be at least 1"),
      ({"mesh.tensor": 4}, 4, "attention heads 2 does not divide over the 4"),
      ({"data.length": 600}, 1, "length 600 exceeds"),
      ({"objective.name": "electro"}, 1, "'electro'; it must be one of electra"),
      ({"objective.mask_prob": 1.5}, 1, "mask_prob is 1.5"),
      ({"objective.masking_draw": "all"}, 1, "draw 'all' is neither"),
      ({"model.embedding_sharing": "half"}, 1, "embedding_sharing is 'half'"),
      ({"model.dtype": "float16"}, 1, "dtype is 'float16'; it must be 'bfloat16' or"),
      ({"model.remat": "all"}, 1, "remat 'all' is not"),
      ({"model.hidden_size": 200}, 1, "hidden_size 200 does not divide"),
      ({"optimizer.warmup_steps": -1}, 1, "warmup_steps is -1; it must be at least 0"),
  )  # fmt: skip
  def test_one_clear_sentence(self, overrides, devices, message):
    with self.assertRaisesRegex(UserError, message):
      config = small_config(**overrides)
      mesh = make_mesh(config, VOCABULARY, jax.devices()[:devices])
      make_trainer(config, VOCABULARY, mesh)


if __name__ == "__main__":
  absltest.main()
