"""Generators: what proposes the tokens that replace others.

To add one: write a function (networks, masked, options) -> Generated and enter
it in GENERATORS.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from electra_jax.errors import UserError
from electra_jax.objectives.corruption import (
    sample_from_one_distribution,
    sample_replacements,
)
from electra_jax.objectives.losses import WeightedSum, masked_lm_loss
from electra_jax.objectives.masking import MaskedRows
from electra_jax.shapes import (
    Array,
    Float,
    Hidden,
    Int,
    Positions,
    SlotIds,
    TokenIds,
)

_NEVER = -1e9  # A logit that is never sampled.


class Networks(NamedTuple):
  """Both networks with their parameters bound; each runs at most once.

  Attributes:
    generate: (ids, rows' mask and segments) -> the generator's states.
    generator_logits: (those states, positions) -> [B, K, V].
    generator_log_probabilities: (those states, [B, L, M] ids) -> [B, L, M].
    discriminate: (ids, rows' mask and segments) -> the discriminator's states.
    detection_logits: those states -> [B, L] log-odds of a replacement.
    token_logits: (those states, positions) -> [B, K, V].
    token_log_probabilities: (those states, [B, L, M] ids) -> [B, L, M].
  """

  generate: Callable[[TokenIds, MaskedRows], Hidden]
  generator_logits: Callable[[Hidden, Positions], Float[Array, "B K V"]]
  generator_log_probabilities: Callable[
      [Hidden, Int[Array, "B L M"]], Float[Array, "B L M"]
  ]
  discriminate: Callable[[TokenIds, MaskedRows], Hidden]
  detection_logits: Callable[[Hidden], Float[Array, "B L"]]
  token_logits: Callable[[Hidden, Positions], Float[Array, "B K V"]]
  token_log_probabilities: Callable[
      [Hidden, Int[Array, "B L M"]], Float[Array, "B L M"]
  ]


@dataclasses.dataclass(frozen=True, eq=False)
class ObjectiveOptions:
  """Knobs of the objectives.

  Attributes:
    vocab_size: V, for generators without a network.
    special_ids: what the random generator never writes.
    unigram_counts: [V] how often each id occurs; for the unigram generator.
    mask_prob: share of tokens that is chosen; Electric's prior of noise.
    temperature: divides the generator's logits before sampling.
    disallow_correct: whether the original token is never sampled.
    label_smoothing: of the discriminator's labels.
  """

  vocab_size: int
  special_ids: tuple[int, ...] = ()
  unigram_counts: np.ndarray | None = None
  mask_prob: float = 0.15
  temperature: float = 1.0
  disallow_correct: bool = False
  label_smoothing: float = 0.0

  def __post_init__(self):
    if not 0.0 <= self.label_smoothing < 1.0:
      raise UserError(
          f"config.objective.label_smoothing is {self.label_smoothing}; it must"
          " be at least 0 and less than 1"
      )


class Generated(NamedTuple):
  """What a generator says of the chosen positions.

  Attributes:
    replacements: [B, K] its samples.
    states: its states, or None where it is no network.
    losses: its own loss, if it learns.
    metrics: further sums and weights by name.
  """

  replacements: SlotIds
  states: Hidden | None
  losses: Mapping[str, WeightedSum]
  metrics: Mapping[str, WeightedSum]


@dataclasses.dataclass(frozen=True)
class Generator:
  """A generator and what it needs.

  Attributes:
    function: (networks, masked, options) -> Generated.
    weigh: the weights of its loss, before any network has run, or None where
      it does not learn.
  """

  function: Callable[[Networks, MaskedRows, ObjectiveOptions], Generated]
  weigh: Callable[[MaskedRows], Float[Array, "..."]] | None

  @property
  def is_network(self) -> bool:
    """Whether it has parameters."""
    return self.weigh is not None


def masked_lm(
    networks: Networks, masked: MaskedRows, options: ObjectiveOptions
) -> Generated:
  """A masked language model, trained on the chosen positions.

  Source: ELECTRA §2; release run_pretraining.py:_get_masked_lm_output.
  """
  states = networks.generate(masked.masked_input_ids, masked)
  return _from_network(networks, masked, options, states)


def two_tower(
    networks: Networks, masked: MaskedRows, options: ObjectiveOptions
) -> Generated:
  """Two towers, each of one direction, that predict every token of the text.

  They see the text as it is: no tower sees the token it predicts. So the loss
  stands on all tokens that are not special, not on the chosen ones alone.

  Source: Electric §2; release run_pretraining.py:TwoTowerClozeTransformer
  and _get_cloze_outputs.
  """
  input_ids = masked.rows.input_ids
  states = networks.generate(input_ids, masked)
  log_probabilities = networks.generator_log_probabilities(
      states, input_ids[..., None]
  )[..., 0]
  weights = _every_maskable_token(masked)
  loss = WeightedSum(-jnp.sum(log_probabilities * weights), jnp.sum(weights))
  generated = _from_network(networks, masked, options, states)
  return generated._replace(losses={"mlm_loss": loss})


def uniform(
    networks: Networks, masked: MaskedRows, options: ObjectiveOptions
) -> Generated:
  """All ids are equally likely, the original among them.

  Source: release configure_pretraining.py, uniform_generator; its total loss
  also holds the constant ln V.
  """
  del networks
  logits = jnp.zeros(options.vocab_size, jnp.float32)
  return _from_one_distribution(logits, masked, options)


def unigram(
    networks: Networks, masked: MaskedRows, options: ObjectiveOptions
) -> Generated:
  """Ids are as likely as they are frequent in the training text.

  One is added to each count, so that no probability is zero.

  Raises:
    UserError: the options hold no counts.

  Source: ELECTRA §3.2 (smaller generators), the unigram generator.
  """
  del networks
  if options.unigram_counts is None:
    raise UserError(
        "the unigram generator needs the counts of a token store; give the"
        " store that the run was trained on"
    )
  counts = jnp.asarray(options.unigram_counts, jnp.float32)
  return _from_one_distribution(jnp.log(counts + 1.0), masked, options)


def random(
    networks: Networks, masked: MaskedRows, options: ObjectiveOptions
) -> Generated:
  """All ordinary ids but the original are equally likely.

  So that every chosen token is replaced, and never by a special one.
  """
  del networks
  logits = np.zeros(options.vocab_size, np.float32)
  logits[list(options.special_ids)] = _NEVER
  options = dataclasses.replace(options, disallow_correct=True)
  return _from_one_distribution(jnp.asarray(logits), masked, options)


def _from_network(networks, masked, options, states) -> Generated:
  logits = networks.generator_logits(states, masked.masked_lm_positions)
  loss, correct = masked_lm_loss(
      logits, masked.masked_lm_ids, masked.masked_lm_weights
  )
  replacements = sample_replacements(
      logits, masked.sample_uniforms, **_sampling(masked, options)
  )
  losses, metrics = {"mlm_loss": loss}, {"mlm_accuracy": correct}
  return Generated(replacements, states, losses, metrics)


def _from_one_distribution(logits, masked, options) -> Generated:
  replacements = sample_from_one_distribution(
      logits, masked.sample_uniforms, **_sampling(masked, options)
  )
  return Generated(replacements, None, {}, {})


def _sampling(masked: MaskedRows, options: ObjectiveOptions) -> dict[str, Any]:
  disallowed = masked.masked_lm_ids if options.disallow_correct else None
  return {"temperature": options.temperature, "disallowed_ids": disallowed}


def _slots(masked: MaskedRows) -> Float[Array, "B K"]:
  return masked.masked_lm_weights


def _every_maskable_token(masked: MaskedRows) -> Float[Array, "B L"]:
  return masked.is_maskable.astype(jnp.float32)


GENERATORS = {
    "masked_lm": Generator(masked_lm, _slots),
    "two_tower": Generator(two_tower, _every_maskable_token),
    "unigram": Generator(unigram, None),
    "uniform": Generator(uniform, None),
    "random": Generator(random, None),
}
