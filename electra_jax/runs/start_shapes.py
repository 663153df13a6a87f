"""Shapes that a pre-training config leaves to the run it starts from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from etils import epath

from electra_jax.errors import UserError
from electra_jax.models.config import encoder_config
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.kinds import PRETRAINING
from electra_jax.runs.networks import (
    ENCODER_SHAPES,
    check_shapes_given,
    left_to_start,
)
from electra_jax.runs.recorded import recorded_config
from electra_jax.runs.weights import encoder_of

# None is as usual.
_BY_WIDTH = ("num_heads", "head_size", "intermediate_size")


def with_shapes_of_start(
    config: PretrainConfig, workdir: epath.PathLike | None = None
) -> PretrainConfig:
  """Returns a config whose shapes of 0, or "", are those of `init_from`.

  A workdir that holds the run already tells them itself, so that resuming
  does not need `init_from`.

  Args:
    config: of the whole run; one that has all shapes is returned as it is.
    workdir: of the new run, if it has one.

  Raises:
    UserError: there is no such run, or it does not have a shape.
  """
  asked = left_to_start(config)
  if not asked:
    return config
  found = _recorded(workdir) or _shapes_of(config)
  missing = [name for name in asked if name not in found]
  if missing:
    flags = ", ".join(f"--config.model.{name}=…" for name in missing)
    raise UserError(
        f"config.model.{missing[0]} is left to the run in {config.init_from},"
        f" which is of finetune and has no generator; give {flags}"
    )
  taken = {name: found[name] for name in asked}
  if "hidden_size" in asked:
    for name in _BY_WIDTH:
      if getattr(config.model, name) is None:
        taken[name] = found[name]
  model = dataclasses.replace(config.model, **taken)
  return dataclasses.replace(config, model=model)


def _recorded(workdir: epath.PathLike | None) -> Mapping[str, Any] | None:
  """Returns the shapes of a run that has begun in a workdir."""
  if workdir is None:
    return None
  path = epath.Path(workdir)
  if not workdirs.phases(path) and not (path / "config.json").exists():
    return None
  recorded = PRETRAINING.read(recorded_config(path, PRETRAINING))
  return dataclasses.asdict(recorded.model)


def _shapes_of(config: PretrainConfig) -> dict[str, Any]:
  if not config.init_from:
    check_shapes_given(config)
  run = workdirs.load(config.init_from)
  if run.kind is PRETRAINING:
    return dataclasses.asdict(run.config.model)
  encoder = encoder_of(run)
  usual = encoder_config(
      1, *(getattr(encoder, name) for name in ENCODER_SHAPES[:3])
  )
  found = {name: getattr(encoder, name) for name in ENCODER_SHAPES}
  for name in _BY_WIDTH:
    value = getattr(encoder, name)
    found[name] = None if value == getattr(usual, name) else value
  return found
