"""Written texts -> predictions, for people and for scores."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.feature_arrays import Features
from electra_jax.tasks.predictions import Predictions


def decode_texts(
    examples: Sequence[GenerationExample],
    features: Features,
    texts: Sequence[str],
    scores: Float[np.ndarray, " n"],
) -> Predictions:
  """Puts what was written beside what it was written of.

  Args:
    examples: in their order.
    features: of the examples, with what was cut of their sources.
    texts: one of each.
    scores: of each, its log-probability in nats over a power of its length.

  Returns:
    The texts as values, and records with `text`, `other_text` where there is
    one, `written`, `score`, `gold` where the target is told, and `cut_tokens`
    where not all of a source was read.
  """
  records = []
  for example, text, score, cut in zip(
      examples, texts, scores, features.cut_pieces, strict=True
  ):
    record = {"id": example.id, "text": example.text}
    if example.other_text is not None:
      record["other_text"] = example.other_text
    record |= {"written": text, "score": float(score)}
    if example.target is not None:
      golds = [example.target, *example.more_targets]
      record["gold"] = golds if example.more_targets else example.target
    if cut:
      record["cut_tokens"] = int(cut)
    records.append(record)
  return Predictions(list(texts), records)
