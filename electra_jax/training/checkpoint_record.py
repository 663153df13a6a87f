"""What a checkpoint says of itself: each array's checksum, the open window.

The record lies in the checkpoint and appears with it. It has a digest of its
own, so that it can be told from a damaged one.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from electra_jax.trees import path_names

Checksums = Mapping[str, int]
Sums = Mapping[str, tuple[float, float]]


class DamagedError(Exception):
  """A checkpoint is not what was saved; says in which way."""


@dataclasses.dataclass(frozen=True)
class SavedArray:
  """What was saved under a path.

  Attributes:
    shape: of the array.
    dtype: by name.
    checksum: of `checksums.examine`.
  """

  shape: tuple[int, ...]
  dtype: str
  checksum: int


@dataclasses.dataclass(frozen=True)
class Window:
  """Metrics of the steps since the last record, which a resumed run adds to.

  Attributes:
    first_step: the last step that was recorded.
    sums: sum and weight of each metric over the steps since.
  """

  first_step: int
  sums: Sums


@dataclasses.dataclass(frozen=True)
class Record:
  """What lies beside the arrays of a checkpoint.

  Attributes:
    step: updates done.
    arrays: what was saved, by path.
    window: metrics that no record has told yet, or None.
  """

  step: int
  arrays: Mapping[str, SavedArray]
  window: Window | None = None

  def to_json(self) -> dict[str, Any]:
    """Returns what `from_json` reads."""
    fields = dataclasses.asdict(self)
    return {**fields, "digest": _digest(fields)}

  @classmethod
  def from_json(cls, record: Any) -> "Record":
    """Reads a record.

    Raises:
      DamagedError: it is another one than was written.
    """
    if not isinstance(record, dict) or "digest" not in record:
      raise DamagedError("its record is damaged")
    fields = {name: x for name, x in record.items() if name != "digest"}
    if _digest(fields) != record["digest"]:
      raise DamagedError("its record is damaged")
    window = fields["window"]
    return cls(
        fields["step"],
        {
            name: SavedArray(tuple(x["shape"]), x["dtype"], x["checksum"])
            for name, x in fields["arrays"].items()
        },
        None if window is None else _window(window),
    )

  def misfit(self, tree: Any) -> tuple[str, str, str] | None:
    """Returns the first array that a tree has in another way, or None.

    Args:
      tree: shapes and dtypes, of the state or a part of it.

    Returns:
      Its path, what was saved and what the tree has.
    """
    for name, leaf in path_names(tree):
      saved = self.arrays.get(name)
      told = "nothing" if saved is None else _told(saved.dtype, saved.shape)
      wanted = _told(np.dtype(leaf.dtype).name, leaf.shape)
      if told != wanted:
        return name, told, wanted
    return None

  def check(self, checksums: Checksums) -> None:
    """Compares arrays with what was saved.

    Args:
      checksums: by path; not all need be there.

    Raises:
      DamagedError: one is another than was saved.
    """
    changed = [
        name for name, x in checksums.items() if self.arrays[name].checksum != x
    ]
    if changed:
      more = f" and {len(changed) - 1} more" if changed[1:] else ""
      raise DamagedError(f"{changed[0]}{more} has other values than were saved")


def make_record(
    step: int, tree: Any, checksums: Checksums, window: Window | None
) -> Record:
  """Returns the record of a tree of arrays."""
  arrays = {
      name: SavedArray(
          tuple(leaf.shape), np.dtype(leaf.dtype).name, checksums[name]
      )
      for name, leaf in path_names(tree)
  }
  return Record(step, arrays, window)


def _window(fields: Mapping[str, Any]) -> Window:
  sums = {name: tuple(x) for name, x in fields["sums"].items()}
  return Window(fields["first_step"], sums)


def _told(dtype: str, shape: Iterable[int]) -> str:
  return f"{dtype}[{', '.join(map(str, shape))}]"


def _digest(fields: Mapping[str, Any]) -> str:
  text = json.dumps(fields, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
