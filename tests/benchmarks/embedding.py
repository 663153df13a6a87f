"""How well vectors find what belongs together, without any training on it.

  python tests/benchmarks/embedding.py RUN [RUN …] --data FOLDER [--json FILE]
      [--layers -1 -2 …] [--poolings mean cls max] [--dimensions 0 32 …]

RUN is a workdir, or tiny-en; without --layers and --poolings those that it was
trained for. FOLDER holds bbc_topic/ and trec_question/ (train.tsv, dev.tsv with
the columns text and label), synopsis/test.tsv (source and target), and, for the
last two columns, lee.cor, lee_background.cor and similarities0-1.txt of gensim's
test data.

The columns, all in percent: the share of dev texts of which 5 nearest training
texts say the right class; the share of 1,000 synopses whose own description is
the nearest of all 1,000; over all pairs of 50 news articles, the rank
correlation of cosines with the likeness that people see, and the linear one. A first row, "LSA", is
latent semantic analysis (TF-IDF, 100 dimensions) fitted on the background
articles, for the news articles alone.
"""

import argparse
import collections
import csv
import json
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import open_run

NEIGHBOURS, PAIRS = 5, 1_000
COLUMNS = ("bbc_topic", "trec_question", "synopsis", "lee", "lee_r")


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument("runs", nargs="+", metavar="RUN")
  parser.add_argument("--data", type=pathlib.Path, required=True)
  parser.add_argument("--layers", type=int, nargs="+", default=[None])
  parser.add_argument("--poolings", nargs="+", default=[None])
  parser.add_argument("--dimensions", type=int, nargs="+", default=[0])
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  data = Data(args.data)
  rows = []
  if data.lee is not None:
    rows.append({"run": "LSA", **data.lee_scores(lsa_vectors(data))})
    show(rows[-1])
  for run in args.runs:
    model = open_run(run)
    for layer in args.layers:
      for pooling in args.poolings:
        whole = model.embedder(layer=layer, pooling=pooling, normalized=False)
        vectors = data.embedded(whole)
        for kept in args.dimensions:
          rows.append(
              {
                  "run": pathlib.Path(run).name,
                  "layer": whole.options.layer,
                  "pooling": whole.options.pooling,
                  "dimensions": kept or whole.dimensions,
                  **data.scores(vectors, kept or whole.dimensions),
              }
          )
          show(rows[-1])
  if args.json:
    args.json.write_text(json.dumps(rows, indent=1) + "\n")


def show(row):
  told = [
      str(row.get(n, "")) for n in ("run", "layer", "pooling", "dimensions")
  ]
  told += [f"{row[n]:.1f}" if n in row else "" for n in COLUMNS]
  print(f"| {' | '.join(told)} |", flush=True)


class Data:
  """The texts, and what is right of them."""

  def __init__(self, folder: pathlib.Path):
    self.classes = {
        name: [read_tsv(folder / name / f"{s}.tsv") for s in ("train", "dev")]
        for name in ("bbc_topic", "trec_question")
    }
    pairs = read_tsv(folder / "synopsis" / "test.tsv")
    order = np.random.default_rng(0).permutation(len(pairs))
    self.pairs, seen = [], set()
    for body, synopsis in (pairs[i] for i in order):
      if not {body, synopsis} & seen:
        self.pairs.append((body, synopsis))
        seen |= {body, synopsis}
    self.pairs = self.pairs[:PAIRS]
    self.lee = self.background = None
    if (folder / "lee.cor").exists():
      self.lee, self.background = (
          (folder / name).read_text(encoding="latin-1").strip().split("\n")
          for name in ("lee.cor", "lee_background.cor")
      )
      self.likeness = np.loadtxt(folder / "similarities0-1.txt")

  def embedded(self, embedder):
    """Returns the vectors of all texts, by what is measured on them."""
    found = {
        name: [embedder.embed([text for text, _ in split]) for split in splits]
        for name, splits in self.classes.items()
    }
    found["synopsis"] = [
        embedder.embed(side) for side in zip(*self.pairs, strict=True)
    ]
    if self.lee is not None:
      found["lee"] = [embedder.embed(self.lee)]
    return found

  def scores(self, vectors, dimensions):
    """Returns the scores of the first dimensions of the vectors."""
    kept = {
        name: [unit(part[:, :dimensions]) for part in parts]
        for name, parts in vectors.items()
    }
    scores = {
        name: nearest_class(*kept[name], *splits)
        for name, splits in self.classes.items()
    }
    bodies, synopses = kept["synopsis"]
    nearest = np.argmax(synopses @ bodies.T, axis=1)
    scores["synopsis"] = 100 * float(np.mean(nearest == np.arange(len(bodies))))
    if self.lee is not None:
      scores |= self.lee_scores(kept["lee"][0])
    return scores

  def lee_scores(self, vectors):
    """Returns the correlations with what people say, in percent."""
    from scipy import stats

    pairs = np.triu_indices(len(vectors), 1)
    cosines = (vectors @ vectors.T)[pairs]
    both = cosines, self.likeness[pairs]
    return {
        "lee": 100 * float(stats.spearmanr(*both).statistic),
        "lee_r": 100 * float(stats.pearsonr(*both).statistic),
    }


def nearest_class(train_vectors, dev_vectors, train, dev):
  """Returns the accuracy of the neighbours' commonest class, in percent."""
  order = np.argsort(-(dev_vectors @ train_vectors.T), axis=1, kind="stable")
  right = 0
  for neighbours, (_, label) in zip(order[:, :NEIGHBOURS], dev, strict=True):
    votes = collections.Counter(train[i][1] for i in neighbours)
    right += votes.most_common(1)[0][0] == label  # Of equals the nearest.
  return 100 * right / len(dev)


def lsa_vectors(data):
  """Returns vectors of latent semantic analysis, fitted on the background."""
  from sklearn.decomposition import TruncatedSVD
  from sklearn.feature_extraction.text import TfidfVectorizer

  words = TfidfVectorizer(stop_words="english", sublinear_tf=True)
  svd = TruncatedSVD(100, random_state=0)
  svd.fit(words.fit_transform([*data.background, *data.lee]))
  return unit(svd.transform(words.transform(data.lee)))


def unit(vectors):
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_tsv(path):
  with path.open(encoding="utf-8", newline="") as file:
    rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
  return [tuple(row) for row in rows[1:]]


if __name__ == "__main__":
  main()
