"""A variational information bottleneck between a text's vector and its class.

The vector of a text becomes a Gaussian of K dimensions; in training the
classifier reads samples of it and nothing else. What a sample tells of the
text is at most the divergence of the Gaussian from a prior that knows no text:
the rate, in nats. Adding it to the loss buys a shorter description of the text
for a little accuracy, which helps where labels are few.

Source: Alemi et al., "Deep variational information bottleneck" (2017);
Karimi Mahabadi et al., "Variational information bottleneck for effective
low-resource fine-tuning" (2021). Theirs has two layers before the Gaussian and
ours one, as wide as the model, so that a model whose noise is off is a head of
Hugging Face's shape; see `fold_bottlenecks`.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from electra_jax.models.config import EncoderConfig
from electra_jax.models.dropout import dropout, fold_seeds
from electra_jax.models.layers import Linear, gelu
from electra_jax.shapes import Array, Float, Params, RowSeeds

PRIORS = ("standard", "learned")
SMALLEST_DEVIATION = 1e-6  # Added, so that its logarithm is finite.
_DROPOUT_PLACE, _NOISE_PLACE = 0, 1  # Each draws its own numbers.
_GLOROT = nn.initializers.glorot_uniform()


@dataclasses.dataclass(frozen=True)
class Bottleneck:
  """Shape of a bottleneck.

  Attributes:
    dimensions: of the Gaussian, K.
    samples: drawn of each text in training, S.
    prior: "standard" for N(0, I), or "learned" for a diagonal Gaussian that is
      trained along.
  """

  dimensions: int
  samples: int
  prior: str


class BottleneckOutput(NamedTuple):
  """What a head with a bottleneck says.

  Attributes:
    logits: [S, B, C] of each sample in training; [B, C] of the mean else.
    rate: nats that the Gaussian tells of each text, at most.
  """

  logits: Float[Array, "*samples B C"]
  rate: Float[Array, " B"]


class BottleneckHead(nn.Module):
  """Logits of a text's classes, or its rating, from a few noisy numbers.

  Attributes:
    size: outputs, C.
    bottleneck: its shape.
    config: of the encoder.
  """

  size: int
  bottleneck: Bottleneck
  config: EncoderConfig

  @nn.compact
  def __call__(
      self, first: Float[Array, "B D"], dropout_seeds: RowSeeds | None
  ) -> BottleneckOutput:
    count, config = self.bottleneck.dimensions, self.config
    first = dropout(
        first, config.hidden_dropout, fold_seeds(dropout_seeds, _DROPOUT_PLACE)
    )
    # The layers behind it are one in an exported file, and not rounded here.
    widen = Linear(
        first.shape[-1],
        config.dtype,
        _GLOROT,
        config.quantization,
        name="hidden",
    )
    hidden = gelu(widen(first))
    mean = Linear(count, "float32", _GLOROT, name="mean")(hidden)  # [B, K]
    deviation = Linear(count, "float32", _GLOROT, name="deviation")(hidden)
    deviation = jax.nn.softplus(deviation) + SMALLEST_DEVIATION
    prior_mean = prior_log_deviation = jnp.zeros(count)
    if self.bottleneck.prior == "learned":
      zeros = nn.initializers.zeros_init()
      prior_mean = self.param("prior_mean", zeros, (count,))
      prior_log_deviation = self.param("prior_log_deviation", zeros, (count,))
    rate = divergence(mean, deviation, prior_mean, prior_log_deviation)
    read = mean
    if dropout_seeds is not None:
      seeds = fold_seeds(dropout_seeds, _NOISE_PLACE)
      noise = gaussian_noise(seeds, self.bottleneck.samples, count)
      read = mean[None] + deviation[None] * noise  # [S, B, K]
    logits = Linear(self.size, "float32", _GLOROT, name="dense")(read)
    return BottleneckOutput(logits, rate)


def divergence(
    mean: Float[Array, "B K"],
    deviation: Float[Array, "B K"],
    prior_mean: Float[Array, " K"],
    prior_log_deviation: Float[Array, " K"],
) -> Float[Array, " B"]:
  """Kullback-Leibler divergence of Gaussians from a prior, in nats.

  ½ Σ_k [(s² + (m - n)²) / t² - 1 + log t² - log s²], of which m and s are mean
  and deviation of the text's, n and t those of the prior.

  Args:
    mean: of each text's Gaussian.
    deviation: its standard deviation in each dimension, above 0.
    prior_mean: of the prior.
    prior_log_deviation: logarithm of its standard deviation.
  """
  return jnp.sum(
      divergences(mean, deviation, prior_mean, prior_log_deviation), axis=-1
  )


def divergences(
    mean: Float[Array, "B K"],
    deviation: Float[Array, "B K"],
    prior_mean: Float[Array, " K"],
    prior_log_deviation: Float[Array, " K"],
) -> Float[Array, "B K"]:
  """Returns what `divergence` adds up: the nats of each dimension."""
  log_ratio = jnp.log(deviation) - prior_log_deviation[None]
  shift = (mean - prior_mean[None]) * jnp.exp(-prior_log_deviation)[None]
  return 0.5 * (jnp.exp(2 * log_ratio) + shift**2 - 1) - log_ratio


def gaussian_noise(
    seeds: RowSeeds, samples: int, dimensions: int
) -> Float[Array, "S B K"]:
  """Draws from N(0, I) what depends on each text's seed alone."""

  def draw(seed):
    # The generator is named: its numbers are the same on every device.
    key = jax.random.key(seed, impl="threefry2x32")
    return jax.random.normal(key, (samples, dimensions))

  return jax.vmap(draw, out_axes=1)(seeds)


def without_rate(output: Any) -> Any:
  """Returns the logits of a head with a bottleneck, or another's output."""
  return output.logits if isinstance(output, BottleneckOutput) else output


def fold_bottlenecks(params: Params) -> Params:
  """Returns parameters whose heads read the mean, in Hugging Face's shape.

  Mean and classifier are linear layers without anything between them where no
  noise is drawn, so that their product does the same as one layer.

  Args:
    params: of an encoder with the heads of tasks.
  """
  heads = params["task_specific"]
  folded = {
      name: _folded(head) if "deviation" in head else head
      for name, head in heads.items()
  }
  return {**params, "task_specific": folded}


def _folded(head: Params) -> Params:
  mean, dense = (
      {name: np.asarray(x, np.float64) for name, x in head[layer].items()}
      for layer in ("mean", "dense")
  )
  bias = mean["bias"] @ dense["kernel"] + dense["bias"]
  out_proj = {"kernel": mean["kernel"] @ dense["kernel"], "bias": bias}
  return {
      "hidden": head["hidden"],
      "out_proj": {n: x.astype(np.float32) for n, x in out_proj.items()},
  }
