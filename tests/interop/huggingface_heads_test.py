"""Heads of tasks as Hugging Face's classes, computed as transformers does."""

import json

import jax
import numpy as np
import pytest
import tokenizers
from etils import epath

from electra_jax.errors import UserError
from electra_jax.finetuning.trainer import init_params
from electra_jax.interop import huggingface
from electra_jax.interop.convert import write_hugging_face
from electra_jax.interop.huggingface_heads import export_head
from electra_jax.interop.model import FinetunedState
from electra_jax.models.config import encoder_config
from electra_jax.models.task_heads import HeadConfig
from electra_jax.tasks.task import Task
from electra_jax.text.tokenizer import load_tokenizer
from tests import helpers

WIDTH = 64
SEGMENTS = "electra.embeddings.token_type_embeddings.weight"


def make_task(kind, labels=(), label_range=None):
  return Task(
      *("t", kind, (), lambda source, split: [], tuple(labels)),
      label_range=label_range,
  )


def make_params(size):
  """Parameters of which only the head and the tables count."""
  rng = np.random.default_rng(0)
  kernel = rng.normal(size=(WIDTH, size)).astype(np.float32)
  table = rng.normal(size=(2, 8)).astype(np.float32)
  return {
      "embeddings": {"token_type_embeddings": {"embedding": table}},
      "task_specific": {
          "t": {"dense": {"kernel": kernel, "bias": kernel[0] * 3}}
      },
  }


def their_classifier(tensors, first):
  """transformers, modeling_electra.py:ElectraClassificationHead."""
  hidden = first @ tensors["classifier.dense.weight"].T
  hidden += tensors["classifier.dense.bias"]
  hidden = np.asarray(jax.nn.gelu(hidden, approximate=False))
  out = hidden @ tensors["classifier.out_proj.weight"].T
  return out + tensors["classifier.out_proj.bias"]


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (make_task("classification", "abc"), "single_label_classification"),
        (make_task("classification", map(str, range(32))), "single_label_cla"),
        (make_task("multilabel", "ab"), "multi_label_classification"),
        (make_task("regression", label_range=(1.0, 5.0)), "regression"),
    ],
)
def test_two_layers_there_are_our_one(task, problem):
  size = len(task.labels) or 1
  params = make_params(size)
  head = export_head((task,), params)
  assert head.class_name == "ElectraForSequenceClassification"
  assert head.settings["problem_type"].startswith(problem)
  assert len(head.settings["id2label"]) == size
  first = 3 * np.random.default_rng(1).normal(size=(9, WIDTH))
  dense = params["task_specific"]["t"]["dense"]
  ours = first @ dense["kernel"] + dense["bias"]
  if task.kind == "regression":
    ours = 1 + 4 * ours  # tasks/predictions.py.
  theirs = their_classifier(head.tensors, first.astype(np.float32))
  np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=2e-5)


def test_too_many_classes_are_refused():
  task = make_task("classification", map(str, range(33)))
  with pytest.raises(UserError, match=r"t has 33 classes, .* room for 32 of"):
    export_head((task,), make_params(33))


def test_every_segment_there_is_the_one_that_tagging_reads():
  params = make_params(3)
  head = export_head((make_task("tagging", "OAB"),), params)
  ours = params["embeddings"]["token_type_embeddings"]["embedding"]
  np.testing.assert_array_equal(head.tensors[SEGMENTS], ours[[1, 1, 0]])
  assert head.settings["type_vocab_size"] == 3
  np.testing.assert_array_equal(
      head.tensors["classifier.weight"],
      params["task_specific"]["t"]["dense"]["kernel"].T,
  )
  other = export_head((make_task("classification", "OAB"),), params)
  np.testing.assert_array_equal(other.tensors[SEGMENTS], ours)


@pytest.fixture(name="tagger")
def an_exported_tagger(tmp_path):
  tokenizer = load_tokenizer(helpers.GOLDEN / "vocab.txt")
  encoder = encoder_config(
      tokenizer.vocab_size, 1, WIDTH, 32, max_position_embeddings=64
  )
  heads = [HeadConfig("t", "tagging", 3)]
  params = helpers.random_tree(
      jax.eval_shape(lambda: init_params(encoder, heads, 0))
  )
  state = FinetunedState(encoder, (make_task("tagging", "OAB"),), params, 9, 48)
  write_hugging_face(epath.Path(tmp_path), state, tokenizer)
  return tmp_path, state, tokenizer


def test_an_exported_tagger_is_a_start_with_both_segments(tagger):
  folder, state, _ = tagger
  back = huggingface.read_model(folder, seed=0)
  assert back.left_out == ("classifier",)
  assert back.config.discriminator.type_vocab_size == 2
  helpers.assert_equal_trees(
      back.params["embeddings"], state.params["embeddings"]
  )


def test_its_tokenizer_reads_special_tokens_as_letters(tagger):
  folder, _, own = tagger
  settings = json.loads((folder / "tokenizer_config.json").read_text())
  assert settings["split_special_tokens"]
  assert settings["model_max_length"] == 48
  theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
  # What transformers makes of split_special_tokens.
  theirs.encode_special_tokens = True
  for case in helpers.read_json(helpers.GOLDEN / "tokenization.json")["cases"]:
    ids = theirs.encode(case["text"], add_special_tokens=False).ids
    assert ids == case["ids"]["lower_strip"] == own.encode(case["text"])
