"""The importance of heads and columns, against gates that are moved by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.compress import importance
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.models.electra import Electra
from electra_jax.objectives.masking import unpack_rows
from tests import helpers

TOY = EncoderConfig(helpers.VOCAB_SIZE, 8, 8, 2, 2, 6)
STEP = 1e-2  # By which a gate is moved.


def test_derivatives_are_sums_of_weight_times_gradient():
  encoder = EncoderConfig(10, 4, 4, 1, 2, 2, head_size=1)

  def layer(attention, output):
    return {
        "layer_0": {
            "attention": {"output": {"kernel": jnp.asarray(attention)}},
            "output": {"kernel": jnp.asarray(output)},
        }
    }

  weights = layer([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 2.0]])
  slopes = layer([[0.5, 1.0], [-1.0, 0.0]], [[3.0, 9.0], [9.0, 5.0]])
  heads, columns = importance.gate_derivatives(weights, slopes, encoder)
  np.testing.assert_allclose(heads, [[2.5, -3.0]])
  np.testing.assert_allclose(columns, [[3.0, 10.0]])


@pytest.mark.golden  # Differences of losses want the usual rounding.
def test_importance_is_what_moving_a_gate_does():
  """A gate on a head or column is a factor of the rows that read it."""
  config = ElectraConfig(TOY, None, has_generator_head=False)
  model = Electra(config)
  params = jax.device_get(helpers.lively_params(config))
  rows = unpack_rows(*map(jnp.asarray, helpers.batch_of(rows=3, length=6)))
  examples = [
      jax.tree.map(lambda x, i=i: np.asarray(x[i : i + 1]), rows)
      for i in range(3)
  ]

  def loss(params, example):
    logits = model.apply(
        {"params": params}, *example, method="replaced_token_logits"
    )
    return jnp.mean(jax.nn.softplus(logits) * example.input_mask)

  found = importance.measure_importance(loss, params, TOY, examples)
  assert found.num_examples == 3
  run = jax.jit(loss)
  losses = [run(params, example) for example in examples]
  assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
  assert importance.mean_loss(loss, params, examples) == pytest.approx(
      found.loss, rel=1e-5
  )

  def moved(layer, path, units, factor):
    copy = jax.tree.map(np.copy, params)
    part = copy["discriminator"][f"layer_{layer}"]
    for name in path:
      part = part[name]
    part["kernel"][units] *= factor
    return copy

  def slopes(layer, path, units):
    up, down = (
        [run(moved(layer, path, units, 1 + s), x) for x in examples]
        for s in (STEP, -STEP)
    )
    return (np.asarray(up) - np.asarray(down)) / (2 * STEP)

  differ = False
  for layer in range(2):
    for head in range(2):
      units = slice(4 * head, 4 * head + 4)
      each = slopes(layer, ("attention", "output"), units)
      expected = np.mean(np.abs(each))
      differ |= bool(abs(np.mean(each)) < 0.9 * expected)
      assert found.heads[layer, head] == pytest.approx(expected, rel=0.02)
    for column in range(6):
      each = slopes(layer, ("output",), slice(column, column + 1))
      assert found.columns[layer, column] == pytest.approx(
          np.mean(np.abs(each)), rel=0.03, abs=2e-5
      )
  assert differ, "no signs differ: a mean before the size would pass as well"


def test_rows_beyond_a_batch_count_once():
  """The last stack is filled up with an example that counts nothing."""
  encoder = EncoderConfig(10, 4, 2, 1, 1, 1)
  kernel = {"kernel": jnp.ones((2, 2))}
  layer = {
      "attention": {"output": kernel},
      "output": {"kernel": jnp.ones((1, 2))},
  }
  params = {"discriminator": {"layer_0": layer}}

  def loss(params, example):
    layer = params["discriminator"]["layer_0"]
    return example * jnp.sum(layer["attention"]["output"]["kernel"])

  examples = [np.float32(x) for x in (-3, *range(9))]
  found = importance.measure_importance(loss, params, encoder, examples)
  assert found.num_examples == 10
  assert found.loss == pytest.approx(4 * 3.3)
  np.testing.assert_allclose(found.heads, [[4 * 3.9]])
  np.testing.assert_allclose(found.columns, [[0.0]])


def test_the_most_important_stay_in_their_order():
  values = np.array([[3.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
  assert importance.most_important(values, 2) == ((0, 3), (0, 1))
  assert importance.most_important(values, 3) == ((0, 2, 3), (0, 1, 2))
