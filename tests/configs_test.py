"""Every shipped config: locked, complete, read to the last key."""

import importlib.util
import pathlib

import jax
import pytest

from electra_jax import programs
from electra_jax.data.tokenizer import SpecialIds
from electra_jax.training import sharding
from electra_jax.trees import count_parameters
from tests import helpers

SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)
# The paper's Table 6 and the released checkpoints.
RECIPES = {
    "small": (14_196_219, 128, 128, 5e-4, 1_000_000, 0.15),
    "base": (119_386_427, 512, 256, 2e-4, 766_000, 0.15),
    "large": (354_655_291, 512, 2048, 2e-4, 400_000, 0.25),
    "small_pp": (23_122_875, 512, 128, 5e-4, 4_000_000, 0.15),
    "base_pp": (119_386_427, 512, 256, 2e-4, 4_000_000, 0.15),
}


def sizes():
  path = helpers.ROOT / "configs/pretrain.py"
  spec = importlib.util.spec_from_file_location("shipped_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return tuple(module.SIZES)


def build(size):
  config = helpers.load_config(f"configs/pretrain.py:{size}")
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  return config, programs.build(config, 30522, SPECIAL, mesh)


def test_every_size_but_ours_has_its_recipe_here():
  assert set(sizes()) == {"tiny", *RECIPES}


@pytest.mark.parametrize("size", RECIPES)
def test_recipes_are_the_papers(size):
  config, parts = build(size)
  assert RECIPES[size] == (
      count_parameters(parts.abstract.params),
      config.data.length,
      config.train.batch_size,
      config.optimizer.learning_rate,
      config.train.num_steps,
      config.objective.mask_prob,
  )
  assert dict(config.optimizer) == {
      "learning_rate": RECIPES[size][3],
      "warmup_steps": 10_000,
      "decay_power": 1.0,
      "weight_decay": 0.01,
      "clip_norm": 1.0,
      "adam_b1": 0.9,
      "adam_b2": 0.999,
      "adam_epsilon": 1e-6,
  }
  assert (config.objective.gen_weight, config.objective.disc_weight) == (1, 50)
  assert (config.model.hidden_dropout, config.model.attention_dropout) == (
      0.1,
      0.1,
  )
  assert config.model.initializer_range == 0.02
  assert config.model.initialization == "released"


@pytest.mark.parametrize("size", sizes())
def test_configs_are_locked_and_run_locally(size):
  for argument in (size, f"{size},runlocal"):
    config, parts = build(argument)
    assert config.is_locked
    assert count_parameters(parts.abstract.params) > 0
    with pytest.raises(AttributeError):
      config.train.steps = 3


def test_every_key_is_read():
  package = helpers.ROOT / "electra_jax"
  readers = ("programs.py", "pretrain.py", "evaluate.py", "predict.py")
  text = "".join(pathlib.Path(package / name).read_text() for name in readers)
  config = helpers.load_config("configs/pretrain.py:small")
  for section, values in config.items():
    if section in ("optimizer", "mesh"):
      assert f"**config.{section}" in text  # Each key is a named argument.
    elif section == "seed":
      assert "config.seed" in text
    else:
      for key in values:
        assert f".{key}" in text, f"config.{section}.{key} is never read"
