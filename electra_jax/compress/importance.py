"""How much a loss depends on each attention head and feed-forward column.

A gate of 1 on a head multiplies what the head gives to the output product of its
layer. To first order, closing it changes the loss of an example by the derivative
with respect to the gate; the importance of the head is the mean of its size over
examples:

  I = E_x |∂L(x)/∂ξ| = E_x |Σ A(x) · ∂L(x)/∂A(x)|

with A what the head gives, of all tokens. A product's gradient is Σ over tokens
of input times gradient of the output, so that the derivative is also the sum of
weight times gradient over the head's rows of the output kernel. No gate is
needed. The same holds for a column and its row of the second product.

Source: Michel, Levy, Neubig, "Are sixteen heads really better than one?" (2019),
equation 2; Molchanov et al., "Importance estimation for neural network pruning"
(2019), §3.1.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from electra_jax.models.config import EncoderConfig
from electra_jax.shapes import Array, Float, Params, Scalar

# (parameters of all networks, one example) -> its loss.
ExampleLoss = Callable[[Params, Any], Scalar]
_PART = "discriminator"
_TOGETHER = 8  # Examples whose gradients are held at a time.


class Importance(NamedTuple):
  """What was measured on some examples.

  Attributes:
    heads: mean over examples, of each layer and head.
    columns: the same of each layer and feed-forward column.
    loss: mean over examples.
    num_examples: how many.
  """

  heads: Float[np.ndarray, "layers N"]
  columns: Float[np.ndarray, "layers F"]
  loss: float
  num_examples: int


def gate_derivatives(
    params: Params, grads: Params, encoder: EncoderConfig
) -> tuple[Float[Array, "layers N"], Float[Array, "layers F"]]:
  """Returns the derivatives with respect to gates of heads and of columns.

  Args:
    params: of an encoder.
    grads: of an example's loss.
    encoder: its shapes.
  """
  heads, columns = [], []
  for i in range(encoder.num_layers):
    name = f"layer_{i}"
    weights, slopes = params[name], grads[name]
    of_units = _row_products(weights["attention"], slopes["attention"])
    of_heads = of_units.reshape(encoder.num_heads, encoder.head_width)
    heads.append(jnp.sum(of_heads, axis=1))
    columns.append(_row_products(weights, slopes))
  return jnp.stack(heads), jnp.stack(columns)


def measure_importance(
    loss: ExampleLoss,
    params: Params,
    encoder: EncoderConfig,
    examples: Iterable[Any],
) -> Importance:
  """Measures every head and column of the discriminator.

  Args:
    loss: of one example.
    params: of all networks.
    encoder: shapes of the discriminator.
    examples: trees of arrays of the same shapes.
  """

  @jax.jit
  def measure(params, examples, counts):
    def one(example):
      def of_part(part):
        return loss({**params, _PART: part}, example)

      value, grads = jax.value_and_grad(of_part)(params[_PART])
      slopes = gate_derivatives(params[_PART], grads, encoder)
      return value, *(jnp.abs(x) for x in slopes)

    found = jax.vmap(one)(examples)
    return [jnp.tensordot(counts, x, axes=1) for x in found]

  total, count = None, 0
  for batch, counts in _batches(examples):
    sums = jax.device_get(measure(params, batch, counts))
    sums = [np.asarray(x, np.float64) for x in sums]
    total = [a + b for a, b in zip(total or [0.0] * 3, sums, strict=True)]
    count += int(counts.sum())
  value, heads, columns = (x / count for x in total)
  return Importance(heads, columns, float(value), count)


def mean_loss(
    loss: ExampleLoss, params: Params, examples: Iterable[Any]
) -> float:
  """Returns the mean of the losses of some examples."""

  @jax.jit
  def measure(params, examples, counts):
    return counts @ jax.vmap(lambda example: loss(params, example))(examples)

  total, count = 0.0, 0
  for batch, counts in _batches(examples):
    total += float(measure(params, batch, counts))
    count += int(counts.sum())
  return total / count


def most_important(
    importance: Float[np.ndarray, "layers units"], count: int
) -> tuple[tuple[int, ...], ...]:
  """Returns the numbers of as many units of each layer, rising.

  Of equally important ones the first are taken.
  """
  order = np.argsort(-importance, axis=1, kind="stable")[:, :count]
  return tuple(tuple(map(int, np.sort(numbers))) for numbers in order)


def _row_products(weights: Params, slopes: Params) -> Float[Array, " M"]:
  kernel, slope = weights["output"]["kernel"], slopes["output"]["kernel"]
  return jnp.sum(kernel * slope, axis=1)


def _batches(examples: Iterable[Any]):
  """Yields stacks of examples, and 1 for each, 0 for what fills the last up."""
  waiting = []
  for example in examples:
    waiting.append(example)
    if len(waiting) == _TOGETHER:
      yield _stacked(waiting), np.ones(_TOGETHER, np.float32)
      waiting = []
  if waiting:
    missing = _TOGETHER - len(waiting)
    counts = np.repeat(np.float32([1, 0]), [len(waiting), missing])
    yield _stacked(waiting + waiting[:1] * missing), counts


def _stacked(examples: list[Any]) -> Any:
  return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)
