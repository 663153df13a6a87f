"""Exported folders: they answer as the run does, and say what they are."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.exporting import targets as targets_module
from electra_jax.exporting.export import export
from electra_jax.exporting.findings import Finding
from electra_jax.exporting.networks import network_of_pretraining
from electra_jax.exporting.onnx_file import write_onnx
from electra_jax.exporting.runtimes import open_onnx, open_stablehlo
from electra_jax.exporting.stablehlo_file import PROGRAM, WEIGHTS
from electra_jax.exporting.targets import TARGETS
from electra_jax.exporting.trials import PretrainedTrials, run_own
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.interop.model import PretrainedState
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import electra_config
from electra_jax.tasks.squad_scoring import NO_ANSWER_THRESHOLD
from tests import helpers
from tests.exporting.workdirs import TEXTS, finetuned, pretrained

ALL_TASKS = ("sst", "sts", "ner", "squad")
HEAVY = {"litert": pytest.mark.slow, "stablehlo": pytest.mark.slow}


def need(target):
  for name in (
      TARGETS[target].packages | TARGETS[target].int8_packages
  ).values():
    pytest.importorskip(name)


targets = pytest.mark.parametrize(
    "target",
    [
        pytest.param(t, marks=HEAVY.get(t, ()))
        for t in ("onnx", "litert", "stablehlo")
    ],
)


@pytest.fixture(scope="module", name="run")
def a_pretrained_run(tmp_path_factory, tokenizer):
  return pretrained(tmp_path_factory.mktemp("export") / "run", tokenizer)


@pytest.fixture(scope="module", name="tasks")
def a_run_of_all_kinds_of_tasks(tmp_path_factory):
  return finetuned(tmp_path_factory.mktemp("export") / "tasks", *ALL_TASKS)


def run_example(folder, *arguments):
  # Nothing of this package is to be found there.
  environment = {
      name: x for name, x in os.environ.items() if name != "PYTHONPATH"
  }
  done = subprocess.run(
      [sys.executable, folder / "example.py", *arguments],
      capture_output=True,
      text=True,
      cwd=folder.parent,
      env=environment | {"JAX_PLATFORMS": "cpu"},
      check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def rows(folder, length, count=2):
  """Rows of random ids; the second half of each is padding."""
  told = json.loads((folder / "manifest.json").read_text())
  rng = np.random.default_rng(length)
  ids = rng.integers(5, told["tokenizer"]["pieces"], (count, length))
  mask = np.repeat([np.arange(length) < -(-length // 2) + 3], count, axis=0)
  return {
      "input_ids": ids.astype(np.int32),
      "input_mask": mask.astype(np.int32),
      "segment_ids": (mask & (ids % 2 == 0)).astype(np.int32),
  }


@targets
def test_the_detector_answers_as_predict_does(target, run, tmp_path):
  need(target)
  done = export(run, tmp_path / "out", to=target, texts=TEXTS)
  (file,) = done.files
  assert file.found.differing == 0 < file.found.answers
  assert file.found.largest < 1e-4
  told = json.loads((tmp_path / "out/manifest.json").read_text())
  assert told["source"]["step"] == 7 and told["head"] == "detection"
  assert told["checks"][file.name]["answers"] == file.found.answers
  assert [x["name"] for x in told["outputs"]] == ["logits"]
  (detection,) = PretrainedModel(run).detect([TEXTS[0]])
  lines = run_example(tmp_path / "out", TEXTS[0]).splitlines()
  assert [line.split()[0] for line in lines] == detection.tokens
  np.testing.assert_allclose(
      [float(line.split()[1]) for line in lines],
      detection.probabilities,
      atol=6e-4,
  )


def test_rows_that_were_held_out_are_compared_and_no_path_is_told(
    tiny_run, tmp_path
):
  need("onnx")
  done = export(tiny_run, tmp_path / "out", to="onnx", check=3)
  store = pathlib.Path(workdirs.load(tiny_run).config.data.store)
  assert done.origin == f"3 rows of the validation split of {store.name}"
  assert done.files[0].found.differing == 0 < done.files[0].found.answers
  text = (tmp_path / "out/manifest.json").read_text()
  assert json.loads(text)["source"]["run"] == pathlib.Path(tiny_run).name
  assert str(store.parent) not in text
  assert str(pathlib.Path(tiny_run).parent) not in text


@targets
def test_the_generator_fills_in_as_predict_does(target, run, tmp_path):
  need(target)
  done = export(
      run, tmp_path / "out", to=target, texts=TEXTS, network="generator"
  )
  assert done.network == "generator"
  assert done.files[0].found.differing == 0
  text = "the [MASK] and the House"
  (fill,) = PretrainedModel(run).fill(text)
  assert str(fill.tokens) in run_example(tmp_path / "out", text)


@targets
def test_all_kinds_of_tasks_answer_as_predict_does(target, tasks, tmp_path):
  need(target)
  done = export(tasks, tmp_path / "out", to=target)
  (file,) = done.files
  assert file.found.differing == 0 and file.found.answers > 100
  assert 0 < file.found.largest < 1e-4
  assert dict(file.found.scores) == pytest.approx(dict(done.own.scores))
  assert {name.split("/")[0] for name in done.own.scores} == set(ALL_TASKS)
  assert "sst/dev/accuracy" in done.table()
  told = json.loads((tmp_path / "out/manifest.json").read_text())
  squad = told["tasks"][3]
  assert squad["outputs"]["start_index"] == "squad_start_index"
  assert squad["null_threshold"] == NO_ANSWER_THRESHOLD
  assert [t["first_segment"] for t in told["tasks"]] == [0, 0, 1, 0]
  assert told["lengths"]["shortest"] == 4  # Of the search.
  model = FinetunedModel(tasks)
  (record,) = model.predict(
      model_examples(model, "sst", "the old road"), "sst"
  ).records
  said = json.loads(run_example(tmp_path / "out", "the old road"))
  assert said["sst"]["label"] == record["label"]
  assert said["sst"]["probability"] == pytest.approx(
      record["probability"], abs=1e-4
  )


def model_examples(model, name, text):
  return parse_inputs(model.task(name), [text])


def files_told(folder):
  """Names in manifest.json, whose sizes and hashes are those of the files."""
  told = json.loads((folder / "manifest.json").read_text())["files"]
  for file in told:
    content = (folder / file["file"]).read_bytes()
    assert file["bytes"] == len(content)
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
  return [file["file"] for file in told]


def test_rows_of_any_length_and_number_are_taken(run, tmp_path):
  need("onnx")
  need("stablehlo")
  export(run, tmp_path / "onnx", to="onnx", texts=TEXTS)
  export(run, tmp_path / "jax", to="stablehlo", texts=TEXTS)
  assert files_told(tmp_path / "onnx") == ["model.onnx"]
  assert files_told(tmp_path / "jax") == [PROGRAM, WEIGHTS]
  onnx = open_onnx(tmp_path / "onnx/model.onnx")
  program = open_stablehlo(tmp_path / "jax")
  for length, count in ((1, 1), (5, 3), (512, 1)):
    inputs = rows(tmp_path / "onnx", length, count)
    got, expected = onnx(inputs)["logits"], program(inputs)["logits"]
    assert got.shape == (count, length)
    np.testing.assert_allclose(got, expected, atol=1e-5)
  inputs = rows(tmp_path / "onnx", 9)
  seen = np.nonzero(inputs["input_mask"])
  alone = onnx(inputs)["logits"][seen]
  inputs["input_ids"][inputs["input_mask"] == 0] = 1  # Padding is not seen.
  np.testing.assert_allclose(onnx(inputs)["logits"][seen], alone, atol=1e-6)


@pytest.mark.slow
def test_int8_is_smaller_and_told_beside_the_run(tasks, tmp_path):
  need("onnx")
  done = export(tasks, tmp_path / "out", to="onnx", int8=True, check=9)
  whole, small = done.files
  assert small.dtype == "int8" and small.size < 0.6 * whole.size
  assert small.found.largest > 1e-3 > whole.found.largest
  assert done.own.answers == small.found.answers
  lines = done.table().splitlines()
  assert "9 examples of sst/dev" in lines[0]
  assert [line.split()[0] for line in lines[2:]] == [
      "the",
      "model.onnx",
      "model.int8.onnx",
  ]


@pytest.mark.slow
def test_lengths_share_their_weights(run, tmp_path):
  need("litert")
  one = export(run, tmp_path / "one", to="litert", texts=TEXTS, int8=True)
  two = export(
      run,
      tmp_path / "two",
      to="litert",
      texts=TEXTS,
      int8=True,
      lengths=[16, 64],
  )
  for file, other in zip(one.files, two.files, strict=True):
    assert other.size < 1.3 * file.size
  assert two.files[0].found.answers > one.files[0].found.answers
  told = json.loads((tmp_path / "two/manifest.json").read_text())
  assert told["lengths"]["fixed"] == [16, 64]
  short, long = TEXTS[2], TEXTS[0]
  for text in (short, long):
    (detection,) = PretrainedModel(run).detect([text])
    lines = run_example(tmp_path / "two", text).splitlines()
    assert [line.split()[0] for line in lines] == detection.tokens


@pytest.mark.parametrize(
    "values",
    [
        {"model.embedding_sharing": "gradient_disentangled"},
        {"model.embedding_sharing": "none", "model.embedding_size": 64},
        {"model.embedding_sharing": "all"},
        {"objective.name": "replace_mlm"},
        {"model.initialization": "local", "model.embedding_size": 64},
    ],
    ids=lambda values: "-".join(map(str, values.values())),
)
def test_every_member_of_the_family_is_exported(values, tmp_path):
  need("onnx")
  config = electra_config(helpers.tiny_config(**values), helpers.VOCAB_SIZE)
  params = helpers.lively_params(config)
  state = PretrainedState(config, params, step=1)
  ids = np.asarray(helpers.batch_of(3, 16).input_ids, np.int32)
  inputs = {
      "input_ids": ids,
      "input_mask": (ids > 0).astype(np.int32),
      "segment_ids": np.zeros_like(ids),
  }
  for name in ("discriminator", "generator"):
    network = network_of_pretraining(state, name, 16)
    if len(network.inputs) > 3:
      inputs["positions"] = np.asarray([[1, 2]] * 3, np.int32)
    own = list(run_own(network, config, params, inputs))
    trials = PretrainedTrials(network, own, "")
    assert trials.own().largest == 0
    path = tmp_path / f"{name}.onnx"
    write_onnx(path, network)
    run = open_onnx(path)
    found = trials.of(
        lambda given, run=run, network=network: run(
            {p.name: given[p.name] for p in network.inputs}
        )
    )
    assert 0 < found.largest < 1e-5
    assert found.differing == 0


def refuse(capsys, *arguments):
  """Calls the verb, which ends by itself; returns the line that it prints."""
  with pytest.raises(SystemExit) as stop:
    cli.main(["export", *map(str, arguments)])
  assert stop.value.code == 2
  *usage, line = capsys.readouterr().err.splitlines()
  # argparse alone prints its usage above.
  assert not usage or usage[0].startswith("usage: "), usage
  assert line.startswith("electra-jax export: "), line
  return line


def test_mistakes_end_with_one_sentence_and_nothing_written(
    run, tasks, tokenizer, tmp_path, capsys, monkeypatch
):
  towers = pretrained(
      tmp_path / "towers",
      tokenizer,
      **{"objective.generator": "two_tower", "objective.name": "electra"},
  )
  (tmp_path / "texts").write_text("the people\n")
  (tmp_path / "there").mkdir()
  before = sorted(tmp_path.rglob("*"))
  texts = f"--texts={tmp_path / 'texts'}"
  new = str(tmp_path / "new")
  for arguments, message in (
      ((run, new, "--to=tflite"), "invalid choice: 'tflite'"),
      ((towers, new, "--to=onnx", "--network=generator"), "is two towers"),
      ((run, new, "--to=onnx"), "has no token store"),
      ((run, new, "--to=onnx", "--seed=1"), "--seed 1 has no meaning"),
      ((tasks, new, "--to=onnx", "--network=generator"), "--network generator"),
      ((run, new, "--to=onnx", "--lengths=32"), "--lengths 32 has no meaning"),
      ((run, new, "--to=stablehlo", "--int8"), "--int8 has no meaning"),
      ((run, new, "--to=onnx", "--check=0"), "--check is 0"),
      ((run, tmp_path / "there", "--to=onnx"), "exists; choose another OUTPUT"),
      ((run, "gs://bucket/x", "--to=onnx"), "is not a local folder"),
      ((run, new, "--to=onnx", "--texts=none"), "cannot read --texts none"),
      ((tmp_path / "there", new, "--to=onnx"), "is not a workdir"),
  ):
    assert message in refuse(capsys, *arguments)
    assert sorted(tmp_path.rglob("*")) == before
  with pytest.raises(UserError, match="--to coreml is not one of onnx"):
    export(run, new, to="coreml")

  def too_different(*_):
    return Finding(2e-4, 0, 1)

  monkeypatch.setattr(PretrainedTrials, "of", too_different)
  line = refuse(capsys, run, new, "--to=onnx", texts)
  assert "differ from the run's by up to 0.0002" in line
  assert sorted(tmp_path.rglob("*")) == before


def test_lengths_are_checked(run, tasks, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(
      targets_module.importlib.util, "find_spec", lambda name: name
  )
  new = tmp_path / "new"
  for workdir, lengths, message in (
      (run, "32,513", "rows of 513 tokens, and the position table of this run"),
      (run, "2", "needs 3 at least"),
      (tasks, "3", "needs 4 at least"),
      (run, "32;64", "--lengths 32;64 is no list of whole numbers"),
  ):
    line = refuse(capsys, workdir, new, "--to=litert", f"--lengths={lengths}")
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", list(TARGETS))
def test_a_missing_package_is_named(target, run, tmp_path, monkeypatch, capsys):
  needed = TARGETS[target].needs(bool(TARGETS[target].quantize))
  flags = ["--int8"] if TARGETS[target].quantize else []
  find = targets_module.importlib.util.find_spec
  for package, module in needed.items():
    monkeypatch.setattr(
        targets_module.importlib.util,
        "find_spec",
        lambda name, gone=module: None if name == gone else find("json"),
    )
    line = refuse(capsys, run, tmp_path / "new", f"--to={target}", *flags)
    assert f"--to {target} needs {package}; install" in line
    assert f"pip install 'electra-jax[{TARGETS[target].extra}]'" in line
    assert not list(tmp_path.iterdir())
