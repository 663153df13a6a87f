"""Whole fine-tunings on the shipped config: every kind, stop, resume, errors."""

import dataclasses
import functools
import json
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from electra_jax import cli, finetune, task_programs
from electra_jax.errors import UserError
from electra_jax.evaluate import evaluate
from electra_jax.finetuned import FinetunedModel, parse_inputs, render
from electra_jax.made_up import make_store, make_task
from electra_jax.pretrain import pretrain
from electra_jax.printing import print_answers
from electra_jax.starting_point import find_start
from electra_jax.task_data import find_tasks, read_task, source_of
from electra_jax.task_predictor import head_of
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.features import FeatureOptions, make_features
from electra_jax.training import sharding
from tests import helpers

NARROW = {"model.num_layers": 1, "data.max_length": 64}


def config_of(task, **overrides):
  """The shipped config with `runlocal`, of one layer."""
  config = helpers.load_config(f"configs/finetune.py:task={task},runlocal")
  with config.unlocked():
    for name, value in {**NARROW, **overrides}.items():
      section, _, key = name.rpartition(".")
      (config[section] if section else config)[key] = value
  return config


@functools.cache
def trained(root, task, **overrides):
  """The workdir and scores of a finished run."""
  workdir = root / task.replace("+", "_")
  result = finetune.finetune(config_of(task, **overrides), workdir, quiet=True)
  return workdir, result.summary


@pytest.fixture(scope="module", name="root")
def runs(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module", name="pretrained")
def a_pretrained_run(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("pretrained")
  make_store(folder / "store", length=32)
  config = helpers.tiny_config(
      **{
          "data.made_up": False,
          "data.store": str(folder / "store"),
          "model.num_layers": 1,
          "model.hidden_size": 64,
          "model.embedding_size": 64,
          "train.num_steps": 2,
      }
  )
  pretrain(config, folder / "run", quiet=True)
  return folder / "run"


def read_records(path: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()]


# --- Every kind of task, from files to scores ---


@pytest.mark.parametrize(
    ("task", "epochs", "score", "least"),
    [
        ("sst", 12.0, "sst/dev/accuracy", 90),
        ("sts", 4.0, "sts/dev/spearman", 30),
        ("ner", 4.0, "ner/dev/span_f1", 80),
        ("squad", 4.0, "squad/dev/best_f1", 60),
        ("mnli+pos", 3.0, "pos/dev/accuracy", 80),
    ],
)
def test_every_kind_learns(root, task, epochs, score, least):
  workdir, summary = trained(root, task, **{"train.num_epochs": epochs})
  assert summary["median"][score] >= least
  assert json.loads((workdir / "scores.json").read_text()) == summary
  # The saved model gives the recorded scores, from another process too.
  again = evaluate(workdir)
  assert again == pytest.approx(summary["seeds"]["0"], abs=1e-4)


def test_glue_files_are_as_the_server_asks(root):
  workdir, _ = trained(root, "sts", **{"train.num_epochs": 4.0})
  lines = (workdir / "seed_0/leaderboard/STS-B.tsv").read_text().splitlines()
  assert lines[0] == "index\tprediction"
  assert [line.split("\t")[0] for line in lines[1:]] == list("01234567")
  assert all(0 <= float(line.split("\t")[1]) <= 5 for line in lines[1:])
  workdir, _ = trained(root, "mnli+pos", **{"train.num_epochs": 3.0})
  names = {path.name for path in (workdir / "seed_0/leaderboard").iterdir()}
  assert names == {"MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"}
  first = (workdir / "seed_0/leaderboard/AX.tsv").read_text().splitlines()[1]
  assert first.split("\t")[1] in ("contradiction", "entailment", "neutral")


def test_answers_are_slices_of_their_contexts(root):
  workdir, _ = trained(root, "squad", **{"train.num_epochs": 4.0})
  data = json.loads((workdir / "made_up_task/squad/dev.json").read_text())
  contexts = {
      question["id"]: paragraph["context"]
      for article in data["data"]
      for paragraph in article["paragraphs"]
      for question in paragraph["qas"]
  }
  folder = workdir / "seed_0/predictions"
  records = read_records(folder / "squad_dev.jsonl")
  assert len(records) == len(contexts)
  for record in records:
    context = contexts[record["id"]]
    assert record["text"] == context[record["start"] : record["end"]] != ""
  assert any(record["answer"] == record["text"] for record in records)
  best = json.loads((folder / "squad_dev_preds.json").read_text())
  odds = json.loads((folder / "squad_dev_null_odds.json").read_text())
  assert set(best) == set(odds) == set(contexts)


def test_predictions_tell_text_probability_and_gold(root):
  workdir, summary = trained(root, "sst", **{"train.num_epochs": 12.0})
  records = read_records(workdir / "seed_0/predictions/sst_dev.jsonl")
  right = np.mean([record["label"] == record["gold"] for record in records])
  assert 100 * right == pytest.approx(summary["median"]["sst/dev/accuracy"])
  for record in records:
    assert sum(record["probabilities"].values()) == pytest.approx(1)
    assert record["probability"] == max(record["probabilities"].values())


def write_odd_squad(folder: pathlib.Path) -> dict[str, str]:
  """SQuAD 2.0 files with what real ones hold; returns dev contexts by id."""
  folder.mkdir(parents=True)
  filler = "the dog saw the cat near the old house . " * 12
  contexts = [
      "In 1905 Zo\u00eb\u202fK\u00fcnstler (born 1880) moved to Paris.",
      filler + "Long after that Anna Miller came home . " + filler,
      "Nothing is told here.",
  ]

  def question(number, text, context, answers, **more):
    answers = [
        {"text": a, "answer_start": context.find(a) + shift}
        for a, shift in answers
    ]
    return {"id": number, "question": text, "answers": answers, **more}

  first, second, third = contexts
  questions = [
      (first, question("a", "Who moved ?", first, [("Zo\u00eb\u202fK\u00fcnstler", 0)])),
      (first, question("b", "When ?", first, [("1905", 0), ("In 1905", 0)])),
      (second, question("c", "Who came home ?", second, [("Anna Miller", 0)])),
      (third, question("d", "Who ?", third, [], is_impossible=True)),
      # An offset that does not hold the answer: left out of training.
      (first, question("e", "Where to ?", first, [("Paris", -7)])),
  ]  # fmt: skip
  for split in ("train", "dev"):
    paragraphs = [
        {"context": context, "qas": [question]}
        for context, question in questions
        if split == "train" or question["id"] != "e"
    ]
    data = {
        "version": "v2.0",
        "data": [{"title": "t", "paragraphs": paragraphs}],
    }
    text = json.dumps(data, ensure_ascii=split == "train")
    (folder / f"{split}.json").write_text(text, encoding="utf-8")
  return {question["id"]: context for context, question in questions}


@pytest.mark.slow
def test_odd_questions_are_learned_decoded_and_scored(
    tmp_path, made_up, caplog
):
  contexts = write_odd_squad(tmp_path / "squad")
  overrides = {
      **made_up,
      "data.folder": str(tmp_path),
      "train.num_epochs": 60.0,
      "train.batch_size": 8,
      "optimizer.learning_rate": 2e-3,
      "optimizer.layerwise_decay": 1.0,
      "model.hidden_dropout": 0.0,
      "model.attention_dropout": 0.0,
      "model.num_layers": 2,
  }
  workdir = tmp_path / "run"
  result = finetune.finetune(config_of("squad", **overrides), workdir)
  assert "1" in caplog.text and "answer" in caplog.text  # Of "e".
  scores = result.summary["median"]
  assert scores["squad/dev/total"] == 4
  assert scores["squad/dev/best_exact"] >= 75
  folder = workdir / "seed_0/predictions"
  records = {r["id"]: r for r in read_records(folder / "squad_dev.jsonl")}
  assert records.keys() == {"a", "b", "c", "d"}
  for name, record in records.items():
    context = contexts[name]
    assert record["text"] == context[record["start"] : record["end"]] != ""
  assert records["a"]["text"] == "Zo\u00eb\u202fK\u00fcnstler"
  assert records["c"]["text"] == "Anna Miller"  # Behind the first window.


def test_odd_sentences_are_learned_and_scored(tmp_path, made_up):
  (tmp_path / "CoLA").mkdir()
  good, bad = 'gj04\t1\t\tHe said "yes .', "gj04\t0\t*\tSaid he yes ."
  text = "\r\n".join([good, bad] * 8) + "\r\n"  # No header, one open quote.
  for split in ("train", "dev"):
    (tmp_path / f"CoLA/{split}.tsv").write_bytes(text.encode())
  (tmp_path / "CoLA/test.tsv").write_text('index\tsentence\n0\t"Yes" , he\n')
  overrides = {
      **made_up,
      "data.folder": str(tmp_path),
      "train.num_epochs": 20.0,
  }
  workdir = tmp_path / "run"
  result = finetune.finetune(
      config_of("cola", **overrides), workdir, quiet=True
  )
  assert result.summary["median"]["cola/dev/mcc"] == pytest.approx(100)
  records = read_records(workdir / "seed_0/predictions/cola_dev.jsonl")
  assert records[0]["text"] == 'He said "yes .' and len(records) == 16
  file = workdir / "seed_0/leaderboard/CoLA.tsv"
  assert file.read_text().splitlines()[0] == "index\tprediction"


# --- Seeds ---


def test_seeds_are_summed_up_and_only_the_best_model_kept(root, capsys):
  config = config_of("table", **{"seeds": 3, "train.keep_all_models": False})
  result = finetune.finetune(config, root / "seeds")
  shown = capsys.readouterr().out
  assert "(best)" in shown and "standard deviation" in shown
  summary = result.summary
  values = [s["table/dev/accuracy"] for s in summary["seeds"].values()]
  assert summary["median"]["table/dev/accuracy"] == np.median(values)
  best = summary["best_seed"]
  assert values[best] == max(values)
  kept = [p.parent.name for p in (root / "seeds").glob("seed_*/checkpoints")]
  assert kept == [f"seed_{best}"]
  with pytest.raises(UserError, match=f"no model of seed {(best + 1) % 3}"):
    evaluate(root / "seeds", seed=(best + 1) % 3)


def test_a_finished_seed_is_not_run_again_and_more_can_follow(root):
  workdir, summary = trained(root, "cola")
  scores = workdir / "seed_0/scores.json"
  before = scores.stat().st_mtime_ns
  result = finetune.finetune(config_of("cola", seeds=2), workdir, quiet=True)
  assert scores.stat().st_mtime_ns == before
  assert set(result.summary["seeds"]) == {"0", "1"}
  assert result.summary["seeds"]["0"] == summary["seeds"]["0"]


def test_fewer_seeds_leave_the_best_one_best(root):
  config = config_of("table", **{"seeds": 3, "train.keep_all_models": False})
  workdir = root / "fewer"
  summary = finetune.finetune(config, workdir, quiet=True).summary
  fewer = config_of("table", seeds=1)
  again = finetune.finetune(fewer, workdir, quiet=True).summary
  assert again == summary
  assert FinetunedModel(workdir).tasks.keys() == {"table"}


def test_predictions_of_a_finished_model_can_be_written_later(root, tmp_path):
  workdir, _ = trained(root, "sst", **{"train.num_epochs": 12.0})
  assert evaluate(workdir, split="test", output=tmp_path) == {}
  assert len(read_records(tmp_path / "predictions/sst_test.jsonl")) == 8
  assert (tmp_path / "leaderboard/SST-2.tsv").exists()


def test_the_callers_config_is_left_alone(root):
  config = config_of("cola")
  before = config.to_json()
  finetune.finetune(config, root / "copied", quiet=True)
  assert config.to_json() == before


def run_command(workdir, *more) -> subprocess.Popen:
  command = [
      *(sys.executable, "-m", "electra_jax", "finetune", "--workdir", workdir),
      *("--config", helpers.ROOT / "configs/finetune.py:sst,runlocal"),
      "--config.model.num_layers=1",
      "--config.train.num_epochs=5",
      "--config.train.log_every_steps=1",
      *more,
  ]
  return subprocess.Popen(
      list(map(str, command)),
      cwd=helpers.ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
  )


@pytest.fixture(scope="module", name="whole")
def uninterrupted(root) -> pathlib.Path:
  assert run_command(root / "whole").wait(timeout=300) == 0
  return root / "whole"


def test_a_stopped_run_ends_in_the_same_bits(tmp_path, whole):
  process = run_command(tmp_path / "cut")
  metrics = tmp_path / "cut/seed_0/metrics.jsonl"
  deadline = time.monotonic() + 200
  while process.poll() is None and time.monotonic() < deadline:
    if metrics.exists() and '"step": 4,' in metrics.read_text():
      process.send_signal(signal.SIGTERM)
      break
    time.sleep(0.005)
  output, _ = process.communicate(timeout=200)
  assert process.returncode == 128 + signal.SIGTERM
  assert "the same command resumes" in output
  assert not (tmp_path / "cut/seed_0/scores.json").exists()
  with pytest.raises(UserError, match="run the same finetune command again"):
    FinetunedModel(tmp_path / "cut")
  assert run_command(tmp_path / "cut").wait(timeout=300) == 0
  expected = helpers.read_params(whole / "seed_0", 20)
  state = helpers.read_params(tmp_path / "cut/seed_0", 20)
  assert state.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(state[name], value, err_msg=name)
  scores = (tmp_path / "cut/scores.json").read_text()
  assert scores == (whole / "scores.json").read_text()


@pytest.mark.slow
def test_two_processes_find_the_same_losses_and_scores(tmp_path, whole):
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  processes = [
      run_command(
          tmp_path,
          f"--coordinator=localhost:{port}",
          "--num-processes=2",
          f"--process-id={i}",
      )
      for i in range(2)
  ]
  outputs = [p.communicate(timeout=300)[0] for p in processes]
  assert [p.returncode for p in processes] == [0, 0], outputs
  ours = helpers.read_metrics(tmp_path / "seed_0", "train")
  expected = helpers.read_metrics(whole / "seed_0", "train")
  assert len(ours) == len(expected) == 20
  for a, b in zip(ours, expected, strict=True):
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
  scores, expected = (
      json.loads((folder / "scores.json").read_text())["median"]
      for folder in (tmp_path, whole)
  )
  assert scores == pytest.approx(expected, rel=1e-2)


# --- Where it starts ---


def pretrained_config(pretrained, task="sst", **overrides):
  overrides = {"init_from": str(pretrained), **overrides}
  return config_of(task, **overrides)


def test_training_starts_from_the_pretrained_encoder(pretrained):
  config = pretrained_config(pretrained)
  start = find_start(config)
  mesh = sharding.make_mesh()
  heads = [head_of(task) for task in find_tasks(config)]
  parts = task_programs.build(config, start.encoder, heads, mesh, 10)
  loaded = start.restore(parts.abstract.params, parts.shardings.params)
  params = parts.init(3, loaded).params
  saved = helpers.read_params(pretrained, 2)
  for part in ("embeddings", "discriminator"):
    for name, value in helpers.path_names(params[part]):
      np.testing.assert_array_equal(value, saved[f"params/{part}/{name}"])
  fresh = parts.init(3, None).params
  kernel = fresh["discriminator"]["layer_0"]["output"]["kernel"]
  assert not np.array_equal(
      kernel, params["discriminator"]["layer_0"]["output"]["kernel"]
  )
  np.testing.assert_array_equal(
      fresh["task_specific"]["sst"]["dense"]["kernel"],
      params["task_specific"]["sst"]["dense"]["kernel"],
  )


def test_a_finetuned_run_is_a_start_as_well(pretrained, root):
  first = root / "intermediate"
  finetune.finetune(pretrained_config(pretrained), first, quiet=True)
  config = pretrained_config(first, "rte")
  result = finetune.finetune(config, root / "second", quiet=True)
  assert "rte/dev/accuracy" in result.summary["median"]


# --- One result, however it is computed ---


def few_steps(config, devices, steps=3):
  """Metrics and parameters after some steps."""
  with config.unlocked():
    config.model.hidden_dropout = 0.1
  start = find_start(config)
  mesh = sharding.make_mesh(devices=devices)
  tasks = [read_task(t, source_of(config)) for t in find_tasks(config)]
  heads = [head_of(data.task) for data in tasks]
  parts = task_programs.build(config, start.encoder, heads, mesh, 10)
  features = {
      data.task.name: make_features(
          data.task,
          data.splits["train"],
          start.tokenizer,
          FeatureOptions(max_length=64),
          for_training=True,
      )
      for data in tasks
  }
  batches = Batches(
      features,
      batch_size=config.train.batch_size,
      row_length=64,
      pad_id=start.tokenizer.special.pad,
      is_packed=config.data.packing,
      accumulation_steps=config.train.accumulation_steps,
      row_multiple=sharding.batch_shards(mesh),
  )
  state, records = parts.init(0, None), []
  for _, batch in zip(range(steps), batches.training(0), strict=False):
    batch = sharding.rows_to_global(mesh, batch)
    state, sums = parts.train_step(state, batch)
    records.append(jax.device_get(sums))
  return records, jax.device_get(state.params)


@pytest.fixture(scope="module", name="made_up")
def made_up_data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("made_up")
  make_task(["sst", "ner"], folder)
  return {
      "data.made_up": False,
      "data.folder": str(folder),
      "random_init": True,
      "data.tokenizer": str(folder / "vocab.txt"),
  }


@pytest.fixture(scope="module", name="one")
def on_one_device(made_up):
  return few_steps(config_of("sst+ner", **made_up), jax.devices()[:1])


@pytest.mark.parametrize(
    ("overrides", "devices"),
    [
        ({"data.packing": False}, 1),
        ({}, 8),
        pytest.param(
            {"train.accumulation_steps": 2}, 1, marks=pytest.mark.slow
        ),
        pytest.param(
            {"train.accumulation_steps": 2}, 4, marks=pytest.mark.slow
        ),
    ],
)
def test_packing_parts_and_devices_change_nothing(
    made_up, one, overrides, devices
):
  other = few_steps(
      config_of("sst+ner", **made_up, **overrides), jax.devices()[:devices]
  )
  for a, b in zip(one[0], other[0], strict=True):
    for name in ("loss", "grad_norm", "sst_loss", "ner_loss"):
      value = a[name][0] / a[name][1]
      assert b[name][0] / b[name][1] == pytest.approx(value, rel=2e-4), name
  for (name, a), (_, b) in zip(
      helpers.path_names(one[1]), helpers.path_names(other[1]), strict=True
  ):
    # Adam divides a rounding error by its own size: a tenth of a step.
    np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3, err_msg=name)


def test_the_released_sum_is_the_mean_times_the_batch(made_up):
  mean, _ = few_steps(config_of("sst", **made_up), jax.devices()[:1], 1)
  total, _ = few_steps(
      config_of("sst", **made_up, **{"train.loss_reduction": "sum"}),
      jax.devices()[:1],
      1,
  )
  for name in ("loss", "grad_norm"):
    assert total[0][name][0] == pytest.approx(16 * mean[0][name][0], rel=1e-5)


def test_scores_do_not_depend_on_packing(root):
  scores = []
  for packing in (True, False):
    config = config_of("sst", **{"data.packing": packing})
    workdir = root / f"packing_{packing}"
    scores.append(finetune.finetune(config, workdir, quiet=True).summary)
  packed, apart = (s["median"] for s in scores)
  assert packed["sst/dev/accuracy"] == apart["sst/dev/accuracy"]
  assert packed["sst/dev/loss"] == pytest.approx(
      apart["sst/dev/loss"], rel=1e-3
  )


# --- Answers to a user ---


def test_a_user_is_answered(root):
  model = FinetunedModel(trained(root, "sst", **{"train.num_epochs": 12.0})[0])
  task = model.task()
  examples = parse_inputs(task, ["a fine film", '{"id": 9, "text": "dull"}'])
  first, second = model.predict(examples).records
  assert first["text"] == "a fine film" and second["id"] == "9"
  assert first["label"] in task.labels
  assert first["label"] in render(task, first).plain

  model = FinetunedModel(trained(root, "ner", **{"train.num_epochs": 4.0})[0])
  examples = parse_inputs(model.task(), ["Ann's cat, in Paris."])
  assert examples[0].words == ("Ann's", "cat", ",", "in", "Paris", ".")
  (record,) = model.predict(examples).records
  assert len(record["tags"]) == 6
  assert "Paris/" in render(model.task(), record).plain

  model = FinetunedModel(trained(root, "squad", **{"train.num_epochs": 4.0})[0])
  lines = ["the fox saw the cat"]
  examples = parse_inputs(model.task(), lines, question="who was seen ?")
  (record,) = model.predict(examples).records
  assert record["text"] == lines[0][record["start"] : record["end"]]
  assert "who was seen ?" in render(model.task(), record).plain


def test_a_long_context_is_answered_over_its_windows(root):
  model = FinetunedModel(trained(root, "squad", **{"train.num_epochs": 4.0})[0])
  context = " ".join(["the fox saw the cat ."] * 60)
  examples = parse_inputs(model.task(), [context], question="who ?")
  (record,) = model.predict(examples).records
  assert record["text"] == context[record["start"] : record["end"]] != ""


def test_answers_are_printed(root, capsys):
  workdir, _ = trained(root, "mnli+pos", **{"train.num_epochs": 3.0})
  print_answers(workdir, ["one text\tanother"], task="mnli", as_json=True)
  record = json.loads(capsys.readouterr().out)
  assert record["other_text"] == "another"
  with pytest.raises(SystemExit) as stop:
    cli.main(["predict", "--workdir", str(workdir), "--task", "pos", "a cat"])
  assert stop.value.code == 0
  assert "cat/" in capsys.readouterr().out


# --- Mistakes ---


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task": "glue"}, "'glue' is unknown; choose one of"),
        ({"data.folder": ""}, "no folder with the data of .sst. is given"),
        ({"data.folder": "/nowhere"}, "/nowhere"),
        ({"data.source": "web"}, "'web'; it must be 'files' or 'tfds'"),
        ({"random_init": False}, "init_from is empty; give the --workdir"),
        ({"data.tokenizer": ""}, "both empty; random weights need one"),
        ({"init_from": "/nowhere"}, "/nowhere is not a workdir"),
        ({"data.max_length": 1024}, "1024 exceeds the 512 positions"),
        ({"train.batch_size": 12}, "12 does not divide over the 8"),
        ({"train.accumulation_steps": 3}, "does not divide into"),
        ({"train.loss_reduction": "max"}, "'max'; it must be 'mean'"),
        ({"seeds": 0}, "seeds is 0; it must be at least 1"),
        ({"train.batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"data.max_length": 2}, "max_length is 2; it must be at least 3"),
        ({"questions.beam_size": 0}, "beam_size is 0; it must be at least"),
        ({"mesh.tensor": 2, "mesh.data": 4}, "heads 1 does not divide over"),
        ({"data.folder": "gs://bucket/glue"}, "must lie on a local disk"),
        ({"train.num_epochs": 0.0}, "num_epochs is 0.0; it must be above"),
        ({"mesh.data": 3}, "there are 8"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, made_up, overrides, message):
  overrides = {**made_up, **overrides}
  config = config_of(overrides.pop("task", "sst"), **overrides)
  with pytest.raises(UserError, match=message):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def test_another_size_and_another_vocabulary_are_named(
    tmp_path, pretrained, made_up
):
  folder = made_up["data.folder"]
  given = {"data.made_up": False, "data.folder": folder}
  config = pretrained_config(pretrained, **given, **{"model.hidden_size": 128})
  with pytest.raises(
      UserError, match=r"hidden_size is 128 and the run in .*64"
  ):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  config = pretrained_config(
      pretrained, **given, **{"data.tokenizer": f"{folder}/vocab.txt"}
  )
  with pytest.raises(UserError, match="is not the vocabulary of 256"):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def write_table(folder, train="text,label\nfine,yes\nbad,no\n", dev=None):
  folder.mkdir()
  (folder / "train.csv").write_text(train)
  (folder / "dev.csv").write_text(train if dev is None else dev)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"dev": "text,label\nfine,maybe\n"},
            "'maybe', which is none of no, yes",
        ),
        ({"train": "words,label\nfine,yes\n"}, r"train.csv.*words"),
        ({"train": ""}, r"train.csv"),
        ({"dev": "text,label\n"}, r"dev.csv"),
        ({"train": "text,label\nfine,yes\n"}, "no labels but"),
    ],
)
def test_mistakes_of_a_table_are_named(tmp_path, made_up, tables, message):
  write_table(tmp_path / "table", **tables)
  overrides = {**made_up, "data.folder": str(tmp_path / "table")}
  config = config_of("table", **overrides)
  with pytest.raises(UserError, match=message):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def test_a_workdir_of_another_run_is_refused(root, pretrained):
  workdir, _ = trained(root, "cola")
  config = config_of("cola", **{"optimizer.learning_rate": 0.5})
  with pytest.raises(UserError, match=r"learning_rate = 0.001 and this"):
    finetune.finetune(config, workdir, quiet=True)
  table = workdir / "made_up_task/cola/train.tsv"
  table.write_text(table.read_text() + "x\t1\t\tmore text\n")
  with pytest.raises(UserError, match="with another examples digest"):
    finetune.finetune(config_of("cola"), workdir, quiet=True)
  with pytest.raises(UserError, match="holds a run of another verb"):
    finetune.finetune(config_of("cola"), pretrained, quiet=True)


def test_what_belongs_to_the_other_verb_is_refused(root, pretrained):
  workdir, _ = trained(root, "sst", **{"train.num_epochs": 12.0})
  with pytest.raises(UserError, match="has no split 'validation'; choose"):
    evaluate(workdir, split="validation")
  with pytest.raises(UserError, match="--max-rows 5 has no meaning for a fine"):
    evaluate(workdir, max_rows=5)
  with pytest.raises(
      UserError, match="--task sst has no meaning for a pretrain"
  ):
    evaluate(pretrained, task="sst")
  with pytest.raises(UserError, match="holds a pretrain run; fine-tune it"):
    FinetunedModel(pretrained)
  with pytest.raises(UserError, match="does not tell the answers"):
    evaluate(workdir, split="test")
  with pytest.raises(UserError, match="'rte' is not one that this model"):
    FinetunedModel(workdir).task("rte")


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("sst", "{broken", "line 1 begins as a JSON object"),
        ("sst", '{"words": []}', "line 1 has no text"),
        ("ner", "   ", "line 1 has no words to tag"),
        ("ner", '{"words": 5}', "line 1 has no words to tag"),
        ("ner", '{"words": "hello"}', "line 1 has no words to tag"),
        ("ner", '{"text": null}', "line 1 has no words to tag"),
        ("sst", '{"text": 5}', "line 1 has 5 under 'text'"),
        ("sst", "one\ttwo", "line 1 is a pair and sst takes one text"),
        ("rte", "one", "line 1 is one text and rte takes a pair"),
        ("squad", "a context", "line 1 needs a question and a context"),
    ],
)
def test_mistakes_in_what_is_asked_are_named(kind, line, message):
  (task,) = find_tasks(config_of(kind))
  task = dataclasses.replace(task, takes_pairs=kind == "rte")
  with pytest.raises(UserError, match=message):
    parse_inputs(task, [line])


def test_a_question_can_be_asked_of_json_and_of_questions_only():
  (squad,) = find_tasks(config_of("squad"))
  line = '{"id": 3, "context": "a cat"}'
  (example,) = parse_inputs(squad, [line], question="who ?")
  assert example[:3] == ("3", "who ?", "a cat")
  (sst,) = find_tasks(config_of("sst"))
  with pytest.raises(UserError, match=r"--question 'who .' has no meaning"):
    parse_inputs(sst, ["a cat"], question="who ?")
