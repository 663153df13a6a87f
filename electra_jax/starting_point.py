"""What a fine-tuning starts from: shapes, tokenizer and weights of a run."""

import dataclasses
import json
from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict

from electra_jax import settings
from electra_jax import workdir as workdirs
from electra_jax.data.tokenizer import Tokenizer, load_tokenizer
from electra_jax.errors import UserError
from electra_jax.models.config import (
    ElectraConfig,
    EncoderConfig,
    encoder_config,
)
from electra_jax.models.electra import discriminator_embeddings
from electra_jax.shapes import Params
from electra_jax.training.checkpoint import Checkpointer

SCORES = "scores.json"  # Of one seed, in its folder; of all, above it.
ENCODER = ("embeddings", "discriminator")  # What a task takes of a run.


@dataclasses.dataclass(frozen=True)
class StartingPoint:
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
    like = {name: name for name in ENCODER}
    if self.networks is not None and self.networks.is_disentangled:
      like["generator_embeddings"] = "embeddings"
    checkpointer = Checkpointer(self.checkpoints)
    try:
      params = checkpointer.restore_params(
          {name: abstract[other] for name, other in like.items()},
          {name: shardings[other] for name, other in like.items()},
      )
    finally:
      checkpointer.close()
    if self.networks is not None:
      embeddings = discriminator_embeddings(params, self.networks)
      params = {**params, "embeddings": embeddings}
    return {name: params[name] for name in ENCODER}


class RunWeights(NamedTuple):
  """Where a run's weights lie.

  Attributes:
    folder: of the checkpoints.
    origin: the folder and the newest step, in words.
    trained_length: longest row they were trained on.
  """

  folder: epath.Path
  origin: str
  trained_length: int


def find_start(config: ConfigDict) -> StartingPoint:
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
  for name in ("num_layers", "hidden_size", "embedding_size"):
    if config.model[name] != getattr(encoder, name):
      raise UserError(
          f"config.model.{name} is {config.model[name]} and the run in"
          f" {config.init_from} has {getattr(encoder, name)}; choose the size"
          " of that run in --config configs/finetune.py:task=…,size=…, or set"
          f" --config.model.{name}={getattr(encoder, name)}"
      )
  encoder = dataclasses.replace(encoder, **_trainable(config))
  if config.random_init:
    return StartingPoint(encoder, run.tokenizer)
  weights = find_weights(config.init_from, run)
  return StartingPoint(encoder, run.tokenizer, *weights, networks)


def find_weights(workdir: epath.PathLike, run: workdirs.Run) -> RunWeights:
  """Finds a run's weights; of a fine-tuning, those of its best seed.

  Raises:
    UserError: no seed of a fine-tuning is finished.
  """
  folder, length = epath.Path(workdir).absolute(), "length"
  if run.kind is workdirs.FINETUNING:
    folder, length = seed_folder(folder, None), "max_length"
  folder = workdirs.checkpoints(folder)
  checkpointer = Checkpointer(folder)
  step = max(checkpointer.steps(), default=0)
  checkpointer.close()
  origin = f"weights of step {step:,} in {folder}"
  return RunWeights(folder, origin, run.config.data[length])


def networks_of(run: workdirs.Run) -> ElectraConfig:
  """Returns a run's networks: of a fine-tuning, one without a head."""
  if run.kind is workdirs.PRETRAINING:
    return settings.electra_config(run.config, run.tokenizer.vocab_size)
  return ElectraConfig(
      EncoderConfig(**run.facts["encoder"]),
      generator=None,
      has_generator_head=False,
      has_discriminator_head=False,
  )


def encoder_of(run: workdirs.Run) -> EncoderConfig:
  """Returns the shapes of a run's discriminator."""
  return networks_of(run).discriminator


def seed_folder(workdir: epath.PathLike, seed: int | None) -> epath.Path:
  """Returns the folder of one seed's run, the best one's by default.

  Raises:
    UserError: that seed has no model, or is not finished.
  """
  scores = epath.Path(workdir) / SCORES
  if not scores.exists():
    raise UserError(
        f"no seed of the fine-tuning in {workdir} is finished; run the same"
        " finetune command again until it ends"
    )
  if seed is None:
    seed = json.loads(scores.read_text())["best_seed"]
  folder = epath.Path(workdir) / f"seed_{seed}"
  is_finished = (folder / SCORES).exists()
  if not is_finished or not workdirs.checkpoints(folder).exists():
    raise UserError(
        f"there is no model of seed {seed} in {workdir}; choose one of the"
        " seeds that were run to their end and kept"
    )
  return folder


def _fresh_start(config: ConfigDict) -> StartingPoint:
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
  tokenizer = load_tokenizer(config.data.tokenizer)
  model = config.model
  encoder = encoder_config(
      tokenizer.vocab_size,
      model.num_layers,
      model.hidden_size,
      model.embedding_size,
      **_trainable(config),
  )
  return StartingPoint(encoder, tokenizer)


def _trainable(config: ConfigDict) -> dict[str, Any]:
  names = ("hidden_dropout", "attention_dropout", "dtype", "remat")
  return {name: config.model[name] for name in names}


def _check_tokenizer(config: ConfigDict, own: Tokenizer) -> None:
  other = load_tokenizer(config.data.tokenizer)
  if other.digest != own.digest:
    raise UserError(
        f"config.data.tokenizer {config.data.tokenizer} has"
        f" {other.vocab_size} pieces and is not the vocabulary of"
        f" {own.vocab_size} that {config.init_from} was trained with; leave it"
        " empty to use that run's own"
    )
