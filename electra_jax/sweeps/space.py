"""What a sweep file says: the config it varies, and the points to try.

A sweep file defines `get_sweep(arg)`, which returns a `Sweep`. Its points are
plain dicts from config keys to values, so that lists of them add up with `+`
and a comprehension can make them; `grid`, `random` and `quasi_random` make the
usual ones. Every point is a pure function of its place in the list and of the
seed: more points are the same points and some behind them.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Point = dict[str, Any]
Draw = Callable[[float], Any]  # From a number in [0, 1) to a value.

_SIGNIFICANT_DIGITS = 4  # Of drawn values: they stand in folder names.
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)
_RESOLUTION = 2.0**-53  # Of a float in [0, 1).


@dataclasses.dataclass(frozen=True)
class Sweep:
  """A search over values of one config.

  Attributes:
    config: the config that is varied, as "pretrain:small".
    points: values by dotted config key, one dict for each point.
    metric: what ranks the points. Of pre-training "validation/NAME", a figure
      of the last evaluation; of fine-tuning a name in scores.json, or "" for
      the mean of the tasks' main scores.
    goal: "max" or "min": where the metric is best.
    seeds: runs of each point, with seeds 0, 1, ….
    judges: fine-tuning configs. Every pre-trained trial is then fine-tuned
      with each, from its weights, and `metric` is one of their scores.
    labels: text for the plot's axes, with units: by config key, "metric", and
      `against`.
    against: last word of another figure of the last evaluation, as "rate" of
      "rte/dev/rate": the plot gets a panel with the metric over it, and the
      table a column. "" for none; of several tasks it is their mean.
  """

  config: str
  points: Sequence[Point]
  metric: str = ""
  goal: str = "max"
  seeds: int = 1
  judges: tuple[str, ...] = ()
  labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
  against: str = ""


def grid(values: Mapping[str, Sequence[Any]]) -> list[Point]:
  """Returns every combination; the last key changes fastest."""
  return [
      dict(zip(values, combination, strict=True))
      for combination in itertools.product(*values.values())
  ]


def random(space: Mapping[str, Draw], count: int, seed: int = 0) -> list[Point]:
  """Draws points independently.

  Args:
    space: by config key `uniform`, `log_uniform` or `choice`.
    count: points.
    seed: other seeds give other points.
  """
  return [
      _point(
          space, np.random.default_rng((seed, i)).random(len(space)).tolist()
      )
      for i in range(count)
  ]


def quasi_random(
    space: Mapping[str, Draw], count: int, seed: int = 0
) -> list[Point]:
  """Draws points that leave no large hole: a scrambled Halton sequence.

  The j-th key takes the radical inverse in the j-th prime b, with the digits
  of every place permuted: among the first b^k points each of the b^k equal
  parts of its range is met once.

  Args:
    space: by config key `uniform`, `log_uniform` or `choice`; 16 at most.
    count: points.
    seed: of the permutations.

  Source: Owen, "A randomized Halton algorithm in R", arXiv 1706.02808.
  """
  if len(space) > len(_PRIMES):
    raise ValueError(
        f"quasi_random has {len(space)} keys and takes {len(_PRIMES)} at most;"
        " use random"
    )
  columns = [_halton(count, base, seed) for base in _PRIMES[: len(space)]]
  return [
      _point(space, [column[i] for column in columns]) for i in range(count)
  ]


def uniform(low: float, high: float) -> Draw:
  """Floats between two bounds."""
  return lambda u: _rounded(low + u * (high - low), low, high)


def log_uniform(low: float, high: float) -> Draw:
  """Floats whose logarithm lies evenly between those of two bounds above 0."""
  if low <= 0:
    raise ValueError(f"log_uniform({low}, {high}) needs bounds above 0")
  return lambda u: _rounded(low * (high / low) ** u, low, high)


def choice(*values: Any) -> Draw:
  """One of some values, each as likely."""
  return lambda u: values[int(u * len(values))]


def _point(space: Mapping[str, Draw], numbers: Sequence[float]) -> Point:
  return {
      key: draw(float(number))
      for (key, draw), number in zip(space.items(), numbers, strict=True)
  }


def _rounded(value: float, low: float, high: float) -> float:
  # Rounding must not lead out of the bounds.
  return min(max(float(f"{value:.{_SIGNIFICANT_DIGITS}g}"), low), high)


def _halton(count: int, base: int, seed: int) -> list[float]:
  rng = np.random.default_rng((seed, base))
  places = math.ceil(-math.log(_RESOLUTION, base))
  permutations = [rng.permutation(base) for _ in range(places)]
  column = []
  for i in range(count):
    rest, value, weight = i, 0.0, 1.0
    for permutation in permutations:
      rest, digit = divmod(rest, base)
      weight /= base
      value += weight * int(permutation[digit])
    column.append(min(value, 1.0 - _RESOLUTION))
  return column
