"""The strip on top of a page: which run, how far, its figures, what they mean."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from electra_jax.reporting.records import HELD_OUT, RunRecord, last, number


@dataclasses.dataclass(frozen=True)
class Tile:
  """One figure.

  Attributes:
    label: what it is.
    value: as it is shown.
    beside: what to compare it with, or "".
  """

  label: str
  value: str
  beside: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
  """A run in short.

  Attributes:
    name: of the run.
    what: which kind of run, in words.
    state: how far it is.
    tiles: its last figures.
    meaning: what they mean, in a sentence.
  """

  name: str
  what: str
  state: str
  tiles: Sequence[Tile]
  meaning: str


def summarise_pretraining(run: RunRecord) -> Summary:
  """Sums up a pretrain run."""
  figures = {
      name: last(run.curves, HELD_OUT, name)
      for group, name in run.curves
      if group == HELD_OUT
  }
  auc, share = figures.get("rtd_auc"), figures.get("replaced_share")
  entropy = number(run.facts.get("unigram_entropy"))
  mlm, accuracy = figures.get("mlm_loss"), figures.get("rtd_accuracy")
  tiles = [
      _tile("AUC", auc, ".3f", "0.5 is guessing, 1 perfect"),
      _tile("precision", figures.get("rtd_precision"), ".1%"),
      _tile("recall", figures.get("rtd_recall"), ".1%"),
      _tile(
          "accuracy",
          accuracy,
          ".1%",
          "" if share is None else f"{1 - share:.1%} by calling all original",
      ),
      _tile(
          "masked-LM loss",
          mlm,
          ".3f",
          "nats"
          if entropy is None
          else f"nats; {entropy:.2f} from frequencies alone",
      ),
  ]
  if run.parameters:
    tiles.append(Tile("parameters", _short(sum(run.parameters.values()))))
  if (speed := last(run.curves, "train", "rows_per_sec")) is not None:
    tiles.append(Tile("speed", f"{speed:,.0f}", "rows a second"))
  if (mfu := last(run.curves, "train", "mfu")) is not None:
    tiles.append(Tile("MFU", f"{mfu:.1%}", "of the devices' peak"))
  objective = run.config.get("objective.name", "electra")
  return Summary(
      run.name,
      f"Pre-training, objective {objective}",
      _state(run),
      [tile for tile in tiles if tile is not None],
      _meaning(auc, mlm, entropy),
  )


def summarise_finetuning(run: RunRecord) -> Summary:
  """Sums up a finetune run."""
  tiles = []
  for name in run.main_scores:
    values = seed_scores(run, name)
    beside = "one seed"
    if len(values) > 1:
      spread = f"{min(values):.2f} to {max(values):.2f}"
      beside = f"median of {len(values)} seeds, {spread}"
    if values:
      tiles.append(Tile(name, f"{np.median(values):.2f}", beside))
  has_scores = bool(tiles)
  if run.parameters:
    tiles.append(Tile("parameters", _short(sum(run.parameters.values()))))
  wanted = number(run.config.get("seeds"))
  finished = run.scores.get("seeds")
  finished = len(finished) if isinstance(finished, dict) else 0
  state = f"{finished} of {wanted:,.0f} seeds finished" if wanted else ""
  meaning = (
      "The median of the seeds is what to quote; where the spread of two"
      " models overlaps, the one is not shown to be better than the other."
      if has_scores
      else "No seed is finished yet: there are no scores."
  )
  task = run.config.get("task", "")
  start = str(run.facts.get("start", ""))
  what = f"Fine-tuning on {task}" + (f", from {start}" if start else "")
  return Summary(run.name, what, state, tiles, meaning)


def seed_scores(run: RunRecord, name: str) -> list[float]:
  """Returns a score of every finished seed."""
  seeds = run.scores.get("seeds")
  seeds = seeds if isinstance(seeds, dict) else {}
  values = [
      number(scores.get(name))
      for scores in seeds.values()
      if isinstance(scores, dict)
  ]
  return [value for value in values if value is not None]


def _tile(label, value: float | None, form: str, beside: str = ""):
  return None if value is None else Tile(label, format(value, form), beside)


def _state(run: RunRecord) -> str:
  total = number(run.config.get("train.num_steps"))
  done = run.last_step
  if not run.curves:  # Just begun, or converted or pruned.
    return "no training is recorded here"
  if not total:
    return f"step {done:,}"
  judged = [
      series.steps[-1]
      for (group, _), series in run.curves.items()
      if group == HELD_OUT
  ]
  if max(judged, default=0) >= total:  # The last thing that a run records.
    return f"finished at step {done:,}"
  return f"step {done:,} of {total:,.0f} so far"


def _meaning(
    auc: float | None, mlm: float | None, entropy: float | None
) -> str:
  if auc is None and mlm is None:
    return "There was no evaluation yet: the figures come with the first one."
  told = []
  if auc is not None:
    if auc < 0.55:
      word = "is guessing so far"
    elif auc < 0.7:
      word = "has begun to tell replaced tokens from original ones"
    elif auc < 0.9:
      word = "tells replaced tokens from original ones"
    else:
      word = "tells replaced tokens from original ones well"
    told.append(
        f"The discriminator {word}: of a replaced and an original token it"
        f" suspects the replaced one {auc:.0%} of the time, and guessing would"
        " 50%."
    )
  if mlm is not None and entropy is not None:
    gain = entropy - mlm
    how = "under" if gain >= 0 else "over"
    told.append(
        f"The generator is {abs(gain):.2f} nats {how} what token frequencies"
        f" alone give, so it {'has learned from context' if gain > 0.1 else 'does not use the context yet'}"
        f" (perplexity {math.exp(min(mlm, 50)):,.0f})."
    )
  return " ".join(told)


def _short(count: int) -> str:
  for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
    if count >= unit:
      return f"{count / unit:.3g}{name}"
  return str(count)
