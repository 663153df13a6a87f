"""What a fine-tuning starts from: shapes, tokenizer and weights of a run."""

import dataclasses
from typing import Any

from etils import epath

from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    EncoderConfig,
    encoder_config,
)
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.weights import find_weights, networks_of, read_encoder
from electra_jax.shapes import Params
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer

_SHAPES = ("num_layers", "hidden_size", "embedding_size")


@dataclasses.dataclass(frozen=True)
class PretrainedEncoder:
  """Where the encoder comes from.

  Attributes:
    encoder: its shapes.
    tokenizer: of its vocabulary.
    checkpoints: the folder of its weights, or None for random ones.
    origin: where the weights come from, down to the step, in words.
    trained_length: longest row it was trained on, or None where not known.
    networks: of the run that the weights are of, or None for random ones.
  """

  encoder: EncoderConfig
  tokenizer: Tokenizer
  checkpoints: epath.Path | None = None
  origin: str = workdirs.RANDOM_WEIGHTS
  trained_length: int | None = None
  networks: ElectraConfig | None = None

  def restore(self, abstract: Params, shardings: Any) -> Params | None:
    """Reads the encoder's weights, or returns None where they are random.

    Args:
      abstract: shapes and dtypes of all parameters.
      shardings: where each is to lie.

    Raises:
      UserError: no checkpoint, or one of other shapes.
    """
    if self.checkpoints is None:
      return None
    return read_encoder(self.checkpoints, self.networks, abstract, shardings)


def find_encoder(config: FinetuneConfig) -> PretrainedEncoder:
  """Finds the encoder of a fine-tuning config.

  Raises:
    UserError: there is none, or its shapes or vocabulary are not those that
      the config asks for.
  """
  if not config.init_from:
    return _fresh_start(config)
  run = workdirs.load(config.init_from)
  if config.data.tokenizer:
    _check_tokenizer(config, run.tokenizer)
  networks = networks_of(run)
  encoder = networks.discriminator
  for name in _SHAPES:
    asked = getattr(config.model, name)
    if asked not in (0, getattr(encoder, name)):
      raise UserError(
          f"config.model.{name} is {asked} and the run in"
          f" {config.init_from} has {getattr(encoder, name)}; choose the size"
          " of that run in --config configs/finetune.py:task=…,size=…, or take"
          " all shapes of the run by --config finetune:task=…,size=…,from_init"
      )
  encoder = dataclasses.replace(encoder, **_trainable(config))
  if config.random_init:
    return PretrainedEncoder(encoder, run.tokenizer)
  weights = find_weights(config.init_from, run)
  return PretrainedEncoder(encoder, run.tokenizer, *weights, networks)


def _fresh_start(config: FinetuneConfig) -> PretrainedEncoder:
  if not config.random_init:
    raise UserError(
        "config.init_from is empty; give the --workdir of a pretrain run, or"
        " ask for random weights by --config.random_init=true"
    )
  if not config.data.tokenizer:
    raise UserError(
        "config.init_from and config.data.tokenizer are both empty; random"
        " weights need one of them for a vocabulary"
    )
  model = config.model
  for name in _SHAPES:
    if not getattr(model, name):
      raise UserError(
          f"config.model.{name} is 0, which takes it from config.init_from, and"
          " that is empty; leave from_init out of --config, or give a run"
      )
  tokenizer = load_tokenizer(config.data.tokenizer)
  encoder = encoder_config(
      tokenizer.vocab_size,
      model.num_layers,
      model.hidden_size,
      model.embedding_size,
      **_trainable(config),
  )
  return PretrainedEncoder(encoder, tokenizer)


def _trainable(config: FinetuneConfig) -> dict[str, Any]:
  names = (
      *("hidden_dropout", "attention_dropout"),
      *("dtype", "remat", "quantization"),
  )
  return {name: getattr(config.model, name) for name in names}


def _check_tokenizer(config: FinetuneConfig, own: Tokenizer) -> None:
  other = load_tokenizer(config.data.tokenizer)
  if other.digest != own.digest:
    raise UserError(
        f"config.data.tokenizer {config.data.tokenizer} has"
        f" {other.vocab_size} pieces and is not the vocabulary of"
        f" {own.vocab_size} that {config.init_from} was trained with; leave it"
        " empty to use that run's own"
    )


def check_length(config: FinetuneConfig, start: PretrainedEncoder) -> None:
  """Raises a UserError where texts are longer than what an encoder reads."""
  longest = start.encoder.max_position_embeddings
  if config.data.max_length > longest:
    raise UserError(
        f"config.data.max_length {config.data.max_length} exceeds the"
        f" {longest} positions of the checkpoint; set"
        f" --config.data.max_length={longest}"
    )
