"""Small models, rows and golden files for tests."""

import functools
import io
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import sentencepiece

from electra_jax import config_files
from electra_jax.devices import sharding
from electra_jax.interop.names import params_from_released
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.objectives.masking import Rows
from electra_jax.pretraining import trainer as trainers
from electra_jax.runs.config import read_pretrain_config
from electra_jax.runs.finetune_config import read_finetune_config
from electra_jax.runs.sections import replaced
from electra_jax.store.feed import Batch
from electra_jax.trees import path_names

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = pathlib.Path(__file__).parent / "golden"
TINY = GOLDEN / "tiny_projected"
VOCAB_SIZE = 100  # Of `batch_of`.
# Of the tests' vocabulary, a piece each.
WORDS = (
    *("we", "the", "people", "of", "united"),
    *("states", "senate", "house", "power", "law"),
)
NARROW_ENCODER = {
    "model.num_layers": 1,
    "model.hidden_size": 64,
    "model.embedding_size": 32,
}


def slow(*values):
  """Returns a case of `parametrize` that the default set leaves out."""
  return pytest.param(*values, marks=pytest.mark.slow)


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


def override(config, values):
  """Returns a config with other values, by dotted key."""
  return replaced(config, values)


def read_records(path: pathlib.Path) -> list[dict]:
  """Parses a file of JSON lines."""
  return [json.loads(line) for line in path.read_text().splitlines()]


def tiny_config(**overrides):
  """A config of seconds: the shipped one with `runlocal`, and narrower.

  Args:
    **overrides: values by dotted key, as {"train.num_steps": 4}.
  """
  narrow = {
      "model.hidden_size": 64,
      "model.embedding_size": 32,
      "model.generator_width_ratio": 0.5,
  }
  config = load_config("configs/pretrain.py:small,runlocal")
  return override(config, narrow | overrides)


def store_config(store, **overrides):
  """A tiny config of one layer that reads a token store."""
  data = {"data.synthetic": False, "data.store": str(store)}
  return tiny_config(**data | {"model.num_layers": 1} | overrides)


def finetune_config(task, **overrides):
  """The shipped fine-tuning config with `runlocal`, of one layer."""
  config = load_config(f"configs/finetune.py:task={task},runlocal")
  narrow = {"model.num_layers": 1, "data.max_length": 64}
  return override(config, narrow | overrides)


def batch_of(rows=8, length=32, seed=0) -> Batch:
  """Rows of ordinary ids of any length, most of padding behind them."""
  rng = np.random.default_rng(seed)
  ids = rng.integers(5, VOCAB_SIZE, (rows, length)).astype(np.uint16)
  total = rng.integers(4, length + 1, rows)
  ids[np.arange(length)[None] >= total[:, None]] = 0
  ids[:, 0], ids[np.arange(rows), total - 1] = 2, 3
  lengths = np.stack([total // 2 + 1, total], 1).astype(np.int32)
  return Batch(ids, lengths)


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


def after_steps(trainer, state, batches, steps: int):
  """Metrics of some steps of a fine-tuning, and the parameters behind them."""
  records = []
  for _, batch in zip(range(steps), batches.training(0), strict=False):
    batch = sharding.rows_to_global(trainer.mesh, batch)
    state, sums = trainer.train_step(state, batch)
    records.append(jax.device_get(sums))
  return records, jax.device_get(state.params)


def load_config(argument: str):
  """Reads a shipped config."""
  config = config_files.load_config(argument)
  return (read_finetune_config if "task" in config else read_pretrain_config)(
      config
  )


def read_metrics(workdir: pathlib.Path, group: str) -> list[dict]:
  """The records of a group in metrics.jsonl."""
  records = read_records(workdir / "metrics.jsonl")
  return [record for record in records if record["group"] == group]


def read_params(workdir: pathlib.Path, step: int) -> dict[str, np.ndarray]:
  """A checkpoint's state by path, read without the package."""
  folder = workdir.absolute() / f"checkpoints/{step}/state"
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)  # On any devices.
    tree = reader.restore(
        folder,
        ocp.args.PyTreeRestore(
            restore_args=jax.tree.map(
                lambda _: as_numpy, reader.metadata(folder).item_metadata.tree
            )
        ),
    )
  return {name: np.asarray(leaf) for name, leaf in path_names(tree)}


def store_facts(tokenizer, **facts):
  """What a workdir says of a token store that is not there."""
  return {
      "start": "random weights",
      "rows_digest": "",
      "tokenizer_digest": tokenizer.digest,
      "sources": [],
      "unigram_entropy": None,
      **facts,
  }


def random_tree(abstract, seed: int = 0):
  """Normally distributed floats in the place of every leaf."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda x: rng.normal(size=x.shape).astype(x.dtype), abstract
  )


_shapes = functools.cache(trainers.abstract_params)


def random_params(config: ElectraConfig, seed: int = 0):
  """Parameters of some networks; nothing is compiled for them."""
  return random_tree(_shapes(config), seed)


def lively_params(config: ElectraConfig, seed: int = 0):
  """Parameters as tame as trained ones, but so that every token is felt."""
  return jax.tree_util.tree_map_with_path(
      lambda path, x: jnp.asarray(
          0.1 * x + (1 if path[-1].key == "scale" else 0)
      ),
      random_params(config, seed),
  )


def assert_equal_trees(actual, expected) -> None:
  """Bit for bit, by path."""
  actual, expected = dict(path_names(actual)), dict(path_names(expected))
  assert actual.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(actual[name], value, err_msg=name)
