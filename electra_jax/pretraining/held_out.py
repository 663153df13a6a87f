"""What an evaluation keeps beside its figures: how single tokens are judged.

A few held-out rows are kept whole; they, their masks and the generator's noise
are the same at every evaluation, so that only the networks differ. All tokens
are counted by the probability that the discriminator gives them, and by how
frequent they are in the training text.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from electra_jax.objectives.masking import MaskedRows
from electra_jax.objectives.objective import Outcome
from electra_jax.runs.networks import Vocabulary
from electra_jax.shapes import Array, Float, Int
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.training.metrics import histogram_logits

NUM_ROWS = 6  # That are kept.
_SHOWN_TOKENS = 96  # Of each; the rest of a long row is judged, not kept.
_PROBABILITY_BINS = 10  # Of equal width, of the calibration.
# Ranks by frequency: the ten most frequent ids, the ninety after them, …
_FIRST_RANKS = (0, 10, 100, 1_000, 10_000)
BAND_NAMES = (
    "special tokens",
    "rank 1 to 10",
    "rank 11 to 100",
    "rank 101 to 1,000",
    "rank 1,001 to 10,000",
    "rank above 10,000",
)


class JudgedRows(NamedTuple):
  """Some rows as the discriminator sees them; 0 in a slot without one.

  Attributes:
    original_ids: of the text.
    seen_ids: with the generator's samples in it.
    log_odds: that a token is no original.
    lengths: tokens of each row, without padding.
  """

  original_ids: Int[Array, "S L"]
  seen_ids: Int[Array, "S L"]
  log_odds: Float[Array, "S L"]
  lengths: Int[Array, " S"]


def slots_of(num_rows: int, batch_size: int) -> Int[Array, " B"]:
  """Returns which slot each row of a batch is kept in; NUM_ROWS for none.

  Args:
    num_rows: B, of the batch, with empty rows that fill it up.
    batch_size: without them; the rows that are kept are spread over it.
  """
  stride = max(1, batch_size // NUM_ROWS)
  slots, rest = jnp.divmod(jnp.arange(num_rows, dtype=jnp.int32), stride)
  return jnp.where((rest == 0) & (slots < NUM_ROWS), slots, NUM_ROWS)


def judged_rows(
    slots: Int[Array, " B"], masked: MaskedRows, outcome: Outcome
) -> JudgedRows:
  """Picks rows; written as a sum over rows, as evaluation adds devices up."""
  logits, _, _ = outcome.replaced
  mask = masked.rows.input_mask
  rows = JudgedRows(
      masked.rows.input_ids * mask,
      outcome.corrupted_ids * mask,
      logits.astype(jnp.float32) * mask,
      jnp.sum(mask, axis=1),
  )
  return jax.tree.map(
      lambda x: jnp.zeros((NUM_ROWS, *x.shape[1:]), x.dtype)
      .at[slots]
      .add(x, mode="drop"),
      rows,
  )


def band_counts(
    vocabulary: Vocabulary, masked: MaskedRows, outcome: Outcome
) -> Float[Array, "bands 2 2"] | None:
  """Counts tokens by the frequency of the original, label, and verdict.

  Returns:
    [band of BAND_NAMES, replaced or not, called replaced or not], or None where
    the frequencies are not known.
  """
  if vocabulary.unigram_counts is None:
    return None
  logits, labels, weights = outcome.replaced
  bands = jnp.asarray(_bands_of(vocabulary))[masked.rows.input_ids]
  counts = jnp.zeros((len(BAND_NAMES), 2, 2), jnp.float32)
  called = (logits > 0).astype(jnp.int32)
  return counts.at[bands, labels.astype(jnp.int32), called].add(weights)


def _bands_of(vocabulary: Vocabulary) -> np.ndarray:
  """Returns the band of every id: 0 of special ones, else by its rank."""
  special = [i for i in vocabulary.special if i is not None]
  counts = np.asarray(vocabulary.unigram_counts, np.int64).copy()
  counts[special] = -1  # They take no rank.
  ranks = np.empty(len(counts), np.int64)
  ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
  bands = np.searchsorted(_FIRST_RANKS, ranks, side="right").astype(np.int32)
  bands[special] = 0
  return bands


def make_sample(
    tokenizer: Tokenizer,
    judged: JudgedRows,
    histogram: np.ndarray,
    bands: np.ndarray | None,
) -> dict[str, Any]:
  """Lays out what samples.jsonl keeps of an evaluation.

  Args:
    tokenizer: of the rows.
    judged: rows of the first batch.
    histogram: of `metrics.ranking_histogram`, over all rows.
    bands: of `band_counts`, over all rows.

  Returns:
    `rows`: the original `tokens`, the `replaced` ones by position, and the
    `probabilities` of a replacement. `calibration`: by probability, how many
    `tokens` were called so, the mean that was `predicted`, and the share that
    was `observed`. `bands`: by frequency, how many tokens were `kept` and
    `replaced`, and how many of each were `kept_right` and `found`. `texts`: the
    rows in Markdown.
  """
  odds = np.asarray(judged.log_odds, np.float64)
  probabilities = 1 / (1 + np.exp(-odds))
  rows = []
  for slot, length in enumerate(np.asarray(judged.lengths)):
    if not length:
      continue
    shown = min(int(length), _SHOWN_TOKENS)
    original, seen = (
        np.asarray(ids)[slot, :shown].tolist()
        for ids in (judged.original_ids, judged.seen_ids)
    )
    tokens, seen = tokenizer.tokens(original), tokenizer.tokens(seen)
    rows.append(
        {
            "tokens": tokens,
            "replaced": {
                str(i): new
                for i, (old, new) in enumerate(zip(tokens, seen, strict=True))
                if old != new
            },
            "probabilities": probabilities[slot, :shown].round(3).tolist(),
            "left_out": int(length) - shown,
        }
    )
  return {
      "rows": rows,
      "calibration": _calibration(histogram),
      "bands": [] if bands is None else _bands(bands),
      "texts": [_markdown(row) for row in rows],
  }


def _calibration(histogram: np.ndarray) -> list[dict[str, Any]]:
  logits = histogram_logits()
  predicted = 1 / (1 + np.exp(-logits))
  bins = np.minimum(
      (predicted * _PROBABILITY_BINS).astype(int), _PROBABILITY_BINS - 1
  )
  negatives, positives = np.asarray(histogram, np.float64)
  tokens = np.bincount(bins, negatives + positives, _PROBABILITY_BINS)
  observed = np.bincount(bins, positives, _PROBABILITY_BINS)
  mean = np.bincount(bins, predicted * (negatives + positives))
  return [
      {
          "tokens": int(tokens[i]),
          "predicted": round(float(mean[i] / tokens[i]), 5),
          "observed": round(float(observed[i] / tokens[i]), 5),
      }
      for i in range(_PROBABILITY_BINS)
      if tokens[i]
  ]


def _bands(counts: np.ndarray) -> list[dict[str, Any]]:
  return [
      {
          "name": name,
          "kept": int(kept.sum()),
          "kept_right": int(kept[0]),
          "replaced": int(replaced.sum()),
          "found": int(replaced[1]),
      }
      for name, (kept, replaced) in zip(BAND_NAMES, counts, strict=True)
      if kept.sum() + replaced.sum()
  ]


def _markdown(row: dict[str, Any]) -> str:
  """Returns a row with its replaced tokens in bold and their originals."""
  words: list[str] = []
  verdicts = zip(row["tokens"], row["probabilities"], strict=True)
  for i, (token, p) in enumerate(verdicts):
    if new := row["replaced"].get(str(i)):
      words.append(f"**{_plain(new)}** ({_plain(token)}, {p:.0%})")
    elif p > 0.5:
      words.append(f"{_plain(token)} (false alarm, {p:.0%})")
    else:
      words.append(_plain(token))
  return " ".join(words)


def _plain(token: str) -> str:
  """Writes out what Markdown or HTML would take for a mark of its own."""
  return "".join(f"&#{ord(c)};" if c in "*_`<>&[]\\#|~" else c for c in token)
