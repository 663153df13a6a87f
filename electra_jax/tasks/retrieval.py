"""What vectors of pairs are worth: who is nearest, and how near."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from electra_jax.tasks import scoring
from electra_jax.tasks.examples import PairExample
from electra_jax.tasks.text_groups import pair_of

_ROWS = 1024  # Of the table of all cosines that are held at a time.
_ROUNDING = 2e-6  # Of a cosine in float32, whose sum has any order.


class Found(NamedTuple):
  """How a pair is found.

  Attributes:
    cosine: of its two vectors.
    rank: of the partner among all partners of the split, the nearest first,
      from 1; texts that equal the partner do not count.
  """

  cosine: float
  rank: int


def find_partners(
    vectors: Float[np.ndarray, "n D"],
    partners: Float[np.ndarray, "n D"],
    text_ids: Int[np.ndarray, " n"],
) -> list[Found]:
  """Looks for each text's partner among all.

  Args:
    vectors: of the texts.
    partners: vectors of what belongs to each.
    text_ids: a number of each partner, the same where their texts are equal.
  """
  vectors, partners = _unit(vectors), _unit(partners)
  cosines = np.einsum("nd,nd->n", vectors, partners)
  found = []
  for start in range(0, len(vectors), _ROWS):
    part = slice(start, start + _ROWS)
    # As near is nearer: equal vectors of all texts find nothing.
    least = cosines[part, None] - _ROUNDING
    nearer = vectors[part] @ partners.T >= least
    nearer &= text_ids[part, None] != text_ids[None]
    ranks = 1 + nearer.sum(axis=1)
    found += [
        Found(float(c), int(r))
        for c, r in zip(cosines[part], ranks, strict=True)
    ]
  return found


def score_partners(
    metrics: Sequence[str],
    examples: Sequence[PairExample],
    found: Sequence[Found],
) -> dict[str, float]:
  """Scores what was found, in percent, in the order of the metrics.

  `recall_at_N` is the share of pairs whose partner is among the N nearest, and
  `mrr` the mean of 1 / rank; others compare cosines with the data's ratings.
  """
  ranks = np.asarray([one.rank for one in found])
  scores = {}
  for name in metrics:
    if name.startswith("recall_at_"):
      most = int(name.removeprefix("recall_at_"))
      scores[name] = 100 * float(np.mean(ranks <= most))
    elif name == "mrr":
      scores[name] = 100 * float(np.mean(1 / ranks))
    else:
      gold = [example.label for example in examples]
      cosines = [one.cosine for one in found]
      scores |= scoring.score([name], gold, cosines)
  return scores


def records_of(
    examples: Sequence[PairExample], found: Sequence[Found]
) -> list[dict[str, Any]]:
  """Returns what was found, for people."""
  records = []
  for example, one in zip(examples, found, strict=True):
    text, other_text = pair_of(example)
    record = {"id": example.id, "text": text, "other_text": other_text}
    record |= {"cosine": round(one.cosine, 6), "rank": one.rank}
    if example.label is not None:
      record["similarity"] = example.label
    records.append(record)
  return records


def _unit(vectors):
  vectors = np.asarray(vectors, np.float32)
  norms = np.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors / np.where(norms > 0, norms, 1.0)
