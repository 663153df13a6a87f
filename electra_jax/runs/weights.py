"""Which networks a run has, and where their weights lie."""

from typing import Any, NamedTuple

from etils import epath

from electra_jax.disk.json_files import read_json
from electra_jax.errors import UserError
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.models.electra import discriminator_embeddings
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import electra_config
from electra_jax.shapes import Params
from electra_jax.training.checkpoint import Checkpointer

SCORES = "scores.json"  # Of one seed, in its folder; of all, above it.
ENCODER = ("embeddings", "discriminator")  # What a task takes of a run.


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


def find_weights(
    workdir: epath.PathLike, run: workdirs.Run, seed: int | None = None
) -> RunWeights:
  """Finds a run's weights; of a fine-tuning, those of its best seed or another.

  Raises:
    UserError: no seed of a fine-tuning is finished, or that one is not.
  """
  folder, data = shipped.place_of(workdir).absolute(), run.config.data
  length = data.length if run.kind is workdirs.PRETRAINING else data.max_length
  if run.kind is workdirs.FINETUNING:
    folder = seed_folder(folder, seed)
  folder = workdirs.checkpoints(folder)
  with Checkpointer(folder) as checkpointer:
    step = max(checkpointer.steps(), default=0)
  # A package may lie elsewhere when the run is resumed; its name stays.
  place = workdir if shipped.is_shipped(workdir) else folder
  origin = f"weights of step {step:,} in {place}"
  return RunWeights(folder, origin, length)


def read_encoder(
    folder: epath.Path,
    networks: ElectraConfig | None,
    abstract: Params,
    shardings: Any,
) -> Params:
  """Reads a run's discriminator without its head, as it sees the embeddings.

  Args:
    folder: of `find_weights`.
    networks: of `networks_of`, or None for ones that are not disentangled.
    abstract: shapes and dtypes of its parameters at least.
    shardings: where each is to lie.

  Raises:
    UserError: no checkpoint, or one of other shapes.
  """
  like = {name: name for name in ENCODER}
  is_sum = networks is not None and networks.is_disentangled
  if is_sum:
    like["generator_embeddings"] = "embeddings"
  with Checkpointer(folder) as checkpointer:
    params = checkpointer.read_params(
        {name: abstract[other] for name, other in like.items()},
        {name: shardings[other] for name, other in like.items()},
    )
  if is_sum:
    embeddings = discriminator_embeddings(params, networks)
    params = {**params, "embeddings": embeddings}
  return {name: params[name] for name in ENCODER}


def networks_of(run: workdirs.Run) -> ElectraConfig:
  """Returns a run's networks: of a fine-tuning, one without a head."""
  if run.kind is workdirs.PRETRAINING:
    return electra_config(run.config, run.tokenizer.vocab_size)
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
    fix = "run the same finetune command again, which writes it"
    seed = read_json(scores, dict[str, Any], fix).get("best_seed")
    if type(seed) is not int:
      raise UserError(f"{scores} is damaged: it names no best_seed; {fix}")
  folder = epath.Path(workdir) / f"seed_{seed}"
  is_finished = (folder / SCORES).exists()
  if not is_finished or not workdirs.checkpoints(folder).exists():
    raise UserError(
        f"there is no model of seed {seed} in {workdir}; choose one of the"
        " seeds that were run to their end and kept"
    )
  return folder
