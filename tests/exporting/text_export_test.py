"""Exported runs that write text: they write what `predict` does."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.exporting import export as exporting
from electra_jax.exporting import text_export
from electra_jax.exporting.export import export
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.runs import workdir as workdirs
from tests import helpers
from tests.exporting.writers import writer

TEXTS = ("we the people", "the law, of the house of states and the power")
HOW = {
    "generation.beam_size": 3,
    "generation.min_length": 2,
    "generation.no_repeat_ngram": 2,
}


@pytest.fixture(autouse=True)
def needed():
  pytest.importorskip("onnxruntime")
  pytest.importorskip("onnx")


def opened(folder):
  """Runs the example of a folder, and returns what it defines."""
  source = (folder / "example.py").read_text()
  space = {"__name__": "example", "__file__": str(folder / "example.py")}
  exec(compile(source, "example.py", "exec"), space)
  return space


@pytest.fixture(scope="module", name="run")
def a_run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("text")
  narrow = {"model.num_layers": 1, **HOW}
  return writer(folder / "run", helpers.GOLDEN / "vocab.txt", **narrow)


@pytest.fixture(scope="module", name="tried")
def what_the_run_writes(run):
  """As an export has it, so that a test need not compile it again."""
  given = {"seed": None, "texts": None, "check": None}
  return text_export.prepare_text(run, workdirs.load(run), **given)


@pytest.fixture(name="quick")
def an_export_that_knows_what_the_run_writes(monkeypatch, tried):
  monkeypatch.setattr(exporting, "prepare_text", lambda *a, **b: tried)


@pytest.mark.usefixtures("quick")
def test_the_example_writes_what_predict_writes(run, tmp_path):
  done = export(run, tmp_path / "out", to="onnx", int8=True)
  check_answers(run, tmp_path / "out", done)
  small = done.files[2:]
  assert [x.name for x in small] == ["encoder.int8.onnx", "decoder.int8.onnx"]
  assert small[1].size < done.files[1].size / 2 and small[1].found.answers == 12
  told = json.loads((tmp_path / "out/manifest.json").read_text())
  checks = told["checks"]
  assert checks["rows"] == "12 sources of translate/dev, written greedily"
  assert checks["decoder.onnx"]["differing_answers"] == 0
  assert checks["decoder.onnx"]["scores"] == checks["run"]["scores"]
  assert set(checks["run"]["scores"]) == {
      "translate/dev/chrf", "translate/dev/bleu",
  }  # fmt: skip
  assert checks["encoder.int8.onnx"]["largest_logit_difference"] > 0
  assert told["decoding"]["beam_size"] == 3
  lines = done.table().splitlines()
  assert lines[0].startswith("Tried on 12 sources") and len(lines) == 7


def check_answers(run, folder, done):
  encoder, decoder, *_ = done.files
  assert 0 < encoder.found.largest < 1e-4 and decoder.found.largest < 1e-4
  assert (decoder.found.differing, decoder.found.answers) == (0, 12)
  model, example = FinetunedModel(run), opened(folder)
  for text in TEXTS:
    (record,) = model.predict(parse_inputs(model.task(), [text])).records
    found = example["answer"](text)["translate"]
    assert found["written"] == record["written"] != ""
    assert found["score"] == pytest.approx(record["score"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["unilm", "separate", "recurrent"])
def test_every_architecture_writes_what_predict_writes(architecture, tmp_path):
  vocabulary = helpers.GOLDEN / "vocab.txt"
  changes = {"generation.architecture": architecture, **HOW}
  run = writer(tmp_path / "run", vocabulary, **changes)
  done = export(run, tmp_path / "out", to="onnx")
  check_answers(run, tmp_path / "out", done)


@pytest.mark.slow
def test_a_run_of_rounded_weights_is_compared_without_rounding(tmp_path):
  changes = {"model.quantization": "int8", "model.num_layers": 1, **HOW}
  run = writer(tmp_path / "run", helpers.GOLDEN / "vocab.txt", **changes)
  one = text_export.prepare_text(
      run, workdirs.load(run), seed=None, texts=TEXTS, check=None
  )
  assert np.abs(one.trials.logits - one.plain.logits).max() > 1e-4
  done = export(run, tmp_path / "out", to="onnx", texts=TEXTS)
  assert done.files[1].found.largest < 1e-4


@pytest.mark.slow
def test_pairs_of_given_texts_and_a_sentencepiece_vocabulary(tmp_path):
  vocabulary = tmp_path / "own.model"
  vocabulary.write_bytes(helpers.sentencepiece_model())
  changes = {
      "table.other_text": "other",
      "generation.method": "greedy",
      "generation.architecture": "unilm",
  }
  run = writer(tmp_path / "run", vocabulary, "answer", **changes)
  texts = ["who\t" + "the Senate and the House " * 9, "the law\tof power"]
  done = export(run, tmp_path / "out", to="onnx", texts=texts)
  assert done.origin == "2 sources that were given, written greedily"
  assert done.files[1].found.differing == 0
  model, example = FinetunedModel(run), opened(tmp_path / "out")
  for text in texts:
    (record,) = model.predict(parse_inputs(model.task(), [text])).records
    found = example["answer"](*text.split("\t", 1))["answer"]
    assert found["written"] == record["written"] != ""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_a_file_that_answers_otherwise_is_refused(
    name, run, tmp_path, monkeypatch
):
  write = getattr(text_export, f"write_{name}")

  def write_other(path, network):
    params = jax.tree.map(lambda x: np.float32(1.001) * x, network.params)
    write(path, dataclasses.replace(network, params=params))

  monkeypatch.setattr(text_export, f"write_{name}", write_other)
  with pytest.raises(UserError, match=f"exported {name}.onnx differ"):
    export(run, tmp_path / "out", to="onnx")
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "litert"}, "--to litert takes no run that writes text"),
        ({"to": "stablehlo"}, "--to stablehlo takes no run that writes"),
        ({"to": "web"}, "--to web takes no run that writes text"),
        ({"network": "generator"}, "--network generator is no part of a run"),
        ({"lengths": (8,)}, "--lengths 8 has no meaning"),
        ({"pooling": "cls"}, "--pooling has no meaning"),
        ({"int4": True}, "--int4 has no meaning for --to onnx"),
        ({"seed": 7}, "no model of seed 7"),
    ],
)
def test_what_does_not_fit_is_refused(run, tmp_path, options, message):
  with pytest.raises(UserError, match=message):
    export(run, tmp_path / "out", **{"to": "onnx", **options})
  assert not (tmp_path / "out").exists()
