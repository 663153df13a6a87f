"""Forward pass against the released code; counts; initialisation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from electra_jax.interop.names import released_name
from electra_jax.models.config import (
    SIZES,
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.trees import count_parameters, path_names
from tests import helpers

pytestmark = pytest.mark.golden

# Everything trainable, and the discriminator with its head.
COUNTS = {
    ("small", 1 / 4): (14_196_219, 13_549_057),
    ("base", 1 / 3): (119_386_427, 109_483_009),
    ("large", 1 / 4): (354_655_291, 335_142_913),
    ("small", 1.0): (23_122_875, 13_549_057),
}


def make(size: str, ratio: float) -> Electra:
  layers, hidden, embedding = SIZES[size]
  discriminator = encoder_config(30522, layers, hidden, embedding)
  return Electra(
      ElectraConfig(discriminator, generator_config(discriminator, ratio))
  )


class CountTest(parameterized.TestCase):

  @parameterized.parameters(*COUNTS)
  def test_parameters_of_every_size(self, size, ratio):
    params = helpers.abstract_params(make(size, ratio))
    discriminator = [
        params[k] for k in ("embeddings", "discriminator", "discriminator_head")
    ]
    self.assertEqual(
        (count_parameters(params), count_parameters(discriminator)),
        COUNTS[size, ratio],
    )

  def test_all_sizes_are_counted(self):
    self.assertEqual({size for size, _ in COUNTS}, set(SIZES))

  def test_variables_have_the_released_names_and_shapes(self):
    params = helpers.abstract_params(helpers.golden_model())
    ours = {released_name(n): leaf.shape for n, leaf in path_names(params)}
    weights = np.load(helpers.TINY / "weights.npz")
    released = {name: weights[name].shape for name in weights.files}
    released.pop("global_step", None)
    self.assertEqual(ours, released)

  def test_untied_embeddings_have_the_generators_width(self):
    discriminator = encoder_config(100, 2, 128, 32)
    generator = generator_config(discriminator, 0.5, own_embeddings=True)
    model = Electra(ElectraConfig(discriminator, generator, "none"))
    params = helpers.abstract_params(model)
    table = params["generator_embeddings"]["word_embeddings"]["embedding"]
    self.assertEqual(table.shape, (100, 64))
    self.assertNotIn("embeddings_project", params["generator"])

  def test_everything_tied_has_one_encoder_and_two_heads(self):
    model = Electra(ElectraConfig(encoder_config(100, 2, 128, 32), None, "all"))
    self.assertEqual(
        set(helpers.abstract_params(model)),
        {"embeddings", "discriminator", "discriminator_head", "generator_head"},
    )


class ForwardTest(absltest.TestCase):
  """Tolerances catch a tanh GELU (1e-3) and an epsilon of 1e-6 (4e-4)."""

  def setUp(self):
    super().setUp()
    self.golden = helpers.golden_forward()
    self.rows = helpers.golden_rows()

  def apply(self, method, *args, **overrides):
    params = {"params": helpers.golden_params()}
    model = helpers.golden_model(**overrides)
    return model.apply(params, *args, method=method)

  def test_generator(self):
    ids = self.golden["masked_input_ids"].astype(jnp.int32)
    states = self.apply("generate", ids, *self.rows[1:])
    expected = self.golden["generator_hidden_states"]
    np.testing.assert_allclose(
        states.layers[0], self.golden["generator_encoder_input"], atol=1e-5
    )
    np.testing.assert_allclose(states.layers[1], expected[0], atol=5e-5)
    np.testing.assert_allclose(states.sequence, expected[1], atol=5e-5)
    logits = self.apply(
        "masked_lm_logits",
        ids,
        *self.rows[1:],
        self.golden["masked_lm_positions"].astype(jnp.int32),
    )
    np.testing.assert_allclose(
        logits, self.golden["generator_logits"], atol=1e-5
    )

  def test_discriminator(self):
    ids = self.golden["corrupted_input_ids"].astype(jnp.int32)
    states = self.apply("discriminate", ids, *self.rows[1:])
    expected = self.golden["discriminator_hidden_states"]
    np.testing.assert_allclose(
        states.layers[0], self.golden["discriminator_encoder_input"], atol=1e-5
    )
    np.testing.assert_allclose(states.layers[1], expected[0], atol=5e-5)
    np.testing.assert_allclose(states.sequence, expected[1], atol=5e-5)
    logits = self.apply("replaced_token_logits", ids, *self.rows[1:])
    np.testing.assert_allclose(
        logits, self.golden["discriminator_logits"], atol=1e-5
    )

  def test_bfloat16_stays_near_float32(self):
    ids = self.golden["corrupted_input_ids"].astype(jnp.int32)
    logits = self.apply(
        "replaced_token_logits", ids, *self.rows[1:], dtype="bfloat16"
    )
    self.assertEqual(logits.dtype, jnp.float32)
    np.testing.assert_allclose(
        logits, self.golden["discriminator_logits"], atol=0.1
    )

  def test_gradients_of_matrices_are_not_rounded_to_bfloat16(self):
    # What is summed over devices must carry float32's digits.
    model = helpers.golden_model(dtype="bfloat16")
    ids = self.golden["corrupted_input_ids"].astype(jnp.int32)

    def loss(params):
      logits = model.apply(
          {"params": params},
          ids,
          *self.rows[1:],
          method="replaced_token_logits",
      )
      return jnp.mean(jnp.square(logits))

    grads = jax.jit(jax.grad(loss))(helpers.golden_params())
    for path, leaf in path_names(grads["discriminator"]):
      if path.endswith("kernel"):
        low_bits = np.asarray(leaf).view(np.uint32) & 0xFFFF
        self.assertGreater(np.mean(low_bits != 0), 0.5, path)

  @pytest.mark.slow
  def test_remat_changes_nothing(self):
    ids = self.golden["corrupted_input_ids"].astype(jnp.int32)

    def gradient(remat):
      model = helpers.golden_model(remat=remat)

      def loss(params):
        logits = model.apply(
            {"params": params},
            ids,
            *self.rows[1:],
            method="replaced_token_logits",
            dropout_seeds=jnp.arange(8, dtype=jnp.uint32),
        )
        return jnp.sum(jnp.square(logits))

      return jax.jit(jax.grad(loss))(helpers.golden_params())["discriminator"]

    expected = gradient("none")
    for remat in ("dots", "layer"):
      jax.tree.map(
          lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4),
          gradient(remat),
          expected,
      )


class InitialisationTest(absltest.TestCase):

  def test_statistics_are_the_released_ones(self):
    ids = jnp.zeros((1, 4), jnp.int32)
    init = jax.jit(helpers.golden_model().init)
    params = jax.device_get(init(jax.random.key(0), ids, ids, ids, ids))
    released = helpers.read_json(helpers.TINY / "init_stats.json")
    for path, leaf in path_names(params["params"]):
      stats = released[released_name(path)]
      with self.subTest(path):
        # The deviation of n numbers is known to within about 1/sqrt(2n).
        slack = 6 * stats["std"] / np.sqrt(2 * leaf.size)
        self.assertAlmostEqual(float(np.std(leaf)), stats["std"], delta=slack)
        bound = max(abs(stats["min"]), abs(stats["max"])) * 1.3
        self.assertLessEqual(float(np.abs(leaf).max()), bound)
        if stats["std"] == 0:
          np.testing.assert_array_equal(leaf, stats["mean"])

  def test_local_attention_starts_on_neighbours(self):
    config = encoder_config(100, 1, 128, 128, initialization="local")
    model = Electra(ElectraConfig(config, None, "all"))
    ids = jnp.zeros((1, 4), jnp.int32)
    init = jax.jit(model.init)
    params = init(jax.random.key(0), ids, ids, ids, ids)["params"]
    attention = params["discriminator"]["layer_0"]["attention"]
    np.testing.assert_array_equal(
        attention["query"]["kernel"], attention["key"]["kernel"]
    )
    self.assertGreater(jnp.std(attention["value"]["kernel"]), 0)
    table = params["embeddings"]["position_embeddings"]["embedding"]
    likeness = table[:64] @ table[32]
    nearest = jnp.argsort(-likeness)[:5]
    self.assertEqual(set(np.asarray(nearest).tolist()), {30, 31, 32, 33, 34})


class GeneratorConfigTest(parameterized.TestCase):

  @parameterized.parameters(
      ("small", 0.25, 64, 1), ("base", 1 / 3, 256, 4), ("large", 0.25, 256, 4)
  )
  def test_width_heads_and_depth(self, size, ratio, width, heads):
    layers, hidden, embedding = SIZES[size]
    discriminator = encoder_config(30522, layers, hidden, embedding)
    generator = generator_config(discriminator, ratio)
    self.assertEqual(
        dataclasses.astuple(generator)[:6],
        (30522, embedding, width, layers, heads, 4 * width),
    )


if __name__ == "__main__":
  absltest.main()
