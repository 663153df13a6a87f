"""The step with a teacher: on one device and on eight, whole and in parts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.compress.teacher import Teacher
from electra_jax.devices import sharding
from electra_jax.models.config import ElectraConfig
from electra_jax.models.electra import Electra
from electra_jax.pretraining.trainer import make_mesh, make_trainer
from electra_jax.runs.config import DistillConfig
from electra_jax.runs.networks import (
    Vocabulary,
    electra_config,
    learns_by_itself,
)
from electra_jax.text.tokenizer import SpecialIds
from electra_jax.trees import path_names
from tests import helpers

VOCABULARY = Vocabulary(
    helpers.VOCAB_SIZE, SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
)
TEACHER = {"model.num_layers": 2, "model.hidden_size": 128}


def student_config(**overrides):
  narrow = {"model.num_layers": 1, "model.hidden_size": 128}
  config = helpers.tiny_config(**narrow | overrides)
  distill = DistillConfig("none", relation_heads=8, relation_weight=4.0)
  return dataclasses.replace(config, distill=distill)


def teacher_of(config, mesh, layer=0, params=None):
  encoder = electra_config(config, helpers.VOCAB_SIZE).discriminator
  encoder = dataclasses.replace(
      encoder, hidden_dropout=0.0, attention_dropout=0.0
  )
  bare = ElectraConfig(
      encoder, None, has_generator_head=False, has_discriminator_head=False
  )
  if params is None:
    params = helpers.lively_params(
        dataclasses.replace(bare, has_discriminator_head=True)
    )
  params = {name: params[name] for name in ("embeddings", "discriminator")}
  params = jax.device_put(params, sharding.params_shardings(mesh, params))
  model = Electra(bare, sharding.constrain_hidden(mesh))
  return Teacher(encoder, layer, 8, params, "", model)


def train(config, steps=2, devices=1):
  mesh = make_mesh(config, VOCABULARY, jax.devices()[:devices])
  teacher = teacher_of(helpers.tiny_config(**TEACHER), mesh)
  trainer = make_trainer(config, VOCABULARY, mesh, teacher)
  state, history = trainer.init(), []
  for step in range(steps):
    batch = helpers.batch_of(config.train.batch_size, seed=step)
    state, sums = trainer.train_step(state, sharding.to_global(mesh, batch))
    history.append({k: float(v[0]) for k, v in sums.items()})
  return jax.device_get(state.params), history


@functools.cache
def on_one_device():
  return train(student_config())


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2},
        {"train.accumulation_steps": 2, "model.remat": "layer"},
    ],
)
def test_however_it_is_computed_the_result_is_the_same(changes):
  params, history = on_one_device()
  devices = 8 if "mesh.data" in changes else 1
  others, other_history = train(student_config(**changes), devices=devices)
  for step, other in zip(history, other_history, strict=True):
    assert step.keys() == other.keys()
    for name in ("relation_loss", "rtd_loss", "loss"):
      np.testing.assert_allclose(other[name], step[name], rtol=1e-4)
  for (path, a), (_, b) in zip(
      path_names(others), path_names(params), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5, err_msg=path)


@pytest.mark.slow
def test_a_student_that_is_its_teacher_has_nothing_to_learn():
  alone = {"objective.gen_weight": 0.0, "objective.disc_weight": 0.0}
  still = {"model.hidden_dropout": 0.0, "model.attention_dropout": 0.0}
  config = student_config(**alone, **still)
  assert not learns_by_itself(config)
  mesh = make_mesh(config, VOCABULARY, jax.devices()[:1])
  fresh = make_trainer(config, VOCABULARY, mesh).init()
  # The step donates its state, and so the teacher has arrays of its own.
  teacher = teacher_of(
      config, mesh, params=jax.tree.map(jnp.copy, fresh.params)
  )
  trainer = make_trainer(config, VOCABULARY, mesh, teacher)
  batch = sharding.to_global(mesh, helpers.batch_of(8))
  _, sums = trainer.train_step(fresh, batch)
  total, tokens = sums["relation_loss"]
  # Nothing else is computed.
  assert set(sums) == {"relation_loss", "loss", "grad_norm", "learning_rate"}
  assert tokens == np.sum(helpers.batch_of(8).segment_lengths[:, 1])
  assert abs(total / tokens) < 1e-5
  assert sums["grad_norm"][0] < 1e-3
  evaluated = trainer.eval_step(trainer.init().params, batch, np.int32(0))
  assert abs(evaluated.sums["relation_loss"].sum / tokens) < 1e-5
  assert {"mlm_loss", "rtd_loss"} < set(evaluated.sums)


def test_flops_count_the_layers_of_the_teacher_that_run():
  config = student_config()
  mesh = make_mesh(config, VOCABULARY, jax.devices()[:1])
  alone = make_trainer(config, VOCABULARY, mesh).flops_per_step
  wide = helpers.tiny_config(**TEACHER)
  first, second = (
      make_trainer(
          config, VOCABULARY, mesh, teacher_of(wide, mesh, layer)
      ).flops_per_step
      for layer in (0, 1)
  )
  assert alone < first < second
  # One layer forward: 2 (4 D² + 2 D 4D) + 4 L D for each token.
  width, length = 128, config.data.length
  layer = 2 * 12 * width * width + 4 * length * width
  assert second - first == config.train.batch_size * length * layer
