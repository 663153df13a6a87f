"""Hugging Face's encoder-decoders of BERT or ELECTRA, read.

Their EncoderDecoderModel is "separate" of `models.seq2seq`, or "shared" where
encoder and decoder were tied. It may have a word table on either side; ours is
one, so that they must be equal. A pooler of the encoder is left out.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop import huggingface_config as configs
from electra_jax.interop import huggingface_files as files
from electra_jax.interop.huggingface import check_tied, clean_tensors
from electra_jax.interop.names import params_from_hugging_face
from electra_jax.models.config import EncoderConfig
from electra_jax.models.seq2seq_params import init_params
from electra_jax.shapes import Params

MODEL_TYPE = "encoder-decoder"
_LAYERS = ("electra.encoder.", "electra.embeddings_project.")
_CROSS = re.compile(
    r"electra\.encoder\.layer\.(\d+)\.crossattention"
    r"\.(?:self\.(query|key|value)|output\.(dense|LayerNorm))\.(weight|bias)"
)
_OUR_PARTS = {"dense": "output", "LayerNorm": "layer_norm"}


class EncoderDecoder(NamedTuple):
  """A model that was read.

  Attributes:
    encoder: its shapes.
    architecture: "shared" or "separate".
    params: of `models.seq2seq.Seq2Seq`.
  """

  encoder: EncoderConfig
  architecture: str
  params: Params


def read_encoder_decoder(source: epath.PathLike) -> EncoderDecoder:
  """Reads a folder that EncoderDecoderModel.save_pretrained wrote.

  Raises:
    UserError: a file or tensor is missing, damaged or left over, or the two
      sides differ in shape or embeddings.
  """
  folder = epath.Path(source)
  config = files.read_config(folder)
  if config.get("model_type") != MODEL_TYPE:
    raise UserError(
        f"{folder} holds a model of type {config.get('model_type')!r}; give one"
        f" of type {MODEL_TYPE!r}"
    )
  own = {side: config[side] for side in ("encoder", "decoder")}
  tensors = files.read_tensors(folder)
  for theirs in own.values():
    # A decoder is one: what else it needs is checked like an encoder.
    configs.check_runnable(folder, {**theirs, "is_decoder": False})
  is_bert = own["encoder"]["model_type"] == "bert"
  encoder, decoder = (
      clean_tensors(folder, _of_side(side, tensors), is_bert) for side in own
  )
  check_tied(decoder, folder)
  shared = _without_decoder(decoder)
  # Of what is tied one copy alone is in the file.
  encoder = {**shared, **encoder}
  architecture = _architecture(folder, encoder, shared)
  shapes = configs.encoder_of(folder, own["encoder"], encoder)
  abstract = jax.eval_shape(lambda: init_params(shapes, architecture, 0))
  ours = {name: abstract[name] for name in ("embeddings", "discriminator")}
  params = {
      **params_from_hugging_face(ours, encoder),
      "target_head": _head(abstract, decoder),
      "decoder": _cross_attention(folder, abstract["decoder"], decoder),
  }
  if architecture == "separate":
    layers = {n: x for n, x in shared.items() if n.startswith(_LAYERS)}
    wanted = {"discriminator": abstract["discriminator"]}
    params["decoder"] |= params_from_hugging_face(wanted, layers)[
        "discriminator"
    ]
  return EncoderDecoder(shapes, architecture, params)


def _of_side(side: str, tensors: Mapping[str, np.ndarray]):
  prefix = f"{side}."
  return {
      name.removeprefix(prefix): x
      for name, x in tensors.items()
      if name.startswith(prefix)
  }


def _without_decoder(decoder):
  # What an encoder has as well.
  return {
      name: x
      for name, x in decoder.items()
      if name.startswith("electra.") and not _CROSS.fullmatch(name)
  }


def _architecture(folder, encoder, shared) -> str:
  for name, tensor in shared.items():
    if name.startswith("electra.embeddings.") and not np.array_equal(
        tensor, encoder[name]
    ):
      raise UserError(
          f"{name!r} of {folder} differs between encoder and decoder, and this"
          " package runs one set of embeddings for both; give a model whose"
          " embeddings are shared"
      )
  is_same = all(np.array_equal(x, encoder[name]) for name, x in shared.items())
  return "shared" if is_same else "separate"


def _head(abstract: Params, decoder: Mapping[str, Any]) -> Params:
  head = {n: x for n, x in decoder.items() if n.startswith("generator_")}
  wanted = {"generator_head": abstract["target_head"]}
  return params_from_hugging_face(wanted, head)["generator_head"]


def _cross_attention(folder, abstract, decoder) -> dict[str, Any]:
  found: dict[str, dict[str, Any]] = {}
  for name, tensor in decoder.items():
    match = _CROSS.fullmatch(name)
    if not match:
      continue
    layer, projection, other, leaf = match.groups()
    part = projection or _OUR_PARTS[other]
    if leaf == "weight":
      leaf = "scale" if part == "layer_norm" else "kernel"
    tensor = tensor.T if leaf == "kernel" else tensor
    found.setdefault(f"cross_{layer}", {}).setdefault(part, {})[leaf] = tensor
  wanted = {n: x for n, x in abstract.items() if n.startswith("cross_")}
  shapes = [
      jax.tree.map(lambda x: tuple(x.shape), tree) for tree in (wanted, found)
  ]
  if shapes[0] != shapes[1]:
    raise UserError(
        f"the attention of {folder}'s decoder to its encoder is not that of"
        f" {len(wanted)} layers like the encoder's; give a whole model whose"
        " sides have the same shapes"
    )
  return found
