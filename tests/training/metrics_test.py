"""Sums, areas and records."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from electra_jax.training import metrics
from electra_jax.training.writers import ScalarWriter


@pytest.mark.parametrize("spread", [0.05, 2.0])
def test_area_equals_the_exact_one(spread):
  rng = np.random.default_rng(0)
  labels = rng.random((40, 50)) < 0.13
  logits = (rng.normal(-2, 1, (40, 50)) + labels * 0.7) * spread
  weights = (rng.random((40, 50)) < 0.8).astype(np.float32)
  histogram = sum(
      np.asarray(
          metrics.ranking_histogram(
              jnp.asarray(logits[part], jnp.float32),
              jnp.asarray(labels[part]),
              jnp.asarray(weights[part]),
          )
      )
      for part in (slice(0, 10), slice(10, 40))
  )
  used = weights > 0
  expected = roc_auc_score(labels[used], logits[used])
  assert abs(metrics.area_under_curve(histogram) - expected) < 1e-3


def test_ties_count_half_and_one_class_is_no_area():
  logits = jnp.zeros((1, 4))
  ones = jnp.ones((1, 4))
  labels = jnp.asarray([[True, False, True, False]])
  tied = np.asarray(metrics.ranking_histogram(logits, labels, ones))
  assert metrics.area_under_curve(tied) == 0.5
  single = np.asarray(metrics.ranking_histogram(logits, labels | True, ones))
  assert np.isnan(metrics.area_under_curve(single))


def test_division_happens_after_adding():
  total = metrics.add_up([{"a": (1.0, 1.0)}, {"a": (0.0, 3.0)}])
  assert metrics.divide(total) == {"a": 0.25}
  assert np.isnan(metrics.divide({"a": (0.0, 0.0)})["a"])


def test_records_after_the_resumed_step_are_dropped(tmp_path):
  writer = ScalarWriter(tmp_path, 0)
  for step in (1, 2, 3):
    writer.write(step, "train", {"loss": float("nan") if step == 1 else 2.0})
  writer.close()
  with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
    file.write('{"step": 4, "gro')  # Cut off by a kill.
  ScalarWriter(tmp_path, 2).close()
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert [r["step"] for r in records] == [1, 2]
  assert records[0]["loss"] is None
