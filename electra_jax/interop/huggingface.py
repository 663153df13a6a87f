"""Hugging Face's folders: ELECTRA in and out, BERT in.

There each network is a model of its own with a copy of the shared embeddings,
so a pre-trained model is two folders, DIR/discriminator (ElectraForPreTraining)
and DIR/generator (ElectraForMaskedLM). One folder alone is read as well. The
discriminator of "replace_mlm", which fills in, is an ElectraForMaskedLM too.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop import huggingface_config as configs
from electra_jax.interop import huggingface_files as files
from electra_jax.interop.huggingface_heads import export_head, in_our_segments
from electra_jax.interop.model import (
    FinetunedState,
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
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.shapes import Params

NETWORKS = ("discriminator", "generator")
_CLASSES = {  # By the head.
    "discriminator_head": "ElectraForPreTraining",
    "generator_head": "ElectraForMaskedLM",
    "token_head": "ElectraForMaskedLM",
}
# Counters, and BERT's next-sentence layers, which ELECTRA has no place for.
_IGNORED = re.compile(
    r"(electra\.embeddings\.position_ids|electra\.pooler\..+"
    r"|cls\.seq_relationship\..+)"
)
_TIED = "generator_lm_head.weight"
_GENERATOR_HEAD = ("generator_lm_head.", "generator_predictions.")
_PARTS = ("electra.", "discriminator_predictions.", *_GENERATOR_HEAD)


class _Network(NamedTuple):
  """One folder.

  Attributes:
    folder: where it was read.
    encoder: its shapes.
    tensors: by the names of ELECTRA.
    is_generator: whether its head, or the head to come, is a masked-LM one.
    has_head: whether the folder holds a head of pre-training.
    left_out: names of its other heads, which are those of tasks.
  """

  folder: epath.Path
  encoder: EncoderConfig
  tensors: dict[str, np.ndarray]
  is_generator: bool
  has_head: bool
  left_out: tuple[str, ...]


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
  for network, shapes, parts in network_parts(config):
    tensors = hugging_face_from_params({part: params[part] for part in parts})
    written.append(epath.Path(folder) / network)
    files.write_model(
        written[-1],
        configs.config_of(shapes, _CLASSES[parts[-1]], pad_id),
        tensors,
    )
    used.update(parts)
  return Written(tuple(written), tuple(sorted(set(params) - used)))


def write_finetuned(
    folder: epath.PathLike, model: FinetunedState, pad_id: int
) -> None:
  """Writes a fine-tuned model as transformers' class of its task.

  Args:
    folder: is there.
    model: of one task.
    pad_id: of the vocabulary.

  Raises:
    UserError: there is no such class.
  """
  head = export_head(model.tasks, model.params)
  config = configs.config_of(model.encoder, head.class_name, pad_id)
  files.write_model(epath.Path(folder), config | head.settings, head.tensors)


def network_parts(
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
  return PretrainedState(config, params, fresh=fresh, left_out=network.left_out)


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
  own = next(network_parts(config))[2]
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

  return PretrainedState(
      config,
      read_params(config, read),
      left_out=discriminator.left_out + generator.left_out,
  )


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
  configs.check_runnable(folder, config)
  is_bert = config["model_type"] == "bert"
  tensors = clean_tensors(folder, files.read_tensors(folder), is_bert)
  check_tied(tensors, folder)
  config, tensors = in_our_segments(folder, config, tensors)
  heads = {n.split(".")[0] for n in tensors if not n.startswith(_PARTS)}
  tensors = {n: x for n, x in tensors.items() if n.split(".")[0] not in heads}
  detects = any(name.startswith("discriminator_") for name in tensors)
  fills = any(name.startswith(_GENERATOR_HEAD) for name in tensors)
  return _Network(
      folder,
      configs.encoder_of(folder, config, tensors),
      tensors,
      is_generator=fills or (is_bert and not detects),
      has_head=detects or fills,
      left_out=tuple(sorted(heads)),
  )


def clean_tensors(
    folder: epath.Path, tensors: Mapping[str, np.ndarray], is_bert: bool
) -> dict[str, np.ndarray]:
  """Names tensors as ELECTRA's, without those that do not count.

  Args:
    folder: for messages.
    tensors: of the weights, in float32 or another format.
    is_bert: whether names without a prefix are BERT's.

  Raises:
    UserError: a tensor is quantised, not finite, or there twice.
  """
  cleaned = {}
  for name, tensor in tensors.items():
    own = name
    # A bare encoder's names have no prefix.
    if name.startswith(("embeddings", "encoder.", "pooler.")):
      name = f"{'bert' if is_bert else 'electra'}.{name}"
    name = electra_name(name)
    if _IGNORED.fullmatch(name):
      continue
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
      raise UserError(
          f"{folder} holds {own!r} as {tensor.dtype} where weights belong; a"
          " quantised model cannot be read, give the one that it was made of"
      )
    with np.errstate(over="ignore"):  # It is told in our own words.
      tensor = np.asarray(tensor, np.float32)
    if not np.isfinite(tensor).all():
      raise UserError(
          f"{folder} holds numbers in {own!r} that are not finite; give a model"
          " that was saved before its training failed, or copy it again"
      )
    if cleaned.get(name) is not None and not np.array_equal(
        cleaned[name], tensor
    ):
      raise UserError(
          f"the model holds two different tensors for {name!r}; tie them"
      )
    cleaned[name] = tensor
  return cleaned


def check_tied(tensors: dict[str, np.ndarray], folder: epath.Path) -> None:
  """Takes the second copy of the word table out.

  Raises:
    UserError: it differs.
  """
  tied = tensors.pop(_TIED, None)
  if tied is not None and not np.array_equal(tied, tensors.get(configs.TABLE)):
    raise UserError(
        f"the output embeddings of {folder} are not its word embeddings, and"
        " this package runs tied ones alone; give another model"
    )
