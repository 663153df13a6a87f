"""Fine-tuning through an information bottleneck, from training to answers."""

import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.finetuning import finetune, total_loss, trainer
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.losses import regression_loss
from electra_jax.finetuning.many_texts import ManyTexts
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.finetuning.task_data import find_tasks
from electra_jax.finetuning.task_predictor import heads_of
from electra_jax.interop import google
from electra_jax.interop import workdir as interop
from electra_jax.models.bottleneck import Bottleneck, BottleneckOutput
from electra_jax.models.task_heads import HeadConfig
from electra_jax.runs import workdir as workdirs
from electra_jax.trees import path_names
from tests import helpers, processes
from tests.finetuning.step_test import few_steps

SMALL = {"bottleneck.dimensions": 8, "bottleneck.beta": 0.1}
METRICS = "seed_0/metrics.jsonl"
STEPS = 32


def command(workdir):
  return (
      *("finetune", "--workdir", workdir),
      *("--config", helpers.ROOT / "configs/finetune.py:sst,runlocal"),
      "--config.model.num_layers=1",
      "--config.train.num_epochs=8",
      "--config.train.log_every_steps=1",
      "--config.bottleneck.dimensions=8",
      "--config.bottleneck.beta=0.1",
  )


@pytest.fixture(scope="module", name="whole")
def a_finished_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("bottleneck") / "run"
  processes.run(*command(workdir))
  return workdir


@pytest.mark.slow
def test_a_stopped_run_ends_in_the_same_bits(tmp_path, whole):
  process = processes.start(*command(tmp_path))
  processes.stop(process, tmp_path / METRICS, 4, signal.SIGTERM)
  processes.run(*command(tmp_path))
  helpers.assert_equal_trees(
      helpers.read_params(tmp_path / "seed_0", STEPS),
      helpers.read_params(whole / "seed_0", STEPS),
  )


def test_the_rate_is_told_in_metrics_and_in_the_table(whole):
  records = helpers.read_records(whole / METRICS)
  train = [record for record in records if record["group"] == "train"]
  for n, record in enumerate(train):  # The loss holds as much of it as told.
    beta = 0.1 * n / STEPS
    told = record["sst_loss"] + beta * record["sst_rate"]
    assert record["loss"] == pytest.approx(told, rel=1e-4)
  scores = helpers.read_json(whole / "scores.json")
  rate = scores["median"]["sst/dev/rate"]
  assert 0 < rate < 100
  assert scores["selected_by"] == ["sst/dev/accuracy"]
  table = (whole / "scores.txt").read_text()
  assert f"{rate:.2f}" in table


def test_answers_are_of_the_mean_and_do_not_change(whole):
  model = FinetunedModel(whole)
  lines = ["a fine film", "what a bore", "fine"]
  answers = [
      model.predict(parse_inputs(model.task(), some)).records
      for some in (lines, lines[:1])
  ]
  assert answers[0][0]["probability"] == pytest.approx(
      answers[1][0]["probability"], rel=1e-5
  )
  scores = helpers.read_json(whole / "scores.json")["median"]
  found = model.evaluate()
  assert found == pytest.approx(scores, rel=1e-4)


def test_answers_to_many_texts_are_the_same(whole):
  model = FinetunedModel(whole)
  many = ManyTexts(model, model.task(), 512)
  lines = ["a fine film", "what a bore", "fine"]
  examples = parse_inputs(model.task(), lines)
  features = many.features(examples)
  found = many.decode(examples, features, many.outputs(features))
  for one, other in zip(
      found.records, model.predict(examples).records, strict=True
  ):
    assert one["label"] == other["label"]
    assert one["probability"] == pytest.approx(other["probability"], rel=1e-5)


@pytest.mark.slow
def test_devices_and_packing_change_nothing(synthetic_task):
  """Neither noise nor rate is of the place of a text in its batch."""
  config = helpers.finetune_config("sst", **synthetic_task, **SMALL)
  heads = heads_of(find_tasks(config), config)
  assert heads[0].bottleneck == Bottleneck(8, 5, "learned")
  one = few_steps(config, jax.devices()[:1])
  other = few_steps(
      helpers.override(config, {"data.packing": False}), jax.devices()
  )
  for a, b in zip(one[0], other[0], strict=True):
    for name in ("loss", "sst_loss", "sst_rate", "grad_norm"):
      value = a[name][0] / a[name][1]
      assert b[name][0] / b[name][1] == pytest.approx(value, rel=2e-4), name
  for (name, a), (_, b) in zip(
      path_names(one[1]), path_names(other[1]), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("proportion", "steps", "expected"),
    [
        (1.0, (0, 5, 10), (0.0, 0.1, 0.2)),
        (0.5, (0, 5, 9), (0.0, 0.2, 0.2)),
        (0.0, (0, 9), (0.2, 0.2)),
    ],
)
def test_beta_rises_and_then_stays(proportion, steps, expected):
  values = {
      "bottleneck.beta": 0.2,
      "bottleneck.warmup_proportion": proportion,
  }
  config = helpers.finetune_config("sst", **values)
  found = [trainer.rate_weight(config, 10, jnp.int32(n)) for n in steps]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_loss_is_the_mean_over_samples():
  """Of losses, which for a rating is not the loss of the mean."""
  logits = jnp.asarray([[[0.0], [1.0]], [[1.0], [1.0]]])  # [S, B, 1]
  ratings = jnp.asarray([0.5, 0.0])
  head = HeadConfig("sts", "regression", 1, bottleneck=Bottleneck(4, 2, "x"))
  outputs = {"sts": BottleneckOutput(logits, jnp.asarray([3.0, 5.0]))}

  batch = types.SimpleNamespace(
      targets={"sts": {"ratings": ratings}},
      weights={"sts": jnp.asarray([1.0, 0.5])},
  )
  found = total_loss.summed_losses(None, [head], outputs, batch)["sts"]
  each = [regression_loss(sample, ratings) for sample in logits]
  np.testing.assert_allclose(each, [[0.25, 1.0], [0.25, 1.0]])
  assert float(found) == pytest.approx(0.25 + 0.5)
  rates = total_loss._bottleneck_rates([head], outputs, batch)
  assert float(rates["sts"]) == pytest.approx(3.0 + 2.5)


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        ("ner", {}, "ner is a task of tagging, whose answers are read from"),
        ("sst+squad", {}, "squad is a task of questions"),
        ("sst", {"model.head": "huggingface"}, "leave --config.model.head out"),
        (
            "sst",
            {"bottleneck.prior": "flat"},
            "must be 'standard' or 'learned'",
        ),
        ("sst", {"bottleneck.beta": -1.0}, "beta is -1.0; it must be at least"),
        ("sst", {"bottleneck.samples": 0}, "samples is 0; it must be at least"),
    ],
)
def test_mistakes_are_named(tmp_path, task, overrides, message):
  with pytest.raises(UserError, match=message):
    config = helpers.finetune_config(task, **SMALL | overrides)
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def test_the_released_format_has_no_such_head(tmp_path, whole):
  state = interop.read_finetuned(whole, workdirs.load(whole), None)
  with pytest.raises(UserError, match="dimensions=8, and the released code"):
    google.write_model(tmp_path, state)


@pytest.mark.slow
def test_classes_and_ratings_are_learned_together(tmp_path):
  """Kinds of other losses run to their scores; two tasks share an encoder."""
  config = helpers.finetune_config("sst+sts", **SMALL)
  summary = finetune.finetune(config, tmp_path / "two", quiet=True).summary
  assert {"sst/dev/rate", "sts/dev/rate"} <= set(summary["median"])


def test_a_teacher_and_a_bottleneck_are_refused_together():
  both = {"bottleneck.dimensions": 8, "distill.teacher": "runs/teacher"}
  with pytest.raises(UserError, match=r"teacher is 'runs/teacher'.* leave one"):
    find_tasks(helpers.finetune_config("sst", **both))


def test_vectors_have_no_teacher():
  with pytest.raises(UserError, match="vectors have no teacher: leave one"):
    find_tasks(
        helpers.finetune_config("embedding", **{"distill.teacher": "a/run"})
    )
