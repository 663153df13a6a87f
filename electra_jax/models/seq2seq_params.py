"""Parameters of `Seq2Seq`: fresh ones, and those of a pre-trained run."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from electra_jax.errors import UserError
from electra_jax.models.autoencoder import make_network
from electra_jax.models.config import EncoderConfig
from electra_jax.shapes import Params
from electra_jax.trees import path_names


def init_params(
    config: EncoderConfig,
    architecture: str,
    seed: int | jax.Array,
    dimensions: int = 0,
) -> Params:
  """Returns fresh parameters; the encoder's are those of a `TaskModel`.

  Args:
    config: the encoder's.
    architecture: one of `seq2seq.ARCHITECTURES`.
    seed: of what is drawn.
    dimensions: of an autoencoder's z; 0 for another network.
  """
  ids = jnp.ones((1, 1), jnp.int32)
  model = make_network(config, architecture, dimensions)
  return model.init(jax.random.key(seed), *(ids,) * 5, method="label_scores")[
      "params"
  ]


def start_from(
    params: Params,
    encoder_params: Params,
    generator_params: Params | None,
    architecture: str,
) -> Params:
  """Fills fresh parameters with those of a pre-trained run.

  Attention to the source stays fresh, and so does the head where no masked-LM
  head of the run has its shapes.

  Args:
    params: of `init_params`.
    encoder_params: "embeddings" as the discriminator sees them,
      "discriminator", and "token_head" where the run has it.
    generator_params: None, or any of "generator", from which the layers of a
      decoder start that has its own, and "generator_head". Without the first
      they start from the discriminator.
    architecture: one of `seq2seq.ARCHITECTURES`.

  Raises:
    UserError: shapes differ.

  Source: Rothe et al. (2020), §3.
  """
  generator_params = generator_params or {}
  started = dict(params)
  for name in ("embeddings", "discriminator"):
    started[name] = _filled(params[name], encoder_params[name], name)
  if architecture == "separate":
    name = "generator" if "generator" in generator_params else "discriminator"
    layers = {**encoder_params, **generator_params}[name]
    own = params["decoder"]
    fresh = {part: x for part, x in own.items() if part.startswith("cross_")}
    others = {part: x for part, x in own.items() if part not in fresh}
    started["decoder"] = {**fresh, **_filled(others, layers, name)}
  heads = (
      encoder_params.get("token_head"),
      generator_params.get("generator_head"),
  )
  for head in heads:
    if head is not None and _shapes(head) == _shapes(params["target_head"]):
      started["target_head"] = head
      break
  return started


def _filled(fresh: Params, given: Params, name: str) -> Params:
  wanted, found = _shapes(fresh), _shapes(given)
  for path in sorted({**wanted, **found}):
    if wanted.get(path) != found.get(path):
      raise UserError(
          f"{name}/{path} has shape {found.get(path, 'none')} in the run to"
          f" start from and {wanted.get(path, 'none')} here; start the decoder"
          " from the discriminator, or choose a run of the same shapes"
      )
  # Dictionaries of one order, as what is given may have another.
  return jax.tree.unflatten(jax.tree.structure(fresh), jax.tree.leaves(given))


def _shapes(tree: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
  return {path: tuple(leaf.shape) for path, leaf in path_names(tree)}
