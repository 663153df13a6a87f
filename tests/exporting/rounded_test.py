"""Runs trained with rounding, and through a bottleneck, as exported files."""

import dataclasses
import json

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.exporting.export import export
from electra_jax.exporting.litert_file import quantize_litert, write_litert
from electra_jax.exporting.networks import read_network
from electra_jax.exporting.runtimes import open_litert
from electra_jax.exporting.trials import try_pretrained
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.runs import workdir as workdirs
from tests.exporting.export_test import need
from tests.exporting.workdirs import TEXTS, finetuned, pretrained

TOLERANCE = 1e-4  # Of a logit.
# An activation in the middle between two steps may be rounded either way, and
# then what follows in its row differs by as much as rounding does.
LEAST_SHARE = 0.75  # Of logits within the tolerance.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "quantization"),
    [
        ("discriminator", "int8"),
        ("discriminator", "int4"),
        ("generator", "int8"),
    ],
)
def test_a_file_computes_what_was_trained(
    tmp_path, tokenizer, network, quantization
):
  need("litert")
  values = {"model.quantization": quantization, "model.num_layers": 2}
  folder = pretrained(tmp_path / "run", tokenizer, **values)
  run = workdirs.load(folder)
  plain, state = read_network(folder, run, name=network)
  config = dataclasses.replace(plain.config, quantization=quantization)
  rounded = dataclasses.replace(plain, config=config)
  whole, small = tmp_path / "model.tflite", tmp_path / "small.tflite"
  write_litert(whole, plain, (32,))
  quantize_litert(whole, small, quantization)
  of_file = open_litert(small, plain, (32,))
  common = {"count": 64, "lengths": (32,), "texts": TEXTS}
  differences = {}
  for name, one in (("rounded", rounded), ("plain", plain)):
    (trial,) = try_pretrained(one, state, run, **common).batches
    found = np.abs(of_file(trial.inputs)["logits"] - trial.expected)
    if network == "discriminator":
      found = found[trial.inputs["input_mask"] > 0]
    differences[name] = found
  assert np.mean(differences["rounded"] < TOLERANCE) > LEAST_SHARE
  assert np.mean(differences["plain"] < TOLERANCE) < 0.2
  if quantization == "int4":
    assert small.stat().st_size < whole.stat().st_size / 4


@pytest.mark.slow
def test_heads_of_tasks_are_rounded_alike(tmp_path):
  need("litert")
  values = {"model.quantization": "int4"}
  run = finetuned(tmp_path / "run", "sst", "sts", "ner", **values)
  done = export(run, tmp_path / "out", to="litert", int4=True, check=8)
  whole, small = done.files
  assert whole.found.largest < 1e-4
  assert small.found.largest < 0.05
  plain = export(run, tmp_path / "other", to="litert", int8=True, check=8)
  assert small.found.largest < plain.files[1].found.largest
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
