"""What a variational autoencoder's loss has besides the reconstruction.

The loss of a text is the negative evidence lower bound with two changes:

    -log p(x | z) + β Σ_k max(λ, KL_k),  z ~ q(z | x)

β rises in cycles, and λ nats of each dimension are free. Without them a decoder
that predicts words well by itself learns to leave z alone: q becomes the prior
for every text, and KL 0, which is called collapse.

Source: Kingma and Welling (2014) for the bound; Kingma et al. (2016), "Improved
variational inference with inverse autoregressive flow", for free bits, there of
a batch's mean, here of each text, so that a loss does not depend on how a batch
is split; Fu et al. (2019), "Cyclical annealing schedule", for β.
"""

import jax.numpy as jnp

from electra_jax.shapes import Array, Float, Int, Scalar


def with_free_bits(
    divergences: Float[Array, "B K"], free_bits: float
) -> Float[Array, " B"]:
  """Returns Σ_k max(λ, KL_k) of each text, in nats.

  Args:
    divergences: KL_k of each dimension.
    free_bits: λ, nats of a dimension that cost nothing: below it a dimension
      has no gradient. 0 for the divergence itself.
  """
  return jnp.sum(jnp.maximum(divergences, free_bits), axis=-1)


def cyclic_weight(
    step: Int[Array, ""],
    num_steps: int,
    *,
    weight: float,
    cycles: int,
    rise_proportion: float,
) -> Scalar:
  """Returns β of a step.

  Each cycle is as long as the others; in it β rises from 0 in a line and then
  stays.

  Args:
    step: from 0.
    num_steps: of the run.
    weight: that β rises to.
    cycles: 1 for a single rise, 0 for the same β throughout.
    rise_proportion: of a cycle, in which β rises; 0 for none.
  """
  if not cycles or not rise_proportion:
    return jnp.float32(weight)
  # In whole numbers, which a float32 of a long run would round.
  place = (step * cycles) % num_steps / num_steps
  return weight * jnp.minimum(place / rise_proportion, 1.0)
