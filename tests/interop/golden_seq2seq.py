"""Tiny encoder-decoders of transformers, with the logits that it computes.

`python -m tests.interop.golden_seq2seq` writes transformers_seq2seq.npz anew.
It needs torch and transformers, which the package does not.
"""

import json
import pathlib
import tempfile

import numpy as np

from electra_jax.disk.json_files import read_object
from electra_jax.interop.huggingface_files import read_tensors

STORED = pathlib.Path(__file__).parents[1] / "golden/transformers_seq2seq.npz"
SHAPES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
ARCHITECTURES = ("shared", "separate")


def inputs() -> dict[str, np.ndarray]:
  """Returns three pairs of texts, some of them padded."""
  rng = np.random.default_rng(0)
  sizes = {"source": (9, [9, 4, 6]), "target": (7, [7, 5, 2])}
  arrays = {}
  for side, (length, lengths) in sizes.items():
    mask = np.arange(length)[None] < np.array(lengths)[:, None]
    ids = rng.integers(1, SHAPES["vocab_size"], mask.shape)
    arrays[f"{side}_ids"] = (ids * mask).astype(np.int32)
    arrays[f"{side}_mask"] = mask.astype(np.int32)
  return arrays


def make_model(architecture: str, **shapes):
  """Returns a model with random weights and one set of embeddings."""
  import torch
  import transformers

  shapes = SHAPES | shapes
  encoder = transformers.BertConfig(**shapes)
  decoder = transformers.BertConfig(
      **shapes, is_decoder=True, add_cross_attention=True
  )
  config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
      encoder, decoder
  )
  model = transformers.EncoderDecoderModel(config).eval()
  torch.manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(0.1 * torch.randn_like(parameter))
  own, theirs = model.encoder, model.decoder.bert
  parts = ["embeddings"]
  if architecture == "shared":
    parts.append("encoder")
  for part in parts:
    state = getattr(own, part).state_dict()
    getattr(theirs, part).load_state_dict(state, strict=False)
  return model


def _main() -> None:
  import torch

  given = inputs()
  tensors = {name: torch.from_numpy(x).long() for name, x in given.items()}
  arrays = dict(given)
  for architecture in ARCHITECTURES:
    model = make_model(architecture)
    with torch.no_grad():
      logits = model(
          input_ids=tensors["source_ids"],
          attention_mask=tensors["source_mask"],
          decoder_input_ids=tensors["target_ids"],
          decoder_attention_mask=tensors["target_mask"],
      ).logits
    arrays[f"{architecture}/logits"] = logits.numpy()
    with tempfile.TemporaryDirectory() as folder:
      model.save_pretrained(folder)
      path = pathlib.Path(folder)
      config = read_object(path / "config.json")
      for name, x in read_tensors(path).items():
        arrays[f"{architecture}/tensor/{name}"] = np.asarray(x)
    arrays[f"{architecture}/config"] = np.array(json.dumps(config))
  np.savez_compressed(STORED, **arrays)


if __name__ == "__main__":
  _main()
