"""Runs of several phases: one config, workdirs that follow each other.

A phase is the config with some values of its own, and starts from the workdir
of the phase before it. Here stands what the phases of a config are and which
of them are done; `pretrain` runs them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from electra_jax.errors import UserError
from electra_jax.files import absolute
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.recorded import write_whole_config
from electra_jax.runs.sections import merged, read_section


@dataclasses.dataclass(frozen=True)
class Phase:
  """One run of a chain of them.

  Attributes:
    name: "phase_1", "phase_2", ….
    config: without phases.
    workdir: the folder of that name in the whole run's folder.
  """

  name: str
  config: PretrainConfig
  workdir: epath.Path


def phase_configs(
    config: PretrainConfig, workdir: epath.PathLike, *, needs_store: bool = True
) -> list[Phase]:
  """Returns the phases of a config in order, none for an ordinary run.

  Each has the config's values but for its own in `config.phases`, a seed of
  its own unless it gives one (the same seed would read the same rows in the
  same order), and starts from the phase before it.

  Args:
    config: of the whole run.
    workdir: the folder of the whole run.
    needs_store: whether a phase without a token store is a mistake.

  Raises:
    UserError: a name out of order, an unknown key, a value of another type, a
      phase without a token store, or layers to be stacked that are no more.
  """
  own = config.phases
  names = [f"phase_{i + 1}" for i in range(len(own))]
  if set(own) != set(names):
    raise UserError(
        f"config.phases has {', '.join(sorted(own))}; phases are named"
        f" {', '.join(names)}, in the order in which they run"
    )
  plain = dataclasses.asdict(config) | {"phases": {}}
  found = []
  for i, name in enumerate(names):
    place = f"config.phases.{name}"
    if isinstance(own[name], Mapping) and "phases" in own[name]:
      raise UserError(
          f"{place}.phases is given; a phase has no phases of its own"
      )
    values = merged(plain | {"seed": config.seed + i}, own[name], place)
    if i > 0:
      if "init_from" in own[name]:
        raise UserError(
            f"{place}.init_from is {own[name]['init_from']!r}, and {name}"
            f" starts from {names[i - 1]}; leave it out"
        )
      values["init_from"] = absolute(str(found[-1].workdir))
    phase = read_section(PretrainConfig, values, place)
    if needs_store:
      _check_store(phase, own[name], place)
    if i > 0 and phase.init.layers == "stacked":
      _check_deeper(phase, found[-1].config, place)
    found.append(Phase(name, phase, epath.Path(workdir) / name))
  return found


def one_phase(config: PretrainConfig, name: str | None) -> PretrainConfig:
  """Returns a config, or the phase of it that has the name.

  Raises:
    UserError: the config has no such phase.
  """
  names = ", ".join(sorted(config.phases))
  if not names:
    if name is not None:
      raise UserError(f"--phase is {name}, and this config has no phases")
    return config
  found = {
      phase.name: phase.config
      for phase in phase_configs(config, "", needs_store=False)
  }
  if name not in found:
    raise UserError(
        f"this config has phases {names}; name one of them with --phase"
        if name is None
        else f"--phase is {name}; this config has {names}"
    )
  return found[name]


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
    whole: PretrainConfig | None = None,
) -> None:
  """Writes the names of the phases, and where one of them has ended.

  Args:
    phases: all of them.
    workdir: the folder of the whole run.
    finished: the phase that has just ended, if one has.
    whole: config of the whole run, which is kept beside them.
  """
  if jax.process_index() > 0:
    return
  before = workdirs.phases(workdir)
  ends = {phase.name: before.get(phase.name) for phase in phases}
  if finished is not None:
    ends[finished.name] = _last_step(finished)
  if ends != before:
    workdirs.write_phases(workdir, ends)
  if whole is not None:
    write_whole_config(workdir, whole)


def _last_step(phase: Phase) -> int:
  return phase.config.train.num_steps


def _check_deeper(
    config: PretrainConfig, before: PretrainConfig, place: str
) -> None:
  ours, theirs = config.model.num_layers, before.model.num_layers
  if ours <= theirs:
    raise UserError(
        f"{place}.init.layers is 'stacked' and num_layers is {ours}, where the"
        f" phase before has {theirs}; set a larger --config.model.num_layers, or"
        " a smaller --config.phases.phase_1.model.num_layers"
    )


def _check_store(
    config: PretrainConfig, own: Mapping[str, Any], place: str
) -> None:
  if config.data.store or config.data.synthetic:
    return
  has_own = "store" in own.get("data", {})
  flag = f"{place if has_own else 'config'}.data.store"
  raise UserError(
      f"{flag} is empty; give the folder that `electra-jax prepare` has made"
      f" with --length {config.data.length}: --{flag}=STORE"
  )
