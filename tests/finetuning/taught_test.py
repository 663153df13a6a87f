"""Fine-tuning with a teacher: the loss, texts without labels, resuming."""

import dataclasses
import itertools
import pathlib

import jax
import numpy as np
import pytest

from electra_jax import api
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning import task_data
from electra_jax.finetuning.finetune import finetune
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.finetuning.task_predictor import head_of
from electra_jax.finetuning.task_teacher import (
    find_task_teacher,
    taught_tasks,
    training_features,
    with_unlabelled,
)
from electra_jax.finetuning.trainer import make_task_trainer
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.examples import TextExample
from electra_jax.trees import path_names
from tests import helpers

STILL = {"model.hidden_dropout": 0.0, "model.attention_dropout": 0.0}


@pytest.fixture(scope="module", name="teacher")
def of_two_tasks(tmp_path_factory, synthetic_task) -> pathlib.Path:
  workdir = tmp_path_factory.mktemp("runs") / "teacher"
  config = helpers.finetune_config(
      "sst+ner", **synthetic_task, **{"train.num_epochs": 0.1}
  )
  finetune(config, workdir, quiet=True)
  return workdir


def student_config(synthetic_task, teacher, task="sst", **changes):
  distill = {
      "distill.teacher": str(teacher),
      "distill.relation_heads": 16,
      "distill.temperature": 2.0,
  }
  return helpers.finetune_config(task, **synthetic_task | distill | changes)


def few_steps(config, *, devices=1, steps=2, change=lambda data: data, **init):
  """Metrics and parameters after some steps."""
  start = find_encoder(config)
  mesh = sharding.make_mesh(devices=jax.devices()[:devices])
  named = taught_tasks(config, start, task_data.find_tasks(config))
  source = task_data.source_of(config)
  tasks = [
      change(with_unlabelled(config, task_data.read_task(task, source)))
      for task in named
  ]
  teacher = find_task_teacher(config, start, [x.task for x in tasks], mesh)
  heads = [head_of(data.task) for data in tasks]
  trainer = make_task_trainer(config, start.encoder, heads, mesh, 10, teacher)
  options = task_data.feature_options(config)
  batches = Batches(
      {
          x.task.name: training_features(x, start.tokenizer, options)
          for x in tasks
      },
      batch_size=16,
      row_length=64,
      pad_id=start.tokenizer.special.pad,
      accumulation_steps=config.train.accumulation_steps,
      row_multiple=sharding.batch_shards(mesh),
  )
  state = trainer.init(0, None)
  if init:
    params = {
        **teacher.params,
        "task_specific": dict(teacher.params["task_specific"]),
    }
    params["task_specific"].pop("ner")
    state = state._replace(params=jax.tree.map(np.array, params))
    state = jax.device_put(state, trainer.shardings)
  return helpers.after_steps(trainer, state, batches, steps)


@pytest.mark.slow
def test_the_same_on_eight_devices_and_in_parts(synthetic_task, teacher):
  records, params = few_steps(
      student_config(synthetic_task, teacher, "sst+ner", **STILL)
  )
  assert {"relation_loss", "sst_loss", "sst_logits_loss", "ner_logits_loss"} < (
      set(records[0])
  )
  others, other_params = few_steps(
      student_config(
          synthetic_task,
          teacher,
          "sst+ner",
          **STILL,
          **{"train.accumulation_steps": 2},
      ),
      devices=8,
  )
  for record, other in zip(records, others, strict=True):
    for name, (total, weight) in record.items():
      np.testing.assert_allclose(other[name][1], weight, rtol=1e-6)
      np.testing.assert_allclose(other[name][0], total, rtol=2e-3, atol=1e-4)
  for (path, a), (_, b) in zip(
      path_names(other_params), path_names(params), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4, err_msg=path)


def test_a_student_that_is_its_teacher_has_only_labels_to_learn(
    synthetic_task, teacher
):
  config = student_config(
      synthetic_task, teacher, **STILL, **{"distill.label_weight": 0.0}
  )
  (record,), _ = few_steps(config, steps=1, from_teacher=True)
  for name in ("relation_loss", "sst_logits_loss", "loss"):
    assert abs(record[name][0] / record[name][1]) < 1e-4, name
  assert record["sst_loss"][0] > 0.1
  assert record["grad_norm"][0] < 1e-3


@pytest.mark.slow
def test_texts_without_labels_have_the_teachers_answers_alone(
    tmp_path, synthetic_task, teacher
):
  texts = tmp_path / "texts.txt"
  texts.write_text("".join(f"a{i} good thing\n\n" for i in range(9)))
  config = student_config(
      synthetic_task, teacher, **{"distill.unlabelled": str(texts)}
  )

  def only_unlabelled(data):
    one = [data.splits["train"][0]]
    more = data.splits[task_data.UNLABELLED] * 7
    return task_data.TaskData(
        data.task, {**data.splits, "train": one, task_data.UNLABELLED: more}
    )

  (record,), _ = few_steps(config, steps=1, change=only_unlabelled)
  labelled, texts = record["sst_loss"][1], record["sst_logits_loss"][1]
  assert labelled <= 1 and texts == 16
  logits, relations = record["sst_logits_loss"][0], record["relation_loss"]
  assert logits > 0
  # Means over texts and tokens, each by its weight, add up.
  weights = config.distill
  whole = weights.relation_weight * relations[0] / relations[1]
  whole += weights.label_weight * record["sst_loss"][0] / texts
  whole += weights.logits_weight * logits / texts
  assert record["loss"][0] == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_a_run_resumes_answers_and_keeps_its_teacher(
    tmp_path, synthetic_task, teacher, monkeypatch
):
  texts = tmp_path / "texts.txt"
  texts.write_text("a good thing\nno good thing\n")
  config = student_config(
      synthetic_task,
      teacher,
      **{
          "distill.unlabelled": str(texts),
          "train.num_epochs": 1.0,  # Five steps.
          "train.checkpoint_every_steps": 2,
      },
  )
  api.distill(config, tmp_path / "whole", quiet=True)
  training = Batches.training

  def broken(self, seed, start_step=0):
    yield from itertools.islice(training(self, seed, start_step), 3)
    raise ZeroDivisionError

  with monkeypatch.context() as patch:
    patch.setattr(Batches, "training", broken)
    with pytest.raises(ZeroDivisionError):
      api.distill(config, tmp_path / "resumed", quiet=True)
  api.distill(None, tmp_path / "resumed", quiet=True)
  whole, resumed = (
      FinetunedModel(tmp_path / name) for name in ("whole", "resumed")
  )
  helpers.assert_equal_trees(resumed.params, whole.params)
  assert whole.predict([TextExample("0", "a good thing", None, None)])
  facts = helpers.read_json(tmp_path / "whole/task.json")
  assert "weights of step" in facts["teacher"]
  assert facts["examples"]["sst"]["unlabelled"] == 2


def test_lines_without_labels_are_those_that_predict_reads(
    tmp_path, synthetic_task
):
  texts = tmp_path / "texts.txt"
  texts.write_text("a\x0cgood\u2028thing\n\nno {\n", encoding="utf-8-sig")
  config = student_config(
      synthetic_task, "a/run", **{"distill.unlabelled": str(texts)}
  )
  (task,) = task_data.find_tasks(config)
  data = with_unlabelled(config, task_data.TaskData(task, {}))
  found = [(x.id, x.text) for x in data.splits[task_data.UNLABELLED]]
  assert found == [("0", "a\x0cgood\u2028thing"), ("2", "no {")]


# --- Mistakes ---


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"distill.relation_heads": 5}, "relation_heads 5 does not divide"),
        ({"data.max_length": 513}, "max_length 513 exceeds the 512 positions"),
        (
            {"distill.unlabelled": "nowhere.txt"},
            "config.distill.unlabelled nowhere.txt cannot be read",
        ),
        (
            {"distill.unlabelled": "nowhere.txt", "distill.teacher": ""},
            "unlabelled is nowhere.txt and config.distill.teacher is empty",
        ),
        (
            {"task": "sst+ner", "distill.unlabelled": "nowhere.txt"},
            "texts without labels are for one task alone",
        ),
        ({"task": "rte"}, "has learned sst, ner and not rte; fine-tune it on"),
    ],
)
def test_what_does_not_fit(synthetic_task, teacher, changes, sentence):
  config = student_config(synthetic_task, teacher, **changes)
  with pytest.raises(UserError, match=sentence):
    few_steps(config)


def test_labels_that_are_given_must_be_the_teachers(synthetic_task, teacher):
  config = student_config(synthetic_task, teacher)
  start = find_encoder(config)
  (task,) = task_data.find_tasks(config)
  for labels in ((), task.labels, task.labels[::-1]):
    (taught,) = taught_tasks(
        config, start, [dataclasses.replace(task, labels=labels)]
    )
    assert taught.labels == task.labels
  other = dataclasses.replace(task, labels=("good", "bad"))
  with pytest.raises(UserError, match=r"leave config\.table\.labels out"):
    taught_tasks(config, start, [other])


def test_a_pretrain_run_teaches_no_task(store, synthetic_task, tiny_run):
  tokenizer = {"data.tokenizer": str(tiny_run / "tokenizer")}
  config = student_config(synthetic_task | tokenizer, tiny_run)
  with pytest.raises(
      UserError, match="is a pretrain run, which has learned no"
  ):
    few_steps(config)
