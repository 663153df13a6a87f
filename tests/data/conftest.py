"""What the tests of the data rooms share."""

import pathlib

import numpy as np
import pytest

from electra_jax.data.store import open_store
from electra_jax.data.store_writer import StoreWriter
from electra_jax.data.tokenizer import load_tokenizer

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def golden():
  """The folder of the golden files."""
  return GOLDEN


@pytest.fixture(scope="session")
def tokenizer():
  """The golden vocabulary, lower-casing."""
  return load_tokenizer(GOLDEN / "vocab.txt")


@pytest.fixture
def make_store(tokenizer, tmp_path):
  """Makes a store whose row r starts with the number r and has length 8."""

  def make(train=3000, validation=10, path=tmp_path / "store", **options):
    length = 8
    with StoreWriter(
        path, tokenizer=tokenizer, length=length, **options
    ) as writer:
      for name, count in (("train", train), ("validation", validation)):
        rows = np.zeros((count, length + 2), np.uint16)
        rows[:, 0] = np.arange(count)
        rows[:, length:] = 3, 5
        # In uneven parts, as they come from `prepare`.
        for part in np.array_split(rows, 7):
          writer.add(name, part, num_documents=1)
      writer.finish(
          unigram_counts=np.arange(tokenizer.vocab_size),
          packing="full",
          seed=1,
          sources=("made up",),
          validation_percent=0.5,
          duplicates_dropped=None,
          tokens_read=5,
          tokens_kept=5,
      )
    return open_store(path)

  return make
