"""Every objective with every generator: values by hand, gradients, weights."""

import dataclasses
import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.objectives import corruption, generators, losses
from electra_jax.objectives import objective as pretraining
from electra_jax.objectives.masking import mask_rows, selected, unpack_rows
from electra_jax.pretraining.trainer import Electra, bind, make_trainer
from electra_jax.runs.networks import (
    Vocabulary,
    electra_config,
    masking_config,
    method_of,
    objective_options,
)
from electra_jax.text.tokenizer import SpecialIds
from electra_jax.trees import path_names
from tests import helpers

VOCAB_SIZE = helpers.VOCAB_SIZE
SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
COUNTS = np.where(np.arange(VOCAB_SIZE) < 5, 0, np.arange(VOCAB_SIZE) ** 2)
VOCABULARY = Vocabulary(
    VOCAB_SIZE, SPECIAL, np.arange(VOCAB_SIZE) % 3 == 2, COUNTS
)
DEFAULTS = [
    (name, objective.generators[0])
    for name, objective in pretraining.OBJECTIVES.items()
]
PAIRS = DEFAULTS + [("electra", name) for name in generators.GENERATORS][1:]


class Case:
  """A tiny model of an objective, with a batch of its rows."""

  def __init__(self, objective, generator, overrides=()):
    self.config = helpers.tiny_config(
        **{
            "model.num_layers": 1,
            "objective.name": objective,
            "objective.generator": generator,
            "objective.mask_prob": 0.3,
        }
        | dict(overrides)
    )
    networks = electra_config(self.config, VOCAB_SIZE)
    self.model = Electra(networks)
    self.params = helpers.lively_params(networks)
    self.recipe = method_of(self.config)
    self.options = objective_options(self.config, VOCABULARY)
    masking = masking_config(self.config, VOCABULARY)
    self.masked = jax.jit(
        lambda *batch: mask_rows(
            jax.random.key(1), unpack_rows(*batch), masking
        )
    )(*helpers.batch_of())

  def networks(self, params=None):
    return bind(self.model, params or self.params, None)

  def outcome_of(self, params):
    return self.recipe.run(self.networks(params), self.masked, self.options)

  @functools.cached_property
  def outcome(self):
    return jax.jit(self.outcome_of)(self.params)

  def gradients(self, loss_name):
    @jax.jit
    @jax.grad
    def gradients(params):
      return self.outcome_of(params).losses[loss_name].sum

    return dict(path_names(gradients(self.params)))

  @functools.cached_property
  def corrupted(self):
    @jax.jit
    def corrupted(params):
      generated = self.recipe.generator.function(
          self.networks(params), self.masked, self.options
      )
      return corruption.corrupt(self.masked, generated.replacements)

    return corrupted(self.params)


@functools.cache
def case_of(objective, generator, *overrides):
  """A case that is only read: what it computes is computed once."""
  return Case(objective, generator, overrides)


@pytest.mark.parametrize(("objective", "generator"), PAIRS)
def test_losses_are_finite_and_their_weights_are_known_before(
    objective, generator
):
  case = case_of(objective, generator)
  outcome = case.outcome
  weights = case.recipe.weigh(case.masked)
  assert set(outcome.losses) == set(weights) == set(case.recipe.losses)
  for name, loss in outcome.losses.items():
    assert np.isfinite(loss.sum) and loss.sum > 0
    np.testing.assert_array_equal(loss.weight, weights[name])


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "generator"), DEFAULTS)
def test_the_discriminator_does_not_train_the_generator(objective, generator):
  case = case_of(objective, generator, ("model.embedding_sharing", "none"))
  for name in pretraining.OBJECTIVES[objective].weigh:
    for path, gradient in case.gradients(name).items():
      assert np.isfinite(gradient).all(), (name, path)
      if path.startswith(("generator", "cloze_head")):
        assert not np.any(gradient), (name, path)


def test_electra_15_counts_the_chosen_tokens_alone():
  case, whole = case_of("electra_15", "masked_lm"), case_of(
      "electra", "masked_lm"
  )
  ids, is_replaced = case.corrupted
  logits = pretraining.detect(case.networks(), case.masked, case.options, ids)
  expected = losses.replaced_token_loss(
      logits, is_replaced, selected(case.masked).astype(jnp.float32)
  )
  loss = case.outcome.losses["rtd_loss"]
  np.testing.assert_allclose(loss.sum, expected.sum, rtol=1e-6)
  assert loss.weight == np.sum(case.masked.masked_lm_weights)
  assert loss.sum < whole.outcome.losses["rtd_loss"].sum


def test_replace_mlm_predicts_originals_where_samples_stand():
  case = case_of("replace_mlm", "masked_lm")
  ids, is_replaced = case.corrupted
  assert np.any(is_replaced)
  networks = case.networks()
  logits = networks.token_logits(
      networks.discriminate(ids, case.masked), case.masked.masked_lm_positions
  )
  log_probabilities = jax.nn.log_softmax(logits)
  expected = 0.0
  for row, slot in zip(*np.nonzero(case.masked.masked_lm_weights), strict=True):
    label = case.masked.masked_lm_ids[row, slot]
    expected -= log_probabilities[row, slot, label]
  np.testing.assert_allclose(
      case.outcome.losses["token_loss"].sum, expected, rtol=1e-5
  )


def test_all_tokens_mlm_is_a_distribution_over_the_vocabulary():
  case = case_of("all_tokens_mlm", "masked_lm")
  networks = case.networks()
  ids, is_replaced = case.corrupted
  states = networks.discriminate(ids, case.masked)
  every = jnp.broadcast_to(jnp.arange(VOCAB_SIZE), (*ids.shape, VOCAB_SIZE))
  predicted = jnp.exp(networks.token_log_probabilities(states, every))
  copy = jax.nn.sigmoid(-networks.detection_logits(states))[..., None]
  is_input = every == ids[..., None]
  probabilities = copy * is_input + (1 - copy) * predicted
  np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)
  original = case.masked.rows.input_ids[..., None]
  right = jnp.take_along_axis(probabilities, original, axis=-1)[..., 0]
  nats = -jnp.log(right) * case.masked.rows.input_mask
  np.testing.assert_allclose(
      case.outcome.losses["token_loss"].sum, nats.sum(), rtol=1e-5
  )
  assert np.any(is_replaced)


def test_electric_adds_the_generators_probability_to_the_energy():
  case = case_of("electric", "two_tower")
  networks = case.networks()
  ids, _ = case.corrupted
  states = networks.generate(case.masked.rows.input_ids, case.masked)
  every = jnp.broadcast_to(
      jnp.arange(ids.shape[1], dtype=jnp.int32)[None], ids.shape
  )
  dense = jax.nn.log_softmax(networks.generator_logits(states, every))
  log_q = jnp.take_along_axis(dense, ids[..., None], axis=-1)[..., 0]
  energies = networks.detection_logits(networks.discriminate(ids, case.masked))
  logits = energies + log_q + np.log(0.3 / 0.7)
  outcome = case.outcome
  found, labels, weights = outcome.replaced
  np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(labels, selected(case.masked))
  np.testing.assert_array_equal(weights, case.masked.rows.input_mask)


def test_a_lucky_sample_is_noise_to_electric_and_original_to_electra():
  for objective, expected in (("electric", True), ("electra", False)):
    case = Case(objective, "two_tower")
    right = mock.Mock(return_value=case.masked.masked_lm_ids)
    with mock.patch.object(generators, "sample_replacements", right):
      _, labels, _ = case.outcome.replaced
    assert np.any(labels) == expected


def test_the_cloze_loss_stands_on_all_ordinary_tokens():
  case = case_of("electra", "two_tower")
  networks, rows = case.networks(), case.masked.rows
  states = networks.generate(rows.input_ids, case.masked)
  every = jnp.broadcast_to(jnp.arange(32, dtype=jnp.int32)[None], (8, 32))
  dense = jax.nn.log_softmax(networks.generator_logits(states, every))
  right = jnp.take_along_axis(dense, rows.input_ids[..., None], axis=-1)[..., 0]
  is_ordinary = (rows.input_mask > 0) & ~jnp.isin(
      rows.input_ids, jnp.asarray([2, 3, 4])
  )
  loss = case.outcome.losses["mlm_loss"]
  np.testing.assert_allclose(loss.sum, -jnp.sum(right * is_ordinary), rtol=1e-5)
  assert loss.weight == is_ordinary.sum()


def replacements(generator, rows=4000):
  case = case_of("electra", generator)
  masked = case.masked

  masked = jax.tree.map(
      lambda x: jnp.tile(x, (rows, *(1,) * (x.ndim - 1))), masked
  )
  masked = masked._replace(
      sample_uniforms=jax.random.uniform(
          jax.random.key(2), masked.masked_lm_ids.shape
      )
  )
  generated = case.recipe.generator.function(
      case.networks(), masked, case.options
  )
  used = np.asarray(masked.masked_lm_weights) > 0
  return (
      np.asarray(generated.replacements)[used],
      np.asarray(masked.masked_lm_ids)[used],
      generated,
  )


def assert_frequencies(ids, probabilities):
  found = np.bincount(ids, minlength=VOCAB_SIZE) / len(ids)
  error = np.sqrt(probabilities * (1 - probabilities) / len(ids))
  np.testing.assert_array_less(np.abs(found - probabilities), 5 * error + 1e-6)


def test_the_unigram_generator_samples_by_the_counts_of_the_text():
  ids, _, generated = replacements("unigram")
  assert_frequencies(ids, (COUNTS + 1) / (COUNTS + 1).sum())
  assert not generated.losses and generated.states is None


def test_the_uniform_generator_samples_everything():
  ids, _, _ = replacements("uniform")
  assert_frequencies(ids, np.full(VOCAB_SIZE, 1 / VOCAB_SIZE))


def test_the_random_generator_always_replaces_and_never_by_special_tokens():
  ids, originals, _ = replacements("random")
  assert not np.any(ids == originals)
  assert ids.min() == 5 and ids.max() == VOCAB_SIZE - 1


def test_the_unigram_generator_needs_counts():
  case = Case("electra", "unigram")
  case.options = dataclasses.replace(case.options, unigram_counts=None)
  with pytest.raises(UserError, match="needs the counts of a token store"):
    case.outcome_of(case.params)


def test_label_smoothing_by_hand():
  logits = jnp.asarray([[2.0, -1.0]])
  replaced = jnp.asarray([[True, False]])
  loss = losses.replaced_token_loss(logits, replaced, jnp.ones((1, 2)), 0.2)
  right = np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0))
  wrong = np.log1p(np.exp(2.0)), np.log1p(np.exp(1.0))
  expected = 0.9 * sum(right) + 0.1 * sum(wrong)
  np.testing.assert_allclose(loss.sum, expected, rtol=1e-6)


def test_label_smoothing_reaches_the_loss():
  plain = case_of("electra", "masked_lm").outcome.losses["rtd_loss"].sum
  smoothing = ("objective.label_smoothing", 0.3)
  case = case_of("electra", "masked_lm", smoothing)
  logits, labels, weights = case.outcome.replaced
  expected = losses.replaced_token_loss(logits, labels, weights, 0.3).sum
  np.testing.assert_allclose(case.outcome.losses["rtd_loss"].sum, expected)
  assert expected != plain


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_outside_its_range(smoothing):
  with pytest.raises(UserError, match="label_smoothing is"):
    generators.ObjectiveOptions(10, label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("objective", "generator", "message"),
    [
        ("elektra", "masked_lm", "config.objective.name is 'elektra'"),
        ("electra", "gan", "config.objective.generator is 'gan'"),
        (
            "electric",
            "masked_lm",
            "for the objective 'electric' it must be one",
        ),
        ("masked_lm", "uniform", "for the objective 'masked_lm' it must be"),
    ],
)
def test_unknown_names_and_pairs(objective, generator, message):
  with pytest.raises(UserError, match=message):
    pretraining.find_method(objective, generator)


@pytest.mark.parametrize(
    "overrides",
    [{"objective.temperature": 1.5}, {"objective.disallow_correct": True}],
)
def test_the_noise_of_electric_is_of_the_generator_itself(overrides):
  with pytest.raises(UserError, match="noise must come from the generator"):
    config = helpers.tiny_config(
        **{"objective.name": "electric", "objective.generator": "two_tower"}
        | overrides
    )
    make_trainer(config, VOCABULARY, sharding.make_mesh())


def test_a_two_tower_score_is_the_cloze_probability():
  case = case_of("electra", "two_tower")
  networks, rows = case.networks(), case.masked.rows
  states = networks.generate(rows.input_ids, case.masked)
  every = jnp.broadcast_to(jnp.arange(32, dtype=jnp.int32)[None], (8, 32))
  dense = jax.nn.log_softmax(networks.generator_logits(states, every))
  expected = jnp.take_along_axis(dense, rows.input_ids[..., None], -1)[..., 0]
  found = case.recipe.score(networks, case.masked, SPECIAL.mask)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_masked_lm_scores_each_token_while_it_alone_is_masked():
  case = case_of("electra", "masked_lm")
  networks, masked = case.networks(), case.masked
  found = case.recipe.score(networks, masked, SPECIAL.mask)
  for row, place in ((0, 1), (3, 2), (5, 0)):
    ids = masked.rows.input_ids.at[row, place].set(SPECIAL.mask)
    states = networks.generate(ids, masked)
    positions = jnp.full((8, 1), place, jnp.int32)
    logits = networks.generator_logits(states, positions)[row, 0]
    expected = jax.nn.log_softmax(logits)[masked.rows.input_ids[row, place]]
    np.testing.assert_allclose(found[row, place], expected, rtol=1e-4)


def test_an_electric_score_is_minus_the_energy():
  case = case_of("electric", "two_tower")
  networks, rows = case.networks(), case.masked.rows
  states = networks.discriminate(rows.input_ids, case.masked)
  np.testing.assert_allclose(
      case.recipe.score(networks, case.masked, SPECIAL.mask),
      -networks.detection_logits(states),
  )


def test_generators_without_a_network_give_no_score():
  assert pretraining.find_method("electra", "random").score is None
