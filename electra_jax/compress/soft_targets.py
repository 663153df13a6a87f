"""Losses on what a teacher answers: one number per text, in nats.

At a temperature T both networks' logits are divided by T, and the divergence
is multiplied by T², which keeps the size of its gradient.

Source: Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural
network", §2.
"""

import jax
import jax.numpy as jnp

from electra_jax.shapes import Array, Float


def class_divergence(
    student: Float[Array, "*rows C"],
    teacher: Float[Array, "*rows C"],
    temperature: float,
) -> Float[Array, "*rows"]:
  """T² KL(softmax(teacher / T) || softmax(student / T)) over the classes."""
  ours, theirs = (
      jax.nn.log_softmax(x.astype(jnp.float32) / temperature)
      for x in (student, teacher)
  )
  nats = jnp.sum(jnp.exp(theirs) * (theirs - ours), axis=-1)
  return temperature**2 * nats


def odds_divergence(
    student: Float[Array, "*rows"],
    teacher: Float[Array, "*rows"],
    temperature: float,
) -> Float[Array, "*rows"]:
  """The same of log-odds, each of which is an answer of yes or no."""

  def both(log_odds):
    return jnp.stack([log_odds, jnp.zeros_like(log_odds)], axis=-1)

  return class_divergence(both(student), both(teacher), temperature)
