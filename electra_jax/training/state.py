"""The whole state of training: three things, and nothing else."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from electra_jax.shapes import Array, Int, Params


class TrainState(NamedTuple):
  """What a step turns into the next.

  Attributes:
    step: updates done, an int32 scalar.
    params: parameters by path, float32.
    opt_state: the optimizer's own tree.
  """

  step: Int[Array, ""]
  params: Params
  opt_state: Any


def make_state(
    init_params: Callable[[], Params],
    optimizer: optax.GradientTransformation,
) -> TrainState:
  """Builds a fresh state. Under jit or eval_shape nothing is full-size."""
  params = init_params()
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def abstract_state(
    init_params: Callable[[], Params],
    optimizer: optax.GradientTransformation,
) -> TrainState:
  """Returns the state's shapes and dtypes without computing anything."""
  return jax.eval_shape(_maker(init_params, optimizer))


def init_state(
    init_params: Callable[[], Params],
    optimizer: optax.GradientTransformation,
    shardings: TrainState,
) -> TrainState:
  """Builds a fresh state straight into its shards."""
  make = jax.jit(_maker(init_params, optimizer), out_shardings=shardings)
  return make()


@functools.lru_cache(maxsize=1)
def _maker(
    init_params: Callable[[], Params], optimizer: optax.GradientTransformation
) -> Callable[[], TrainState]:
  """Returns one object for equal arguments, which jax traces only once."""
  return functools.partial(make_state, init_params, optimizer)
