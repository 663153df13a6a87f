"""How far the discriminator's probabilities can be trusted, and where it errs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from electra_jax.reporting import drawing, palette
from electra_jax.reporting.records import number


class Bin(NamedTuple):
  """Tokens that were given about the same probability.

  Attributes:
    tokens: how many.
    predicted: mean probability of a replacement.
    observed: share that was replaced.
  """

  tokens: float
  predicted: float
  observed: float


class Band(NamedTuple):
  """Tokens that are about as frequent in the training text.

  Attributes:
    name: which ranks.
    tokens: how many.
    accuracy: share that was judged rightly.
    kept_right: share of the kept ones that was, or None if there are none.
    found: share of the replaced ones that was found, or None.
  """

  name: str
  tokens: int
  accuracy: float
  kept_right: float | None
  found: float | None


def calibration_of(sample: Mapping[str, Any]) -> list[Bin]:
  """Reads the calibration of a sample; [] if it has none."""
  found = []
  for record in _records(sample, "calibration"):
    values = [number(record.get(name)) for name in Bin._fields]
    if None not in values and values[0] > 0:
      found.append(Bin(*values))
  return found


def calibration_error(bins: Sequence[Bin]) -> float | None:
  """Returns how far probabilities are off, over all tokens; None without any.

  The mean over tokens of |predicted - observed| of their bin: the expected
  calibration error.

  Source: Naeini, Cooper, Hauskrecht (2015), "Obtaining Well Calibrated
  Probabilities Using Bayesian Binning".
  """
  tokens = sum(b.tokens for b in bins)
  if not tokens:
    return None
  return sum(b.tokens * abs(b.predicted - b.observed) for b in bins) / tokens


def bands_of(sample: Mapping[str, Any]) -> list[Band]:
  """Reads the bands of a sample; [] if it has none."""
  found = []
  for record in _records(sample, "bands"):
    names = ("kept", "kept_right", "replaced", "found")
    counts = [number(record.get(name)) for name in names]
    if None in counts or counts[0] + counts[2] <= 0:
      continue
    kept, kept_right, replaced, hits = counts
    found.append(
        Band(
            str(record.get("name")),
            int(kept + replaced),
            (kept_right + hits) / (kept + replaced),
            kept_right / kept if kept else None,
            hits / replaced if replaced else None,
        )
    )
  return found


def draw_calibration(runs: Mapping[str, Sequence[Bin]]) -> drawing.Plot:
  """Draws predicted probabilities against observed shares."""
  colours = palette.light()
  made, axes = drawing.figure()
  axes.plot(
      [0, 1],
      [0, 1],
      color=colours["muted"],
      linestyle=(0, (1, 2.5)),
      linewidth=1.2,
      label="as often as said",
  )
  for index, (name, bins) in enumerate(runs.items()):
    colour, dashes = palette.line(index)
    axes.plot(
        [b.predicted for b in bins],
        [b.observed for b in bins],
        color=colour,
        linestyle=dashes,
        marker="o",
        markersize=4,
        label=name if len(runs) > 1 else "discriminator",
    )
  axes.set_xlim(-0.02, 1.02)
  axes.set_ylim(-0.02, 1.02)
  axes.set_xlabel("probability of a replacement, as said")
  axes.set_ylabel("share that was replaced")
  axes.legend(
      loc="lower left",
      bbox_to_anchor=(0, 1.0),
      ncols=drawing.columns(["as often as said", *runs], 2),
      borderaxespad=0.2,
  )
  told = "; ".join(
      f"{name}: "
      + ", ".join(f"{b.predicted:.2f} → {b.observed:.2f}" for b in bins)
      for name, bins in runs.items()
  )
  return drawing.save(made, "calibration", f"Calibration. {told}")


def draw_bands(runs: Mapping[str, Sequence[Band]]) -> drawing.Plot:
  """Draws, by frequency, how many replaced tokens are found and kept ones right."""
  made, axes = drawing.figure()
  names = list(dict.fromkeys(b.name for bands in runs.values() for b in bands))
  for index, (run, bands) in enumerate(runs.items()):
    colour, _ = palette.line(index)
    by_name = {band.name: band for band in bands}
    for what, marker, face in (
        ("found", "o", colour),
        ("kept_right", "s", "none"),
    ):
      points = [
          (getattr(by_name[name], what), place + 0.12 * index)
          for place, name in enumerate(names)
          if name in by_name and getattr(by_name[name], what) is not None
      ]
      label = "replaced, found" if what == "found" else "kept, rightly"
      axes.plot(
          [x for x, _ in points],
          [y for _, y in points],
          marker=marker,
          linestyle="",
          markersize=6,
          markerfacecolor=face,
          color=colour,
          label=f"{run}: {label}" if len(runs) > 1 else label,
      )
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.5, -0.5)
  axes.set_xlim(-0.03, 1.03)
  axes.set_xlabel("share of tokens that are judged rightly")
  # Over the whole figure: names of bands leave the panel little room.
  _, labels = axes.get_legend_handles_labels()
  made.legend(loc="outside upper left", ncols=drawing.columns(labels, 2))
  told = "; ".join(
      f"{run}, {b.name}: {b.accuracy:.1%} of {b.tokens:,} tokens right"
      for run, bands in runs.items()
      for b in bands
  )
  return drawing.save(made, "frequency", f"By frequency. {told}")


def _records(sample: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
  value = sample.get(name)
  return (
      [x for x in value if isinstance(x, dict)]
      if isinstance(value, list)
      else []
  )
