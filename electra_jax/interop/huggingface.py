"""Hugging Face's folders: ELECTRA in and out, BERT in.

There each network is a model of its own with a copy of the shared embeddings,
so a pre-trained model is two folders, DIR/discriminator (ElectraForPreTraining)
and DIR/generator (ElectraForMaskedLM). One folder alone is read as well. The
discriminator of "replace_mlm", which fills in, is an ElectraForMaskedLM too.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop import huggingface_files as files
from electra_jax.interop.model import (
    PretrainedState,
    own_tables_sharing,
    read_params,
    seen_params,
)
from electra_jax.interop.names import (
    electra_name,
    hugging_face_from_params,
    params_from_hugging_face,
)
from electra_jax.models.config import (
    LAYER_NORM_EPSILON,
    ElectraConfig,
    EncoderConfig,
)
from electra_jax.shapes import Params

NETWORKS = ("discriminator", "generator")
_CLASSES = {  # By the head.
    "discriminator_head": "ElectraForPreTraining",
    "generator_head": "ElectraForMaskedLM",
    "token_head": "ElectraForMaskedLM",
}
# What the networks need besides their shapes: (key, default, value).
_REQUIRED = (
    ("hidden_act", "gelu", "gelu"),
    ("layer_norm_eps", LAYER_NORM_EPSILON, LAYER_NORM_EPSILON),
    ("position_embedding_type", "absolute", "absolute"),
    ("is_decoder", False, False),
)
# Counters, and BERT's next-sentence layers, which ELECTRA has no place for.
_IGNORED = re.compile(
    r"(electra\.embeddings\.position_ids|electra\.pooler\..+"
    r"|cls\.seq_relationship\..+)"
)
_TABLE = "electra.embeddings.word_embeddings.weight"
_TIED = "generator_lm_head.weight"
_GENERATOR_HEAD = ("generator_lm_head.", "generator_predictions.")


class _Network(NamedTuple):
  """One folder.

  Attributes:
    folder: where it was read.
    encoder: its shapes.
    tensors: by the names of ELECTRA.
    is_generator: whether its head, or the head to come, is a masked-LM one.
    has_head: whether the folder holds a head.
  """

  folder: epath.Path
  encoder: EncoderConfig
  tensors: dict[str, np.ndarray]
  is_generator: bool
  has_head: bool


class Written(NamedTuple):
  """What was written.

  Attributes:
    folders: of the networks, for a tokenizer to be put in each.
    left_out: names of the parts that Hugging Face has no place for.
  """

  folders: tuple[epath.Path, ...]
  left_out: tuple[str, ...]


def folders(source: epath.PathLike) -> list[epath.Path]:
  """Returns the folders of a model: the source itself, or those inside it."""
  path = epath.Path(source)
  if "model_type" in files.read_config(path):
    return [path]
  inside = [path / name for name in NETWORKS]
  return [
      folder for folder in inside if "model_type" in files.read_config(folder)
  ]


def read_model(
    source: epath.PathLike, seed: int, sharing: str | None = None
) -> PretrainedState:
  """Reads one or both networks of ELECTRA, or BERT's encoder.

  A discriminator alone becomes a model that detects, a generator or a BERT one
  that fills in. A head that the folder lacks is freshly initialised.

  Args:
    source: a folder with config.json, or one that holds `discriminator` and
      `generator`.
    seed: of what is initialised.
    sharing: the embedding_sharing to choose where the widths allow several.

  Raises:
    UserError: a file or tensor is missing, damaged, left over or of another
      shape, or the networks are not ones that this package can run.
  """
  networks = [_read_network(folder) for folder in folders(source)]
  if len(networks) == 1:
    return _alone(networks[0], seed)
  discriminator, generator = networks
  if not generator.is_generator:
    raise UserError(
        f"{generator.folder} is not what its name says; it must be an"
        " ElectraForMaskedLM"
    )
  return _joined(discriminator, generator, sharing)


def write_model(
    folder: epath.PathLike, config: ElectraConfig, params: Params, pad_id: int
) -> Written:
  """Writes FOLDER/discriminator and FOLDER/generator, those that there are.

  Left out are a generator of two towers, and of a discriminator with two heads
  that of tokens.

  Args:
    folder: is there.
    config: of the networks.
    params: of both.
    pad_id: of the vocabulary.
  """
  params = seen_params(params, config)
  written, used = [], set()
  for network, shapes, parts in _networks(config):
    tensors = hugging_face_from_params({part: params[part] for part in parts})
    written.append(epath.Path(folder) / network)
    files.write_model(
        written[-1], _config_of(shapes, _CLASSES[parts[-1]], pad_id), tensors
    )
    used.update(parts)
  return Written(tuple(written), tuple(sorted(set(params) - used)))


def write_tagger(
    folder: epath.PathLike,
    encoder: EncoderConfig,
    params: Params,
    labels: Sequence[str],
    pad_id: int,
) -> None:
  """Writes a fine-tuned tagging model as ElectraForTokenClassification.

  Args:
    folder: is there.
    encoder: of the model.
    params: of the encoder and one tagging head.
    labels: the tags in the order of their ids.
    pad_id: of the vocabulary.
  """
  config = _config_of(encoder, "ElectraForTokenClassification", pad_id)
  config["classifier_dropout"] = 0.0
  config["id2label"] = {str(i): label for i, label in enumerate(labels)}
  config["label2id"] = {label: i for i, label in enumerate(labels)}
  files.write_model(
      epath.Path(folder), config, hugging_face_from_params(params)
  )


def _networks(
    config: ElectraConfig,
) -> Iterator[tuple[str, EncoderConfig, tuple[str, str, str]]]:
  """Yields name, shapes and parts of each network, its head the last part."""
  if config.has_discriminator_head or config.has_token_head:
    detects = config.has_discriminator_head
    head = "discriminator_head" if detects else "token_head"
    parts = ("embeddings", "discriminator", head)
    yield "discriminator", config.discriminator, parts
  if config.has_generator_head and not config.has_two_towers:
    has_own = config.has_generator_embeddings
    tables = "generator_embeddings" if has_own else "embeddings"
    encoder = "generator" if config.generator else "discriminator"
    shapes = config.generator or config.discriminator
    yield "generator", shapes, (tables, encoder, "generator_head")


def _alone(network: _Network, seed: int) -> PretrainedState:
  head = "generator_head" if network.is_generator else "discriminator_head"
  config = ElectraConfig(
      network.encoder,
      None,
      has_generator_head=network.is_generator,
      has_discriminator_head=not network.is_generator,
  )
  fresh = () if network.has_head else (head,)
  params = read_params(
      config,
      lambda x: params_from_hugging_face(x, network.tensors),
      fresh,
      seed,
  )
  return PretrainedState(config, params, fresh=fresh)


def _joined(
    discriminator: _Network, generator: _Network, wanted: str | None
) -> PretrainedState:
  sharing = _sharing(discriminator, generator, wanted)
  config = ElectraConfig(
      discriminator.encoder,
      None if sharing == "all" else generator.encoder,
      sharing,
      has_discriminator_head=not discriminator.is_generator,
      has_token_head=discriminator.is_generator,
  )
  own = next(_networks(config))[2]
  shared = {"embeddings": "electra.embeddings.", "all": "electra."}
  rest = {
      name: tensor
      for name, tensor in generator.tensors.items()
      if not name.startswith(shared.get(sharing, ()))
  }

  def read(abstract):
    ours = {name: abstract[name] for name in own}
    others = {name: x for name, x in abstract.items() if name not in own}
    return {
        **params_from_hugging_face(ours, discriminator.tensors),
        **params_from_hugging_face(others, rest),
    }

  return PretrainedState(config, read_params(config, read))


def _sharing(
    discriminator: _Network, generator: _Network, wanted: str | None
) -> str:
  ours, theirs = discriminator.tensors, generator.tensors

  def share(scope: str) -> bool:
    names = [
        {name for name in tensors if name.startswith(scope)}
        for tensors in (ours, theirs)
    ]
    return names[0] == names[1] and all(
        np.array_equal(ours[name], theirs[name]) for name in names[0]
    )

  if share("electra."):
    return "all"
  if share("electra.embeddings."):
    return "embeddings"
  sharing = own_tables_sharing(discriminator.encoder, generator.encoder, wanted)
  if sharing is None:
    raise UserError(
        f"the embeddings of {discriminator.folder} and {generator.folder} are"
        f" {discriminator.encoder.embedding_size} and"
        f" {generator.encoder.embedding_size} wide: they were not trained"
        " together; convert the one you want alone"
    )
  return sharing


def _read_network(folder: epath.Path) -> _Network:
  config = files.read_config(folder)
  if config["model_type"] not in ("electra", "bert"):
    raise UserError(
        f"{folder} holds a model of type {config['model_type']!r}; give one of"
        " type 'electra' or 'bert'"
    )
  for key, default, value in _REQUIRED:
    if config.get(key, default) != value:
      raise UserError(
          f"{folder / files.CONFIG_FILE} says {key} {config[key]!r}, and this package"
          f" runs {value!r} alone; give another model"
      )
  tensors = _clean(files.read_tensors(folder), config["model_type"] == "bert")
  _check_tied(tensors, folder)
  detects = any(name.startswith("discriminator_") for name in tensors)
  fills = any(name.startswith(_GENERATOR_HEAD) for name in tensors)
  return _Network(
      folder,
      _encoder(folder, config, tensors),
      tensors,
      is_generator=fills or (config["model_type"] == "bert" and not detects),
      has_head=detects or fills,
  )


def _clean(
    tensors: Mapping[str, np.ndarray], is_bert: bool
) -> dict[str, np.ndarray]:
  """Names tensors as ELECTRA's, without those that do not count."""
  cleaned = {}
  for name, tensor in tensors.items():
    # A bare encoder's names have no prefix.
    if name.startswith(("embeddings", "encoder.", "pooler.")):
      name = f"{'bert' if is_bert else 'electra'}.{name}"
    name = electra_name(name)
    if not _IGNORED.fullmatch(name):
      if cleaned.get(name) is not None and not np.array_equal(
          cleaned[name], tensor
      ):
        raise UserError(
            f"the model holds two different tensors for {name!r}; tie them"
        )
      cleaned[name] = np.asarray(tensor, np.float32)
  return cleaned


def _check_tied(tensors: dict[str, np.ndarray], folder: epath.Path) -> None:
  """Takes the second copy of the word table out."""
  tied = tensors.pop(_TIED, None)
  if tied is not None and not np.array_equal(tied, tensors.get(_TABLE)):
    raise UserError(
        f"the output embeddings of {folder} are not its word embeddings, and"
        " this package runs tied ones alone; give another model"
    )


def _encoder(
    folder: epath.Path, config: Mapping[str, Any], tensors: Mapping[str, Any]
) -> EncoderConfig:
  layer = re.compile(r"electra\.encoder\.layer\.(\d+)\..+")
  layers = {match[1] for match in map(layer.fullmatch, tensors) if match}
  try:
    vocab_size, embedding_size = tensors[_TABLE].shape
    intermediate = tensors["electra.encoder.layer.0.intermediate.dense.weight"]
    positions = tensors["electra.embeddings.position_embeddings.weight"]
    segments = tensors["electra.embeddings.token_type_embeddings.weight"]
    num_heads = config["num_attention_heads"]
  except KeyError as error:
    raise UserError(
        f"{folder} has no {error}; give the whole folder that transformers'"
        " save_pretrained wrote"
    ) from error
  return EncoderConfig(
      vocab_size=vocab_size,
      embedding_size=embedding_size,
      hidden_size=intermediate.shape[1],
      num_layers=len(layers),
      num_heads=num_heads,
      intermediate_size=intermediate.shape[0],
      max_position_embeddings=positions.shape[0],
      type_vocab_size=segments.shape[0],
      hidden_dropout=config.get("hidden_dropout_prob", 0.1),
      attention_dropout=config.get("attention_probs_dropout_prob", 0.1),
      initializer_range=config.get("initializer_range", 0.02),
  )


def _config_of(
    encoder: EncoderConfig, class_name: str, pad_id: int
) -> dict[str, Any]:
  shapes = dataclasses.asdict(encoder)
  names = {
      "vocab_size": "vocab_size",
      "embedding_size": "embedding_size",
      "hidden_size": "hidden_size",
      "num_hidden_layers": "num_layers",
      "num_attention_heads": "num_heads",
      "intermediate_size": "intermediate_size",
      "max_position_embeddings": "max_position_embeddings",
      "type_vocab_size": "type_vocab_size",
      "initializer_range": "initializer_range",
      "hidden_dropout_prob": "hidden_dropout",
      "attention_probs_dropout_prob": "attention_dropout",
  }
  return {
      "model_type": "electra",
      "architectures": [class_name],
      **{theirs: shapes[ours] for theirs, ours in names.items()},
      **{key: value for key, _, value in _REQUIRED},
      "tie_word_embeddings": True,
      "pad_token_id": pad_id,
      "torch_dtype": "float32",
  }
