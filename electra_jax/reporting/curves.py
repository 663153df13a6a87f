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


def prepare(series: Series, *, is_smoothed: bool = True) -> Drawn:
  """Smooths and thins a curve; where it is not defined it has a gap."""
  finite = np.isfinite(series.values)
  steps, values = series.steps[finite], series.values[finite]
  is_long = is_smoothed and len(values) >= _FEWEST
  half = round(len(values) * _SHARE) if is_long else 0
  smooth = moving_mean(values, half)
  raw = Series(steps, values)
  thinned = _extremes(raw)
  gaps = series.steps[~finite]
  return Drawn(
      _with_gaps(thinned, gaps),
      _with_gaps(_thin(Series(steps, smooth)), gaps),
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


def _with_gaps(series: Series, gaps: np.ndarray) -> Series:
  """Puts a NaN, where a drawn line breaks, between points with a gap."""
  if not len(series.steps):
    return series
  # One for each stretch, and none before the first point or behind the last.
  places = np.searchsorted(series.steps, gaps)
  inside = (places > 0) & (places < len(series.steps))
  places, first = np.unique(places[inside], return_index=True)
  return Series(
      np.insert(series.steps, places, gaps[inside][first]),
      np.insert(series.values, places, np.nan),
  )


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
