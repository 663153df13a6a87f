"""Tasks that write text: whole runs, resuming, devices, every verb, mistakes."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from electra_jax import api
from electra_jax.bulk.predicting import predict
from electra_jax.cli import main as cli
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from electra_jax.finetuning.generation_trainer import (
    make_generation_trainer,
    restore_start,
)
from electra_jax.finetuning.model import FinetunedModel, make_predictor
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.finetuning.programs import training_batches
from electra_jax.finetuning.task_data import find_tasks, read_task, source_of
from electra_jax.pruning.prune import prune
from electra_jax.reporting.page import report
from electra_jax.serve.served import open_models
from electra_jax.tasks.examples import GenerationExample
from electra_jax.trees import path_names
from tests import helpers
from tests.exporting.workdirs import pretrained
from tests.exporting.writers import write_pairs

STEPS = 4
ARCHITECTURES = ("unilm", "shared", "separate", "recurrent")


@pytest.fixture(scope="module", name="start")
def what_runs_start_from(tmp_path_factory, tokenizer):
  """Changes of a config: a run with random weights, and pairs to learn."""
  folder = tmp_path_factory.mktemp("generation")
  write_pairs(folder, {"train": 32, "dev": 12, "test": 4})
  run = pretrained(folder / "run", tokenizer, **{"model.num_layers": 2})
  return {
      "init_from": str(run),
      "data.synthetic": False,
      "data.folder": str(folder),
      "data.max_length": 12,
      "generation.max_target_length": 8,
      "model.num_layers": 2,
      "model.hidden_size": 64,
      "model.embedding_size": 32,
      "train.num_epochs": 2.0,
      "train.log_every_steps": 1,
      "train.checkpoint_every_steps": 2,
  }


def config_of(start, **changes):
  task = changes.pop("task", "translate")
  return helpers.override(
      helpers.finetune_config("translate", **start | changes), {"task": task}
  )


def steps_of(config, devices, steps=2):
  """Metrics and parameters after some steps."""
  start = find_encoder(config)
  mesh = sharding.make_mesh(devices=devices)
  tasks = [read_task(t, source_of(config)) for t in find_tasks(config)]
  batches = training_batches(config, start, tasks, mesh)
  trainer = make_generation_trainer(config, start.encoder, mesh, 10)
  params = restore_start(config, start, trainer)
  state = trainer.init(0, params)
  before = jax.device_get(state.params)
  records, params = helpers.after_steps(trainer, state, batches, steps)
  return records, before, params


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["unilm", "shared"])
def test_devices_and_accumulation_change_nothing(start, architecture):
  changes = {"generation.architecture": architecture}
  one = steps_of(config_of(start, **changes), jax.devices()[:1])
  changes["train.accumulation_steps"] = 2
  other = steps_of(config_of(start, **changes), jax.devices()[:8])
  for a, b in zip(one[0], other[0], strict=True):
    assert a.keys() == b.keys()
    for name, (total, weight) in a.items():
      value = b[name][0] / b[name][1]
      assert value == pytest.approx(total / weight, rel=5e-4), name
  for (name, a), (_, b) in zip(
      path_names(one[2]), path_names(other[2]), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    "architecture",
    [name if name == "unilm" else helpers.slow(name) for name in ARCHITECTURES],
)
def test_a_run_starts_from_the_encoder_and_its_masked_lm(start, architecture):
  config = config_of(start, **{"generation.architecture": architecture})
  found, fresh = (
      steps_of(dataclasses.replace(config, random_init=x), jax.devices()[:1], 0)
      for x in (False, True)
  )
  with_start, random = dict(path_names(found[1])), dict(path_names(fresh[1]))
  assert with_start.keys() == random.keys()
  encoder = find_encoder(config)
  trainer = make_generation_trainer(
      config, encoder.encoder, sharding.make_mesh(), 10
  )
  given = restore_start(config, encoder, trainer)
  for name, x in path_names(given["encoder"]):
    np.testing.assert_array_equal(with_start[name], x, err_msg=name)
  for name in with_start:
    differs = not np.array_equal(with_start[name], random[name])
    if name.startswith("decoder/cross"):
      assert not differs, name  # Attention to the source is learned here.


@pytest.fixture(scope="module", name="trained")
def a_finished_run(start, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("generation") / "trained"
  config = config_of(start, **{"generation.beam_size": 2})
  finetune.finetune(config, workdir, quiet=True)
  return config, workdir


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("shared", {}),
        pytest.param("recurrent", {}, marks=pytest.mark.slow),
        (
            "shared",
            {
                "task": "autoencode",
                "table.text": "source",
                "table.target": "",
                "generation.label_smoothing": 0.0,
            },
        ),
    ],
)
def test_a_run_starts_from_all_of_one_that_wrote_alike(
    trained, start, architecture, changes
):
  _, workdir = trained
  changes = changes | {
      "init_from": str(workdir),
      "generation.architecture": architecture,
  }
  config = config_of(start, **changes)
  found = steps_of(config, jax.devices()[:1], 0)[1]
  state = helpers.read_params(workdir / "seed_0", STEPS)
  learned = {
      name.removeprefix("params/"): x
      for name, x in state.items()
      if name.startswith("params/")
  }
  same = [
      name
      for name, x in path_names(found)
      if name in learned and np.array_equal(x, learned[name])
  ]
  if architecture == "shared" and config.task == "translate":
    assert set(same) == learned.keys()
  else:  # The encoder alone.
    assert {name.split("/")[0] for name in same} == {
        "embeddings",
        "discriminator",
    }


@pytest.mark.slow
def test_a_resumed_run_ends_in_the_same_bits(trained, tmp_path):
  config, workdir = trained
  again = tmp_path / "again"
  shutil.copytree(workdir, again)
  shutil.rmtree(again / f"seed_0/checkpoints/{STEPS}")
  for scores in ("scores.json", "seed_0/scores.json"):
    (again / scores).unlink()
  finetune.finetune(config, again, quiet=True)
  helpers.assert_equal_trees(
      helpers.read_params(again / "seed_0", STEPS),
      helpers.read_params(workdir / "seed_0", STEPS),
  )
  scores = (again / "scores.json").read_text()
  assert scores == (workdir / "scores.json").read_text()


def test_a_run_keeps_how_it_writes(trained):
  config, workdir = trained
  changed = helpers.override(config, {"generation.beam_size": 3})
  with pytest.raises(UserError, match=r"generation\.beam_size"):
    finetune.finetune(changed, workdir, quiet=True)


def test_scores_are_those_of_the_files_that_are_left(trained):
  _, workdir = trained
  scores = helpers.read_json(workdir / "scores.json")["seeds"]["0"]
  assert set(scores) == {f"translate/dev/{x}" for x in ("chrf", "bleu", "loss")}
  assert 0 < scores["translate/dev/loss"] < 10
  assert api.evaluate(workdir) == pytest.approx(scores)
  folder = workdir / "seed_0/predictions"
  dev = helpers.read_records(folder / "translate_dev.jsonl")
  assert len(dev) == 12 and set(dev[0]) == {
      "id", "text", "written", "score", "gold",
  }  # fmt: skip
  test = helpers.read_records(folder / "translate_test.jsonl")
  assert len(test) == 4
  found = api.evaluate(workdir, split="train")
  assert set(found) == {
      f"translate/train/{x}" for x in ("chrf", "bleu", "loss")
  }


def run_verb(*arguments):
  with pytest.raises(SystemExit) as ended:
    cli.main(list(map(str, arguments)))
  assert not ended.value.code


def test_predict_prints_text_and_json(trained, capsys):
  _, workdir = trained
  texts = ["we the people", "the law of the house"]
  run_verb("predict", "--workdir", workdir, *texts)
  printed = capsys.readouterr().out.splitlines()
  assert len(printed) == 2 and printed[1].startswith("1: ")
  assert "(score -" in printed[0] and printed[0].endswith("we the people")
  run_verb("predict", "--workdir", workdir, "--json", *texts)
  records = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  assert [record["text"] for record in records] == texts
  assert all(record["score"] < 0 for record in records)
  assert printed[0].startswith(f"0: {records[0]['written']}  (score")


def test_files_are_answered_as_a_few_texts_are(trained, tmp_path, start):
  _, workdir = trained
  model = FinetunedModel(workdir)
  texts = [" ".join(helpers.WORDS[i : i + 3]) for i in range(6)]
  one_by_one = [
      model.predict([GenerationExample("", text, None, None)]).values[0]
      for text in texts
  ]
  file, output = tmp_path / "texts.txt", tmp_path / "written.jsonl"
  file.write_text("".join(f"{text}\n" for text in texts))
  predict(workdir, [file], output)
  records = helpers.read_records(output)
  assert [record["written"] for record in records] == one_by_one
  # A table's column has the name that it had in training.
  table = tmp_path / "texts.csv"
  table.write_text("".join(f"{text}\n" for text in ("source", *texts)))
  predict(workdir, [table], tmp_path / "of_table.jsonl")
  records = helpers.read_records(tmp_path / "of_table.jsonl")
  assert [record["written"] for record in records] == one_by_one


def test_a_page_serves_it(trained):
  _, workdir = trained
  (served,) = open_models(workdir)
  (facts,) = served.describe()["tasks"]
  assert facts["kind"] == "generation" and facts["fields"] == ("text", "id")
  served.model.warm_up(1, served.buckets.lengths[0])
  ask = served.ask({"text": "we the people"}, None, "input 0")
  (answer,) = ask.run(ask.inputs)
  assert ask.finish([answer])["written"] == answer["written"]
  with pytest.raises(
      UserError, match="has a field 'other_text' that is none of"
  ):
    served.ask({"text": "a", "other_text": "b"}, None, "input 0")


def test_texts_become_vectors_of_the_encoder(trained):
  _, workdir = trained
  vectors = api.open_run(workdir).embed(["we the people", "the law"])
  assert vectors.shape == (2, 64)


def test_prune_refuses_it_by_name(trained, tmp_path):
  _, workdir = trained
  with pytest.raises(UserError, match=r"write text \(translate\).*predict"):
    prune(workdir, tmp_path / "out", remove_columns=0.5)
  assert not (tmp_path / "out").exists()


def test_a_report_shows_scores_and_samples(trained, tmp_path):
  _, workdir = trained
  page = tmp_path / "page.html"
  report([workdir], page)
  text = page.read_text()
  assert "12 texts were written" in text
  assert "Samples from all over the split" in text
  record = helpers.read_records(
      workdir / "seed_0/predictions/translate_dev.jsonl"
  )[0]
  assert record["text"] in text and record["gold"] in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "translate+rte"}, "learn task=translate by itself"),
        ({"data.windows": "mean"}, "data.windows=mean has no meaning"),
        ({"data.packing": True}, "data.packing=true has no meaning"),
        (
            {"data.source": "tfds"},
            r"config\.table\.dataset names; leave it out",
        ),
        (
            {"model.head": "huggingface"},
            "model.head=huggingface has no meaning",
        ),
        (
            {"bottleneck.dimensions": 4},
            "bottleneck.dimensions=4 has no meaning",
        ),
        ({"distill.teacher": "x"}, "distill.teacher=x has no meaning"),
        ({"train.loss_reduction": "sum"}, "loss_reduction=sum has no meaning"),
        (
            {"generation.decoder_from": "generator"},
            "architecture=separate alone from another",
        ),
        (
            {"generation.min_length": 8},
            r"config\.generation\.min_length is 8; it must",
        ),
        (
            {"generation.max_target_length": 600},
            r"max_target_length is 600, and the checkpoint has 512 positions; set",
        ),
        (
            {
                "generation.architecture": "unilm",
                "generation.max_target_length": 501,
            },
            r"which source and target share \(config\.data\.max_length=12\); set"
            r" --config\.generation\.max_target_length=500",
        ),
        (
            {
                "generation.architecture": "separate",
                "generation.decoder_from": "generator",
                "random_init": True,
            },
            "the decoder starts from random weights; name a pretrain run",
        ),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    start, tmp_path, changes, message
):
  config = config_of(start, **changes)
  with pytest.raises(UserError, match=message):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_a_vocabulary_cannot_write_is_told(start, tmp_path, capsys):
  (tmp_path / "data").mkdir()
  rows = "source\ttarget\nwe\tdie H\u00e4user \u4e00\nthe\tdas \u4e00 Haus\n"
  for split in ("train", "dev"):
    (tmp_path / f"data/{split}.tsv").write_text(rows)
  changes = {"data.folder": str(tmp_path / "data"), "train.num_epochs": 1.0}
  finetune.finetune(config_of(start, **changes), tmp_path / "run")
  told = " ".join(capsys.readouterr().out.split())
  assert "the vocabulary has no capitals and no accents" in told
  assert "of the tokens of targets in train are unknown" in told
  assert "the source itself has chrf" in told and "signatures: chrf" in told


def test_missing_scores_are_told_at_the_start(start, tmp_path, monkeypatch):
  from electra_jax.tasks import generation_scoring

  find = generation_scoring.importlib.util.find_spec
  monkeypatch.setattr(
      generation_scoring.importlib.util,
      "find_spec",
      lambda name, *rest: None if name == "sacrebleu" else find(name, *rest),
  )
  with pytest.raises(UserError, match="need sacrebleu, which is not installed"):
    finetune.finetune(config_of(start), tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module", name="learned")
def a_run_that_has_learned(tmp_path_factory):
  """Turns words round, after a minute on one device."""
  folder = tmp_path_factory.mktemp("learned")
  write_pairs(folder, {"train": 4000, "dev": 60}, longest=6)
  values = {
      "init_from": "tiny-en",
      "data.folder": folder,
      "data.max_length": 12,
      "generation.max_target_length": 8,
      "generation.label_smoothing": 0.0,
      "model.hidden_dropout": 0.0,
      "model.attention_dropout": 0.0,
      "optimizer.learning_rate": 1e-3,
      "train.num_epochs": 6.0,
  }
  flags = [f"--config.{name}={value}" for name, value in values.items()]
  words = ["--config", "finetune:task=translate,size=tiny_en", *flags]
  subprocess.run(
      [
          *(sys.executable, "-m", "electra_jax", "finetune", "--quiet"),
          *(*words, "--workdir", folder / "run"),
      ],
      check=True,
      env=os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(helpers.ROOT)},
  )
  return folder / "run"


@pytest.mark.slow
def test_words_backwards_are_learned(learned):
  path = learned / "seed_0/predictions/translate_dev.jsonl"
  records = helpers.read_records(path)
  right = sum(record["written"] == record["gold"] for record in records)
  assert right / len(records) > 0.9


@pytest.mark.slow
def test_texts_do_not_depend_on_their_batch(learned):
  model = FinetunedModel(learned)
  (task,) = model.tasks.values()
  examples = task.read(source_of(model.config), "dev")
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  params = jax.device_put(jax.device_get(model.params), jax.devices()[0])
  written = []
  for size in (1, 7, 60):
    config = helpers.override(model.config, {"train.eval_batch_size": size})
    predictor = make_predictor(
        [task], config, model._encoder, model.tokenizer, mesh
    )
    written.append(predictor.predict(params, task, examples).values)
  assert written[0] == written[1] == written[2]
  assert len(set(written[0])) > 30  # Else agreement would say little.
