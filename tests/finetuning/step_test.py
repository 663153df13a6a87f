"""One result of a fine-tuning step, however it is computed."""

import jax
import numpy as np
import pytest

from electra_jax.devices import sharding
from electra_jax.finetuning import finetune
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.finetuning.task_data import find_tasks, read_task, source_of
from electra_jax.finetuning.task_predictor import heads_of
from electra_jax.finetuning.trainer import make_task_trainer
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.features import FeatureOptions, make_features
from electra_jax.trees import path_names
from tests import helpers


def few_steps(config, devices, steps=3, **cutting):
  """Metrics and parameters after some steps."""
  cutting = {"max_length": 64} | cutting
  start = find_encoder(config)
  mesh = sharding.make_mesh(devices=devices)
  tasks = [read_task(t, source_of(config)) for t in find_tasks(config)]
  heads = heads_of([data.task for data in tasks], config)
  trainer = make_task_trainer(config, start.encoder, heads, mesh, 10)
  features = {
      data.task.name: make_features(
          data.task,
          data.splits["train"],
          start.tokenizer,
          FeatureOptions(**cutting),
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
  return helpers.after_steps(trainer, trainer.init(0, None), batches, steps)


@pytest.fixture(scope="module", name="one")
def on_one_device(synthetic_task):
  config = helpers.finetune_config("sst+ner", **synthetic_task)
  return few_steps(config, jax.devices()[:1])


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
    synthetic_task, one, overrides, devices
):
  config = helpers.finetune_config("sst+ner", **synthetic_task, **overrides)
  other = few_steps(config, jax.devices()[:devices])
  for a, b in zip(one[0], other[0], strict=True):
    for name in ("loss", "grad_norm", "sst_loss", "ner_loss"):
      value = a[name][0] / a[name][1]
      assert b[name][0] / b[name][1] == pytest.approx(value, rel=2e-4), name
  for (name, a), (_, b) in zip(
      path_names(one[1]), path_names(other[1]), strict=True
  ):
    # Adam divides a rounding error by its own size: a tenth of a step.
    np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3, err_msg=name)


@pytest.mark.slow
def test_the_released_sum_is_the_mean_times_the_batch(synthetic_task):
  found = []
  for reduction in ("mean", "sum"):
    asked = {"train.loss_reduction": reduction}
    config = helpers.finetune_config("sst", **synthetic_task, **asked)
    [sums], _ = few_steps(config, jax.devices()[:1], 1)
    found.append(sums)
  mean, total = found
  for name in ("loss", "grad_norm"):
    assert total[name][0] == pytest.approx(16 * mean[name][0], rel=1e-5)


def test_windows_of_a_text_count_once_together(synthetic_task):
  """However few of them a batch holds, its loss is a mean over texts."""
  asked = {"train.batch_size": 1, "data.packing": False}
  config = helpers.finetune_config("sst", **synthetic_task, **asked)
  records, _ = few_steps(
      config, jax.devices()[:1], 4, max_length=4, doc_stride=2, windows="mean"
  )
  for sums in records:
    total, weight = sums["sst_loss"]
    assert 0 < weight < 1  # One of several windows.
    assert sums["loss"][0] == pytest.approx(total / weight, rel=1e-5)
    assert sums["loss"][1] == 1


@pytest.mark.slow
def test_scores_do_not_depend_on_packing(tmp_path):
  scores = []
  for packing in (True, False):
    asked = {"data.packing": packing, "train.num_epochs": 12.0}
    config = helpers.finetune_config("sst", **asked)
    workdir = tmp_path / f"packing_{packing}"
    scores.append(finetune.finetune(config, workdir, quiet=True).summary)
  packed, apart = (s["median"] for s in scores)
  assert packed["sst/dev/accuracy"] == apart["sst/dev/accuracy"]
  assert packed["sst/dev/loss"] == pytest.approx(
      apart["sst/dev/loss"], rel=1e-3
  )
