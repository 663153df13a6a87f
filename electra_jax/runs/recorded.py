"""The config that a workdir has recorded: a run resumes without naming one."""

import dataclasses
import json
from typing import Any

from etils import epath

from electra_jax.disk.json_files import read_json
from electra_jax.errors import UserError
from electra_jax.files import absolute, write_whole
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.kinds import FINETUNING, PRETRAINING, Kind

_CONFIG = "config.json"
_OF_PHASES = "phases_config.json"  # Each phase has a config.json of its own.
_FIX = "give --config, or restore it from a copy"


def recorded_config(workdir: epath.PathLike, kind: Kind) -> dict[str, Any]:
  """Returns the values of the config that a run was last given.

  Args:
    workdir: of the run.
    kind: PRETRAINING or FINETUNING, which it must be.

  Raises:
    UserError: the workdir holds no run, one of another verb, or a file that is
      damaged.
  """
  workdirs.check_ours(workdir)
  path = epath.Path(workdir)
  example = "pretrain:small" if kind is PRETRAINING else "finetune:task=rte"
  other = FINETUNING if kind is PRETRAINING else PRETRAINING
  if kind is PRETRAINING and workdirs.phases(workdir):
    file = path / _OF_PHASES
  elif (path / kind.facts_file).exists() and (path / _CONFIG).exists():
    file = path / _CONFIG
  elif (path / other.facts_file).exists():
    raise UserError(
        f"workdir {workdir} holds a {other.verb} run; resume it with"
        f" electra-jax {other.verb} --workdir {workdir}"
    )
  else:
    raise UserError(
        f"workdir {workdir} holds no {kind.verb} run to resume; give a new one"
        f" its config, as --config {example}"
    )
  try:
    values = read_json(file, dict[str, Any], _FIX)
  except FileNotFoundError as error:
    raise UserError(f"{file} is missing; {_FIX}") from error
  try:
    kind.read(values)
  except UserError as error:
    raise UserError(f"{file} is damaged: {error}; {_FIX}") from error
  return values


def write_whole_config(workdir: epath.PathLike, config: PretrainConfig) -> None:
  """Keeps the config of a run of phases, with paths that hold anywhere."""
  values = dataclasses.asdict(config)
  values["init_from"] = shipped.absolute_or_name(config.init_from)
  teacher = shipped.absolute_or_name(config.distill.teacher)
  values["distill"] = {**values["distill"], "teacher": teacher}
  sections = [values, *values["phases"].values()]
  for section in sections:
    if "store" in section.get("data", {}):
      data = section["data"]
      section["data"] = {**data, "store": absolute(data["store"])}
  text = json.dumps(values, indent=1)
  path = epath.Path(workdir) / _OF_PHASES
  if not path.exists() or path.read_text() != text:
    write_whole(path, [text])
