"""The released code's checkpoints: both networks, slots and step."""

import re
from collections.abc import Mapping

import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop import tf_checkpoint
from electra_jax.interop.names import params_from_released, released_from_params
from electra_jax.interop.states import PretrainedState, abstract_params
from electra_jax.models.config import (
    ElectraConfig,
    EncoderConfig,
    encoder_config,
)
from electra_jax.shapes import Params
from electra_jax.training.optimizer import AdamState

Shapes = Mapping[str, tuple[int, ...]]

_STEP = "global_step"
_SLOTS = ("/adam_m", "/adam_v")  # Release, model/optimization.py.
# Of the released checkpoints; the released code has no such variable.
_UNUSED = "generator_predictions/temperature"


def read_model(prefix: epath.PathLike) -> PretrainedState:
  """Reads a pre-training checkpoint; its shapes tell the networks'.

  Args:
    prefix: of `tf_checkpoint.find_prefix`.

  Raises:
    UserError: the files are damaged, or hold other networks than a generator,
      a discriminator, or both.
  """
  shapes = {n: e.shape for n, e in tf_checkpoint.read_index(prefix).items()}
  config = _networks(shapes, prefix)
  variables = tf_checkpoint.read_variables(prefix)
  variables.pop(_UNUSED, None)
  step = int(variables.pop(_STEP, 0))
  abstract = abstract_params(config)
  slots = {slot: _take_slot(variables, slot) for slot in _SLOTS}
  params = params_from_released(abstract, variables)
  moments = None
  if any(slots.values()):
    moments = AdamState(
        *(params_from_released(abstract, x, slot) for slot, x in slots.items())
    )
  return PretrainedState(config, params, moments, step)


def write_params(
    folder: epath.PathLike,
    params: Params,
    moments: AdamState | None,
    step: int,
) -> None:
  """Writes parameters as FOLDER/model.ckpt-STEP, with slots if there are any.

  Raises:
    UserError: the released code has no such parameter.
  """
  variables = released_from_params(params)
  if moments is not None:
    for slot, tree in zip(_SLOTS, moments, strict=True):
      values = released_from_params(tree)
      variables |= {name + slot: x for name, x in values.items()}
  variables[_STEP] = np.asarray(step, np.int64)
  prefix = epath.Path(folder) / f"model.ckpt-{step}"
  tf_checkpoint.write_variables(prefix, variables)


def _take_slot(
    variables: dict[str, np.ndarray], slot: str
) -> dict[str, np.ndarray]:
  names = [name for name in variables if name.endswith(slot)]
  return {name: variables.pop(name) for name in names}


def _networks(shapes: Shapes, prefix: epath.PathLike) -> ElectraConfig:
  for scope, what in (
      ("task_specific/", "a fine-tuned model's"),
      ("generator_ltr/", "a two-tower generator's"),
  ):
    if any(name.startswith(scope) for name in shapes):
      raise UserError(
          f"{prefix} is {what} checkpoint, which is not read; give the"
          " pre-training checkpoint of a masked-LM generator and its"
          " discriminator"
      )
  has_generator = "generator_predictions/output_bias" in shapes
  has_discriminator = "discriminator_predictions/dense/kernel" in shapes
  tables = "electra/embeddings"
  if f"{tables}/word_embeddings" not in shapes or not (
      has_generator or has_discriminator
  ):
    raise UserError(
        f"{prefix} holds no ELECTRA: there is no"
        " 'electra/embeddings/word_embeddings' with a generator's or"
        " discriminator's head; give a checkpoint of ELECTRA's pre-training"
    )
  generator = None
  # Without scope of its own a generator is the discriminator's encoder.
  sharing = "all" if has_generator and has_discriminator else "embeddings"
  if any(name.startswith("generator/") for name in shapes):
    sharing = "embeddings"
    own_tables = "generator/embeddings"
    if f"{own_tables}/word_embeddings" in shapes:
      tables_of_generator, sharing = own_tables, "none"
    else:
      tables_of_generator = tables
    generator = _encoder(shapes, "generator", tables_of_generator)
  return ElectraConfig(
      _encoder(shapes, "electra", tables),
      generator,
      sharing,
      has_generator_head=has_generator,
      has_discriminator_head=has_discriminator,
  )


def _encoder(shapes: Shapes, scope: str, tables: str) -> EncoderConfig:
  vocab_size, embedding_size = shapes[f"{tables}/word_embeddings"]
  layer = re.compile(rf"{scope}/encoder/layer_(\d+)/.+")
  layers = {match[1] for match in map(layer.fullmatch, shapes) if match}
  bias = f"{scope}/encoder/layer_0/output/dense/bias"
  positions = f"{tables}/position_embeddings"
  for name in (bias, positions):
    if name not in shapes:
      raise UserError(
          f"the checkpoint has no variable {name!r}; it is not whole"
      )
  return encoder_config(
      vocab_size,
      len(layers),
      shapes[bias][0],
      embedding_size,
      max_position_embeddings=shapes[positions][0],
  )
