"""Encoder-decoders of transformers, read and run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop import huggingface_files
from electra_jax.interop.huggingface_seq2seq import read_encoder_decoder
from electra_jax.models.seq2seq import Seq2Seq
from tests.interop import golden_seq2seq

pytestmark = pytest.mark.golden


def stored(architecture):
  """Returns config, tensors and logits of a stored model."""
  arrays = np.load(golden_seq2seq.STORED)
  prefix = f"{architecture}/tensor/"
  tensors = {
      name.removeprefix(prefix): arrays[name]
      for name in arrays.files
      if name.startswith(prefix)
  }
  config = json.loads(str(arrays[f"{architecture}/config"]))
  return config, tensors, arrays[f"{architecture}/logits"]


@pytest.mark.parametrize("architecture", golden_seq2seq.ARCHITECTURES)
def test_logits_are_transformers(architecture, tmp_path):
  config, tensors, logits = stored(architecture)
  huggingface_files.write_model(epath.Path(tmp_path), config, tensors)
  model = read_encoder_decoder(tmp_path)
  assert model.architecture == architecture
  given = {name: jnp.asarray(x) for name, x in golden_seq2seq.inputs().items()}
  ours = Seq2Seq(model.encoder, model.architecture)
  params = {"params": jax.tree.map(jnp.asarray, model.params)}

  @jax.jit
  def run(params, given):
    bound = ours.bind(params)
    return bound.logits(bound(**given))

  got = run(params, given)
  is_token = given["target_mask"] > 0
  np.testing.assert_allclose(
      got[is_token], logits[is_token], rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("table", "one set of embeddings"),
        ("cross", "attention of .* to its encoder"),
        ("type", "encoder-decoder"),
        ("output", "tied"),
    ],
)
def test_what_cannot_be_run_is_refused(change, message, tmp_path):
  config, tensors, _ = stored("separate")
  if change == "table":
    name = "decoder.bert.embeddings.position_embeddings.weight"
    tensors[name] = tensors[name] + 1
  elif change == "cross":
    tensors.pop("decoder.bert.encoder.layer.1.crossattention.self.key.bias")
  elif change == "output":
    name = "decoder.cls.predictions.decoder.weight"
    tensors[name] = (
        tensors["decoder.bert.embeddings.word_embeddings.weight"] + 1
    )
  else:
    config["model_type"] = "bart"
  huggingface_files.write_model(epath.Path(tmp_path), config, tensors)
  with pytest.raises(UserError, match=message):
    read_encoder_decoder(tmp_path)


def test_one_copy_of_tied_sides_is_enough(tmp_path):
  config, tensors, _ = stored("shared")
  for name in list(tensors):
    if name.startswith("encoder.") and "pooler" not in name:
      tensors.pop(name)
  huggingface_files.write_model(epath.Path(tmp_path), config, tensors)
  assert read_encoder_decoder(tmp_path).architecture == "shared"
