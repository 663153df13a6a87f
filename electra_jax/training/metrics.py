"""Sums on the device, one division on the host."""

from collections.abc import Iterable, Mapping
from typing import SupportsFloat

import jax.numpy as jnp
import numpy as np

from electra_jax.shapes import Array, Bool, Float

# Logits beyond ±RANGE share the outermost bins; a bin is 5e-4 wide.
_BINS, _RANGE = 1 << 16, 16.0


def ranking_histogram(
    logits: Float[Array, "B L"],
    labels: Bool[Array, "B L"],
    weights: Float[Array, "B L"],
) -> Float[Array, "2 bins"]:
  """Counts logits of negatives (row 0) and positives (row 1) by bin.

  Histograms add up over batches and hosts, unlike an area under a curve.
  """
  place = (logits + _RANGE) * (_BINS / (2 * _RANGE))
  place = jnp.clip(place.astype(jnp.int32), 0, _BINS - 1)
  counts = jnp.zeros((2, _BINS), jnp.float32)
  return counts.at[labels.astype(jnp.int32), place].add(weights)


def histogram_logits() -> np.ndarray:
  """Returns the middle of each bin of `ranking_histogram`."""
  return (np.arange(_BINS) + 0.5) * (2 * _RANGE / _BINS) - _RANGE


def area_under_curve(histogram: np.ndarray) -> float:
  """Returns the chance that a positive outranks a negative; ties count half.

  Args:
    histogram: [2, bins] of `ranking_histogram`, summed.

  Returns:
    The area under the ROC curve, exact up to ties inside a bin; NaN where
    one class is missing.
  """
  negatives, positives = np.asarray(histogram, np.float64)
  below = np.cumsum(negatives) - negatives
  pairs = negatives.sum() * positives.sum()
  wins = np.sum(positives * (below + 0.5 * negatives))
  return float(wins / pairs) if pairs else float("nan")


def divide(sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
  """Divides every sum by its weight; a weight of 0 gives NaN."""
  return {
      name: float(total) / float(weight) if float(weight) else float("nan")
      for name, (total, weight) in sums.items()
  }


def add_up(
    steps: Iterable[Mapping[str, tuple[SupportsFloat, SupportsFloat]]],
    before: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, tuple[float, float]]:
  """Adds sums and weights of several steps, in float64.

  Args:
    steps: of each, sum and weight by name.
    before: of the steps before them; adding in two parts changes no bit.
  """
  totals: dict[str, tuple[float, float]] = dict(before or {})
  for sums in steps:
    for name, (total, weight) in sums.items():
      old_total, old_weight = totals.get(name, (0.0, 0.0))
      totals[name] = (old_total + float(total), old_weight + float(weight))
  return totals
