"""Eight simulated devices, strict shapes, no silent broadcasting."""

import os
import pathlib
import tempfile

import jax
import jaxtyping
import numpy as np
import pytest

GOLDEN = pathlib.Path(__file__).parent / "golden"

# Trainer compiled once serve every test, the processes that tests start and,
# under pytest-xdist, all workers: they inherit this from the process that
# starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
  _CACHE = tempfile.TemporaryDirectory(prefix="electra_jax_test_cache")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["JAX_PLATFORMS"] = "cpu"

_CACHE_FOLDER = os.environ["JAX_COMPILATION_CACHE_DIR"]
jax.config.update("jax_compilation_cache_dir", _CACHE_FOLDER)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every annotated shape and dtype of the package is checked in every test.
jaxtyping.install_import_hook("electra_jax", "beartype.beartype")


WHOLE_RUNS = ("pretraining", "finetuning", "performance", "beam", "launch")


def pytest_collection_modifyitems(items):
  """Puts whole runs first: small files at the end let workers end together."""
  items.sort(key=lambda item: item.path.parent.name not in WHOLE_RUNS)


@pytest.fixture(autouse=True)
def compile_in_a_hurry(request):
  """Leaves most of XLA's optimizations out, but for tests marked golden.

  Tests take few steps: compiling costs them far more than computing. What is
  compared with the released code's numbers is compiled as it is for users.
  """
  is_golden = request.node.get_closest_marker("golden") is not None
  jax.config.update("jax_disable_most_optimizations", not is_golden)
  yield
  # Fixtures of a module come before this one.
  jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> str:
  """A token store of made-up text with rows of 32 tokens, to be read only."""
  from electra_jax.preprocessing.synthetic import make_store

  path = tmp_path_factory.mktemp("data") / "store"
  make_store(path, length=32)
  return str(path)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, store) -> pathlib.Path:
  """The workdir of a pre-training run of four steps, to be read only."""
  from electra_jax.pretraining.pretrain import pretrain
  from tests import helpers

  workdir = tmp_path_factory.mktemp("runs") / "tiny_run"
  config = helpers.store_config(store, **{"train.num_steps": 4})
  pretrain(config, workdir, quiet=True)
  return workdir


@pytest.fixture(scope="session")
def synthetic_task(tmp_path_factory) -> dict[str, object]:
  """What a config says to learn from files, of made-up sst and ner."""
  from electra_jax.tasks.synthetic import make_task

  folder = tmp_path_factory.mktemp("synthetic_task")
  make_task(["sst", "ner"], folder)
  return {
      "data.synthetic": False,
      "data.folder": str(folder),
      "random_init": True,
      "data.tokenizer": str(folder / "vocab.txt"),
  }


@pytest.fixture(scope="session")
def golden():
  """The folder of the golden files."""
  return GOLDEN


@pytest.fixture(scope="session")
def tokenizer():
  """The golden vocabulary, lower-casing."""
  from electra_jax.text.tokenizer import load_tokenizer

  return load_tokenizer(GOLDEN / "vocab.txt")


@pytest.fixture
def make_store(tokenizer, tmp_path):
  """Makes a store whose row r starts with the number r and has length 8."""
  from electra_jax.store.reader import open_store
  from electra_jax.store.writer import StoreWriter
  from electra_jax.text.lost_text import LostText

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
          lost=LostText(),
          passed_over={},
      )
    return open_store(path)

  return make
