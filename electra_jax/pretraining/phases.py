"""Runs of several phases: one config, workdirs that follow each other.

A phase is the config with some values of its own, and starts from the workdir
of the phase before it. Here stands what the phases of a config are and which
of them are done; `pretrain` runs them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from electra_jax.errors import UserError
from electra_jax.files import absolute
from electra_jax.runs import workdir as workdirs


@dataclasses.dataclass(frozen=True)
class Phase:
  """One run of a chain of them.

  Attributes:
    name: "phase_1", "phase_2", ….
    config: a config of configs/pretrain.py without phases.
    workdir: the folder of that name in the whole run's folder.
  """

  name: str
  config: ConfigDict
  workdir: epath.Path


def phase_configs(config: ConfigDict, workdir: epath.PathLike) -> list[Phase]:
  """Returns the phases of a config in order, none for an ordinary run.

  Each has the config's values but for its own in `config.phases`, a seed of
  its own unless it gives one (the same seed would read the same rows in the
  same order), and starts from the phase before it.

  Args:
    config: as of configs/pretrain.py.
    workdir: the folder of the whole run.

  Raises:
    UserError: a name out of order, an unknown key, a value of another type, or
      a phase without a token store.
  """
  config = config.copy_and_resolve_references()
  own = config.get("phases") or {}
  names = [f"phase_{i + 1}" for i in range(len(own))]
  if set(own) != set(names):
    raise UserError(
        f"config.phases has {', '.join(sorted(own))}; phases are named"
        f" {', '.join(names)}, in the order in which they run"
    )
  found = []
  for i, name in enumerate(names):
    place = f"config.phases.{name}"
    phase = config.copy_and_resolve_references()
    with phase.unlocked():
      del phase.phases
    phase.seed += i
    _override(phase, own[name], place)
    _check_store(phase, own[name], place)
    if i > 0:
      if "init_from" in own[name]:
        raise UserError(
            f"{place}.init_from is {phase.init_from!r}, and {name} starts from"
            f" {names[i - 1]}; leave it out"
        )
      phase.init_from = absolute(str(found[-1].workdir))
    found.append(Phase(name, phase, epath.Path(workdir) / name))
  return found


def unfinished(phases: Sequence[Phase], workdir: epath.PathLike) -> list[Phase]:
  """Checks the folder of a run, and returns the phases that are to be run.

  The last one always is: where it is finished, running it again restores its
  state and its figures.

  Raises:
    UserError: the folder holds another run.
  """
  path = epath.Path(workdir)
  if (path / "config.json").exists():
    raise UserError(
        f"workdir {workdir} holds a run without phases and this config has"
        f" {len(phases)}; choose another --workdir"
    )
  ends = workdirs.phases(workdir)
  if len(ends) > len(phases):
    raise UserError(
        f"workdir {workdir} holds a run of {len(ends)} phases and this config"
        f" has {len(phases)}; choose another --workdir"
    )
  for phase in phases:
    workdirs.check(phase.workdir, workdirs.PRETRAINING, phase.config)
  return [
      phase
      for phase in phases
      if phase is phases[-1] or ends.get(phase.name) != _last_step(phase)
  ]


def record(
    phases: Sequence[Phase],
    workdir: epath.PathLike,
    finished: Phase | None = None,
) -> None:
  """Writes the names of the phases, and where one of them has ended.

  Args:
    phases: all of them.
    workdir: the folder of the whole run.
    finished: the phase that has just ended, if one has.
  """
  if jax.process_index() > 0:
    return
  ends = workdirs.phases(workdir)
  ends = {phase.name: ends.get(phase.name) for phase in phases}
  if finished is not None:
    ends[finished.name] = _last_step(finished)
  workdirs.write_phases(workdir, ends)


def _last_step(phase: Phase) -> int:
  return phase.config.train.num_steps


def _override(section: ConfigDict, values: Any, place: str) -> None:
  if not isinstance(values, ConfigDict):
    raise UserError(f"{place} is {values!r}; it must be a section of keys")
  for key, value in values.items():
    name = f"{place}.{key}"
    if key not in section:
      raise UserError(
          f"{name} is no key of the config; there are"
          f" {', '.join(sorted(section))}"
      )
    if isinstance(section[key], ConfigDict):
      _override(section[key], value, name)
      continue
    try:
      section[key] = value
    except TypeError as error:
      raise UserError(
          f"{name} is {value!r}; it must be of type"
          f" {type(section[key]).__name__}, as outside of the phases"
      ) from error


def _check_store(config: ConfigDict, own: ConfigDict, place: str) -> None:
  if config.data.store or config.data.made_up:
    return
  has_own = "store" in own.get("data", {})
  flag = f"{place if has_own else 'config'}.data.store"
  raise UserError(
      f"{flag} is empty; give the folder that `electra-jax prepare` has made"
      f" with --length {config.data.length}: --{flag}=STORE"
  )
