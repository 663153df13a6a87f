"""Made-up text and tasks, so that every config can run without any data."""

import pathlib
import random
import tempfile

from etils import epath

from electra_jax.errors import UserError
from electra_jax.preprocessing.options import PrepareOptions
from electra_jax.preprocessing.prepare import prepare
from electra_jax.store.reader import open_store

_VOCAB_SIZE, _DOCUMENTS, _LINES = 256, 300, 8
_ONSETS = [
    "b",
    "d",
    "f",
    "g",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "z",
    "br",
    "dr",
    "kl",
    "st",
    "tr",
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ou"]


def make_store(path: epath.PathLike, *, length: int) -> None:
  """Prepares a token store of made-up text, unless it is there already.

  Args:
    path: a local or remote folder.
    length: tokens of a row.

  Raises:
    UserError: another store is there, or something else.
  """
  if (epath.Path(path) / "manifest.json").exists():
    made = open_store(path).manifest.length
    if made != length:
      raise UserError(
          f"{path} holds made-up rows of {made} tokens and config.data.length is"
          f" {length}; choose another --workdir"
      )
    return
  with tempfile.TemporaryDirectory() as folder:
    corpus = pathlib.Path(folder, f"{pathlib.Path(path).name}_text.txt")
    corpus.write_text(make_text(), encoding="utf-8")
    prepare(
        [str(corpus)],
        str(path),
        PrepareOptions(
            train_vocab=_VOCAB_SIZE, length=length, validation_percent=10.0
        ),
        num_workers=1,
        progress=False,
    )


def make_text(documents: int = _DOCUMENTS, seed: int = 0) -> str:
  """Returns documents of words that follow each other by a fixed rule.

  Words are drawn by rank with weight 1/rank, and each word has few
  successors, so there is something to learn.
  """
  rng = random.Random(seed)
  words = sorted(
      {
          "".join(
              rng.choice(_ONSETS) + rng.choice(_VOWELS)
              for _ in range(rng.randint(1, 3))
          )
          for _ in range(200)
      }
  )
  weights = [1 / (rank + 1) for rank in range(len(words))]
  successors = {w: rng.choices(words, weights, k=4) for w in words}
  texts = []
  for _ in range(documents):
    word, lines = rng.choice(words), []
    for _ in range(_LINES):
      line = []
      for _ in range(rng.randint(5, 14)):
        word = rng.choice(successors[word])
        line.append(word)
      lines.append(" ".join(line).capitalize() + ".")
    texts.append("\n".join(lines))
  return "\n\n".join(texts) + "\n"
