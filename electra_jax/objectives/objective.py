"""Pre-training objectives: pure functions of masked rows and two networks.

To add one: write a function (networks, masked, options, generated) -> Outcome,
say in `Objective` which losses it adds up over which tokens and which heads it
needs, and enter it in OBJECTIVES.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from electra_jax.errors import UserError
from electra_jax.objectives.corruption import corrupt
from electra_jax.objectives.generators import (
    GENERATORS,
    Generated,
    Generator,
    Networks,
    ObjectiveOptions,
    two_tower,
)
from electra_jax.objectives.generators import masked_lm as masked_lm_generator
from electra_jax.objectives.losses import (
    WeightedSum,
    masked_lm_loss,
    replaced_token_loss,
)
from electra_jax.objectives.masking import MaskedRows, selected
from electra_jax.objectives.pseudo_likelihood import (
    by_energy,
    by_masking,
    by_two_towers,
)
from electra_jax.shapes import (
    Array,
    Bool,
    Float,
    Scalar,
    TokenIds,
    TokenWeights,
)

Score = Callable[[Networks, MaskedRows, int], Float[Array, "B L"]]
Weigh = Callable[[MaskedRows], Float[Array, "..."]]


class Outcome(NamedTuple):
  """What one batch gave.

  Attributes:
    losses: summed nats and weights by name; the weight of each is
      `Method.weigh` of the batch.
    metrics: further sums and weights by name.
    replaced: the discriminator's logits, labels and weights for ranking
      metrics, or None.
    corrupted_ids: what those logits are about, or None.
  """

  losses: Mapping[str, WeightedSum]
  metrics: Mapping[str, WeightedSum]
  replaced: (
      tuple[Float[Array, "B L"], Bool[Array, "B L"], Float[Array, "B L"]] | None
  ) = None
  corrupted_ids: TokenIds | None = None


@dataclasses.dataclass(frozen=True)
class Objective:
  """An objective and what it needs.

  Attributes:
    function: (networks, masked, options, generated) -> Outcome, without the
      generator's own loss.
    weigh: over which tokens each of its losses is a mean.
    detect: (networks, masked, options, ids) -> log-odds of a replacement; None
      where there is no replaced-token head.
    score: its own function of `pseudo_likelihood`; by default the
      generator's.
    has_discriminator: whether a second network runs on the corrupted text.
    has_token_head: whether it has a masked-LM head.
    generators: names of the generators it works with.
  """

  function: Callable[
      [Networks, MaskedRows, ObjectiveOptions, Generated], Outcome
  ]
  weigh: Mapping[str, Weigh]
  detect: (
      Callable[
          [Networks, MaskedRows, ObjectiveOptions, TokenIds],
          Float[Array, "B L"],
      ]
      | None
  ) = None
  score: Score | None = None
  has_discriminator: bool = True
  has_token_head: bool = False
  generators: tuple[str, ...] = tuple(GENERATORS)


@dataclasses.dataclass(frozen=True)
class Method:
  """An objective with a generator.

  Attributes:
    objective: one of OBJECTIVES.
    generator: one of GENERATORS.
  """

  objective: Objective
  generator: Generator

  @property
  def losses(self) -> Mapping[str, Weigh]:
    """The losses that are added up, each with the weights of its tokens."""
    if self.generator.is_network:
      return {"mlm_loss": self.generator.weigh, **self.objective.weigh}
    return self.objective.weigh

  @property
  def score(self) -> Score | None:
    """How text is scored, or None where the generator is no network."""
    if self.objective.score is not None:
      return self.objective.score
    return _SCORES.get(self.generator.function)

  def check(self, options: ObjectiveOptions) -> None:
    """Raises a UserError for options that the objective's formula forbids."""
    is_plain = options.temperature == 1.0 and not options.disallow_correct
    if self.objective.function is electric and not is_plain:
      raise UserError(
          f"config.objective.temperature is {options.temperature:g} and"
          f" disallow_correct {options.disallow_correct}; Electric's noise must"
          " come from the generator as it is: set"
          " --config.objective.temperature=1"
          " --config.objective.disallow_correct=false"
      )

  def weigh(self, masked: MaskedRows) -> dict[str, Scalar]:
    """Returns each loss's total weight, before any network has run."""
    return {name: jnp.sum(of(masked)) for name, of in self.losses.items()}

  def run(
      self, networks: Networks, masked: MaskedRows, options: ObjectiveOptions
  ) -> Outcome:
    """Runs the generator, then the objective on what it generated."""
    generated = self.generator.function(networks, masked, options)
    outcome = self.objective.function(networks, masked, options, generated)
    metrics = {**generated.metrics, **outcome.metrics}
    # Where no one reads the samples, the compiler draws none.
    if self.objective.has_discriminator:
      same = generated.replacements == masked.masked_lm_ids
      weights = masked.masked_lm_weights
      metrics["sampled_mlm_accuracy"] = WeightedSum(
          jnp.sum(same * weights), jnp.sum(weights)
      )
    losses = {**generated.losses, **outcome.losses}
    return outcome._replace(losses=losses, metrics=metrics)


def find_method(objective: str, generator: str) -> Method:
  """Returns an objective with a generator, by their names.

  Raises:
    UserError: there is no such objective or generator, or the two do not go
      together.
  """
  if objective not in OBJECTIVES:
    raise UserError(
        f"config.objective.name is {objective!r}; it must be one of"
        f" {', '.join(OBJECTIVES)}"
    )
  known = OBJECTIVES[objective].generators
  if generator not in known:
    raise UserError(
        f"config.objective.generator is {generator!r}; for the objective"
        f" {objective!r} it must be one of {', '.join(known)}"
    )
  return Method(OBJECTIVES[objective], GENERATORS[generator])


def electra(
    networks: Networks,
    masked: MaskedRows,
    options: ObjectiveOptions,
    generated: Generated,
) -> Outcome:
  """Replaced-token detection: of every token, whether it is the original.

  L = gen_weight · L_MLM + disc_weight · L_RTD, the discriminator over all
  tokens that are not padding, [CLS] and [SEP] among them.

  Source: ELECTRA §2; release run_pretraining.py:PretrainingModel.
  """
  return _detect(networks, masked, options, generated, every_token(masked))


def electra_15(
    networks: Networks,
    masked: MaskedRows,
    options: ObjectiveOptions,
    generated: Generated,
) -> Outcome:
  """Replaced-token detection over the chosen tokens alone.

  Source: ELECTRA §3.4, "ELECTRA 15%"; not in the release.
  """
  return _detect(networks, masked, options, generated, chosen_tokens(masked))


def electric(
    networks: Networks,
    masked: MaskedRows,
    options: ObjectiveOptions,
    generated: Generated,
) -> Outcome:
  """Noise-contrastive estimation of an energy for every token in its context.

  The discriminator's logit is the energy E. A token is noise with log-odds
  E + log q(token | context) + log(p / (1 - p)), where q is the generator's
  probability, which is not trained by this loss, and p the share of chosen
  tokens. A chosen token is noise even where the sample equals the original.

  Source: Electric §2; release
  run_pretraining.py:_get_discriminator_output, electric_objective.
  """
  corrupted_ids, _ = corrupt(masked, generated.replacements)
  logits = _noise_logits(
      networks, masked, options, corrupted_ids, generated.states
  )
  return _detected(
      corrupted_ids, logits, selected(masked), every_token(masked), options
  )


def replace_mlm(
    networks: Networks,
    masked: MaskedRows,
    options: ObjectiveOptions,
    generated: Generated,
) -> Outcome:
  """Masked LM whose input has the generator's samples in place of [MASK].

  Source: ELECTRA §3.4, "Replace MLM"; not in the release.
  """
  del options
  corrupted_ids, _ = corrupt(masked, generated.replacements)
  states = networks.discriminate(corrupted_ids, masked)
  loss, correct = masked_lm_loss(
      networks.token_logits(states, masked.masked_lm_positions),
      masked.masked_lm_ids,
      masked.masked_lm_weights,
  )
  return Outcome({"token_loss": loss}, {"token_accuracy": correct})


def all_tokens_mlm(
    networks: Networks,
    masked: MaskedRows,
    options: ObjectiveOptions,
    generated: Generated,
) -> Outcome:
  """Replace MLM that predicts every token, with a copy mechanism.

  P(x) = c · [x is the input] + (1 - c) · softmax(x), where the replaced-token
  head gives the odds (1 - c) / c.

  Source: ELECTRA §3.4, "All-Tokens MLM"; not in the release.
  """
  corrupted_ids, is_replaced = corrupt(masked, generated.replacements)
  weights = every_token(masked)
  states = networks.discriminate(corrupted_ids, masked)
  logits = networks.detection_logits(states)
  predicted = networks.token_log_probabilities(
      states, masked.rows.input_ids[..., None]
  )[..., 0]
  predicted += jax.nn.log_sigmoid(logits)
  copied = jnp.where(is_replaced, -jnp.inf, jax.nn.log_sigmoid(-logits))
  nats = -jnp.logaddexp(predicted, copied)
  loss = WeightedSum(jnp.sum(nats * weights), jnp.sum(weights))
  detected = _detected(corrupted_ids, logits, is_replaced, weights, options)
  return detected._replace(losses={"token_loss": loss})


def masked_lm(
    networks: Networks,
    masked: MaskedRows,
    options: ObjectiveOptions,
    generated: Generated,
) -> Outcome:
  """Masked language modelling alone, as BERT without next sentences.

  Source: release run_pretraining.py with electra_objective off.
  """
  del networks, masked, options, generated
  return Outcome({}, {})


def detect(
    networks: Networks,
    masked: MaskedRows,
    options: ObjectiveOptions,
    input_ids: TokenIds,
) -> Float[Array, "B L"]:
  """Log-odds that each of the ids was replaced."""
  del options
  return networks.detection_logits(networks.discriminate(input_ids, masked))


def detect_noise(
    networks: Networks,
    masked: MaskedRows,
    options: ObjectiveOptions,
    input_ids: TokenIds,
) -> Float[Array, "B L"]:
  """Electric's log-odds that each of the ids is noise."""
  states = networks.generate(input_ids, masked)
  return _noise_logits(networks, masked, options, input_ids, states)


def every_token(masked: MaskedRows) -> TokenWeights:
  """1.0 for every token, special ones among them, and 0.0 for padding."""
  return masked.rows.input_mask.astype(jnp.float32)


def chosen_tokens(masked: MaskedRows) -> TokenWeights:
  """1.0 for the tokens that were chosen, 0.0 for all others."""
  return selected(masked).astype(jnp.float32)


def chosen_slots(masked: MaskedRows) -> Float[Array, "B K"]:
  """1.0 for each slot in use."""
  return masked.masked_lm_weights


def _noise_logits(
    networks, masked, options, input_ids, generator_states
) -> Float[Array, "B L"]:
  log_probabilities = networks.generator_log_probabilities(
      jax.lax.stop_gradient(generator_states), input_ids[..., None]
  )[..., 0]
  prior = math.log(options.mask_prob / (1 - options.mask_prob))
  energies = detect(networks, masked, options, input_ids)
  return energies + jax.lax.stop_gradient(log_probabilities) + prior


def _detect(networks, masked, options, generated, weights) -> Outcome:
  corrupted_ids, is_replaced = corrupt(masked, generated.replacements)
  logits = detect(networks, masked, options, corrupted_ids)
  return _detected(corrupted_ids, logits, is_replaced, weights, options)


def _detected(corrupted_ids, logits, is_replaced, weights, options) -> Outcome:
  loss = replaced_token_loss(
      logits, is_replaced, weights, options.label_smoothing
  )
  called = (logits > 0) * weights
  replaced = is_replaced * weights
  hits = jnp.sum(called * is_replaced)
  right = jnp.sum(((logits > 0) == is_replaced) * weights)
  metrics = {
      "rtd_accuracy": WeightedSum(right, jnp.sum(weights)),
      "rtd_precision": WeightedSum(hits, jnp.sum(called)),
      "rtd_recall": WeightedSum(hits, jnp.sum(replaced)),
      "replaced_share": WeightedSum(jnp.sum(replaced), jnp.sum(weights)),
  }
  ranked = logits, is_replaced, weights
  return Outcome({"rtd_loss": loss}, metrics, ranked, corrupted_ids)


OBJECTIVES = {
    "electra": Objective(electra, {"rtd_loss": every_token}, detect),
    "electra_15": Objective(electra_15, {"rtd_loss": chosen_tokens}, detect),
    "electric": Objective(
        electric,
        {"rtd_loss": every_token},
        detect_noise,
        by_energy,
        generators=("two_tower",),
    ),
    "replace_mlm": Objective(
        replace_mlm, {"token_loss": chosen_slots}, has_token_head=True
    ),
    "all_tokens_mlm": Objective(
        all_tokens_mlm,
        {"token_loss": every_token},
        detect,
        has_token_head=True,
    ),
    "masked_lm": Objective(
        masked_lm, {}, has_discriminator=False, generators=("masked_lm",)
    ),
}
_SCORES = {masked_lm_generator: by_masking, two_tower: by_two_towers}
