"""Twelve steps against the released optimizer; LAMB by hand; frozen parts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.training import optimizer as optimizers
from electra_jax.training import step as steps
from electra_jax.trees import path_names
from tests import helpers

pytestmark = pytest.mark.golden

ARRAYS = np.load(helpers.GOLDEN / "optimizer.npz")
RUNS = {
    k: v
    for k, v in helpers.read_json(helpers.GOLDEN / "optimizer.json").items()
    if "variables" in v
}


def config_of(run) -> optimizers.OptimizerConfig:
  steps = run["num_train_steps"]
  warmup = run.get("warmup_steps") or steps * run["warmup_proportion"]
  return optimizers.OptimizerConfig(
      learning_rate=run["learning_rate"],
      num_train_steps=steps,
      warmup_steps=warmup,
      decay_power=run.get("lr_decay_power", 1.0),
      weight_decay=run["weight_decay_rate"],
      layerwise_decay=run.get("layerwise_lr_decay_power", 1.0),
      released_layer_exponents=True,
  )


class ReleasedTest(parameterized.TestCase):

  @parameterized.parameters(*RUNS)
  def test_every_step(self, name):
    run = RUNS[name]
    config = config_of(run)

    def read(kind, step):
      return {
          v: jnp.asarray(ARRAYS[f"{name}/{kind}/{v}"][step])
          for v in run["variables"]
      }

    params = read("params", 0)
    rates = None
    if "n_transformer_layers" in run:
      rates = optimizers.layerwise_rates(
          params, run["n_transformer_layers"], config
      )
    optimizer = optimizers.make_optimizer(config, rates)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for step in range(12):
      updates, state = update(read("grads", step), state, params)
      params = optax.apply_updates(params, updates)
      adam = next(s for s in state if isinstance(s, optimizers.AdamState))
      for kind, ours in {
          "params": params, "adam_m": adam.mu, "adam_v": adam.nu
      }.items():  # fmt: skip
        expected = read(kind, step + (kind == "params"))
        for variable, value in expected.items():
          np.testing.assert_allclose(
              ours[variable], value, rtol=1e-5, atol=1e-6,
              err_msg=f"{kind} of {variable} after step {step}",
          )  # fmt: skip

  def test_learning_rates(self):
    for name in ("plain", "power_half"):
      schedule = optimizers.learning_rate_schedule(config_of(RUNS[name]))
      rates = [schedule(jnp.asarray(step)) for step in range(12)]
      np.testing.assert_allclose(
          rates, ARRAYS[f"{name}/lr"], rtol=1e-5, atol=1e-9
      )


class LayerwiseTest(absltest.TestCase):

  def rates(self, released):
    names = (
        "embeddings/word_embeddings/embedding",
        "discriminator/embeddings_project/kernel",
        "discriminator/layer_0/output/kernel",
        "discriminator/layer_1/output/kernel",
        "discriminator/layer_10/output/kernel",
        "discriminator/layer_11/output/kernel",
        "task_head/dense/kernel",
    )
    params = {name: jnp.zeros(()) for name in names}
    config = optimizers.OptimizerConfig(
        1e-4, 10, 1, layerwise_decay=0.8, released_layer_exponents=released
    )
    rates = optimizers.layerwise_rates(params, 12, config)
    return [round(float(np.log(rates[n]) / np.log(0.8))) for n in names]

  def test_intended_exponents(self):
    self.assertEqual(self.rates(False), [13, 13, 12, 11, 2, 1, 0])

  def test_released_exponents(self):
    self.assertEqual(self.rates(True), [14, 14, 13, 12, 3, 2, 0])

  def test_a_parameter_of_no_depth_is_an_error(self):
    config = optimizers.OptimizerConfig(1e-4, 10, 1, layerwise_decay=0.8)
    with self.assertRaisesRegex(UserError, "'pooler/kernel' matches none"):
      optimizers.layerwise_rates(
          {"pooler": {"kernel": jnp.zeros(())}}, 2, config
      )


class ScheduleTest(absltest.TestCase):

  def test_no_warmup_is_no_division_by_zero(self):
    config = optimizers.OptimizerConfig(1.0, 10, 0)
    schedule = optimizers.learning_rate_schedule(config)
    self.assertEqual(float(schedule(jnp.asarray(0))), 1.0)

  def test_clipping_is_of_the_global_norm(self):
    optimizer = optimizers.make_optimizer(
        optimizers.OptimizerConfig(1.0, 10, 0, weight_decay=0.0)
    )
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    grads = {"a": jnp.asarray([3.0]), "b": jnp.asarray([4.0])}
    _, state = optimizer.update(grads, optimizer.init(params), params)
    adam = next(s for s in state if isinstance(s, optimizers.AdamState))
    np.testing.assert_allclose(adam.mu["a"], [0.1 * 0.6], rtol=1e-6)


def networks(seed=0):
  """Two parts with a table, a kernel, biases and a scale between them."""
  rng = np.random.default_rng(seed)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  return {
      "embeddings": {
          "word_embeddings": {"embedding": normal(6, 4)},
          "layer_norm": {"scale": normal(4)},
      },
      "discriminator": {
          "embeddings_project": {"kernel": normal(4, 8), "bias": normal(8)}
      },
  }


def train(config, params, steps=3):
  optimizer = optimizers.make_optimizer(config)
  opt_state = optimizer.init(params)
  for step in range(steps):
    updates, opt_state = jax.jit(optimizer.update)(
        networks(seed=step + 1), opt_state, params
    )
    params = optax.apply_updates(params, updates)
  return params


def lamb_by_hand(config, params, steps):
  """You et al. 2020, Algorithm 2, after clipping, in float64."""
  flat = {k: np.asarray(v, np.float64) for k, v in path_names(params)}
  m = {k: np.zeros_like(v) for k, v in flat.items()}
  v = {k: np.zeros_like(v) for k, v in flat.items()}
  for t in range(1, steps + 1):
    grads = {
        k: np.asarray(g, np.float64) for k, g in path_names(networks(seed=t))
    }
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    rate = config.learning_rate * (1 - (t - 1) / config.num_train_steps)
    for k, x in flat.items():
      g = grads[k] * min(1.0, config.clip_norm / norm)
      m[k] = config.adam_b1 * m[k] + (1 - config.adam_b1) * g
      v[k] = config.adam_b2 * v[k] + (1 - config.adam_b2) * g**2
      direction = m[k] / (1 - config.adam_b1**t) / (
          np.sqrt(v[k] / (1 - config.adam_b2**t)) + config.adam_epsilon
      )  # fmt: skip
      if "bias" in k or "layer_norm" in k:
        ratio = 1.0
      else:
        direction = direction + config.weight_decay * x
        ratio = np.linalg.norm(x) / np.linalg.norm(direction)
      flat[k] = x - rate * ratio * direction
  return flat


class LambTest(absltest.TestCase):
  config = optimizers.OptimizerConfig(
      0.05, 10, 0, weight_decay=0.1, adam_b1=0.878, adam_b2=0.974, name="lamb"
  )

  def test_steps_by_hand(self):
    for name, value in path_names(train(self.config, networks(), 5)):
      np.testing.assert_allclose(
          value,
          lamb_by_hand(self.config, networks(), 5)[name],
          rtol=2e-5,
          atol=1e-6,
          err_msg=name,
      )

  def test_moments_lie_as_their_parameters(self):
    mesh = sharding.make_mesh(fsdp=4)
    for name in optimizers.OPTIMIZERS:
      optimizer = optimizers.make_optimizer(
          dataclasses.replace(self.config, name=name, frozen="embeddings")
      )
      abstract = steps.abstract_state(networks, optimizer)
      laid = sharding.state_shardings(mesh, optimizer, abstract)
      moments = laid.opt_state[1]
      self.assertEqual(moments.mu, laid.params)
      self.assertEqual(moments.nu, laid.params)
      fresh = steps.init_state(networks, optimizer, laid)
      self.assertEqual(
          fresh.opt_state[1]
          .mu["discriminator"]["embeddings_project"]["kernel"]
          .sharding.spec,
          jax.sharding.PartitionSpec("fsdp"),
      )

  def test_an_unknown_optimizer(self):
    with self.assertRaisesRegex(UserError, "name is 'sgd'.*adam, lamb"):
      optimizers.OptimizerConfig(0.1, 10, 0, name="sgd")


class FrozenTest(parameterized.TestCase):

  @parameterized.parameters(*optimizers.OPTIMIZERS)
  def test_a_frozen_part_keeps_its_bits(self, name):
    config = optimizers.OptimizerConfig(
        0.1, 10, 0, weight_decay=0.5, name=name, frozen="embeddings"
    )
    before, after = networks(), train(config, networks())
    jax.tree.map(
        np.testing.assert_array_equal, after["embeddings"], before["embeddings"]
    )
    for (path, old), (_, new) in zip(
        path_names(before["discriminator"]),
        path_names(after["discriminator"]),
        strict=True,
    ):
      self.assertTrue(np.all(np.asarray(old) != np.asarray(new)), path)

  def test_its_gradient_does_not_count_in_the_clipped_norm(self):
    config = optimizers.OptimizerConfig(0.1, 10, 0, frozen="embeddings")
    optimizer = optimizers.make_optimizer(config)
    alone = optimizers.make_optimizer(dataclasses.replace(config, frozen=""))
    params, grads = networks(), networks(seed=1)
    _, whole = optimizer.update(grads, optimizer.init(params), params)
    del params["embeddings"], grads["embeddings"]
    _, rest = alone.update(grads, alone.init(params), params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        whole[1].mu["discriminator"],
        rest[1].mu["discriminator"],
    )

  def test_moments_that_were_restored_do_not_move_it(self):
    config = optimizers.OptimizerConfig(0.1, 10, 0, frozen="embeddings")
    optimizer = optimizers.make_optimizer(config)
    params = networks()
    opt_state = jax.tree.map(
        lambda x: x + 1, optimizer.init(params)
    )  # Moments and counts of one.
    updates, _ = optimizer.update(networks(seed=1), opt_state, params)
    for path, update in path_names(updates["embeddings"]):
      self.assertFalse(np.any(update), path)

  def test_an_unknown_part_is_named_beside_those_there_are(self):
    optimizer = optimizers.make_optimizer(
        optimizers.OptimizerConfig(0.1, 10, 0, frozen="embeddings, generatr")
    )
    with self.assertRaisesRegex(
        UserError, "'generatr', which.*there are discriminator, embeddings"
    ):
      optimizer.init(networks())


if __name__ == "__main__":
  absltest.main()
