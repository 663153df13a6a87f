"""What a tracker of experiments is: a place beside the workdir for figures."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from etils import epath

# How a run ended; "stopped" by a signal, to be resumed.
STATUSES = ("finished", "stopped", "failed")


@dataclasses.dataclass(frozen=True)
class About:
  """What a tracker is told of a run before its first figure.

  Attributes:
    name: of the run, for people.
    group: of the runs that it belongs to: seeds, phases, trials.
    kind: "pretrain", "finetune", or "summary" of several seeds.
    folder: of the run.
    config: values by dotted key, and where it runs; without secrets.
    parent: the run that sums it up, of a seed.
  """

  name: str
  group: str
  kind: str
  folder: epath.Path
  config: Mapping[str, str | int | float | bool | None]
  parent: "About | None" = None


class Tracker(Protocol):
  """One run in one tracker; every method may raise anything.

  It is opened by calling its class with (about, id, parent_id), where the ids
  are those that an earlier part of the run has left, or None.

  Attributes:
    id: of the run there, to resume it by.
    parent_id: of the run that sums it up, or None where the tracker has none.
  """

  id: str
  parent_id: str | None

  def log(self, step: int, figures: Mapping[str, float]) -> None:
    """Adds figures, named as "train/loss", of one step."""

  def finish(self, scores: Mapping[str, float], status: str) -> None:
    """Notes the last scores, and how the run ended: one of STATUSES."""
