"""The released optimizer, and LAMB for large batches, built on optax.

The release has BERT's Adam: no bias correction, epsilon outside the root,
decoupled weight decay that is scaled by the learning rate, warm-up and decay
multiplied. LAMB corrects the bias and scales each weight's update to the
weight's norm.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from electra_jax.errors import UserError
from electra_jax.shapes import Array, Float, Int, Params, Scalar
from electra_jax.trees import match_rules

# Release, model/optimization.py: a name with one of these is not decayed.
DECAY_RULES = ((r".*(LayerNorm|layer_norm|bias).*", False), (r".+", True))
OPTIMIZERS = ("adam", "lamb")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """The optimizer's numbers.

  Attributes:
    learning_rate: base rate, before warm-up and decay.
    num_train_steps: T, where the decay reaches zero.
    warmup_steps: steps over which the rate rises linearly, which need not be a
      whole number; 0 for none.
    decay_power: power of the polynomial decay, 1 for linear.
    weight_decay: share of a weight taken off at rate 1.
    clip_norm: largest global norm of the mean gradient.
    adam_b1: decay of the first moment.
    adam_b2: decay of the second moment.
    adam_epsilon: added to the root of the second moment.
    layerwise_decay: factor of the rate from each layer to the one below it,
      1 for none.
    released_layer_exponents: whether the top layer gets the factor squared,
      as in the release, in place of once.
    name: "adam", as released, or "lamb".
    frozen: top-level parts of the parameters that stay as they are, joined by
      commas. Their gradients do not count in the norm that is clipped.
  """

  learning_rate: float
  num_train_steps: int
  warmup_steps: int | float
  decay_power: float = 1.0
  weight_decay: float = 0.01
  clip_norm: float = 1.0
  adam_b1: float = 0.9
  adam_b2: float = 0.999
  adam_epsilon: float = 1e-6
  layerwise_decay: float = 1.0
  released_layer_exponents: bool = False
  name: str = "adam"
  frozen: str = ""

  def __post_init__(self):
    if self.name not in OPTIMIZERS:
      raise UserError(
          f"config.optimizer.name is {self.name!r}; it must be one of"
          f" {', '.join(OPTIMIZERS)}"
      )
    if self.num_train_steps < 1 or self.warmup_steps < 0:
      raise UserError(
          f"num_train_steps is {self.num_train_steps} and warmup_steps"
          f" {self.warmup_steps}; the first must be at least 1, the second 0"
      )


class AdamState(NamedTuple):
  """First and second moment of every gradient."""

  mu: Any
  nu: Any


def learning_rate_schedule(
    config: OptimizerConfig,
) -> Callable[[Int[Array, ""]], Scalar]:
  """Returns the rate at step t = 0, 1, ….

  rate(t) = base · (1 - min(t, T)/T)^p · min(1, t/warmup), so the first step
  moves nothing but the moments.

  Source: release model/optimization.py:create_optimizer.
  """

  def schedule(step: Int[Array, ""]) -> Scalar:
    left = jnp.maximum(config.num_train_steps - step, 0)
    share = left / config.num_train_steps
    rate = config.learning_rate * share**config.decay_power
    if config.warmup_steps:
      rate *= jnp.minimum(1.0, step / config.warmup_steps)
    return rate

  return schedule


def make_optimizer(
    config: OptimizerConfig,
    layer_rates: Any | None = None,
) -> optax.GradientTransformation:
  """Returns clip, Adam, weight decay, layer-wise factors and rate, in order.

  LAMB has a bias-corrected Adam, and after the weight decay multiplies each
  update by |weight| / |update|; what is not decayed keeps its update.

  Args:
    config: the numbers. Initialising the optimizer raises a UserError if
      `config.frozen` names a part that the parameters lack.
    layer_rates: a tree of factors like the parameters, or None.

  Source: release model/optimization.py:AdamWeightDecayOptimizer; You et al.,
  "Large batch optimization for deep learning" (2020), Algorithm 2.
  """
  adam = (config.adam_b1, config.adam_b2, config.adam_epsilon)
  decay = optax.add_decayed_weights(config.weight_decay, _is_decayed)
  if config.name == "lamb":
    direction = optax.scale_by_adam(*adam)
    trust = optax.masked(optax.scale_by_trust_ratio(), _is_decayed)
    decay = optax.chain(decay, trust)
  else:
    direction = scale_by_uncorrected_adam(*adam)
  optimizer = optax.chain(
      optax.clip_by_global_norm(config.clip_norm),
      direction,
      decay,
      optax.identity() if layer_rates is None else _scale_by(layer_rates),
      optax.scale_by_learning_rate(learning_rate_schedule(config)),
  )
  frozen = tuple(filter(None, map(str.strip, config.frozen.split(","))))
  return _freeze(optimizer, frozen) if frozen else optimizer


def scale_by_uncorrected_adam(
    b1: float, b2: float, epsilon: float
) -> optax.GradientTransformation:
  """Adam's direction m / (sqrt(v) + epsilon) without bias correction."""

  def init(params):
    return AdamState(
        jax.tree.map(jnp.zeros_like, params),
        jax.tree.map(jnp.zeros_like, params),
    )

  def update(grads, state, params=None):
    del params
    mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
    nu = jax.tree.map(
        lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, grads
    )
    updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), mu, nu)
    return updates, AdamState(mu, nu)

  return optax.GradientTransformation(init, update)


def layerwise_rates(
    params: Params, num_layers: int, config: OptimizerConfig
) -> Any:
  """Returns each parameter's factor of the learning rate.

  A head has factor 1, the top layer layerwise_decay, and so on down to the
  embeddings. A decoder's layers have those of the encoder's, and what else it
  has, such as attention to the source, has factor 1. With
  `released_layer_exponents` all but the head are one power smaller, as in the
  release.

  Raises:
    UserError: a parameter belongs to no depth.

  Source: ELECTRA, Appendix B; release model/optimization.py:_get_layer_lrs.
  """
  below_head = 2 if config.released_layer_exponents else 1
  # Whole path components, so that layer_1 is not layer_10.
  rules = [(r"(.+/)?embeddings(_project)?/.+", num_layers + below_head)]
  for i in range(num_layers):
    exponent = num_layers - 1 - i + below_head
    rules.append((rf"(.+/)?layer_{i}/.+", exponent))
  rules.append((r"(task_specific|decoder|\w+_head)/.+", 0))
  exponents = match_rules(rules, params, "layer-wise learning rate")
  return jax.tree.map(lambda n: config.layerwise_decay**n, exponents)


def _scale_by(factors: Any) -> optax.GradientTransformation:
  def scale(update: Float[Array, "..."], factor: float):
    return update * factor

  return optax.stateless(
      lambda updates, params: jax.tree.map(scale, updates, factors)
  )


def _is_decayed(params: Params) -> Any:
  return match_rules(DECAY_RULES, params, "weight decay")


def _freeze(
    optimizer: optax.GradientTransformation, parts: tuple[str, ...]
) -> optax.GradientTransformation:
  """Hides the gradients of some parts from an optimizer, and its updates.

  The state keeps its shape, so that a part may be frozen or set free when a
  run is resumed.
  """

  def init(params):
    # Not so where optax looks for moments by means of a placeholder.
    if isinstance(params, Mapping):
      for part in parts:
        if part not in params:
          raise UserError(
              f"config.optimizer.frozen names {part!r}, which is no part of the"
              f" parameters; there are {', '.join(sorted(params))}"
          )
    return optimizer.init(params)

  def without_parts(tree):
    zeros = {part: jax.tree.map(jnp.zeros_like, tree[part]) for part in parts}
    return {**tree, **zeros}

  def update(grads, state, params=None):
    updates, state = optimizer.update(without_parts(grads), state, params)
    return without_parts(updates), state

  return optax.GradientTransformation(init, update)
