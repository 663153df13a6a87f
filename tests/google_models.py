"""Checkpoints as the released code writes them, of small random networks."""

import pathlib

from electra_jax.interop import google
from electra_jax.interop.model import PretrainedState
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.training.optimizer import AdamState
from tests import helpers

VOCABULARY = helpers.GOLDEN / "vocab.txt"
STEP = 7


def make_model(
    ratio=0.5, sharing="embeddings", vocab_size=1966, **parts
) -> PretrainedState:
  """Networks with moments, after some steps."""
  encoder = encoder_config(vocab_size, 1, 128, 32, max_position_embeddings=64)
  generator = generator_config(encoder, ratio, own_embeddings=sharing == "none")
  if sharing == "all" or not parts.get("has_generator_head", True):
    generator = None
  config = ElectraConfig(encoder, generator, sharing, **parts)
  params, *moments = (helpers.random_params(config, seed) for seed in range(3))
  return PretrainedState(config, params, AdamState(*moments), STEP)


def write(folder: pathlib.Path, model: PretrainedState) -> pathlib.Path:
  """Writes a checkpoint and its vocabulary into a new folder."""
  folder.mkdir()
  google.write_model(folder, model)
  (folder / "vocab.txt").write_bytes(VOCABULARY.read_bytes())
  return folder
