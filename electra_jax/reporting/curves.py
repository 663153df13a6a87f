"""Curves made fit to be drawn: smoothed, thinned, and saying how."""

from typing import NamedTuple

import numpy as np

from electra_jax.reporting.records import Series

_FEWEST = 25  # Records from which a curve is smoothed.
_SHARE = 0.04  # Of the records, on either side of the one that is smoothed.
_MOST_POINTS = 300  # That a line has.


class Drawn(NamedTuple):
  """A curve ready to be drawn.

  Attributes:
    raw: every record, or the least and the greatest of each stretch.
    line: the smoothed values, or the records themselves.
    window: records that one smoothed value is the mean of; 1 for none.
    is_thinned: whether `raw` leaves records out.
  """

  raw: Series
  line: Series
  window: int
  is_thinned: bool


def prepare(series: Series) -> Drawn:
  """Smooths and thins a curve; values that are not finite are left out."""
  finite = np.isfinite(series.values)
  steps, values = series.steps[finite], series.values[finite]
  half = round(len(values) * _SHARE) if len(values) >= _FEWEST else 0
  smooth = moving_mean(values, half)
  raw = Series(steps, values)
  thinned = _extremes(raw)
  return Drawn(
      thinned,
      _thin(Series(steps, smooth)),
      2 * half + 1,
      len(thinned.steps) < len(steps),
  )


def moving_mean(values: np.ndarray, half: int) -> np.ndarray:
  """Averages each value with `half` neighbours on either side.

  Towards the ends both sides shrink alike, so that the curve neither lags
  behind the records nor leans to one side.
  """
  if not half:
    return values
  count = len(values)
  sums = np.concatenate([[0.0], np.cumsum(values)])
  places = np.arange(count)
  reach = np.minimum(half, np.minimum(places, count - 1 - places))
  return (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)


def _thin(series: Series) -> Series:
  count = len(series.steps)
  if count <= _MOST_POINTS:
    return series
  kept = np.unique(np.linspace(0, count - 1, _MOST_POINTS).astype(int))
  return Series(series.steps[kept], series.values[kept])


def _extremes(series: Series) -> Series:
  """Keeps the least and the greatest record of each stretch of a curve."""
  count = len(series.steps)
  if count <= _MOST_POINTS:
    return series
  kept = set()
  for part in np.array_split(np.arange(count), _MOST_POINTS // 2):
    kept |= {
        int(part[np.argmin(series.values[part])]),
        int(part[np.argmax(series.values[part])]),
    }
  places = np.asarray(sorted(kept))
  return Series(series.steps[places], series.values[places])
