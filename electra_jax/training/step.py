"""The train state, and one step: gradient, clip and update in one program."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from electra_jax.shapes import Array, Int, Params, Scalar

Sums = Mapping[str, tuple[Scalar, Scalar]]
SumFn = Callable[[Params, Any, Any], tuple[Any, Any]]
PrepareFn = Callable[[jax.Array, Any], tuple[Any, Any]]
LossFn = Callable[[Params, Any, Any], tuple[Scalar, Sums]]
ScheduleFn = Callable[[Any, Array], Any]


class TrainState(NamedTuple):
  """What training keeps from one step to the next.

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


def make_train_step(
    prepare: PrepareFn,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    learning_rate: Callable[[jax.Array], Scalar],
    *,
    root_key: Callable[[Any], jax.Array],
    accumulation_steps: int = 1,
    reduce_over_devices: Callable[[SumFn], SumFn] = lambda compute: compute,
    weights_at: ScheduleFn = lambda weights, step: weights,
) -> Callable[[TrainState, Any], tuple[TrainState, Sums]]:
  """Builds (state, batch) -> (state, sums and weights of metrics).

  Args:
    prepare: (key of the step, batch) -> (examples, weights): what the step
      computes on, rows first, and the total weights that losses are divided
      by. Runs once on the whole batch.
    loss_fn: (params, examples, weights) -> (loss, sums). Its losses over
      disjoint rows, each divided by the same total weights, add up to the
      loss of all rows.
    optimizer: applied to the gradient of the global mean.
    learning_rate: step -> rate, for the record only.
    root_key: batch -> key of the run; the key of a step is
      fold_in(root key, step).
    accumulation_steps: micro-batches whose gradients are added before the
      update. The result does not depend on it but for rounding.
    reduce_over_devices: turns what sums gradients and metrics over given rows into what
      does so over those of all devices; see `reduction.sum_over_devices`.
      Without it, XLA is left to split the program.
    weights_at: (weights of `prepare`, step) -> those of the step, for losses
      whose part in the total follows a schedule.
  """

  def gradients(params, examples, weights):
    loss_and_sums, grads = jax.value_and_grad(loss_fn, has_aux=True)(
        params, examples, weights
    )
    return grads, loss_and_sums

  def accumulated_gradients(params, examples, weights):
    parts = split_rows(examples, accumulation_steps)

    def add(total, part):
      new = gradients(params, part, weights)
      return jax.tree.map(jnp.add, total, new), None

    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(gradients, params, first, weights)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, parts)
    return total

  compute = gradients if accumulation_steps == 1 else accumulated_gradients
  compute = reduce_over_devices(compute)

  def train_step(state: TrainState, batch: Any) -> tuple[TrainState, Sums]:
    rng = jax.random.fold_in(root_key(batch), state.step)
    examples, weights = prepare(rng, batch)
    weights = weights_at(weights, state.step)
    grads, (loss, sums) = compute(state.params, examples, weights)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    one = jnp.ones(())
    sums = dict(sums)
    sums["loss"] = (loss, one)
    sums["grad_norm"] = (optax.global_norm(grads), one)
    sums["learning_rate"] = (learning_rate(state.step), one)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state), sums

  return train_step


def map_parts(function: Callable[[Any], Any], examples: Any, parts: int) -> Any:
  """Applies a function to the parts of `split_rows`, one after the other.

  Args:
    function: of rows [B / parts, ...], returns as many rows.
    examples: a tree of arrays [B, ...].
    parts: how many; more than one need less memory at a time.

  Returns:
    What it returns, in the order of the examples.
  """
  if parts == 1:
    return function(examples)
  results = jax.lax.map(function, split_rows(examples, parts))
  return jax.tree.map(
      lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), results
  )


def split_rows(examples: Any, parts: int) -> Any:
  """Reshapes [B, ...] to [parts, B / parts, ...] with rows dealt in turn.

  Dealing rows in turn leaves every part reduce_over_devices over all devices.
  """

  def split(x):
    return x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)

  return jax.tree.map(split, examples)
