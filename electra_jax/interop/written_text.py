"""Models that write text: read from a workdir, or written as one."""

from typing import NamedTuple

import jax
from etils import epath

from electra_jax.finetuning import task_data
from electra_jax.finetuning.generation_checks import writes_text
from electra_jax.finetuning.model import abstract_params
from electra_jax.models.config import EncoderConfig
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.weights import encoder_of, seed_folder
from electra_jax.shapes import Params
from electra_jax.tasks.task import Task
from electra_jax.training.checkpoint import Checkpointer


class TextState(NamedTuple):
  """A network that writes text, and how far it was trained.

  Attributes:
    encoder: its shapes.
    architecture: see `models.seq2seq`.
    params: of `models.seq2seq.Seq2Seq`.
    task: that it has learned.
    step: updates done.
  """

  encoder: EncoderConfig
  architecture: str
  params: Params
  task: Task
  step: int


def learned_to_write(run: workdirs.Run) -> bool:
  """Says whether a run has learned a task that writes text."""
  if run.kind is not workdirs.FINETUNING:
    return False
  return writes_text(_tasks(run))


def read_text_state(
    workdir: epath.PathLike, run: workdirs.Run, seed: int | None
) -> TextState:
  """Reads the model of one seed of such a run, of the best by default.

  Raises:
    UserError: that seed has no model.
  """
  encoder, tasks = encoder_of(run), _tasks(run)
  abstract = abstract_params(tasks, run.config, encoder)
  folder = seed_folder(workdir, seed)
  with Checkpointer(workdirs.checkpoints(folder)) as checkpointer:
    params = jax.device_get(checkpointer.read_params(abstract))
    step = checkpointer.restored_step
  architecture = run.config.generation.architecture
  return TextState(encoder, architecture, params, tasks[0], step)


def _tasks(run: workdirs.Run) -> list[Task]:
  return [
      task_data.task_from_json(record, run.config)
      for record in run.facts["tasks"]
  ]
