"""Beside the figures: config, environment, parameters, data, history."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from electra_jax.errors import UserError
from electra_jax.files import is_remote
from electra_jax.reporting.gallery import has_space
from electra_jax.reporting.records import RunRecord
from electra_jax.store.manifest import Manifest
from electra_jax.store.reader import Store, open_store
from electra_jax.text.visible import visible, visible_token

_NUM_ROWS = 4  # Rows of a store that are shown.
_SHOWN_TOKENS = 96  # Of each.
_LEFT_OUT = ("init", "phases")  # Sections that are long and seldom set.


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A table of values: a line for each name, a column for each run.

  Attributes:
    names: of the runs.
    different: lines whose values are not all the same; none of one run.
    same: the other lines.
  """

  names: Sequence[str]
  different: Sequence[tuple[str, Sequence[str]]]
  same: Sequence[tuple[str, Sequence[str]]]


@dataclasses.dataclass(frozen=True)
class Data:
  """The token store of a run.

  Attributes:
    place: the folder.
    lines: what its manifest tells, in words.
    splits: name, rows, documents, tokens, share of unknown tokens of each.
    rows: some rows of the training split, as tokens.
    note: why there are no rows, or what is odd about the store; "" if nothing.
  """

  place: str
  lines: Sequence[tuple[str, str]] = ()
  splits: Sequence[tuple[str, str, str, str, str]] = ()
  rows: Sequence[str] = ()
  note: str = ""


@dataclasses.dataclass(frozen=True)
class Change:
  """A command that went on with a run.

  Attributes:
    at: where the run stood.
    command: what was typed.
    where: devices.
    changes: what of the config it changed, in words.
  """

  at: str
  command: str
  where: str
  changes: Sequence[str]


def compare(
    names: Sequence[str], tables: Sequence[Mapping[str, Any]]
) -> Comparison:
  """Lays the values of runs beside each other, differences first."""
  keys = list(dict.fromkeys(key for table in tables for key in table))
  lines = [
      (key, [shown(table[key]) if key in table else "-" for table in tables])
      for key in keys
  ]
  different = [line for line in lines if len(set(line[1])) > 1]
  return Comparison(
      names, different, [line for line in lines if len(set(line[1])) == 1]
  )


def shown(value: Any) -> str:
  """Writes a value as a table shows it."""
  if isinstance(value, bool):
    return "true" if value else "false"
  if value is None or value in ("", [], {}):
    return "none"
  if isinstance(value, float):
    return f"{value:.6g}"
  if isinstance(value, int):
    return f"{value:,}"
  if isinstance(value, list):
    return visible(", ".join(map(shown, value)))
  return visible(value if isinstance(value, str) else json.dumps(value))


def config_of(run: RunRecord) -> dict[str, Any]:
  """Returns the config's values, without sections that say nothing."""
  return {
      key: value
      for key, value in run.config.items()
      if value not in (None, "", {}) or key.partition(".")[0] not in _LEFT_OUT
  }


def environment_of(run: RunRecord) -> dict[str, Any]:
  """Returns versions, devices and the command, flat."""
  found = {}
  for key, value in run.environment.items():
    if key == "packages" and isinstance(value, dict):
      found |= {str(name): version for name, version in value.items()}
    elif key == "devices" and isinstance(value, list):
      found["number of devices"] = len(value)
    elif key == "command" and isinstance(value, list):
      found[key] = " ".join(map(str, value))
    else:
      found[key.replace("_", " ")] = value
  return found


def history_of(run: RunRecord) -> list[Change]:
  """Returns the commands that took steps, the first one first."""
  found = []
  for record in run.history:
    at = [
        f"{x} {record[x]:,}" for x in ("seed", "step") if _is_whole(record, x)
    ]
    changes = record.get("changes")
    changes = changes if isinstance(changes, dict) else {}
    command = record.get("command")
    command = command if isinstance(command, list) else []
    devices = record.get("num_devices")
    found.append(
        Change(
            ", ".join(at),
            visible(" ".join(map(str, command))),
            f"{devices} x {visible(str(record.get('device_kind')))}",
            [
                f"{visible(str(key))}: {shown(pair[0])} → {shown(pair[1])}"
                for key, pair in changes.items()
                if isinstance(pair, list) and len(pair) == 2
            ],
        )
    )
  return found


def data_of(run: RunRecord) -> Data | None:
  """Returns what a pretrain run was fed with; None if it names no store."""
  place = run.config.get("data.store")
  if not isinstance(place, str) or not place:
    return None
  try:
    store = open_store(place)
    manifest = store.manifest
    note = ""
    if manifest.rows_digest != run.facts.get("rows_digest"):
      note = "The store that lies there now has other rows than this run saw."
    rows = [] if is_remote(place) else _rows(store)
    if is_remote(place):
      note = note or "Rows are shown of stores on a local disk."
  except (UserError, OSError) as error:
    return Data(place, note=visible(str(error)))
  return Data(place, _told(manifest), _splits(manifest), rows, note)


def _told(manifest: Manifest) -> list[tuple[str, str]]:
  kept = manifest.tokens_kept / max(manifest.tokens_read, 1)
  told = [
      ("sources", ", ".join(map(visible, manifest.sources))),
      ("tokens a row", f"{manifest.length:,}"),
      ("vocabulary", f"{manifest.vocab_size:,} ids"),
      ("packing", manifest.packing),
      ("held out", f"{manifest.validation_percent:g} % of the documents"),
      (
          "tokens read",
          f"{manifest.tokens_read:,}, of which {kept:.1%} are used",
      ),
  ]
  if manifest.duplicates_dropped is not None:
    told.append(("duplicates dropped", f"{manifest.duplicates_dropped:,}"))
  return told


def _splits(manifest: Manifest) -> list[tuple[str, str, str, str, str]]:
  return [
      (
          "held out" if name == "validation" else name,
          f"{split.num_rows:,}",
          f"{split.num_documents:,}",
          f"{split.num_tokens:,}",
          f"{split.unknown_share:.2%}",
      )
      for name, split in manifest.splits.items()
  ]


def _rows(store: Store) -> list[str]:
  """Returns rows of the first block of the training split, as text."""
  split = store.split("train")
  if not split.num_rows:
    return []
  block = split.read_block(0)
  tokenizer = store.tokenizer()
  places = np.unique(np.linspace(0, len(block) - 1, _NUM_ROWS).astype(int))
  found = []
  for place in places:
    length = min(int(block[place, split.length + 1]), _SHOWN_TOKENS)
    tokens = tokenizer.tokens(block[place, :length].tolist())
    is_marked = any(token.startswith("▁") for token in tokens)
    spaced = (
        " " * has_space(token, is_marked) + visible_token(token)
        for token in tokens
    )
    found.append("".join(spaced).lstrip())
  return found


def _is_whole(record: Mapping[str, Any], name: str) -> bool:
  return type(record.get(name)) is int
