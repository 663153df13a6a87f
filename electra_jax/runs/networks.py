"""What a pre-training config and a vocabulary say of networks and objective."""

import dataclasses
from typing import NamedTuple

import numpy as np

from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.flops import training_flops_per_row
from electra_jax.objectives.generators import ObjectiveOptions
from electra_jax.objectives.masking import MaskingConfig
from electra_jax.objectives.objective import Method, every_token, find_method
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig
from electra_jax.store.reader import Store, open_store
from electra_jax.text.tokenizer import SpecialIds, Tokenizer

# Of config.model, what may be left to the run that init_from names.
ENCODER_SHAPES = (
    "num_layers",
    "hidden_size",
    "embedding_size",
    "max_position_embeddings",
)
_GENERATOR_SHAPES = (
    "generator_width_ratio",
    "generator_depth_ratio",
    "embedding_sharing",
)


class Vocabulary(NamedTuple):
  """What programs know of a vocabulary.

  Attributes:
    size: V.
    special: ids of the special tokens.
    is_continuation: [V] whether an id goes on with the word before it, or
      None; for masking words.
    unigram_counts: [V] how often each id occurs in the training text, or
      None; for the unigram generator.
  """

  size: int
  special: SpecialIds
  is_continuation: np.ndarray | None = None
  unigram_counts: np.ndarray | None = None


def vocabulary_of(
    tokenizer: Tokenizer, store: Store | None = None
) -> Vocabulary:
  """Returns what programs know of a tokenizer, and of a store's text."""
  return Vocabulary(
      tokenizer.vocab_size,
      tokenizer.special,
      np.asarray(
          [tokenizer.is_continuation(i) for i in range(tokenizer.vocab_size)]
      ),
      None if store is None else store.unigram_counts(),
  )


def vocabulary_of_run(run: workdirs.Run) -> Vocabulary:
  """Returns what the programs of a finished run know of its vocabulary.

  Raises:
    UserError: the generator is the unigram one and the run's store is gone.
  """
  store = None
  if run.config.objective.generator == "unigram":
    store = open_store(run.config.data.store)
    workdirs.check_rows(run, store, "train with another generator")
  return vocabulary_of(run.tokenizer, store)


def left_to_start(config: PretrainConfig) -> list[str]:
  """Returns the keys of config.model that are 0 or ""."""
  names = (*ENCODER_SHAPES, *_GENERATOR_SHAPES)
  return [name for name in names if not getattr(config.model, name)]


def check_shapes_given(config: PretrainConfig) -> None:
  """Raises a UserError for a shape that is left to a run that is not there."""
  for name in left_to_start(config):
    value = getattr(config.model, name)
    raise UserError(
        f"config.model.{name} is {value!r}, which takes it from"
        f" config.init_from, and that is empty; give a run by"
        " --config.init_from, or leave from_init out of --config"
    )


def electra_config(config: PretrainConfig, vocab_size: int) -> ElectraConfig:
  """Returns the networks of a pre-training config.

  Raises:
    UserError: an unknown objective, generator or embedding_sharing, or a shape
      that is still left to `init_from`.
  """
  check_shapes_given(config)
  model = config.model
  method = method_of(config)
  objective, has_generator = method.objective, method.generator.is_network
  discriminator = encoder_config(
      vocab_size,
      model.num_layers,
      model.hidden_size,
      model.embedding_size,
      max_position_embeddings=model.max_position_embeddings,
      initializer_range=model.initializer_range,
      initialization=model.initialization,
      hidden_dropout=model.hidden_dropout,
      attention_dropout=model.attention_dropout,
      dtype=model.dtype,
      remat=model.remat,
      quantization=model.quantization,
  )
  # Converted models may differ here from the released proportions.
  own = {
      "num_heads": model.num_heads,
      "intermediate_size": model.intermediate_size,
      "head_size": model.head_size,
  }
  discriminator = dataclasses.replace(
      discriminator, **{name: n for name, n in own.items() if n is not None}
  )
  sharing = model.embedding_sharing
  generator = None
  if has_generator and objective.has_discriminator and sharing != "all":
    generator = generator_config(
        discriminator,
        model.generator_width_ratio,
        model.generator_depth_ratio,
        own_embeddings=sharing == "none",
    )
  return ElectraConfig(
      discriminator,
      generator,
      sharing,
      has_generator_head=has_generator,
      has_discriminator_head=objective.detect is not None,
      has_token_head=objective.has_token_head,
      has_two_towers=config.objective.generator == "two_tower",
  )


def method_of(config: PretrainConfig) -> Method:
  """Returns objective and generator of a pre-training config.

  Raises:
    UserError: there is no such pair.
  """
  return find_method(config.objective.name, config.objective.generator)


def own_loss_weights(config: PretrainConfig) -> dict[str, float]:
  """Returns the factors of the losses that a run learns without a teacher."""
  factors = {
      "mlm_loss": config.objective.gen_weight,
      "rtd_loss": config.objective.disc_weight,
      "token_loss": config.objective.token_weight,
  }
  return {name: factors[name] for name in method_of(config).losses}


def learns_by_itself(config: PretrainConfig) -> bool:
  """Whether any of them counts, beside what a teacher gives."""
  return any(own_loss_weights(config).values())


def masking_config(
    config: PretrainConfig, vocabulary: Vocabulary
) -> MaskingConfig:
  """Returns the masking of a pre-training config."""
  special = vocabulary.special
  return MaskingConfig(
      mask_prob=config.objective.mask_prob,
      max_length=config.data.length,
      mask_id=special.mask,
      unmaskable_ids=(special.cls, special.sep, special.mask),
      draw=config.objective.masking_draw,
      unit=config.objective.masking_unit,
      is_continuation=vocabulary.is_continuation,
  )


def objective_options(
    config: PretrainConfig, vocabulary: Vocabulary
) -> ObjectiveOptions:
  """Returns the knobs of a pre-training config's objective."""
  objective = config.objective
  return ObjectiveOptions(
      vocab_size=vocabulary.size,
      special_ids=tuple(vocabulary.special),
      unigram_counts=vocabulary.unigram_counts,
      mask_prob=objective.mask_prob,
      temperature=objective.temperature,
      disallow_correct=objective.disallow_correct,
      label_smoothing=objective.label_smoothing,
  )


def training_flops(config: PretrainConfig, vocabulary: Vocabulary) -> int:
  """Returns the model FLOPs of one training step; see models/flops.py."""
  networks = electra_config(config, vocabulary.size)
  length = config.data.length
  slots = masking_config(config, vocabulary).num_slots
  token_positions = 0
  if networks.has_token_head:
    # The head sees what its loss stands on.
    weigh = method_of(config).losses["token_loss"]
    token_positions = length if weigh is every_token else slots
  return config.train.batch_size * training_flops_per_row(
      networks, length, slots, token_positions
  )
