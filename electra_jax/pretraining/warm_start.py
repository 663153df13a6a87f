"""Pre-training that goes on from another run's weights."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.pretraining.stacking import deeper, stacked
from electra_jax.pretraining.trainer import Trainer, abstract_params
from electra_jax.pretraining.transfer import (
    SHAPES,
    carried_over,
    choose_parts,
    shapes_of,
)
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import InitConfig, PretrainConfig
from electra_jax.runs.weights import ENCODER, find_weights, networks_of
from electra_jax.shapes import Params
from electra_jax.text.match_tokens import match_tokens
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState

_DEFAULTS = InitConfig("fresh", "same", "same", fresh="", unused="")


class Weights(NamedTuple):
  """What is read of the source.

  Attributes:
    params: all of its parameters.
    opt_state: its optimizer's state, or None where that starts fresh.
  """

  params: Params
  opt_state: Any = None


@dataclasses.dataclass(frozen=True)
class Transfer:
  """What a run takes of another's weights, and how.

  Attributes:
    source: the other run's networks, with as many layers as are taken.
    abstract: shapes and dtypes of its parameters.
    taken: parts of the new run that come from it.
    rows: its row of each token, -1 where it has none; or None where the
      vocabulary is the same.
    with_optimizer: whether the optimizer's state goes along.
  """

  source: ElectraConfig
  abstract: Params
  taken: frozenset[str]
  rows: np.ndarray | None
  with_optimizer: bool


@dataclasses.dataclass(frozen=True)
class WarmStart:
  """How a run starts from another's weights.

  Attributes:
    transfer: what it takes of them.
    checkpoints: the folder where they lie.
    origin: the same down to the step, in words; of another vocabulary, also
      how many tokens were found; where layers are repeated, how many.
  """

  transfer: Transfer
  checkpoints: epath.Path
  origin: str

  def restore(self, trainer: Trainer) -> Weights:
    """Reads the weights into their shards on the new run's mesh.

    Raises:
      UserError: no checkpoint, a broken one, or one of other shapes.
    """
    abstract = self.transfer.abstract
    with Checkpointer(self.checkpoints) as checkpointer:
      if self.transfer.with_optimizer:
        state = checkpointer.read_latest(trainer.abstract, trainer.shardings)
        return Weights(state.params, state.opt_state)
      shardings = sharding.params_shardings(trainer.mesh, abstract)
      return Weights(checkpointer.read_params(abstract, shardings))

  def init(self, trainer: Trainer, weights: Weights) -> TrainState:
    """Builds the state of step 0 in its shards, as `trainer.init` does."""
    transfer = self.transfer
    if transfer.with_optimizer:
      make = jax.jit(
          _restarted, out_shardings=trainer.shardings, donate_argnums=(0, 1)
      )
      return make(*weights)
    fresh = trainer.init()
    carry_over = functools.partial(
        carried_over,
        source=transfer.source,
        target=trainer.model.config,
        taken=transfer.taken,
        rows=transfer.rows,
    )
    carry_over = jax.jit(
        carry_over, out_shardings=trainer.shardings.params, donate_argnums=1
    )
    params = stacked(weights.params, transfer.source)
    return fresh._replace(params=carry_over(params, fresh.params))


def find_warm_start(
    config: PretrainConfig, tokenizer: Tokenizer, trainer: Trainer
) -> WarmStart | None:
  """Finds what a pre-training config goes on from; None for random weights.

  Args:
    config: as of configs/pretrain.py.
    tokenizer: of the token store.
    parts: the new run's programs.

  Raises:
    UserError: there is no such run, or it does not fit in a way that the
      config does not name.
  """
  _check_unused(config)
  if not config.init_from:
    return None
  run = workdirs.load(config.init_from)
  transfer = plan_transfer(config, run, tokenizer, trainer)
  folder, origin, _ = find_weights(config.init_from, run)
  if transfer.rows is not None:
    found, size = int(np.sum(transfer.rows >= 0)), len(transfer.rows)
    origin += f", {found:,} of {size:,} tokens matched"
  if config.init.layers == "stacked":
    few = networks_of(run).discriminator.num_layers
    many = transfer.source.discriminator.num_layers
    origin += f", layers repeated from {few} to {many}"
  return WarmStart(transfer, folder, origin)


def plan_transfer(
    config: PretrainConfig,
    run: workdirs.Run,
    tokenizer: Tokenizer,
    trainer: Trainer,
) -> Transfer:
  """Fits a run to the one that starts from it; reads no weights.

  Args:
    config: as of configs/pretrain.py, of the new run.
    run: the other one.
    tokenizer: of the new run's token store.
    parts: the new run's programs.

  Raises:
    UserError: they do not fit in a way that the config does not name.
  """
  listed = {
      name: tuple(filter(None, map(str.strip, value.split(","))))
      for name, value in (
          ("fresh", config.init.fresh),
          ("unused", config.init.unused),
      )
  }
  source, target = networks_of(run), trainer.model.config
  abstract, wanted = _abstract(run, source), trainer.abstract.params
  if config.init.layers == "stacked":
    source = deeper(source, target, config.init_from)
  rows = _rows(config, run, tokenizer)
  _check_positions(config, source.discriminator, target.discriminator)
  if "discriminator" not in listed["unused"]:
    _check_encoder(config, source.discriminator, target.discriminator)
  taken = choose_parts(
      stacked(abstract, source),
      *(wanted, source, target),
      **listed,
      place=config.init_from,
  )
  with_optimizer = config.init.optimizer == "restored"
  if with_optimizer:
    is_same = rows is None and not any(listed.values())
    is_same &= source.is_disentangled == target.is_disentangled
    is_same &= shapes_of(abstract) == shapes_of(wanted)
    _check_moments(config, run, is_same)
  return Transfer(source, abstract, taken, rows, with_optimizer)


def _check_unused(config: PretrainConfig) -> None:
  """Raises a UserError for choices about a run that is not there."""
  for name, default in dataclasses.asdict(_DEFAULTS).items():
    value = getattr(config.init, name)
    if not config.init_from and value != default:
      raise UserError(
          f"config.init.{name} is {value!r} and config.init_from is empty; give"
          " the --workdir of the run to start from by --config.init_from"
      )


def _rows(
    config: PretrainConfig, run: workdirs.Run, tokenizer: Tokenizer
) -> np.ndarray | None:
  own = run.tokenizer
  if own.digest == tokenizer.digest:
    return None
  if config.init.vocabulary == "matched":
    return match_tokens(own, tokenizer)
  raise UserError(
      f"store {config.data.store} has a vocabulary of"
      f" {tokenizer.vocab_size} pieces and the run in {config.init_from}"
      f" another one of {own.vocab_size}; prepare the store with --tokenizer"
      f" {shipped.place_of(config.init_from)}/tokenizer, or take the rows of the pieces that both"
      " have by --config.init.vocabulary=matched"
  )


def _check_positions(
    config: PretrainConfig, source: EncoderConfig, target: EncoderConfig
) -> None:
  ours = target.max_position_embeddings
  theirs = source.max_position_embeddings
  if ours != theirs and config.init.positions == "same":
    raise UserError(
        f"config.model.max_position_embeddings is {ours} and the run in"
        f" {config.init_from} has {theirs}; set"
        f" --config.model.max_position_embeddings={theirs}, or cut or repeat"
        " its table by --config.init.positions=resized"
    )


def _check_encoder(
    config: PretrainConfig, source: EncoderConfig, target: EncoderConfig
) -> None:
  for name in SHAPES:
    ours, theirs = getattr(target, name), getattr(source, name)
    if ours != theirs:
      name = "head_size" if name == "head_width" else name  # As it is set.
      fix = f"set --config.model.{name}={theirs}"
      if name == "num_layers" and ours > theirs:
        fix += ", or repeat its layers by --config.init.layers=stacked"
      raise UserError(
          f"config.model.{name} is {ours} and the run in {config.init_from} has"
          f" {theirs}; take all shapes of that run by --config"
          f" pretrain:SIZE,from_init, or {fix}"
      )


def _abstract(run: workdirs.Run, source: ElectraConfig) -> Params:
  if run.kind is workdirs.PRETRAINING:
    return abstract_params(source)
  with_head = dataclasses.replace(source, has_discriminator_head=True)
  params = abstract_params(with_head)
  return {name: params[name] for name in ENCODER}


def _check_moments(
    config: PretrainConfig, run: workdirs.Run, is_same: bool
) -> None:
  is_finetuned = run.kind is workdirs.FINETUNING
  name = "adam" if is_finetuned else run.config.optimizer.name
  if is_finetuned:
    reason = "a finetune run's are of another loss"
  elif not is_same:
    reason = "vocabulary, positions or parts are not the same"
  elif name != config.optimizer.name:
    reason = f"they are of {name}, and config.optimizer.name is"
    reason += f" {config.optimizer.name!r}"
  else:
    return
  raise UserError(
      "config.init.optimizer is 'restored', and the moments of the run in"
      f" {config.init_from} do not fit: {reason}; set"
      " --config.init.optimizer=fresh"
  )


def _restarted(params: Params, opt_state: Any) -> TrainState:
  """A state of step 0 whose rate is warmed up anew."""

  def restart(node):
    if isinstance(node, optax.ScaleByScheduleState):
      return optax.ScaleByScheduleState(jnp.zeros_like(node.count))
    return node

  opt_state = jax.tree.map(
      restart,
      opt_state,
      is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState),
  )
  return TrainState(jnp.zeros((), jnp.int32), params, opt_state)
