"""The warm-up of fine-tuning is a share of all steps, not cut to whole ones."""

import jax.numpy as jnp
import pytest

from electra_jax.finetuning import trainer
from electra_jax.training.optimizer import learning_rate_schedule
from tests import helpers


@pytest.mark.parametrize("steps", [4, 9, 14, 100])
def test_the_rates_are_the_released_ones(steps):
  config = helpers.load_config("configs/finetune.py:task=rte,size=base")
  rate = learning_rate_schedule(trainer.optimizer_config(config, steps))
  base, warmup = config.optimizer.learning_rate, 0.1 * steps
  for t in range(steps):
    released = base * (1 - t / steps) * min(1.0, t / warmup)
    assert float(rate(jnp.asarray(t))) == pytest.approx(released, rel=1e-6)
