"""config.json of Hugging Face's ELECTRA and BERT, read and written.

The weights tell the shapes. What config.json says of them must agree: of a
folder whose two files do not belong together nothing good comes.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop.huggingface_files import CONFIG_FILE
from electra_jax.models.config import LAYER_NORM_EPSILON, EncoderConfig

TABLE = "electra.embeddings.word_embeddings.weight"
MODEL_TYPES = ("electra", "bert")
# Of an exported model: which segment of ours each row of its segment table is.
SEGMENTS = "electra_jax_segments"
# What the networks need besides their shapes: (key, default, value).
_REQUIRED = (
    ("hidden_act", "gelu", "gelu"),
    ("layer_norm_eps", LAYER_NORM_EPSILON, LAYER_NORM_EPSILON),
    ("position_embedding_type", "absolute", "absolute"),
    ("is_decoder", False, False),
)
_SHAPES = {  # Theirs: ours.
    "vocab_size": "vocab_size",
    "embedding_size": "embedding_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
}
_RATES = {  # Theirs: ours, and the default of both.
    "hidden_dropout_prob": ("hidden_dropout", 0.1),
    "attention_probs_dropout_prob": ("attention_dropout", 0.1),
    "initializer_range": ("initializer_range", 0.02),
}


def check_runnable(folder: epath.Path, config: Mapping[str, Any]) -> None:
  """Raises a UserError where config.json asks for what cannot be run here."""
  path = folder / CONFIG_FILE
  if config["model_type"] not in MODEL_TYPES:
    raise UserError(
        f"{folder} holds a model of type {config['model_type']!r}; give one of"
        " type 'electra' or 'bert'"
    )
  for key, default, value in _REQUIRED:
    if config.get(key, default) != value:
      raise UserError(
          f"{path} says {key} {config[key]!r}, and this package runs {value!r}"
          " alone; give another model"
      )


def encoder_of(
    folder: epath.Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> EncoderConfig:
  """Returns the shapes of an encoder.

  Args:
    folder: for messages.
    config: of config.json.
    tensors: by the names of Hugging Face's ELECTRA.

  Raises:
    UserError: a table or key is missing or of a wrong type, or config.json
      says other shapes than the weights have.
  """
  vocab_size, embedding_size = _matrix(folder, tensors, TABLE)
  intermediate_size, hidden_size = _matrix(
      folder, tensors, "electra.encoder.layer.0.intermediate.dense.weight"
  )
  positions, _ = _matrix(
      folder, tensors, "electra.embeddings.position_embeddings.weight"
  )
  segments, _ = _matrix(
      folder, tensors, "electra.embeddings.token_type_embeddings.weight"
  )
  layer = re.compile(r"electra\.encoder\.layer\.(\d+)\..+")
  layers = {match[1] for match in map(layer.fullmatch, tensors) if match}
  path = folder / CONFIG_FILE
  if "num_attention_heads" not in config:
    raise UserError(
        f"{path} has no 'num_attention_heads'; give the whole folder that"
        " transformers' save_pretrained wrote"
    )
  encoder = EncoderConfig(
      vocab_size=vocab_size,
      embedding_size=embedding_size,
      hidden_size=hidden_size,
      num_layers=len(layers),
      num_heads=_count(path, config, "num_attention_heads"),
      intermediate_size=intermediate_size,
      max_position_embeddings=positions,
      type_vocab_size=segments,
      **{
          ours: _rate(path, config, key, default)
          for key, (ours, default) in _RATES.items()
      },
  )
  for key, ours in _SHAPES.items():
    if key in config and _count(path, config, key) != getattr(encoder, ours):
      raise UserError(
          f"{path} says {key} {config[key]} and the weights beside it have"
          f" {getattr(encoder, ours)}; give a folder whose files belong together"
      )
  return encoder


def config_of(
    encoder: EncoderConfig, class_name: str, pad_id: int
) -> dict[str, Any]:
  """Returns the config.json of an encoder under a head.

  Args:
    encoder: its shapes.
    class_name: of transformers, such as ElectraForPreTraining.
    pad_id: of the vocabulary.
  """
  shapes = dataclasses.asdict(encoder)
  return {
      "model_type": "electra",
      "architectures": [class_name],
      **{theirs: shapes[ours] for theirs, ours in _SHAPES.items()},
      **{theirs: shapes[ours] for theirs, (ours, _) in _RATES.items()},
      **{key: value for key, _, value in _REQUIRED},
      "tie_word_embeddings": True,
      "pad_token_id": pad_id,
      "torch_dtype": "float32",
  }


def _matrix(
    folder: epath.Path, tensors: Mapping[str, np.ndarray], name: str
) -> tuple[int, int]:
  if name not in tensors:
    raise UserError(
        f"{folder} has no {name!r}; give the whole folder that transformers'"
        " save_pretrained wrote"
    )
  shape = tensors[name].shape
  if len(shape) != 2 or 0 in shape:
    raise UserError(
        f"{name!r} in {folder} has the shape {shape} where a matrix belongs;"
        " give another model"
    )
  return shape


def _count(path: epath.Path, config: Mapping[str, Any], key: str) -> int:
  value = config[key]
  if type(value) is not int or value < 1:
    raise UserError(
        f"{path} says {key} {value!r} where a whole number above 0 belongs;"
        " mend it, or copy the folder again"
    )
  return value


def _rate(
    path: epath.Path, config: Mapping[str, Any], key: str, default: float
) -> float:
  value = config.get(key, default)
  is_number = type(value) in (int, float)
  if not is_number or not 0 <= value < 1:
    raise UserError(
        f"{path} says {key} {value!r} where a number from 0 to below 1 belongs;"
        " mend it, or copy the folder again"
    )
  return float(value)
