"""Fine-tuning with rounded weights: devices, and what the run then answers."""

import jax
import numpy as np
import pytest

from electra_jax.finetuning import finetune
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import electra_config
from tests import helpers
from tests.finetuning.step_test import few_steps

INT4 = {"model.quantization": "int4"}


@pytest.mark.slow
def test_devices_change_no_more_than_a_rounding(synthetic_task):
  config = helpers.finetune_config("sst", **synthetic_task, **INT4)
  one, params = few_steps(config, jax.devices()[:1], 2)
  again, same = few_steps(config, jax.devices()[:1], 2)
  helpers.assert_equal_trees(params, same)
  other, _ = few_steps(config, jax.devices(), 2)
  for a, b, c in zip(one, again, other, strict=True):
    loss = a["loss"][0] / a["loss"][1]
    assert loss == b["loss"][0] / b["loss"][1]
    assert c["loss"][0] / c["loss"][1] == pytest.approx(loss, rel=0.01)
  plain = helpers.override(config, {"model.quantization": ""})
  (first, *_), _ = few_steps(plain, jax.devices()[:1], 1)
  assert not np.isclose(first["loss"][0], one[0]["loss"][0], rtol=1e-5)


@pytest.mark.slow
def test_scores_and_answers_are_of_the_rounded_model(tmp_path):
  config = helpers.finetune_config("sst", **INT4, **{"train.num_epochs": 1.0})
  summary = finetune.finetune(config, tmp_path, quiet=True).summary
  assert workdirs.load(tmp_path).facts["encoder"]["quantization"] == "int4"
  found = FinetunedModel(tmp_path).evaluate()
  assert found == pytest.approx(summary["median"], rel=1e-4)


def test_both_networks_of_a_pretraining_are_rounded():
  config = helpers.tiny_config(**{"model.quantization": "int8"})
  networks = electra_config(config, 100)
  assert networks.discriminator.quantization == "int8"
  assert networks.generator.quantization == "int8"
