"""The token store of a config: refused before the first step, not behind it."""

import pytest

from electra_jax.api import prepare
from electra_jax.errors import UserError
from electra_jax.pretraining.data import open_store_of
from electra_jax.pretraining.pretrain import pretrain
from tests import helpers


def test_a_store_without_validation_rows_is_refused_at_once(tmp_path):
  corpus = tmp_path / "corpus.txt"
  corpus.write_text("the states of the union .\n" * 40)
  store = tmp_path / "store"
  prepare(
      [corpus], store, tokenizer=helpers.GOLDEN / "vocab.txt", length=64,
      validation_percent=0.0, num_workers=1, progress=False,
  )  # fmt: skip
  config = helpers.store_config(store, **{"data.length": 64})
  with pytest.raises(UserError, match=r"no validation rows.*than 0, or"):
    pretrain(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()
  open_store_of(config)  # For a benchmark it will do.
