"""Which changes of its config a run may go on with."""

import dataclasses

import pytest

from electra_jax.runs import history
from electra_jax.runs.kinds import FINETUNING
from tests import helpers


@pytest.mark.parametrize(
    ("key", "value", "is_kept"),
    [
        ("bottleneck.beta", 0.5, True),
        ("bottleneck.dimensions", 4, True),
        ("embedding.pooling", "max", True),
        ("embedding.temperature", 0.5, True),
        ("distill.temperature", 3.0, True),
        ("train.log_every_steps", 3, False),
        ("seeds", 7, False),
    ],
)
def test_what_decides_a_model_is_the_same_of_all_seeds(key, value, is_kept):
  old = helpers.finetune_config("sst")
  new = helpers.override(old, {key: value})
  changes = history.changes(dataclasses.asdict(old), dataclasses.asdict(new))
  assert [change.name for change in changes] == [key]
  assert bool(FINETUNING.kept(changes)) == is_kept
