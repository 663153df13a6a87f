"""The released code's checkpoints: both networks, slots and step."""

import dataclasses
import json
import re
from collections.abc import Mapping

import numpy as np
from etils import epath

from electra_jax.disk.json_files import read_object
from electra_jax.errors import UserError
from electra_jax.interop import tf_checkpoint
from electra_jax.interop.model import (
    FinetunedState,
    PretrainedState,
    own_tables_sharing,
    read_params,
    seen_params,
)
from electra_jax.interop.names import params_from_released, released_from_params
from electra_jax.models.config import (
    ElectraConfig,
    EncoderConfig,
    encoder_config,
)
from electra_jax.pretraining.trainer import abstract_params
from electra_jax.shapes import Params
from electra_jax.training.optimizer import AdamState

Shapes = Mapping[str, tuple[int, ...]]
Settings = dict[str, dict[str, int | float]]

SETTINGS_FILE = "networks.json"  # Beside a checkpoint, where it needs one.
# Of a network, which no variable tells.
_SETTINGS = (
    "num_heads",
    "hidden_dropout",
    "attention_dropout",
    "initializer_range",
)

_STEP = "global_step"
_SLOTS = ("/adam_m", "/adam_v")  # Release, model/optimization.py.
# Of the released checkpoints; the released code has no such variable.
_UNUSED = "generator_predictions/temperature"
_TASKS = "task_specific/"
_DETECTS = "discriminator_predictions/dense/kernel"


def read_model(
    prefix: epath.PathLike, seed: int = 0, sharing: str | None = None
) -> PretrainedState:
  """Reads a pre-training checkpoint; its shapes tell the networks'.

  An encoder alone, which is what a fine-tuned checkpoint has beside the heads
  of its tasks, gets a fresh replaced-token head and no moments. The heads of
  the tasks are left out: a checkpoint does not tell what their answers mean.

  Args:
    prefix: of `tf_checkpoint.find_prefix`.
    seed: of what is initialised.
    sharing: the embedding_sharing to choose where the widths allow several.

  Raises:
    UserError: the files are damaged, or hold other networks than a generator,
      a discriminator, or both.
  """
  shapes = {n: e.shape for n, e in tf_checkpoint.read_index(prefix).items()}
  tasks = [name for name in shapes if name.startswith(_TASKS)]
  for name in {_UNUSED, *tasks} & shapes.keys():
    del shapes[name]
  config = _with_settings(_networks(shapes, prefix, sharing), prefix)
  fresh = ()
  if config.has_discriminator_head and _DETECTS not in shapes:
    fresh = ("discriminator_head",)
  variables = tf_checkpoint.read_variables(prefix, tuple(shapes))
  _check_values(variables, prefix)
  step = int(variables.pop(_STEP, 0))
  slots = {slot: _take_slot(variables, slot) for slot in _SLOTS}
  params = read_params(
      config, lambda x: params_from_released(x, variables), fresh, seed
  )
  left_out = tuple(sorted({"/".join(name.split("/")[:2]) for name in tasks}))
  if fresh:
    return PretrainedState(config, params, fresh=fresh, left_out=left_out)
  moments = None
  if any(slots.values()):
    abstract = abstract_params(config)
    moments = AdamState(
        *(params_from_released(abstract, x, slot) for slot, x in slots.items())
    )
  return PretrainedState(config, params, moments, step, left_out=left_out)


def write_model(
    folder: epath.PathLike, model: PretrainedState | FinetunedState
) -> None:
  """Writes a model as FOLDER/model.ckpt-STEP, with slots if it has moments.

  Beside it goes what a checkpoint cannot hold, where there is such.

  Raises:
    UserError: the released code has no such head.
  """
  params = model.params
  if isinstance(model, PretrainedState):
    params = seen_params(params, model.config)
  elif model.head != "released":
    raise UserError(
        f"the model was trained with config.model.head={model.head}, and the"
        " released code has no such head; convert to huggingface, or fine-tune"
        " with --config.model.head=released"
    )
  elif model.bottleneck:
    raise UserError(
        "the model was trained with config.bottleneck.dimensions="
        f"{model.bottleneck}, and the released code has no such head; convert"
        " to huggingface, whose head of two layers does the same"
    )
  else:
    params = _without_learning_of_vectors(model)
  variables = released_from_params(params)
  if model.moments is not None:
    for slot, tree in zip(_SLOTS, model.moments, strict=True):
      values = released_from_params(tree)
      variables |= {name + slot: x for name, x in values.items()}
  variables[_STEP] = np.asarray(model.step, np.int64)
  prefix = epath.Path(folder) / f"model.ckpt-{model.step}"
  tf_checkpoint.write_variables(prefix, variables)
  if settings := settings_beside(model):
    (epath.Path(folder) / SETTINGS_FILE).write_text(
        json.dumps(settings, indent=2) + "\n"
    )


def _without_learning_of_vectors(model: FinetunedState) -> Params:
  """Returns parameters without layers that help to learn vectors of texts.

  They stand on the vectors in training alone, and the released code has none.
  """
  if not any(task.vectors for task in model.tasks):
    return model.params
  return {n: x for n, x in model.params.items() if n != "task_specific"}


def settings_beside(model: PretrainedState | FinetunedState) -> Settings:
  """Returns what the format has no place for, by network; {} where nothing.

  The released code derives heads from the width, and has the rates in its
  configuration; a checkpoint holds neither.
  """
  found = {}
  if isinstance(model, PretrainedState):
    networks = {
        name: getattr(model.config, name)
        for name in ("discriminator", "generator")
    }
  else:
    networks = {"discriminator": model.encoder}
  for name, network in networks.items():
    if network is None:
      continue
    usual = encoder_config(1, 1, network.hidden_size, 1)
    values = {
        key: getattr(network, key)
        for key in _SETTINGS
        if getattr(network, key) != getattr(usual, key)
    }
    if values:
      found[name] = values
  return found


def _with_settings(
    config: ElectraConfig, prefix: epath.PathLike
) -> ElectraConfig:
  """Puts in what `write_model` has left beside the checkpoint."""
  path = epath.Path(prefix).parent / SETTINGS_FILE
  networks = {}
  for name, values in read_object(path).items():
    network = getattr(config, name, None)
    if not isinstance(network, EncoderConfig) or not isinstance(values, dict):
      raise UserError(
          f"{path} says {name} {values!r}, which is no network of the"
          " checkpoint beside it; copy the folder again"
      )
    for key, value in values.items():
      if key == "num_heads":
        is_right = type(value) is int and value > 0
      else:
        is_number = key in _SETTINGS and type(value) in (int, float)
        is_right = is_number and 0 <= value < 1
      if not is_right:
        raise UserError(
            f"{path} says {name}.{key} {value!r}, which is no such setting or"
            f" no such value; it has {', '.join(_SETTINGS)}"
        )
    networks[name] = dataclasses.replace(network, **values)
  return dataclasses.replace(config, **networks)


def _check_values(
    variables: Mapping[str, np.ndarray], prefix: epath.PathLike
) -> None:
  for name, array in variables.items():
    if name == _STEP:
      is_right = array.ndim == 0 and array.dtype.kind == "i" and array >= 0
    else:
      is_right = array.dtype.kind == "f" and bool(np.isfinite(array).all())
    if not is_right:
      raise UserError(
          f"{prefix} holds in {name!r} what is no finite number or, of"
          f" {_STEP}, no step; give a checkpoint from before its training failed"
      )


def _take_slot(
    variables: dict[str, np.ndarray], slot: str
) -> dict[str, np.ndarray]:
  names = [name for name in variables if name.endswith(slot)]
  return {name: variables.pop(name) for name in names}


def _networks(
    shapes: Shapes, prefix: epath.PathLike, sharing: str | None
) -> ElectraConfig:
  tables, own_tables = "electra/embeddings", "generator/embeddings"
  if f"{tables}/word_embeddings" not in shapes:
    raise UserError(
        f"{prefix} holds no ELECTRA: there is no"
        " 'electra/embeddings/word_embeddings'; give a checkpoint of ELECTRA's"
        " pre-training or fine-tuning"
    )
  if "generator_ltr/embeddings/word_embeddings" in shapes:
    raise UserError(
        f"each tower of the generator in {prefix} has embeddings of its own,"
        " and here both read the same; give a checkpoint that was trained"
        " without untied_generator_embeddings"
    )
  has_two_towers = "cloze_predictions/output_bias" in shapes
  has_generator = (
      has_two_towers or "generator_predictions/output_bias" in shapes
  )
  has_token_head = "token_predictions/output_bias" in shapes
  has_discriminator = _DETECTS in shapes or not (
      has_generator or has_token_head
  )
  discriminator, generator = _encoder(shapes, "electra", tables), None
  # Without scope of its own a generator is the discriminator's encoder.
  is_tied = has_generator and (has_discriminator or has_token_head)
  found = "all" if is_tied else "embeddings"
  scope = "generator_ltr" if has_two_towers else "generator"
  if has_two_towers or any(name.startswith("generator/") for name in shapes):
    found = "embeddings"
    has_own = f"{own_tables}/word_embeddings" in shapes
    generator = _encoder(shapes, scope, own_tables if has_own else tables)
    if has_own:
      found = own_tables_sharing(discriminator, generator, sharing)
  if found is None:
    raise UserError(
        f"the generator's embeddings in {prefix} are"
        f" {generator.embedding_size} wide, neither as the generator"
        f" ({generator.hidden_size}) nor as the discriminator's"
        f" ({discriminator.embedding_size}); give another checkpoint"
    )
  return ElectraConfig(
      discriminator,
      generator,
      found,
      has_generator_head=has_generator,
      has_discriminator_head=has_discriminator,
      has_token_head=has_token_head,
      has_two_towers=has_two_towers,
  )


def _encoder(shapes: Shapes, scope: str, tables: str) -> EncoderConfig:
  layer = re.compile(rf"{scope}/encoder/layer_(\d+)/.+")
  layers = {match[1] for match in map(layer.fullmatch, shapes) if match}
  sizes = []
  for name in (
      f"{tables}/word_embeddings",
      f"{scope}/encoder/layer_0/intermediate/dense/kernel",
      f"{tables}/position_embeddings",
  ):
    if name not in shapes:
      raise UserError(
          f"the checkpoint has no variable {name!r}; it is not whole"
      )
    if len(shapes[name]) != 2 or 0 in shapes[name]:
      raise UserError(
          f"variable {name!r} of the checkpoint has the shape {shapes[name]}"
          " where a matrix belongs; give another checkpoint"
      )
    sizes += shapes[name]
  vocab_size, embedding_size, width, intermediate_size, positions, _ = sizes
  return dataclasses.replace(
      encoder_config(
          vocab_size,
          len(layers),
          width,
          embedding_size,
          max_position_embeddings=positions,
      ),
      intermediate_size=intermediate_size,
  )
