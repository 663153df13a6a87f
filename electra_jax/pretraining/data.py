"""The token store of a pre-training config, and its teacher."""

import dataclasses
import logging

import jax
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from electra_jax.compress.teacher import Student, Teacher, find_teacher
from electra_jax.errors import UserError
from electra_jax.files import absolute
from electra_jax.preprocessing.synthetic import make_store
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.networks import electra_config, learns_by_itself
from electra_jax.store.reader import Store, open_store
from electra_jax.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


def with_own_store(
    config: PretrainConfig, workdir: epath.PathLike
) -> PretrainConfig:
  """Returns a config whose store can be opened from any folder.

  One that asks for synthetic text gets a store of it inside the workdir.
  """
  path = absolute(config.data.store)
  if config.data.synthetic:
    path = str(epath.Path(workdir) / "synthetic_store")
    if jax.process_index() == 0:
      make_store(path, length=config.data.length)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices("synthetic store")
  data = dataclasses.replace(config.data, store=path)
  return dataclasses.replace(config, data=data)


def open_store_of(config: PretrainConfig) -> Store:
  """Opens the token store that a config names.

  Raises:
    UserError: it names none, or one with rows of another length.
  """
  if not config.data.store:
    raise UserError(
        "config.data.store is empty; give the folder that `electra-jax"
        " prepare` has made: --config.data.store=STORE"
    )
  store = open_store(config.data.store)
  if store.manifest.length != config.data.length:
    raise UserError(
        f"store {config.data.store} has rows of {store.manifest.length} tokens"
        f" and config.data.length is {config.data.length}; prepare it again"
        f" with --length {config.data.length}, or set"
        f" --config.data.length={store.manifest.length}"
    )
  return store


def open_store_to_train(config: PretrainConfig) -> Store:
  """Opens the token store of a config, one that can also be evaluated on.

  Raises:
    UserError: as `open_store_of`; or its validation split is empty, which would
      end the run at its first evaluation.
  """
  store = open_store_of(config)
  if not store.manifest.splits["validation"].num_rows:
    raise UserError(
        f"store {config.data.store} has no validation rows, on which pretrain"
        " evaluates; prepare it again with a larger --validation-percent than"
        f" {store.manifest.validation_percent:g}, or from more text"
    )
  return store


def teacher_of(
    config: PretrainConfig, tokenizer: Tokenizer, mesh: Mesh
) -> Teacher | None:
  """Finds the teacher of a pre-training config; None if it names none.

  Raises:
    UserError: as `find_teacher`.
  """
  encoder = electra_config(config, tokenizer.vocab_size).discriminator
  return find_teacher(
      config.distill,
      Student(encoder, tokenizer, config.data.length, "config.data.length"),
      mesh,
      dtype=config.model.dtype,
      attention=config.model.attention,
  )


def warn_of_random_heads(
    workdir: epath.PathLike, config: PretrainConfig
) -> None:
  """Says so of a run, or a copy of one, that a teacher alone has taught."""
  if not learns_by_itself(config):  # A copy names no teacher.
    _log.warning(
        "%s has learned from its teacher alone: its heads are random, and so"
        " are answers of predict and demo; fine-tune it, or embed texts with it",
        workdir,
    )


def check_learns(config: PretrainConfig) -> None:
  """Raises a UserError for a run with neither a loss nor a teacher."""
  if not config.distill.teacher and not learns_by_itself(config):
    raise UserError(
        "config.objective.gen_weight and the other weights of its losses are 0"
        " and config.distill.teacher is empty, so that nothing is learned; give"
        " one of them"
    )
