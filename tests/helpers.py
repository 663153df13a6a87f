"""Small models, rows and golden files for tests."""

import functools
import io
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import sentencepiece

from electra_jax import cli
from electra_jax.interop.names import params_from_released
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.objectives.masking import Rows
from electra_jax.trees import path_names

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = pathlib.Path(__file__).parent / "golden"
TINY = GOLDEN / "tiny_projected"


def golden_model(**overrides) -> Electra:
  """The released code's tiny_projected model."""
  discriminator = encoder_config(1966, 2, 128, 32, **overrides)
  return Electra(
      ElectraConfig(discriminator, generator_config(discriminator, 0.5))
  )


def abstract_params(model: Electra):
  """Shapes of a model's parameters."""
  ids = jnp.zeros((1, 4), jnp.int32)
  return jax.eval_shape(
      lambda: model.init(jax.random.key(0), ids, ids, ids, ids)["params"]
  )


@functools.cache
def golden_params():
  """Its weights after 200 steps."""
  weights = np.load(TINY / "weights.npz")
  arrays = {name: weights[name] for name in weights.files}
  params = params_from_released(abstract_params(golden_model()), arrays)
  return jax.tree.map(jnp.asarray, params)


@functools.cache
def golden_forward() -> dict[str, jax.Array]:
  """What the released code computed on eight rows, dropout off."""
  arrays = np.load(TINY / "forward.npz")
  return {name: jnp.asarray(arrays[name]) for name in arrays.files}


def golden_rows() -> Rows:
  """The eight rows."""
  arrays = golden_forward()
  return Rows(
      arrays["input_ids"].astype(jnp.int32),
      arrays["input_mask"].astype(jnp.int32),
      arrays["segment_ids"].astype(jnp.int32),
  )


def read_json(path: pathlib.Path):
  """Parses a JSON file."""
  return json.loads(path.read_text())


def tiny_config(**overrides):
  """A config of seconds: the shipped one with `runlocal`, and narrower.

  Args:
    **overrides: values by dotted key, as {"train.num_steps": 4}.
  """
  config = load_config("configs/pretrain.py:small,runlocal")
  config.model.update(hidden_size=64, embedding_size=32)
  config.model.generator_width_ratio = 0.5
  for name, value in overrides.items():
    section, _, key = name.rpartition(".")
    (config[section] if section else config)[key] = value
  return config


def sentencepiece_model(**options) -> bytes:
  """A SentencePiece model of 300 pieces, trained on the golden corpus."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=(GOLDEN / "small_corpus.txt").open(encoding="utf-8"),
      model_writer=model,
      minloglevel=2,
      **{
          "vocab_size": 300,
          "pad_id": 0,
          "unk_id": 1,
          "bos_id": -1,
          "eos_id": -1,
          "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
          **options,
      },
  )
  return model.getvalue()


def load_config(argument: str):
  """Loads a shipped config wherever the tests run from."""
  return cli.load_config(str(ROOT / argument), [])


def read_metrics(workdir: pathlib.Path, group: str) -> list[dict]:
  """The records of a group in metrics.jsonl."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [r for r in map(json.loads, lines) if r["group"] == group]


def read_params(workdir: pathlib.Path, step: int) -> dict[str, np.ndarray]:
  """A checkpoint's state by path, read without the package."""
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
    tree = reader.restore(workdir.absolute() / f"checkpoints/{step}/state")
  return {name: np.asarray(leaf) for name, leaf in path_names(tree)}
