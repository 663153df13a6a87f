"""Twelve steps against the released optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from electra_jax.errors import UserError
from electra_jax.training import optimizer as optimizers
from tests import helpers

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
      warmup_steps=int(warmup),
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


if __name__ == "__main__":
  absltest.main()
