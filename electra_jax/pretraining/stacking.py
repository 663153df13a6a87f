"""A deep run that starts from a shallow one, whose layers it repeats.

Source: Gong et al. (2019), "Efficient training of BERT by progressively
stacking", §3.
"""

import dataclasses
from typing import Any

from electra_jax.errors import UserError
from electra_jax.models.config import ElectraConfig, EncoderConfig

_LAYER = "layer_"


def deeper(
    source: ElectraConfig, target: ElectraConfig, place: str
) -> ElectraConfig:
  """Returns the source's networks with as many layers as the target's.

  Args:
    source: the shallow run's networks.
    target: the new run's.
    place: the source's name, for messages.

  Raises:
    UserError: the target's discriminator is not deeper.
  """
  theirs, ours = (
      source.discriminator.num_layers,
      target.discriminator.num_layers,
  )
  if ours <= theirs:
    raise UserError(
        "config.init.layers is 'stacked', which repeats the"
        f" {theirs} layers of the run in {place}, and config.model.num_layers"
        f" is {ours}; set a larger one, or --config.init.layers=same"
    )
  generator = source.generator
  if generator is not None and target.generator is not None:
    generator = _deeper(generator, target.generator)
  return dataclasses.replace(
      source,
      discriminator=_deeper(source.discriminator, target.discriminator),
      generator=generator,
  )


def stacked(params: dict[str, Any], config: ElectraConfig) -> dict[str, Any]:
  """Repeats the layers of every encoder that has fewer than its config says.

  Args:
    params: of a run, or their shapes; its layer i mod S becomes layer i, where
      S is the number of its layers. No array is copied.
    config: of `deeper`, or the run's own, which leaves everything as it is.
  """
  return {
      name: _stacked(part, _depth(name, config))
      if f"{_LAYER}0" in part
      else part
      for name, part in params.items()
  }


def _deeper(source: EncoderConfig, target: EncoderConfig) -> EncoderConfig:
  # A generator that is less deep stays: it fits nowhere, which is told later.
  layers = max(source.num_layers, target.num_layers)
  return dataclasses.replace(source, num_layers=layers)


def _depth(name: str, config: ElectraConfig) -> int:
  is_generator = name.startswith("generator") and config.generator is not None
  encoder = config.generator if is_generator else config.discriminator
  return encoder.num_layers


def _stacked(encoder: dict[str, Any], depth: int) -> dict[str, Any]:
  found = sum(name.startswith(_LAYER) for name in encoder)
  rest = {n: x for n, x in encoder.items() if not n.startswith(_LAYER)}
  return rest | {
      f"{_LAYER}{i}": encoder[f"{_LAYER}{i % found}"] for i in range(depth)
  }
