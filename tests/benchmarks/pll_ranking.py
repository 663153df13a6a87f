"""How often pseudo-log-likelihood prefers a text to its own words, shuffled.

  python tests/benchmarks/pll_ranking.py RUN [--rows 1000]

RUN is the workdir of a pre-training run whose objective or generator gives
likelihoods. Takes rows that training has held out, shuffles the words of each,
and prints the share of rows whose real order scores higher.
"""

import argparse
import json
import random

import numpy as np

from electra_jax.pretraining.model import PretrainedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.store.feed import evaluation_batches
from electra_jax.store.reader import open_store


def main() -> None:
  """Scores the rows in both orders."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("run")
  parser.add_argument("--rows", type=int, default=1000)
  args = parser.parse_args()
  run = workdirs.load(args.run)
  split = open_store(run.config.data.store).split("validation")
  batch = next(iter(evaluation_batches(split, batch_size=args.rows)))
  shuffle = random.Random(0).shuffle
  texts, shuffled = [], []
  for row, (_, length) in zip(*batch, strict=True):
    words = run.tokenizer.decode(row[1 : length - 1].tolist()).split()
    words = [word for word in words if not word.startswith("[")]
    if len(set(words)) < 2:
      continue
    texts.append(" ".join(words))
    while " ".join(words) == texts[-1]:
      shuffle(words)
    shuffled.append(" ".join(words))
  predictor = PretrainedModel(args.run)
  totals = [
      np.asarray([score.total for score in predictor.score(part)])
      for part in (texts, shuffled)
  ]
  figures = {
      "objective": run.config.objective.name,
      "generator": run.config.objective.generator,
      "texts": len(texts),
      "real_above_shuffled": float(np.mean(totals[0] > totals[1])),
      "nats_apart_median": float(np.median(totals[0] - totals[1])),
  }
  print(json.dumps(figures, indent=1))


if __name__ == "__main__":
  main()
