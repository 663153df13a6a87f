"""What does not go together with a task that writes text; told at the start."""

from collections.abc import Sequence

from electra_jax.decoding.config import DecodingConfig
from electra_jax.errors import UserError
from electra_jax.models import autoencoder
from electra_jax.models.config import EncoderConfig
from electra_jax.models.seq2seq import longest_target
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.tasks import autoencoding
from electra_jax.tasks.task import Task
from electra_jax.tasks.text_to_text import KIND


def writes_text(tasks: Sequence[Task]) -> bool:
  """Says whether tasks write text."""
  return any(task.kind == KIND for task in tasks)


def latent_dimensions(config: FinetuneConfig) -> int:
  """Returns the size of z of an autoencoder; 0 for another task."""
  is_one = config.task == autoencoding.NAME
  return config.autoencoder.dimensions if is_one else 0


def decoding_config(config: FinetuneConfig) -> DecodingConfig:
  """Returns how a config chooses words.

  Raises:
    UserError: values that do not fit each other.
  """
  how = config.generation
  return DecodingConfig(
      method=how.method,
      beam_size=how.beam_size,
      max_length=how.max_target_length,
      min_length=how.min_length,
      length_penalty=how.length_penalty,
      no_repeat_ngram=how.no_repeat_ngram,
      temperature=how.temperature,
      top_k=how.top_k,
      top_p=how.top_p,
  )


def check_generation(config: FinetuneConfig, tasks: Sequence[Task]) -> None:
  """Raises a UserError for what a task that writes text does not go with."""
  task = next(task for task in tasks if task.kind == KIND)
  if len(tasks) > 1:
    raise UserError(
        f"config.task {config.task!r} writes text beside another task, and their"
        f" networks differ; learn task={task.name} by itself"
    )
  decoding_config(config)
  train, how = config.train, config.generation
  wrong = {
      f"data.windows={config.data.windows}": config.data.windows != "first",
      "data.packing=true": config.data.packing,
      f"data.source={config.data.source}": config.data.source != "files",
      f"model.head={config.model.head}": config.model.head != "released",
      f"bottleneck.dimensions={config.bottleneck.dimensions}": (
          config.bottleneck.dimensions > 0
      ),
      f"distill.teacher={config.distill.teacher}": bool(config.distill.teacher),
      f"train.loss_reduction={train.loss_reduction}": (
          train.loss_reduction != "mean"
      ),
      f"generation.decoder_from={how.decoder_from}": (
          how.decoder_from != "discriminator" and how.architecture != "separate"
      ),
      f"generation.label_smoothing={how.label_smoothing}": (
          how.label_smoothing > 0 and task.name == autoencoding.NAME
      ),
  }
  for key, is_wrong in wrong.items():
    if is_wrong:
      raise UserError(
          f"config.{key} has no meaning for task={task.name}, which writes"
          f" text{_REASONS.get(key.partition('=')[0], '')}; leave it out"
      )
  is_latent = task.name == autoencoding.NAME
  if is_latent and how.architecture not in autoencoder.ARCHITECTURES:
    raise UserError(autoencoder.no_such_architecture(how.architecture))


_REASONS = {
    "data.windows": " of the first config.data.max_length tokens of a source",
    "data.packing": " in batches of pairs of like length",
    "data.source": " of a data set that config.table.dataset names",
    "model.head": " by a decoder in place of a head",
    "bottleneck.dimensions": " of many tokens' states",
    "distill.teacher": " and learns from its targets alone",
    "train.loss_reduction": " and learns by the mean over tokens",
    "generation.label_smoothing": (
        " whose likelihood is a part of the evidence lower bound"
    ),
    "generation.decoder_from": (
        " with config.generation.architecture=separate alone from another"
        " network"
    ),
}


def check_lengths(config: FinetuneConfig, encoder: EncoderConfig) -> None:
  """Raises a UserError where source and target exceed an encoder's positions."""
  architecture = config.generation.architecture
  asked = config.generation.max_target_length
  room = longest_target(encoder, architecture, config.data.max_length)
  if asked > room:
    behind = ""
    if architecture == "unilm":
      behind = (
          ", which source and target share"
          f" (config.data.max_length={config.data.max_length})"
      )
    raise UserError(
        f"config.generation.max_target_length is {asked}, and the checkpoint"
        f" has {encoder.max_position_embeddings} positions{behind}; set"
        f" --config.generation.max_target_length={max(room, 2)}, or a smaller"
        " --config.data.max_length"
    )
