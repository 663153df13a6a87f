"""Conversion of runs: pre-trained ones there and back, taggers with labels."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

from electra_jax.api import evaluate
from electra_jax.errors import UserError
from electra_jax.finetuning.finetune import finetune
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.interop import convert as convert_module
from electra_jax.interop import tf_checkpoint
from electra_jax.interop.convert import convert
from electra_jax.interop.model import FinetunedState
from electra_jax.interop.workdir import read_pretrained
from electra_jax.models.config import encoder_config
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.tasks.registry import find_task
from tests import helpers
from tests.exporting.workdirs import finetuned


@pytest.mark.slow
def test_a_run_that_went_abroad_is_the_same_run(tiny_run, store, tmp_path):
  """Out to each format and in again: state, figures and answers are equal."""
  original = read_pretrained(tiny_run, workdirs.load(tiny_run))
  config = helpers.tiny_config()
  figures = evaluate(tiny_run)
  detections = PretrainedModel(tiny_run).detect(["one two three"])
  for to in ("google", "huggingface"):
    convert(tiny_run, tmp_path / to, to=to)
    back = tmp_path / f"{to}_back"
    convert(tmp_path / to, back, to="workdir", config=config)
    model = read_pretrained(back, workdirs.load(back))
    helpers.assert_equal_trees(model.params, original.params)
    if to == "google":
      assert model.step == original.step == 4
      helpers.assert_equal_trees(model.moments, original.moments)
    assert PretrainedModel(back).detect(["one two three"]) == detections
    again = evaluate(back, store=store)
    expected = {n: x for n, x in figures.items() if n != "unigram_entropy"}
    assert again == expected
    with pytest.raises(UserError, match="no token store is named"):
      evaluate(back)
    with pytest.raises(UserError, match="no token store is named"):
      PretrainedModel(back).detect_held_out(1)
    finetuning = helpers.load_config("configs/finetune.py:task=rte,size=small")
    finetuning = helpers.override(
        finetuning, helpers.NARROW_ENCODER | {"init_from": str(back)}
    )
    assert find_encoder(finetuning).encoder.vocab_size == (
        original.config.discriminator.vocab_size
    )


@pytest.fixture(scope="module", name="tagger")
def a_finetuned_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("convert") / "ner"
  config = helpers.finetune_config("ner", **{"train.num_epochs": 4.0})
  finetune(config, workdir, quiet=True)
  return workdir


@pytest.mark.slow
def test_a_tagger_goes_out_with_its_labels(tagger, tmp_path):
  run = workdirs.load(tagger)
  labels = run.facts["tasks"][0]["labels"]
  done = convert(tagger, tmp_path / "hf", to="huggingface")
  assert done.step > 0
  is_exact = run.config.model.dtype == "float32"
  assert is_exact == (done.notes == ())
  told = json.loads((tmp_path / "hf/config.json").read_text())
  assert told["architectures"] == ["ElectraForTokenClassification"]
  assert list(told["id2label"].values()) == labels
  assert told["label2id"][labels[-1]] == len(labels) - 1
  tensors = safetensors.numpy.load_file(tmp_path / "hf/model.safetensors")
  width = told["hidden_size"]
  assert tensors["classifier.weight"].shape == (len(labels), width)
  settings = json.loads((tmp_path / "hf/tokenizer_config.json").read_text())
  assert settings["model_max_length"] == run.config.data.max_length
  assert settings["split_special_tokens"]
  assert (tmp_path / "hf/tokenizer.json").exists()
  convert(tagger, tmp_path / "google", to="google", seed=0)
  prefix = tf_checkpoint.find_prefix(tmp_path / "google")
  variables = tf_checkpoint.read_variables(prefix)
  assert variables["global_step"] == done.step
  np.testing.assert_array_equal(
      variables["task_specific/ner/dense/kernel"],
      tensors["classifier.weight"].T,
  )
  config = helpers.load_config("configs/pretrain.py:small_pp")
  done = convert(
      tmp_path / "google", tmp_path / "run", to="workdir", config=config
  )
  assert done.fresh == ("discriminator_head",)
  assert done.left_out == ("task_specific/ner",)
  kept = read_pretrained(tmp_path / "run", workdirs.load(tmp_path / "run"))
  embeddings = kept.params["embeddings"]["word_embeddings"]["embedding"]
  np.testing.assert_array_equal(
      embeddings, tensors["electra.embeddings.word_embeddings.weight"]
  )
  with pytest.raises(UserError, match="no model of seed 5"):
    convert(tagger, tmp_path / "no", to="google", seed=5)


@pytest.mark.parametrize("names", [("squad",), ("ner", "pos")])
def test_heads_that_differ_there_are_named(
    names, tagger, tmp_path, monkeypatch
):
  tasks = tuple(find_task(name, {}) for name in names)
  encoder = encoder_config(
      workdirs.load(tagger).tokenizer.vocab_size, 1, 64, 64
  )
  params = {"task_specific": {name: {} for name in names}}
  model = FinetunedState(encoder, tasks, params, 0, 64)
  monkeypatch.setattr(
      convert_module.runs, "read_finetuned", lambda *args: model
  )
  with pytest.raises(UserError, match=rf"has learned {names[0]} (with|\()"):
    convert(tagger, tmp_path / "hf", to="huggingface")
  assert list(tmp_path.iterdir()) == []


def test_windows_that_are_pooled_here_alone_are_told(
    tagger, tmp_path, monkeypatch
):
  read = convert_module.runs.read_finetuned
  done = convert(tagger, tmp_path / "first", to="huggingface")
  assert not any("windows" in note for note in done.notes)
  monkeypatch.setattr(
      convert_module.runs,
      "read_finetuned",
      lambda *given: read(*given)._replace(windows="mean"),
  )
  done = convert(tagger, tmp_path / "mean", to="huggingface")
  (note,) = [note for note in done.notes if "windows" in note]
  assert "config.data.windows=mean" in note and "first 64 tokens" in note


def test_a_failure_in_the_middle_leaves_nothing(
    tiny_run, tmp_path, monkeypatch
):
  def fail(*args):
    raise OSError("No space left on device")

  monkeypatch.setattr(convert_module, "write_tokenizer", fail)
  with pytest.raises(UserError, match=r"new cannot be written .No space"):
    convert(tiny_run, tmp_path / "new", to="huggingface")
  assert list(tmp_path.iterdir()) == []
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=r"cannot be written .*File exists"):
    convert(tiny_run, tmp_path / "file/new", to="google")


def test_a_run_without_a_checkpoint_is_named(tiny_run, tmp_path):
  loaded = workdirs.load(tiny_run)
  workdirs.begin(
      tmp_path / "run",
      workdirs.PRETRAINING,
      loaded.config,
      loaded.tokenizer,
      loaded.facts,
  )
  with pytest.raises(UserError, match="there is no checkpoint in"):
    convert(tmp_path / "run", tmp_path / "new", to="google")


def test_rounding_that_is_done_here_alone_is_told(
    tagger, tmp_path, monkeypatch
):
  read = convert_module.runs.read_finetuned

  def read_rounded(*given):
    model = read(*given)
    encoder = dataclasses.replace(model.encoder, quantization="int4")
    return model._replace(encoder=encoder)

  monkeypatch.setattr(convert_module.runs, "read_finetuned", read_rounded)
  done = convert(tagger, tmp_path / "hf", to="huggingface")
  assert any("trained with int4 weights" in note for note in done.notes)


def test_vectors_of_texts_go_to_no_class_and_as_an_encoder_alone(tmp_path):
  for name, values in (
      ("plain", {}),
      ("projected", {"embedding.projection": True}),
  ):
    run = finetuned(tmp_path / name, "embedding", **values)
    with pytest.raises(UserError, match="Hugging Face has no class"):
      convert(run, tmp_path / "hf", to="huggingface")
    done = convert(run, tmp_path / f"{name}_google", to="google")
    (note,) = done.notes
    assert "mean of layer -1" in note and "encoder alone" in note
    prefix = tf_checkpoint.find_prefix(tmp_path / f"{name}_google")
    names = tf_checkpoint.read_index(prefix)
    assert not any(x.startswith("task_specific") for x in names)
