import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.objectives.masking import MaskingConfig, Rows, mask_rows
from electra_jax.objectives.objective import Outcome
from electra_jax.pretraining import held_out
from electra_jax.runs.networks import Vocabulary
from electra_jax.text.tokenizer import SpecialIds, load_tokenizer
from electra_jax.training import metrics
from tests import helpers

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)


def test_rows_are_spread_over_the_batch_and_padding_does_not_move_them():
  slots = held_out.slots_of(64, 60)
  kept = [int(np.flatnonzero(slots == s)[0]) for s in range(6)]
  assert kept == [0, 10, 20, 30, 40, 50]
  np.testing.assert_array_equal(held_out.slots_of(60, 60), slots[:60])
  assert held_out.slots_of(3, 3).tolist() == [0, 1, 2]


def test_a_kept_row_is_what_was_seen_and_what_was_said_of_it():
  tokenizer = load_tokenizer(helpers.GOLDEN / "vocab.txt")
  special = tokenizer.special
  ((the, of),) = tokenizer.encode_batch(["the of"])
  words = [special.cls, the, of, special.sep]
  input_ids = jnp.asarray([[*words, 0], [*words[:2], words[3], 0, 0]])
  mask = (input_ids != 0).astype(jnp.int32)
  masked = mask_rows(
      jax.random.key(0),
      Rows(input_ids, mask, jnp.zeros_like(input_ids)),
      MaskingConfig(0.15, 5, special.mask, (special.cls, special.sep)),
  )
  seen = input_ids.at[0, 1].set(of)
  logits = jnp.asarray([[-3.0, 2.0, -1.0, -3.0, 9.0], [-3.0, -2, -3, 9, 9]])
  ones = jnp.ones_like(logits)
  outcome = Outcome({}, {}, (logits, seen != input_ids, ones), seen)
  judged = held_out.judged_rows(jnp.asarray([0, 1]), masked, outcome)
  sample = held_out.make_sample(
      tokenizer, judged, np.zeros((2, len(metrics.histogram_logits()))), None
  )
  first, second = sample["rows"]
  assert first["tokens"] == ["[CLS]", "the", "of", "[SEP]"]
  assert first["replaced"] == {"1": "of"} and not second["replaced"]
  expected = 1 / (1 + np.exp(-np.asarray(logits)))
  np.testing.assert_allclose(first["probabilities"], expected[0, :4], atol=1e-3)
  np.testing.assert_allclose(
      second["probabilities"], expected[1, :3], atol=1e-3
  )


def test_bands_go_by_rank_and_special_tokens_take_none():
  counts = np.concatenate([np.full(5, 10**6), np.arange(200, 0, -1)])
  bands = held_out._bands_of(Vocabulary(205, SPECIAL, None, counts))
  assert bands.tolist() == [0] * 5 + [1] * 10 + [2] * 90 + [3] * 100


def test_calibration_compares_what_was_said_with_what_was():
  logits = jnp.full((1, 100), 2.0)
  labels = jnp.arange(100)[None] < 70
  ones = jnp.ones((1, 100))
  histogram = metrics.ranking_histogram(logits, labels, ones)
  (found,) = held_out._calibration(np.asarray(histogram))
  assert found["tokens"] == 100
  assert found["observed"] == pytest.approx(0.7)
  assert found["predicted"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)


def test_markdown_of_hostile_tokens_is_text():
  row = {
      "tokens": ["<b>", "a*b"],
      "replaced": {"0": "[x](y)"},
      "probabilities": [0.9, 0.8],
  }
  text = held_out._markdown(row)
  assert not set("<>[_") & set(text)
  assert "**&#91;x&#93;(y)** (&#60;b&#62;, 90%)" in text
  assert "false alarm, 80%" in text


def test_a_run_keeps_the_same_rows_with_the_same_noise(tiny_run):
  (record,) = helpers.read_records(tiny_run / "samples.jsonl")
  assert record["step"] == 4 and record["group"] == "validation"
  assert 1 <= len(record["rows"]) <= held_out.NUM_ROWS
  for row in record["rows"]:
    assert row["tokens"][0] == "[CLS]"
    assert len(row["probabilities"]) == len(row["tokens"])
    for i, new in row["replaced"].items():
      assert row["tokens"][int(i)] != new
  (figures,) = helpers.read_metrics(tiny_run, "validation")
  counted = sum(bin_["tokens"] for bin_ in record["calibration"])
  observed = sum(b["tokens"] * b["observed"] for b in record["calibration"])
  assert observed / counted == pytest.approx(
      figures["replaced_share"], abs=1e-4
  )
  right = sum(b["kept_right"] + b["found"] for b in record["bands"])
  assert sum(b["kept"] + b["replaced"] for b in record["bands"]) == counted
  assert right / counted == pytest.approx(figures["rtd_accuracy"], abs=1e-4)
  assert json.loads((tiny_run / "parameters.json").read_text())["networks"]
