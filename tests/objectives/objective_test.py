"""Losses, gradients and samples against the released code and by hand."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from electra_jax.interop.names import released_name
from electra_jax.objectives import corruption, generators, losses, masking
from electra_jax.objectives import objective as pretraining
from electra_jax.pretraining.trainer import bind
from electra_jax.trees import path_names
from tests import helpers

pytestmark = pytest.mark.golden

ELECTRA = pretraining.find_method("electra", "masked_lm")
OPTIONS = generators.ObjectiveOptions(1966)


def golden_masked() -> masking.MaskedRows:
  golden = helpers.golden_forward()
  rows = helpers.golden_rows()
  weights = golden["masked_lm_weights"].astype(jnp.float32)
  positions = golden["masked_lm_positions"].astype(jnp.int32)
  writes = (golden["slot_writes_mask"] > 0) & (weights > 0)
  return masking.MaskedRows(
      rows=rows,
      masked_input_ids=masking.write_masks(
          rows.input_ids, positions, writes, 4
      ),
      masked_lm_positions=positions,
      masked_lm_ids=golden["masked_lm_ids"].astype(jnp.int32),
      masked_lm_weights=weights,
      sample_uniforms=jnp.zeros(positions.shape),
      dropout_seeds=jnp.zeros(8, jnp.uint32),
      is_maskable=(rows.input_mask > 0) & (rows.input_ids > 4),
  )


@functools.cache
def golden_step():
  """Gradients of the released loss, and what it was made of."""
  golden, masked = helpers.golden_forward(), golden_masked()
  samples = golden["sampled_ids"].astype(jnp.int32)

  def total(params):
    # The released samples in place of ours: the objective's other half.
    networks = bind(helpers.golden_model(), params, None)
    with mock.patch.object(
        generators, "sample_replacements", lambda *args, **kwargs: samples
    ):
      outcome = ELECTRA.run(networks, masked, OPTIONS)
    mean = {n: s.sum / s.weight for n, s in outcome.losses.items()}
    return mean["mlm_loss"] + 50 * mean["rtd_loss"], outcome

  return jax.jit(jax.grad(total, has_aux=True))(helpers.golden_params())


class GoldenTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.golden = helpers.golden_forward()
    self.masked = golden_masked()

  def test_masked_and_corrupted_ids(self):
    np.testing.assert_array_equal(
        self.masked.masked_input_ids, self.golden["masked_input_ids"]
    )
    corrupted, is_replaced = corruption.corrupt(
        self.masked, self.golden["sampled_ids"].astype(jnp.int32)
    )
    np.testing.assert_array_equal(corrupted, self.golden["corrupted_input_ids"])
    np.testing.assert_array_equal(is_replaced, self.golden["is_replaced"])

  def test_losses_metrics_and_every_gradient(self):
    grads, outcome = golden_step()
    for name, weight in ELECTRA.weigh(self.masked).items():
      np.testing.assert_array_equal(weight, outcome.losses[name].weight)
    mean = {n: s.sum / s.weight for n, s in outcome.losses.items()}
    metrics = outcome.metrics
    forward = helpers.read_json(helpers.TINY / "forward.json")
    np.testing.assert_allclose(mean["mlm_loss"], forward["mlm_loss"], rtol=1e-5)
    np.testing.assert_allclose(
        mean["rtd_loss"], forward["disc_loss"], rtol=1e-5
    )
    for ours, theirs in {
        "mlm_accuracy": "masked_lm_accuracy",
        "sampled_mlm_accuracy": "sampled_masked_lm_accuracy",
        "rtd_accuracy": "disc_accuracy",
        "rtd_precision": "disc_precision",
        "rtd_recall": "disc_recall",
    }.items():
      value = metrics[ours].sum / metrics[ours].weight
      expected = forward["eval_metrics_on_this_batch"][theirs]
      np.testing.assert_allclose(value, expected, rtol=1e-5, err_msg=ours)
    golden = np.load(helpers.TINY / "gradients.npz")
    self.assertLen(golden.files, len(path_names(grads)))
    for path, gradient in path_names(grads):
      expected = golden[released_name(path)]
      # A key's bias shifts all scores of a query alike: its gradient is 0 but
      # for rounding.
      scale = np.abs(expected).max() if "key/bias" not in path else 1e-2
      np.testing.assert_allclose(
          gradient, expected, atol=1e-4 * scale, rtol=0, err_msg=path
      )

  @pytest.mark.slow
  def test_area_under_the_curve_without_padding(self):
    from electra_jax.training import metrics

    _, outcome = golden_step()
    replaced = outcome.replaced
    histogram = np.asarray(metrics.ranking_histogram(*replaced))
    area = metrics.area_under_curve(histogram)
    self.assertAlmostEqual(area, 0.8382, places=4)


class SampleTest(parameterized.TestCase):

  def frequencies(self, logits, draws=40_000, **kwargs):
    uniforms = jax.random.uniform(jax.random.key(0), (draws, 1))
    tiled = jnp.broadcast_to(
        jnp.asarray(logits)[None, None], (draws, 1, len(logits))
    )
    if "disallowed_ids" in kwargs:
      kwargs["disallowed_ids"] = jnp.full((draws, 1), kwargs["disallowed_ids"])
    ids = corruption.sample_replacements(tiled, uniforms, **kwargs)
    alike = corruption.sample_from_one_distribution(
        jnp.asarray(logits), uniforms, **kwargs
    )
    # Both invert one distribution function: they differ at its edges alone.
    self.assertLess(np.mean(np.asarray(ids != alike)), 1e-3)
    return np.bincount(np.asarray(ids)[:, 0], minlength=len(logits)) / draws

  @parameterized.parameters(1, 2, 5, 30)
  def test_frequencies_match_probabilities(self, vocab_size):
    logits = np.linspace(-2, 1, vocab_size, dtype=np.float32)
    expected = np.exp(logits) / np.exp(logits).sum()
    error = np.sqrt(expected * (1 - expected) / 40_000)
    np.testing.assert_array_less(
        np.abs(self.frequencies(logits) - expected), 5 * error + 1e-9
    )

  def test_temperature_and_disallowed(self):
    logits = np.array([0.0, 1.0, 2.0, -1.0], np.float32)
    expected = np.exp(logits / 2)
    expected[2] = 0
    expected /= expected.sum()
    found = self.frequencies(logits, temperature=2.0, disallowed_ids=2)
    error = np.sqrt(expected * (1 - expected) / 40_000)
    np.testing.assert_array_less(np.abs(found - expected), 5 * error + 1e-9)

  def test_impossible_ids_never_come_out(self):
    logits = np.full(50, -np.inf, np.float32)
    logits[[3, 20, 41]] = 0.0
    tiled = jnp.broadcast_to(logits, (1, 6, 50))
    uniforms = jnp.asarray(
        [[0.0, 1 / 3 - 1e-7, 0.34, 0.6666, 0.6668, 1 - 2**-24]]
    )
    ids = corruption.sample_replacements(tiled, uniforms)
    np.testing.assert_array_equal(ids, [[3, 3, 20, 20, 41, 41]])

  def test_every_id_of_a_large_vocabulary_is_reached(self):
    size = 1000
    uniforms = (jnp.arange(size, dtype=jnp.float32)[None] + 0.5) / size
    ids = corruption.sample_replacements(jnp.zeros((1, size, size)), uniforms)
    np.testing.assert_array_equal(ids[0], np.arange(size))

  def test_the_disallowed_id_never_comes_out_of_one_distribution(self):
    # At every edge, and where the id has no mass or all of it but a little.
    logits = jnp.asarray([-np.inf, 0.0, 3.0, -np.inf, 1.0, -20.0, -np.inf])
    weights = np.asarray(jax.nn.softmax(logits))
    for disallowed in range(7):
      edges = np.cumsum(np.delete(weights, disallowed))
      edges = np.concatenate([[0.0], edges / edges[-1]]).astype(np.float32)
      uniforms = np.concatenate(
          [
              edges,
              np.nextafter(edges, np.float32(0)),
              np.nextafter(edges, np.float32(1)),
              [np.float32(1 - 2**-24)],
          ]
      )
      uniforms = np.clip(uniforms, 0, 1 - 2**-24)[None].astype(np.float32)
      ids = corruption.sample_from_one_distribution(
          logits,
          jnp.asarray(uniforms),
          disallowed_ids=jnp.full(uniforms.shape, disallowed),
      )
      self.assertTrue(np.all(np.isin(ids, [1, 2, 4, 5])))
      self.assertFalse(np.any(np.asarray(ids) == disallowed))


class LossTest(absltest.TestCase):

  def test_weights_of_zero_count_for_nothing(self):
    logits = jnp.asarray([[1.0, -2.0, 5.0]])
    replaced = jnp.asarray([[True, False, True]])
    loss = losses.replaced_token_loss(
        logits, replaced, jnp.asarray([[1.0, 1.0, 0.0]])
    )
    expected = np.log1p(np.exp(-1)) + np.log1p(np.exp(-2))
    np.testing.assert_allclose(loss.sum, expected, rtol=1e-6)
    self.assertEqual(loss.weight, 2)

  def test_masked_lm_by_hand(self):
    logits = jnp.log(jnp.asarray([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]]))
    loss, correct = losses.masked_lm_loss(
        logits, jnp.asarray([[0, 1]]), jnp.asarray([[1.0, 1.0]])
    )
    np.testing.assert_allclose(loss.sum, -np.log(0.7) - np.log(0.1), rtol=1e-6)
    self.assertEqual((correct.sum, correct.weight), (1, 2))

  def test_large_logits_stay_finite(self):
    loss, _ = losses.masked_lm_loss(
        jnp.asarray([[[1e4, -1e4]]]), jnp.asarray([[1]]), jnp.ones((1, 1))
    )
    self.assertEqual(loss.sum, 2e4)


if __name__ == "__main__":
  absltest.main()
