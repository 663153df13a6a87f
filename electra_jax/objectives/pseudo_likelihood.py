"""Scores of text: the log-likelihood of each token given all the others.

Their sum over a text is its pseudo-log-likelihood, which ranks sentences. Each
function is (networks, masked, mask_id) -> [B, L], in nats.
"""

import jax
import jax.numpy as jnp

from electra_jax.objectives.generators import Networks
from electra_jax.objectives.masking import MaskedRows, Rows
from electra_jax.shapes import Array, Float


def by_energy(
    networks: Networks, masked: MaskedRows, mask_id: int
) -> Float[Array, "B L"]:
  """Minus Electric's energies: log-likelihoods up to a normaliser near one.

  One pass for a text, whatever its length.

  Source: Electric §2, the pseudo-log-likelihood.
  """
  del mask_id
  states = networks.discriminate(masked.rows.input_ids, masked)
  return -networks.detection_logits(states)


def by_two_towers(
    networks: Networks, masked: MaskedRows, mask_id: int
) -> Float[Array, "B L"]:
  """Log-probabilities of a two-tower generator, in one pass for a text.

  Source: Electric §3, the baseline "TwoTower".
  """
  del mask_id
  input_ids = masked.rows.input_ids
  states = networks.generate(input_ids, masked)
  return networks.generator_log_probabilities(states, input_ids[..., None])[
      ..., 0
  ]


def by_masking(
    networks: Networks, masked: MaskedRows, mask_id: int
) -> Float[Array, "B L"]:
  """Log-probabilities of a masked LM that masks each token alone: L passes.

  Source: Salazar et al. (2020), "Masked language model scoring".
  """
  length = masked.rows.input_ids.shape[1]
  places = jnp.arange(length)

  def of_row(row: Rows) -> Float[Array, " L"]:
    copies = jax.tree.map(lambda x: jnp.tile(x, (length, 1)), row)
    is_masked = places[:, None] == places[None]
    input_ids = jnp.where(is_masked, mask_id, copies.input_ids)
    states = networks.generate(input_ids, masked._replace(rows=copies))
    logits = networks.generator_logits(states, places[:, None])[:, 0]
    every = jax.nn.log_softmax(logits, axis=-1)  # [L, V]
    return jnp.take_along_axis(every, row.input_ids[:, None], axis=1)[:, 0]

  return jax.lax.map(of_row, masked.rows)
