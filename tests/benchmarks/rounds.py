"""Sides of a comparison, timed in alternating rounds of one process."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import torch


class Step(Protocol):
  """What is timed."""

  def run(self, steps: int) -> float:
    """Takes steps and waits for the last one."""


class Side:
  """One row of the table.

  Attributes:
    secs: of one step, one figure a round.
    failure: why it does not work, or None.
  """

  def __init__(
      self,
      name: str,
      case: NamedTuple,
      make: Callable[[], Step],
      *,
      reference: "Side | None" = None,
      compiles: bool = False,
      facts: Mapping[str, Any] | None = None,
  ):
    """Describes a side without making it.

    Args:
      name: for the table.
      case: for the record; has a dtype and a batch_size.
      make: of what is timed.
      reference: the side that this one is divided by.
      compiles: by torch.compile, whose failures are results.
      facts: further ones for the record, which `make` may add to.
    """
    self.name, self.case, self.reference = name, case, reference
    self.secs: list[float] = []
    self.failure: str | None = None
    self.facts = {} if facts is None else facts
    self._make, self._compiles = make, compiles
    self._step: Step | None = None

  def start(self) -> None:
    """Makes the step and compiles it."""
    self._attempt(lambda: setattr(self, "_step", self._make()))
    self._attempt(lambda: self._step.run(2))

  def time(self, steps: int, clock: Callable[[], float]) -> None:
    """Adds a round, by a clock in seconds."""
    # The first step gets back the memory that other sides had meanwhile.
    self._attempt(lambda: self._step.run(1))
    began = clock()
    self._attempt(lambda: self._step.run(steps))
    self.secs.append((clock() - began) / steps)
    free_memory()

  def record(self) -> dict[str, Any]:
    """Returns what was found, ready for JSON."""
    record = {"side": self.name, **self.case._asdict()}
    if self.failure:
      return record | {"failure": self.failure}
    median = statistics.median(self.secs)
    record |= {
        **self.facts,
        "secs_per_step": self.secs,
        "median_secs": median,
        "sequences_per_sec": self.case.batch_size / median,
    }
    if self.reference is not None and not self.reference.failure:
      ratios = np.divide(self.secs, self.reference.secs)
      quartiles = map(float, np.percentile(ratios, [25, 50, 75]))
      names = ("lower", "median", "upper")
      record["peer_over_ours"] = dict(zip(names, quartiles, strict=True))
    return record

  def _attempt(self, action: Callable[[], Any]) -> None:
    if self.failure:
      return
    try:
      action()
    except RuntimeError as error:
      self.failure = reason(error, self._compiles)
      if self.failure is None:
        raise
    if self.failure:  # After the handler, whose traceback holds tensors.
      self._step = None
      free_memory()


def measure(
    sides: Sequence[Side],
    rounds: int,
    steps: int,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
  """Starts all sides, then times each of them in every round."""
  for side in sides:
    side.start()
  for _ in range(rounds):
    for side in sides:
      side.time(steps, clock)


def reason(error: RuntimeError, compiles: bool) -> str | None:
  """Returns why a side failed, in a sentence, or None for a bug."""
  text = " ".join(str(error).split())
  is_memory = isinstance(error, torch.OutOfMemoryError) or any(
      words in text for words in ("RESOURCE_EXHAUSTED", "allocate memory")
  )
  if is_memory:
    return "out of memory"
  if compiles and not isinstance(error, jax.errors.JaxRuntimeError):
    return f"torch.compile failed: {type(error).__name__}: {text[:200]}"
  return None


def free_memory() -> None:
  """Leaves to the other sides what PyTorch keeps for itself."""
  gc.collect()
  if torch.cuda.is_available():
    torch.cuda.empty_cache()


def table(records: Sequence[dict[str, Any]]) -> str:
  """Returns a line a record, and one of headings."""
  lines = [f"{'side':<34}{'dtype':<10}{'ms':>9}{'rows/s':>9}  peer/ours"]
  for record in records:
    line = f"{record['side']:<34}{record['dtype']:<10}"
    if "failure" in record:
      lines.append(f"{line}  {record['failure']}")
      continue
    line += f"{1e3 * record['median_secs']:>9.1f}"
    line += f"{record['sequences_per_sec']:>9.1f}"
    if spread := record.get("peer_over_ours"):
      line += "  {median:.2f} (quartiles {lower:.2f} and {upper:.2f})".format(
          **spread
      )
    lines.append(line)
  return "\n".join(lines)
