"""Values that no config can have end with one short sentence."""

import pytest

from electra_jax.config_files import load_config
from electra_jax.errors import UserError
from electra_jax.runs.config import read_pretrain_config


def read_with(key, value):
  values = load_config("pretrain:tiny,runlocal").to_dict()
  *sections, name = key.split(".")
  section = values
  for one in sections:
    section = section[one]
  section[name] = value
  return read_pretrain_config(values)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.num_steps", 2**64, f"is {2**64}; it must be below 2^64"),
        ("optimizer.learning_rate", 10**400, "1,329 bits; it must be below"),
        ("train.num_steps", -(10**9_000), "bits; it must be below 2^64"),
        ("model.dtype", "x" * 5_000, r"xx\.\.\.; it must be 'bfloat16' or"),
        ("objective", ["y" * 5_000], r"yy\.\.\.; it must be a section"),
    ],
    # Python does not print numbers of this length.
    ids=["whole", "number", "negative", "text", "section"],
)
def test_huge_values(key, value, message):
  with pytest.raises(UserError, match=message.replace("^", r"\^")) as told:
    read_with(key, value)
  assert len(str(told.value)) < 400


def test_a_whole_number_is_a_number():
  config = read_with("optimizer.learning_rate", 1)
  assert config.optimizer.learning_rate == 1.0
  assert read_with("train.num_steps", 2**63).train.num_steps == 2**63
