"""Trained networks in memory: what every format is read to, and written of."""

from typing import NamedTuple

import jax

from electra_jax import programs
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.models.electra import Electra
from electra_jax.shapes import Params
from electra_jax.tasks.task import Task
from electra_jax.training.optimizer import AdamState


class PretrainedState(NamedTuple):
  """Networks, and how far they were trained.

  Attributes:
    config: the networks' shapes.
    params: their parameters.
    moments: the optimizer's, or None where the source has none.
    step: updates done.
    fresh: names of the parts that the source lacks, freshly initialised.
  """

  config: ElectraConfig
  params: Params
  moments: AdamState | None = None
  step: int = 0
  fresh: tuple[str, ...] = ()

  @property
  def encoder(self) -> EncoderConfig:
    """The encoder that is kept."""
    return self.config.discriminator


class FinetunedState(NamedTuple):
  """An encoder and its heads.

  Attributes:
    encoder: its shapes.
    tasks: what each head is for.
    params: of encoder and heads.
    step: updates done.
    moments: none: what a fine-tuning leaves of its optimizer is no use.
    fresh: nothing: all of it was trained.
  """

  encoder: EncoderConfig
  tasks: tuple[Task, ...]
  params: Params
  step: int

  moments = None
  fresh = ()


def abstract_params(config: ElectraConfig) -> Params:
  """Returns the shapes of the parameters."""
  model = Electra(config)
  return jax.eval_shape(lambda: programs.init_params_of(model, 0))


def init_params(config: ElectraConfig, seed: int) -> Params:
  """Returns fresh parameters."""
  model = Electra(config)
  return jax.jit(lambda: programs.init_params_of(model, seed))()
