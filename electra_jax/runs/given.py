"""Configs as callers give them: by name, as values, or as a run has recorded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from electra_jax.config_files import config_of, load_config
from electra_jax.errors import UserError
from electra_jax.runs.kinds import FINETUNING, PRETRAINING
from electra_jax.runs.recorded import recorded_config

_KINDS = {kind.verb: kind for kind in (PRETRAINING, FINETUNING)}
Overrides = Sequence[str] | Mapping[str, Any]


def read_given(
    verb: str, config: Any, workdir: epath.PathLike, overrides: Overrides
) -> Any:
  """Reads a config, or what the workdir has recorded where none is given.

  Args:
    verb: "pretrain" or "finetune", whose config it is.
    config: as of `read_config`, or None.
    workdir: of the run.
    overrides: as of `read_config`.

  Raises:
    UserError: the config is not one of that kind, or a value is not right.
  """
  kind = _KINDS[verb]
  if config is not None:
    return read_config(config, overrides, kind.read)
  values = recorded_config(workdir, kind)
  return kind.read(config_of(values, f"of {workdir}", overrides))


def read_config(
    config: Any, overrides: Overrides, read: Callable[[Any], Any]
) -> Any:
  """Reads a config.

  Args:
    config: its name, as "pretrain:small", a ConfigDict, or nested values.
    overrides: of a config that is named.
    read: turns values into the config.

  Raises:
    UserError: overrides of a config that is not named, or a value that is not
      right.
  """
  if isinstance(config, str):
    return read(load_config(config, overrides))
  if overrides:
    raise UserError(
        "overrides are for a config that is named, as in 'pretrain:small'; set"
        " the values in this one"
    )
  return read(config)


def read_distilled(
    config: Any, workdir: epath.PathLike, overrides: Overrides
) -> tuple[str, Any]:
  """Does the same of a distillation, which may be of either kind.

  Returns:
    The verb whose run the student is, and its config.

  Raises:
    UserError: as `read_given`; or the config names no teacher.
  """
  if isinstance(config, str):
    config, overrides = load_config(config, overrides), ()
  kind = PRETRAINING
  if config is None:
    facts = epath.Path(workdir) / FINETUNING.facts_file
    kind = FINETUNING if facts.exists() else kind
  elif isinstance(config, Mapping) or hasattr(config, "to_dict"):
    kind = FINETUNING if "task" in config else kind
  elif hasattr(config, "task"):
    kind = FINETUNING
  read = read_given(kind.verb, config, workdir, overrides)
  if not read.distill.teacher:
    raise UserError(
        "config.distill.teacher is empty; give the workdir of the run to learn"
        " from by --config distill:small --config.distill.teacher=RUN"
    )
  return kind.verb, read
