"""Answers of real models: as one at a time, on any devices, after a kill."""

import functools
import json
import math
import signal

import jax
import numpy as np
import pytest

from electra_jax import open_run
from electra_jax.bulk.predicting import predict
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning.finetune import finetune
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.tasks.synthetic import make_task
from tests import helpers, processes
from tests.exporting.workdirs import finetuned

# Texts share a batch with others of their length: sums differ in their order.
TOLERANCE = 1e-5
TASKS = ("sst", "sts", "ner", "squad")
TEXTS = [
    "a very fine film",
    "",
    "Anna Miller saw the house in Paris . " * 9,
    "no",
    "the river was cold , and the city was far away " * 4,
    *(f"word {' word' * i} end" for i in range(20)),
]


@pytest.fixture(scope="module", name="tasks_run")
def a_finetune_run(tmp_path_factory):
  """The workdir of one seed's model of a task of each kind."""
  folder = tmp_path_factory.mktemp("bulk")
  make_task(list(TASKS), folder / "data")
  config = helpers.finetune_config(
      "+".join(TASKS),
      **{
          "data.synthetic": False,
          "data.folder": str(folder / "data"),
          "data.tokenizer": str(folder / "data/vocab.txt"),
          "data.max_length": 160,  # Rows of 128 and of 160.
          "random_init": True,
          "train.num_epochs": 0.05,
          "seeds": 1,
      },
  )
  finetune(config, folder / "run", quiet=True)
  return folder / "run"


def answers(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def assert_close(found, expected):
  """Equal, but that numbers are within TOLERANCE."""
  if isinstance(expected, dict):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
      assert_close(found[name], value)
  elif isinstance(expected, list):
    assert len(found) == len(expected)
    for pair in zip(found, expected, strict=True):
      assert_close(*pair)
  elif isinstance(expected, float):
    assert math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
  else:
    assert found == expected


@pytest.fixture(name="one_device")
def on_one_device(monkeypatch):
  """Meshes of one of the eight devices."""

  def use():
    first = functools.partial(sharding.make_mesh, devices=jax.devices()[:1])
    monkeypatch.setattr(sharding, "make_mesh", first)

  return use


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_many_lines_are_answered_as_one_at_a_time(
    tasks_run, tmp_path, task, one_device
):
  lines = [text and text + "\tand so on" * (task == "sts") for text in TEXTS]
  source = tmp_path / "texts.txt"
  source.write_text("\n".join(lines))
  question = "who saw it ?" if task == "squad" else None
  options = {"task": task, "question": question}
  predict(tasks_run, source, tmp_path / "out", **options)
  found = answers(tmp_path / "out")
  model = open_run(tasks_run)
  one = model.task(task)
  expected = []
  for index, line in enumerate(lines):
    if line:
      example = parse_inputs(one, [line], question, indices=[index])
      (record,) = model.predict(example, task).records
      expected.append({"index": index, **record})
  assert_close(found, json.loads(json.dumps(expected)))
  one_device()
  predict(tasks_run, source, tmp_path / "one", **options)
  assert_close(answers(tmp_path / "one"), found)


@pytest.mark.slow
def test_the_key_of_the_text_is_named_for_lines_of_any_file(
    tasks_run, tmp_path
):
  line = '{"body": "a fine film"}\n'
  for name in ("a.txt", "a.jsonl"):
    source = tmp_path / name
    source.write_text(f"{line}plain\n" if name == "a.txt" else line)
    predict(tasks_run, source, tmp_path / "out", task="sst", field="body")
    assert answers(tmp_path / "out")[0]["text"] == "a fine film"
    (tmp_path / "out").unlink()


def test_many_lines_are_answered_through_a_bottleneck(tmp_path):
  run = finetuned(tmp_path / "run", "sst", **{"bottleneck.dimensions": 8})
  source = tmp_path / "texts.txt"
  source.write_text("\n".join(TEXTS[:1] + TEXTS[2:]))
  predict(run, source, tmp_path / "out")
  model = open_run(run)
  examples = parse_inputs(model.task(), TEXTS[:1] + TEXTS[2:])
  expected = [
      {"index": index, **record}
      for index, record in enumerate(model.predict(examples).records)
  ]
  assert_close(answers(tmp_path / "out"), json.loads(json.dumps(expected)))


def test_vectors_are_no_answers_to_any_line(tmp_path):
  run = finetuned(tmp_path / "run", "embedding")
  source = tmp_path / "texts.txt"
  source.write_text("one\ntwo\n")
  for skip in (False, True):
    with pytest.raises(UserError, match=r"no answers; .* electra-jax embed$"):
      predict(run, source, tmp_path / "out", skip_bad_lines=skip)
  assert not list(tmp_path.glob("out*"))


def test_many_lines_are_judged_as_one_at_a_time(tiny_run, tmp_path, one_device):
  texts = [*TEXTS, "the [MASK] and the [MASK]", "a [MASK]"]
  source = tmp_path / "texts.txt"
  source.write_text("\n".join(texts))
  predict(tiny_run, source, tmp_path / "out")
  found = answers(tmp_path / "out")
  model = open_run(tiny_run)
  expected = []
  for index, text in enumerate(texts):
    if "[MASK]" in text:
      fills = [fill._asdict() for fill in model.fill(text)]
      expected.append({"index": index, "text": text, "fills": fills})
    elif text:
      (detection,) = model.detect([text])
      expected.append({"index": index, "text": text, **detection._asdict()})
  assert_close(found, json.loads(json.dumps(expected)))
  one_device()
  predict(tiny_run, source, tmp_path / "one")
  assert_close(answers(tmp_path / "one"), found)


@pytest.mark.slow
def test_likelihoods_of_many_lines(tiny_run, tmp_path):
  source = tmp_path / "texts.jsonl"
  source.write_text('{"body": "a fine film"}\n{"body": "film fine a no"}\n')
  predict(
      tiny_run,
      source,
      tmp_path / "out",
      pseudo_log_likelihood=True,
      field="body",
  )
  first, second = answers(tmp_path / "out")
  scores = open_run(tiny_run).score([first["text"], second["text"]])
  for record, score in zip((first, second), scores, strict=True):
    np.testing.assert_allclose(record["total"], score.total, rtol=1e-4)
    assert record["tokens"] == score.tokens


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_file(tasks_run, tmp_path):
  source, output = tmp_path / "texts.txt", tmp_path / "out.jsonl"
  source.write_text("".join(f"text {i} of many\n" for i in range(30_000)))
  command = ("predict", "--workdir", tasks_run, "--task", "sst", "--file")
  command = (*command, source, "--output")
  processes.run(*command, tmp_path / "whole.jsonl")
  record = tmp_path / "out.jsonl.part.json"
  process = processes.start(*command, output)
  try:
    processes.wait_until(
        lambda: process.poll() is not None
        or (record.exists() and '"lines": 0' not in record.read_text())
    )
    process.send_signal(signal.SIGKILL)
    processes.finish(process, -signal.SIGKILL)
  finally:
    process.kill()
  assert not output.exists()
  told = processes.run(*command, output)
  assert "of the lines done before" in told
  assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
