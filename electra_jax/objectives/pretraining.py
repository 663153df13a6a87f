"""Pre-training objectives: pure functions of masked rows and two networks.

To add one: write a function (networks, masked, options) -> Outcome, say in
`Objective` which losses it adds up and which networks it needs, and enter it
in OBJECTIVES.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp

from electra_jax.objectives.corruption import corrupt, sample_replacements
from electra_jax.objectives.losses import (
    WeightedSum,
    masked_lm_loss,
    replaced_token_loss,
)
from electra_jax.objectives.masking import MaskedRows
from electra_jax.shapes import (
    Array,
    Bool,
    Float,
    Positions,
    Scalar,
    SlotIds,
    TokenIds,
)


class Networks(NamedTuple):
  """Both networks with their parameters bound.

  Attributes:
    masked_lm_logits: (ids, rows' mask and segments, positions) -> [B, K, V].
    replaced_token_logits: (ids, rows' mask and segments) -> [B, L].
  """

  masked_lm_logits: Callable[
      [TokenIds, MaskedRows, Positions], Float[Array, "B K V"]
  ]
  replaced_token_logits: Callable[[TokenIds, MaskedRows], Float[Array, "B L"]]


@dataclasses.dataclass(frozen=True)
class ObjectiveOptions:
  """Knobs of the objectives.

  Attributes:
    vocab_size: V, for generators without a network.
    temperature: divides the generator's logits before sampling.
    disallow_correct: whether the original token is never sampled.
  """

  vocab_size: int
  temperature: float = 1.0
  disallow_correct: bool = False


class Outcome(NamedTuple):
  """What one batch gave.

  Attributes:
    losses: summed nats and weights by name; the weight of each is
      `Objective.weigh` of the batch.
    metrics: further sums and weights by name.
    replaced: the discriminator's logits, labels and weights for ranking
      metrics, or None.
  """

  losses: Mapping[str, WeightedSum]
  metrics: Mapping[str, WeightedSum]
  replaced: (
      tuple[Float[Array, "B L"], Bool[Array, "B L"], Float[Array, "B L"]] | None
  )


@dataclasses.dataclass(frozen=True)
class Objective:
  """An objective and what it needs.

  Attributes:
    function: (networks, masked, options) -> Outcome.
    losses: names of the losses it adds up.
    has_generator: whether a masked-LM network runs.
    has_discriminator: whether a replaced-token network runs.
  """

  function: Callable[[Networks, MaskedRows, ObjectiveOptions], Outcome]
  losses: tuple[str, ...]
  has_generator: bool
  has_discriminator: bool

  def weigh(self, masked: MaskedRows) -> dict[str, Scalar]:
    """Returns each loss's total weight, before any network has run."""
    weights = {
        "mlm_loss": masked.masked_lm_weights,
        "rtd_loss": masked.rows.input_mask.astype(jnp.float32),
    }
    return {name: jnp.sum(weights[name]) for name in self.losses}


def electra(
    networks: Networks, masked: MaskedRows, options: ObjectiveOptions
) -> Outcome:
  """Replaced-token detection with a generator trained by masked LM.

  L = gen_weight · L_MLM + disc_weight · L_RTD, the discriminator over all
  tokens that are not padding, [CLS] and [SEP] among them.

  Source: ELECTRA §2; release run_pretraining.py:PretrainingModel.
  """
  logits = networks.masked_lm_logits(
      masked.masked_input_ids, masked, masked.masked_lm_positions
  )
  return _detect(networks, masked, options, logits)


def uniform(
    networks: Networks, masked: MaskedRows, options: ObjectiveOptions
) -> Outcome:
  """Replaced-token detection against uniformly random replacements.

  Source: release configure_pretraining.py, uniform_generator.
  """
  logits = uniform_logits(masked, options)
  return _detect(networks, masked, options, logits)


def masked_lm(
    networks: Networks, masked: MaskedRows, options: ObjectiveOptions
) -> Outcome:
  """Masked language modelling alone, as BERT without next sentences.

  Source: release run_pretraining.py with electra_objective off.
  """
  del options
  logits = networks.masked_lm_logits(
      masked.masked_input_ids, masked, masked.masked_lm_positions
  )
  loss, correct = masked_lm_loss(
      logits, masked.masked_lm_ids, masked.masked_lm_weights
  )
  return Outcome({"mlm_loss": loss}, {"mlm_accuracy": correct}, None)


def uniform_logits(
    masked: MaskedRows, options: ObjectiveOptions
) -> Float[Array, "B K V"]:
  """Logits of a generator to which all ids are equally likely."""
  slots = masked.masked_lm_positions.shape
  return jnp.zeros((*slots, options.vocab_size), jnp.float32)


def sample(
    generator_logits: Float[Array, "B K V"],
    masked: MaskedRows,
    options: ObjectiveOptions,
) -> SlotIds:
  """Samples every slot's replacement as the options say."""
  return sample_replacements(
      generator_logits,
      masked.sample_uniforms,
      temperature=options.temperature,
      disallowed_ids=(
          masked.masked_lm_ids if options.disallow_correct else None
      ),
  )


def _detect(networks, masked, options, generator_logits) -> Outcome:
  mlm, correct = masked_lm_loss(
      generator_logits, masked.masked_lm_ids, masked.masked_lm_weights
  )
  replacements = sample(generator_logits, masked, options)
  corrupted_ids, is_replaced = corrupt(masked, replacements)
  logits = networks.replaced_token_logits(corrupted_ids, masked)
  weights = masked.rows.input_mask.astype(jnp.float32)
  return Outcome(
      losses={
          "mlm_loss": mlm,
          "rtd_loss": replaced_token_loss(logits, is_replaced, weights),
      },
      metrics={
          "mlm_accuracy": correct,
          "sampled_mlm_accuracy": _sampled_accuracy(masked, replacements),
          **_detection_metrics(logits, is_replaced, weights),
      },
      replaced=(logits, is_replaced, weights),
  )


def _sampled_accuracy(masked: MaskedRows, replacements: SlotIds) -> WeightedSum:
  weights = masked.masked_lm_weights
  same = (replacements == masked.masked_lm_ids) * weights
  return WeightedSum(jnp.sum(same), jnp.sum(weights))


def _detection_metrics(logits, is_replaced, weights) -> dict[str, WeightedSum]:
  called = (logits > 0) * weights
  replaced = is_replaced * weights
  hits = jnp.sum(called * is_replaced)
  right = jnp.sum(((logits > 0) == is_replaced) * weights)
  return {
      "rtd_accuracy": WeightedSum(right, jnp.sum(weights)),
      "rtd_precision": WeightedSum(hits, jnp.sum(called)),
      "rtd_recall": WeightedSum(hits, jnp.sum(replaced)),
      "replaced_share": WeightedSum(jnp.sum(replaced), jnp.sum(weights)),
  }


OBJECTIVES = {
    "electra": Objective(electra, ("mlm_loss", "rtd_loss"), True, True),
    "uniform": Objective(uniform, ("mlm_loss", "rtd_loss"), False, True),
    "masked_lm": Objective(masked_lm, ("mlm_loss",), True, False),
}
