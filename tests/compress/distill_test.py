"""Whole distillations on the shipped configs: kill, resume, use, mistakes."""

import dataclasses
import re
import shutil
import signal

import numpy as np
import pytest

from electra_jax import api
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.pretraining.data import teacher_of
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import read_pretrain_config
from electra_jax.runs.shipped import absolute_or_name
from electra_jax.text.tokenizer import load_tokenizer
from tests import helpers, processes
from tests.exporting.workdirs import pretrained

STEPS = 8
SHAPES = {
    "model.hidden_size": 32,
    "model.embedding_size": 16,
    "model.num_layers": 1,
    "distill.relation_heads": 8,  # The teacher is 64 wide.
}


def values_of(store, teacher, **more):
  return {
      "data.synthetic": False,
      "data.store": str(store),
      "distill.teacher": str(teacher),
      "train.num_steps": STEPS,
      "train.checkpoint_every_steps": 2,
      "train.eval_every_steps": 4,
      "train.log_every_steps": 1,
      **SHAPES,
      **more,
  }


def command(workdir, store, teacher):
  values = values_of(store, teacher)
  flags = [f"--config.{name}={value}" for name, value in values.items()]
  config = helpers.ROOT / "configs/distill.py:small,with_objective,runlocal"
  return "distill", "--workdir", workdir, "--config", config, *flags


@pytest.fixture(scope="module", name="student")
def uninterrupted(tmp_path_factory, store, tiny_run):
  workdir = tmp_path_factory.mktemp("runs") / "student"
  api.distill(
      "distill:small,with_objective,runlocal",
      workdir,
      overrides=values_of(store, tiny_run),
      quiet=True,
  )
  return workdir


@pytest.mark.slow
def test_the_run_tells_its_teacher_and_what_it_learned(student):
  losses = [r["relation_loss"] for r in helpers.read_metrics(student, "train")]
  assert len(losses) == STEPS and min(losses) > 0
  teacher = helpers.read_json(student / "store.json")["teacher"]
  assert re.fullmatch(
      r"[0-9a-f]{16}, weights of step 4 in .*/tiny_run/checkpoints", teacher
  )
  assert "Distillation: loss of the relations" in (
      (student / "report.html").read_text()
  )


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(tmp_path, store, tiny_run):
  # All by the command: on as many devices, and compiled in the same way.
  whole, workdir = tmp_path / "whole", tmp_path / "resumed"
  processes.run(*command(whole, store, tiny_run))
  process = processes.start(*command(workdir, store, tiny_run))
  processes.stop(process, workdir / "metrics.jsonl", 3, signal.SIGKILL)
  output = processes.run("distill", "--workdir", workdir)
  assert "layer 1 of 1, 8 relation heads" in output
  assert "relation_loss" in output
  helpers.assert_equal_trees(
      helpers.read_params(workdir, STEPS), helpers.read_params(whole, STEPS)
  )


@pytest.mark.slow
def test_a_student_is_an_ordinary_run(tmp_path, student):
  # It answers, …
  model = PretrainedModel(student)
  (found,) = model.detect(["a b"])
  assert all(0 < p < 1 for p in found.probabilities)
  # … is evaluated with its teacher, …
  last = helpers.read_metrics(student, "validation")[-1]
  figures = api.evaluate(student)
  for name in ("relation_loss", "mlm_loss", "rtd_auc"):
    np.testing.assert_allclose(figures[name], last[name], rtol=1e-5)
  # … starts a fine-tuning, …
  start = find_encoder(
      helpers.finetune_config(
          "sst",
          **{
              "init_from": str(student),
              "model.hidden_size": 32,
              "model.embedding_size": 16,
          },
      )
  )
  assert start.encoder.hidden_size == 32 and start.checkpoints is not None
  # … and becomes files of other formats.
  for to in ("huggingface", "google", "weights"):
    api.convert(student, tmp_path / to, to=to)
  assert (tmp_path / "huggingface/discriminator/model.safetensors").exists()
  passed_on = workdirs.load(tmp_path / "weights").config
  assert passed_on.distill.teacher == ""


@pytest.mark.slow
def test_heads_that_nobody_taught_are_told(tmp_path, tokenizer, caplog):
  values = {
      "distill.teacher": "base",
      "objective.gen_weight": 0.0,
      "objective.disc_weight": 0.0,
  }
  run, copy = tmp_path / "run", tmp_path / "copy"
  pretrained(run, tokenizer, **values)
  api.convert(run, copy, to="weights")
  card = tmp_path / "huggingface/discriminator/README.md"
  for use in (
      lambda: PretrainedModel(run),
      lambda: PretrainedModel(copy),  # It names no teacher any more.
      lambda: api.convert(run, tmp_path / "huggingface", to="huggingface"),
      lambda: api.export(
          run, tmp_path / "program", to="stablehlo", texts=["a b"]
      ),
  ):
    caplog.clear()
    use()
    assert "its heads are random" in caplog.text
  assert "the heads are random, and so are answers" in card.read_text()


@pytest.mark.slow
def test_another_teacher_is_refused_on_resuming(tmp_path, store, student):
  run = workdirs.load(student)
  teacher = tmp_path / "teacher"
  shutil.copytree(run.config.distill.teacher, teacher)
  workdir = tmp_path / "student"
  shutil.copytree(student, workdir)
  config = dataclasses.replace(
      run.config,
      distill=dataclasses.replace(run.config.distill, teacher=str(teacher)),
  )
  with pytest.raises(UserError, match=r"config.distill.teacher = "):
    api.distill(config, workdir, quiet=True)
  # The same place with other weights in it.
  facts = helpers.read_json(workdir / "store.json")
  text = (workdir / "store.json").read_text()
  digest = facts["teacher"][:16]
  (workdir / "store.json").write_text(text.replace(digest, "0" * 16))
  with pytest.raises(UserError, match=f"another teacher .*{digest}"):
    api.distill(None, workdir, quiet=True)


@pytest.mark.slow
def test_without_its_teacher_a_student_is_still_evaluated(
    tmp_path, student, caplog
):
  workdir = tmp_path / "student"
  shutil.copytree(student, workdir)
  gone = str(tmp_path / "gone")
  for name in ("config.json", "history.jsonl"):
    text = (workdir / name).read_text()
    teacher = workdirs.load(student).config.distill.teacher
    (workdir / name).write_text(text.replace(teacher, gone))
  figures = api.evaluate(workdir, max_rows=8)
  assert "relation_loss" not in figures and "rtd_auc" in figures
  assert "is not there any more" in caplog.text


# --- Mistakes: one sentence each, before anything is compiled ---


def find(teacher, tokenizer=None, **changes):
  config = read_pretrain_config(
      helpers.config_files.load_config(
          "distill:small,runlocal", {**values_of("", teacher), **changes}
      )
  )
  run = workdirs.load(teacher if tokenizer is None else tokenizer)
  return teacher_of(config, run.tokenizer, sharding.make_mesh())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"distill.relation_heads": 48},
            "relation_heads 48 does not divide the width 64 of the teacher in"
            " .*; choose a divisor of both widths, 64 and 32$",
        ),
        (
            {"distill.relation_heads": 64},
            "relation_heads 64 does not divide the width 32 of the student;",
        ),
        (
            {"distill.teacher_layer": 2},
            "teacher_layer is 2 and the teacher in .* has 1 layers: give 1 to"
            " 1, or -1 to -1",
        ),
        ({"distill.teacher_layer": 0}, "teacher_layer is 0 and the teacher"),
        (
            {"data.length": 1024},
            "config.data.length 1024 exceeds the 512 positions of the teacher"
            " in .*; set --config.data.length=512 or less",
        ),
    ],
)
def test_a_teacher_that_does_not_fit(tiny_run, changes, sentence):
  with pytest.raises(UserError, match=sentence):
    find(tiny_run, **changes)


def test_a_teacher_of_another_vocabulary(tiny_run):
  assert absolute_or_name("tiny-en") == "tiny-en"
  pieces = load_tokenizer(tiny_run / "tokenizer").vocab_size
  with pytest.raises(
      UserError,
      match="teacher in tiny-en has a vocabulary of 6000 pieces and the"
      f" student another one of {pieces}; they must share one",
  ):
    find("tiny-en", tokenizer=tiny_run)


def test_a_teacher_that_is_no_workdir(tmp_path, tiny_run):
  with pytest.raises(
      UserError, match=r"config.distill.teacher: .* is not a workdir.*convert"
  ):
    find(tmp_path, tokenizer=tiny_run)


def test_no_teacher(tmp_path):
  with pytest.raises(UserError, match=r"config.distill.teacher is empty; give"):
    api.distill("distill:small,runlocal", tmp_path)


def test_plans_and_benchmarks_have_no_figures_for_a_teacher():
  config = helpers.config_files.load_config(
      "distill:tiny_en", {"distill.teacher": "tiny-en"}
  )
  for call in (api.benchmark, lambda config: api.plan(config, "here")):
    with pytest.raises(UserError, match=r"config.distill.teacher is tiny-en,"):
      call(config)


def test_a_run_that_has_nothing_to_learn(tmp_path, store):
  with pytest.raises(UserError, match="so that nothing is learned; give one"):
    api.pretrain(
        "distill:small,runlocal", tmp_path, overrides=values_of(store, "")
    )
