"""Runs trained with rounding, and through a bottleneck, as exported files."""

import json

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.exporting.export import export
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from tests.exporting.export_test import need
from tests.exporting.workdirs import TEXTS, finetuned, pretrained

# Sums of whole numbers are exact: what differs is a rounding of an activation
# that lies between two steps, and what follows from it.
TOLERANCES = {"int8": 0.02, "int4": 0.02}


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["int8", "int4"])
@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_a_file_computes_what_was_trained(
    tmp_path, tokenizer, network, quantization
):
  need("litert")
  values = {"model.quantization": quantization}
  run = pretrained(tmp_path / "run", tokenizer, **values)
  plain = pretrained(tmp_path / "plain", tokenizer)
  small = {"int8": True} if quantization == "int8" else {"int4": True}
  common = {"to": "litert", "network": network, "texts": TEXTS, **small}
  rounded = export(run, tmp_path / "rounded", **common).files
  other = export(plain, tmp_path / "other", **common).files
  assert rounded[0].found.largest < 1e-4  # Without rounding on either side.
  assert rounded[1].dtype == quantization
  assert rounded[1].found.largest < TOLERANCES[quantization]
  assert rounded[1].found.largest < other[1].found.largest / 5
  if quantization == "int4":
    assert rounded[1].size < rounded[0].size / 4


@pytest.mark.slow
def test_heads_of_tasks_are_rounded_alike(tmp_path):
  need("litert")
  values = {"model.quantization": "int4"}
  run = finetuned(tmp_path / "run", "sst", "sts", "ner", **values)
  done = export(run, tmp_path / "out", to="litert", int4=True, check=8)
  whole, small = done.files
  assert whole.found.largest < 1e-4
  assert small.found.largest < 0.02
  assert small.found.scores == pytest.approx(done.own.scores, abs=1e-2)
  told = json.loads((tmp_path / "out/manifest.json").read_text())
  assert [file["dtype"] for file in told["files"]] == ["float32", "int4"]


def test_small_files_that_are_not_made_are_named(tmp_path, tokenizer):
  run = pretrained(tmp_path / "run", tokenizer)
  for to in ("onnx", "stablehlo"):
    need(to)
    with pytest.raises(
        UserError, match=rf"--int4 has no meaning for --to {to}, .* --to litert"
    ):
      export(run, tmp_path / "out", to=to, int4=True, texts=TEXTS)


def test_a_bottleneck_goes_out_as_its_mean(tmp_path):
  need("onnx")
  values = {"bottleneck.dimensions": 8}
  run = finetuned(tmp_path / "run", "sst", "sts", **values)
  done = export(run, tmp_path / "out", to="onnx", check=8)
  assert 0 < done.files[0].found.largest < 1e-4
  assert done.files[0].found.differing == 0
  model = FinetunedModel(run)
  (record,) = model.predict(
      parse_inputs(model.task("sst"), ["a fine film"]), "sst"
  ).records
  assert np.isclose(sum(record["probabilities"].values()), 1.0)
