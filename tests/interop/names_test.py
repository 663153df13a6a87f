"""The name table: complete, without doubles, and equal to the released list."""

import jax
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.finetuning.trainer import init_params
from electra_jax.interop import names
from electra_jax.models.config import ElectraConfig, encoder_config
from electra_jax.models.task_heads import HeadConfig
from electra_jax.pretraining.trainer import abstract_params
from electra_jax.runs.networks import electra_config
from electra_jax.trees import path_names
from tests import helpers

# Released variables without slots and step, by size; V is BERT's.
NUM_VARIABLES = {"small": 402, "small_pp": 402, "base": 400, "large": 784}


def params_of(size: str):
  config = helpers.load_config(f"configs/pretrain.py:{size}")
  return abstract_params(electra_config(config, 30522))


@pytest.mark.parametrize(("size", "count"), NUM_VARIABLES.items())
def test_every_size_has_the_released_variables(size, count):
  params = params_of(size)
  released = {names.released_name(path) for path, _ in path_names(params)}
  assert len(released) == len(path_names(params)) == count


def test_golden_names_and_shapes_are_the_released_ones():
  listed = helpers.read_json(helpers.TINY / "variables.json")
  expected = {
      x["name"]: tuple(x["shape"])
      for x in listed
      if not x["name"].endswith(("/adam_m", "/adam_v", "global_step"))
  }
  params = helpers.abstract_params(helpers.golden_model())
  ours = {names.released_name(p): leaf.shape for p, leaf in path_names(params)}
  assert ours == expected


def test_a_network_has_every_hugging_face_name_once():
  params = params_of("small")
  for network, head in (
      ("discriminator", "discriminator_head"),
      ("generator", "generator_head"),
  ):
    part = {name: params[name] for name in ("embeddings", network, head)}
    paths = [path for path, _ in path_names(part)]
    theirs = {names.hugging_face_name(path) for path in paths}
    assert len(theirs) == len(paths)
    assert "electra.encoder.layer.11.attention.output.LayerNorm.bias" in theirs
    assert "electra.embeddings_project.weight" in theirs


HEADS = {
    "masked_lm": {},
    "two_tower": {"has_two_towers": True},
    "token_head": {"has_token_head": True},
}


def family_params(**parts):
  encoder = encoder_config(50, 1, 64, 32)
  return abstract_params(ElectraConfig(encoder, encoder, "none", **parts))


@pytest.mark.parametrize("name", HEADS)
def test_every_network_of_the_family_has_names_of_its_own(name):
  paths = [path for path, _ in path_names(family_params(**HEADS[name]))]
  assert len({names.released_name(path) for path in paths}) == len(paths)


@pytest.mark.parametrize(
    ("path", "released"),
    [
        ("cloze_head/output_bias", "cloze_predictions/output_bias"),
        ("cloze_head/dense/kernel", "cloze_predictions/dense/kernel"),
        ("cloze_head/layer_norm/scale", "cloze_predictions/LayerNorm/gamma"),
        (
            "generator_rtl/layer_0/intermediate/bias",
            "generator_rtl/encoder/layer_0/intermediate/dense/bias",
        ),
        (
            "generator_ltr/embeddings_project/kernel",
            "generator_ltr/embeddings_project/kernel",
        ),
        ("token_head/layer_norm/bias", "token_predictions/LayerNorm/beta"),
    ],
)
def test_towers_and_token_heads_are_named_as_a_generator(path, released):
  assert names.released_name(path) == released


def test_two_towers_have_no_hugging_face_head():
  with pytest.raises(UserError, match=r"'cloze_head/.*' has no hugging_face"):
    names.hugging_face_name("cloze_head/dense/kernel")


def test_only_kernels_are_transposed():
  kernel, table = np.ones((2, 3)), np.ones((5, 3))
  tensors = names.hugging_face_from_params(
      {
          "discriminator": {"layer_0": {"intermediate": {"kernel": kernel}}},
          "embeddings": {"word_embeddings": {"embedding": table}},
      }
  )
  assert {name: tensor.shape for name, tensor in tensors.items()} == {
      "electra.encoder.layer.0.intermediate.dense.weight": (3, 2),
      "electra.embeddings.word_embeddings.weight": (5, 3),
  }


def test_a_span_head_has_a_released_name_alone():
  encoder = encoder_config(100, 1, 64, 64)
  heads = [HeadConfig("squad", "questions", 1)]
  head = jax.eval_shape(lambda: init_params(encoder, heads, 0))["task_specific"]
  for path, _ in path_names({"task_specific": head}):
    assert names.released_name(path).startswith("task_specific/squad/")
    with pytest.raises(UserError, match="has no hugging_face name"):
      names.hugging_face_name(path)


def test_a_path_without_a_row_is_an_error():
  with pytest.raises(UserError, match="'decoder/kernel' has no released name"):
    names.released_name("decoder/kernel")
  with pytest.raises(UserError, match="no hugging_face name; add it"):
    names.hugging_face_name("decoder/kernel")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "bert.embeddings.LayerNorm.gamma",
            "electra.embeddings.LayerNorm.weight",
        ),
        (
            "cls.predictions.transform.LayerNorm.beta",
            "generator_predictions.LayerNorm.bias",
        ),
        ("cls.predictions.decoder.weight", "generator_lm_head.weight"),
        ("cls.predictions.bias", "generator_lm_head.bias"),
        ("electra.encoder.x.bias", "electra.encoder.x.bias"),
    ],
)
def test_berts_names(theirs, ours):
  assert names.electra_name(theirs) == ours
