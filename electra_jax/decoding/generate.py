"""Texts by a step function, in one loop that runs on the device."""

from typing import Any

from electra_jax.decoding import beam, sampling
from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.steps import Generated, Ids, Step
from electra_jax.shapes import Array, Int


def generate(
    step: Step,
    kept: Any,
    text_numbers: Int[Array, " B"],
    config: DecodingConfig,
    ids: Ids,
    seed: int = 0,
) -> Generated:
  """Writes one text for each source.

  A text depends neither on the others of its batch nor on padding.

  Args:
    step: reads one token of each beam, of which there are `config.beams`.
    kept: what the first step needs.
    text_numbers: of the texts in their file. Draws depend on the number, the
      seed and the place alone.
    config: how.
    ids: special ones.
    seed: of draws.
  """
  if config.method == "beam":
    return beam.search(step, kept, text_numbers.shape[0], config, ids)
  return sampling.write(step, kept, text_numbers, config, ids, seed)
