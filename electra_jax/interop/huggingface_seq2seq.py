"""Hugging Face's encoder-decoders: of BERT or ELECTRA in, of ELECTRA out.

Their EncoderDecoderModel is "separate" of `models.seq2seq`, or "shared" where
encoder and decoder are equal. It has a word table on either side; ours is one,
so that they must be equal. A pooler of the encoder is left out. What is written
holds both copies, so that whatever opens it need not tie them.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from electra_jax.disk.json_files import read_object
from electra_jax.errors import UserError
from electra_jax.interop import huggingface_config as configs
from electra_jax.interop import huggingface_files as files
from electra_jax.interop.huggingface import check_tied, clean_tensors
from electra_jax.interop.names import (
    hugging_face_from_params,
    params_from_hugging_face,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.seq2seq_params import init_params
from electra_jax.runs.finetune_config import GenerationConfig
from electra_jax.shapes import Params
from electra_jax.text.tokenizer import SpecialIds

MODEL_TYPE = "encoder-decoder"
WRITABLE = ("shared", "separate")  # Architectures that have such a class.
HOW_FILE = "generation_config.json"
# Theirs: ours; the least value; and how many tokens theirs counts that ours does
# not: the beginning, which is no token of a text here.
_HOW = {
    "num_beams": ("beam_size", 1, 0),
    "no_repeat_ngram_size": ("no_repeat_ngram", 0, 0),
    "max_length": ("max_target_length", 2, 1),
    "min_length": ("min_length", 0, 1),
}
# What a generation_config.json means that does not tell them.
_USUAL = {"num_beams": 1, "no_repeat_ngram_size": 0, "min_length": 0}
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


def is_encoder_decoder(source: epath.PathLike) -> bool:
  """Says whether a folder is one that transformers' class has written."""
  return files.read_config(epath.Path(source)).get("model_type") == MODEL_TYPE


def read_how(source: epath.PathLike, special: SpecialIds) -> dict[str, int]:
  """Returns how a model writes, as values of config.generation.

  Args:
    source: its folder.
    special: ids of its vocabulary.

  Raises:
    UserError: it begins or ends a text with other tokens than this package.
  """
  folder = epath.Path(source)
  given = files.read_config(folder)
  if (folder / HOW_FILE).exists():
    given = {**given, **_USUAL, **read_object(folder / HOW_FILE)}
  for key, name in (("decoder_start_token_id", "cls"), ("eos_token_id", "sep")):
    theirs, ours = given.get(key), getattr(special, name)
    if theirs is not None and theirs != ours:
      raise UserError(
          f"{folder} says {key} {theirs!r}, and this package writes texts that"
          f" go from [CLS] to [SEP], where that is {ours}; give a model that was"
          " trained so"
      )
  found = {}
  for key, (name, least, more) in _HOW.items():
    value = given.get(key)
    if type(value) is int:
      found[name] = max(value - more, least)
  return found


def write_encoder_decoder(
    folder: epath.PathLike,
    encoder: EncoderConfig,
    params: Params,
    how: GenerationConfig,
    special: SpecialIds,
) -> None:
  """Writes a folder that EncoderDecoderModel.from_pretrained opens.

  Args:
    folder: is there.
    encoder: shapes of both sides.
    params: of `models.seq2seq.Seq2Seq`, "shared" or "separate".
    how: words are chosen.
    special: ids of the vocabulary.
  """
  own, cross = _sides(params)
  bare = {
      name.removeprefix("electra."): x
      for name, x in hugging_face_from_params(own).items()
  }
  tensors = {f"encoder.{name}": x for name, x in bare.items()}
  layers = params["decoder"] if "layer_0" in params["decoder"] else None
  if layers is not None:
    layers = {n: x for n, x in layers.items() if not n.startswith("cross_")}
    own = {**own, "discriminator": layers}
  theirs = {
      **hugging_face_from_params(own),
      **hugging_face_from_params({"generator_head": params["target_head"]}),
      "generator_lm_head.weight": np.asarray(
          params["embeddings"]["word_embeddings"]["embedding"]
      ),
      **cross,
  }
  tensors |= {f"decoder.{name}": np.array(x) for name, x in theirs.items()}
  path = epath.Path(folder)
  files.write_model(path, _config(encoder, special), tensors)
  text = json.dumps(_how(how, special), indent=2)
  (path / HOW_FILE).write_text(text)


def _sides(params: Params) -> tuple[Params, dict[str, np.ndarray]]:
  """Returns what the encoder has, and attention to it by their names."""
  own = {name: params[name] for name in ("embeddings", "discriminator")}
  theirs = {ours: other for other, ours in _OUR_PARTS.items()}
  cross = {}
  for name, parts in params["decoder"].items():
    if not name.startswith("cross_"):
      continue
    layer = name.removeprefix("cross_")
    for part, leaves in parts.items():
      place = f"output.{theirs[part]}" if part in theirs else f"self.{part}"
      for leaf, x in leaves.items():
        x = np.asarray(x)
        other = "bias" if leaf == "bias" else "weight"
        cross[
            f"electra.encoder.layer.{layer}.crossattention.{place}.{other}"
        ] = np.ascontiguousarray(x.T if leaf == "kernel" else x)
  return own, cross


def _config(encoder: EncoderConfig, special: SpecialIds) -> dict[str, Any]:
  own = configs.config_of(encoder, "ElectraModel", special.pad)
  decoder = configs.config_of(encoder, "ElectraForCausalLM", special.pad)
  decoder |= {"is_decoder": True, "add_cross_attention": True}
  return {
      "model_type": MODEL_TYPE,
      "architectures": ["EncoderDecoderModel"],
      "is_encoder_decoder": True,
      "encoder": own,
      "decoder": decoder,
      "decoder_start_token_id": special.cls,
      "eos_token_id": special.sep,
      "pad_token_id": special.pad,
      "vocab_size": encoder.vocab_size,
      "torch_dtype": "float32",
  }


def _how(how: GenerationConfig, special: SpecialIds) -> dict[str, Any]:
  return {
      "decoder_start_token_id": special.cls,
      "eos_token_id": special.sep,
      "pad_token_id": special.pad,
      "suppress_tokens": sorted(
          {special.cls, special.pad, special.unk, special.mask}
      ),
      "do_sample": how.method == "sample",
      "no_repeat_ngram_size": how.no_repeat_ngram,
      "max_length": how.max_target_length + 1,
      "min_length": how.min_length + 1 if how.min_length else 0,
      **_OF_METHOD[how.method](how),
  }


_OF_METHOD = {
    "greedy": lambda how: {"num_beams": 1},
    "beam": lambda how: {
        "num_beams": how.beam_size,
        "length_penalty": how.length_penalty,
    },
    "sample": lambda how: {
        "num_beams": 1,
        "temperature": how.temperature,
        "top_k": how.top_k,
        "top_p": how.top_p,
    },
}


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
