"""Trackers of a run: what they are told of it, and which runs belong together."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from etils import epath

from electra_jax.files import SWEEP_FILE, absolute
from electra_jax.runs import history
from electra_jax.runs.environment import session
from electra_jax.runs.kinds import Config
from electra_jax.training.tracker import About
from electra_jax.training.trackers import (
    Trackers,
    tracker_names,
    without_secrets,
)

_TOGETHER = (SWEEP_FILE, "phases.json")
_LEVELS = 3  # A sweep's folder / trial / verb / phase.


def open_trackers(
    config: Config,
    workdir: epath.PathLike,
    kind: str,
    *,
    seed: int | None = None,
    is_new: bool = True,
) -> Trackers:
  """Opens the trackers that a config names, for the first process to use.

  Args:
    config: of the run.
    workdir: of the run.
    kind: "pretrain", "finetune", or "summary" of the seeds of one.
    seed: of a fine-tuning, whose seeds are a run each.
    is_new: see `Trackers`.

  Raises:
    UserError: see `tracker_names`.
  """
  about = _about(config, workdir, kind)
  if seed is not None:
    about = dataclasses.replace(
        about,
        name=f"{about.name}/seed_{seed}",
        folder=about.folder / f"seed_{seed}",
        config={**about.config, "seed": seed},
        parent=dataclasses.replace(about, kind="summary"),
    )
  return Trackers(tracker_names(config.trackers), about, is_new=is_new)


def _about(config: Config, workdir: epath.PathLike, kind: str) -> About:
  folder = epath.Path(absolute(str(workdir)))
  group = _group_of(folder)
  name = folder.name
  if group != folder:
    name = str(folder).removeprefix(str(group)).strip("/")
  where = {n: x for n, x in session().items() if n != "command"}
  values = {
      **dict(history.flat(dataclasses.asdict(config))),
      **{f"environment.{n}": x for n, x in where.items()},
  }
  return About(name, group.name, kind, folder, _plain(values))


def _group_of(folder: epath.Path) -> epath.Path:
  """Returns the folder of the sweep or the phases that a run is one of."""
  found, above = folder, folder
  for _ in range(_LEVELS):
    above = above.parent
    if any((above / name).exists() for name in _TOGETHER):
      found = above
  return found


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
  plain = {}
  for name, value in values.items():
    if not isinstance(value, bool | int | float | None):
      value = without_secrets(str(value))
    plain[name] = value
  return plain
