"""What has happened to a run: from which step on which values held.

`config.json` of a workdir tells the present. `history.jsonl` has a line for
each command that took a step: the step it began at, the command, where it ran,
and what it changed of the config. The first line has the whole config.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from electra_jax.files import without_url_secrets, write_whole

HISTORY_FILE = "history.jsonl"


class Change(NamedTuple):
  """A value of the config that a resumed run has changed.

  Attributes:
    name: of the key, as "optimizer.learning_rate".
    old: what held before, None for a key that was not there.
    new: what holds now.
  """

  name: str
  old: Any
  new: Any

  def __str__(self) -> str:
    return f"config.{self.name} {self.old} → {self.new}"


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
  """Returns what differs between two nested configs."""
  before, after = dict(flat(old)), dict(flat(new))
  return [
      Change(name, before.get(name), after.get(name))
      for name in sorted(before.keys() | after.keys())
      if before.get(name) != after.get(name)
  ]


def first_config(workdir: epath.PathLike) -> Mapping[str, Any] | None:
  """Returns the config that a run began with, None where that is not known."""
  path = epath.Path(workdir) / HISTORY_FILE
  try:
    with path.open("r", encoding="utf-8") as file:
      config = json.loads(file.readline())["config"]
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    return None
  return config if isinstance(config, dict) else None


def append(
    workdir: epath.PathLike,
    at: Mapping[str, int],
    environment: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    changed: Sequence[Change] = (),
) -> None:
  """Adds a line.

  Args:
    workdir: of the run.
    at: where the run stands, as {"step": 52}; of a fine-tuning also the seed.
    environment: of `environment.session`.
    config: the whole config, of a run that begins.
    changed: what has changed, of one that is resumed.

  Raises:
    UserError: the disk is full, or the place cannot be written.
  """
  path = epath.Path(workdir) / HISTORY_FILE
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  record = {**at, **environment}
  if config is not None:
    record["config"] = without_url_secrets(config)
  if changed:
    changes = {x.name: [x.old, x.new] for x in changed}
    record["changes"] = without_url_secrets(changes)
  write_whole(path, [*lines, json.dumps(record) + "\n"])


def flat(
    tree: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
  """Yields the values of a nested mapping with their names, as "data.length"."""
  for key, value in tree.items():
    if isinstance(value, Mapping):
      yield from flat(value, f"{prefix}{key}.")
    else:
      yield prefix + key, value
