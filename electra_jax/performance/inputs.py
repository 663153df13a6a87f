"""The vocabulary of a config that is planned or measured."""

import numpy as np

from electra_jax.pretraining.data import open_store_of
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.networks import Vocabulary, vocabulary_of
from electra_jax.text.tokenizer import SpecialIds

# Synthetic rows have the vocabulary of BERT's uncased models.
VOCAB_SIZE, FIRST_WORD = 30_522, 1_000
SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)


def find_vocabulary(config: PretrainConfig) -> Vocabulary:
  """Returns the vocabulary of the config's store, or one as large as BERT's."""
  if config.data.store and not config.data.synthetic:
    store = open_store_of(config)
    return vocabulary_of(store.tokenizer(), store)
  return Vocabulary(
      VOCAB_SIZE,
      SPECIAL,
      is_continuation=np.arange(VOCAB_SIZE) % 5 == 0,  # As many as BERT's.
      unigram_counts=np.ones(VOCAB_SIZE, np.int64),
  )
