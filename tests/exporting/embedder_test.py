"""Embedders as files: they answer as `embed` does, to the last digits."""

import json
import subprocess
import sys

import numpy as np
import pytest

from electra_jax import open_run
from electra_jax.errors import UserError
from electra_jax.exporting.export import export
from tests.exporting.workdirs import TEXTS, finetuned, pretrained


@pytest.fixture(scope="module", name="run")
def a_pretrained_run(tmp_path_factory, tokenizer):
  workdir = tmp_path_factory.mktemp("embedder") / "run"
  return pretrained(workdir, tokenizer, **{"model.num_layers": 2})


def vectors_of(folder, model, texts):
  """What the file says of texts in one padded batch."""
  import onnxruntime

  special = model.tokenizer.special
  rows = [
      [special.cls, *model.tokenizer.encode(text), special.sep]
      for text in texts
  ]
  width = max(map(len, rows)) + 3
  ids = np.full((len(rows), width), special.pad, np.int32)
  for row, pieces in zip(ids, rows, strict=True):
    row[: len(pieces)] = pieces
  lengths = np.array([len(row) for row in rows])[:, None]
  mask = (np.arange(width)[None] < lengths).astype(np.int32)
  session = onnxruntime.InferenceSession(folder / "model.onnx")
  inputs = {"input_ids": ids, "input_mask": mask, "segment_ids": 0 * mask}
  return session.run(["vectors"], inputs)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "mean", "layer": -2},
        {"pooling": "max", "dimensions": 7},
        {"pooling": "cls", "normalized": False},
    ],
)
def test_a_file_embeds_as_the_run_does(run, tmp_path, options):
  pytest.importorskip("onnxruntime")
  out = tmp_path / "out"
  done = export(run, out, to="onnx", network="embedder", texts=TEXTS, **options)
  (file,) = done.files
  assert file.found.largest < 1e-4 and file.found.answers == len(TEXTS)
  model = open_run(run)
  expected = model.embed(TEXTS, **options)
  np.testing.assert_allclose(vectors_of(out, model, TEXTS), expected, atol=1e-4)
  told = json.loads((out / "manifest.json").read_text())
  assert told["head"] == "embedding" and not told["tasks"]
  assert told["vectors"] == {
      "layer": -1,
      "dimensions": 64,
      "normalized": True,
  } | options | {"pooling": options["pooling"]}
  # Layers above the one that is read are left out.
  names = {"layer": options.get("layer", -1)}
  import onnx

  stored = {x.name for x in onnx.load(out / "model.onnx").graph.initializer}
  assert any("layer_1/" in x for x in stored) == (names["layer"] == -1)


def test_a_trained_embedder_is_exported_as_it_was_trained(tmp_path):
  pytest.importorskip("onnxruntime")
  run = finetuned(
      tmp_path / "run",
      "embedding",
      **{"embedding.pooling": "cls", "embedding.dimensions": (4, 16)},
  )
  done = export(run, tmp_path / "out", to="onnx")
  assert done.network == "embedder"
  assert done.origin == "24 rows of embedding/dev"
  texts = ["the small house", "river"]
  model = open_run(run)
  expected = model.embed(texts)
  assert expected.shape == (2, 16)
  found = vectors_of(tmp_path / "out", model, texts)
  np.testing.assert_allclose(found, expected, atol=1e-4)
  printed = subprocess.run(
      [sys.executable, tmp_path / "out/example.py", *texts],
      capture_output=True,
      text=True,
      check=True,
  ).stdout
  cosine = float(expected[0] @ expected[1])
  assert float(printed.split()[1]) == pytest.approx(cosine, abs=2e-4)


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_a_run_with_rounded_weights_is_exported_without_rounding(
    tmp_path, tokenizer, kind
):
  pytest.importorskip("onnxruntime")
  values = {"model.quantization": "int8"}
  if kind == "pretrain":
    run = pretrained(tmp_path / "run", tokenizer, **values)
  else:
    run = finetuned(tmp_path / "run", "embedding", **values)
  out = tmp_path / "out"
  done = export(run, out, to="onnx", network="embedder", int8=True, texts=TEXTS)
  whole, small = done.files
  assert whole.found.largest < 1e-4
  # `embed` rounds as training did.
  model = open_run(run)
  rounded = np.abs(vectors_of(out, model, TEXTS) - model.embed(TEXTS)).max()
  assert rounded > 1e-4
  assert small.found.largest > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 1}, "--layer has no meaning .* --network embedder"),
        ({"normalized": False}, "--raw has no meaning"),
        (
            {"network": "embedder", "layer": 3},
            "--layer is 3 and this model has 2",
        ),
        (
            {"network": "embedder", "dimensions": 65},
            "--dimensions is 65 and this model's vectors have 64",
        ),
    ],
)
def test_what_does_not_fit_is_told(run, tmp_path, options, message):
  pytest.importorskip("onnxruntime")
  with pytest.raises(UserError, match=message):
    export(run, tmp_path / "out", to="onnx", texts=TEXTS, **options)
  assert not (tmp_path / "out").exists()
