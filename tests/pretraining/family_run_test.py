"""Whole runs of the other objectives, generators and sharings."""

import numpy as np
import pytest

from electra_jax.api import evaluate
from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.pretraining.pretrain import pretrain
from tests import helpers

RUNS = {
    "electric": {
        "objective.name": "electric",
        "objective.generator": "two_tower",
        "model.embedding_sharing": "gradient_disentangled",
    },
    "masked_lm": {"objective.name": "masked_lm"},
    "all_tokens": {
        "objective.name": "all_tokens_mlm",
        "model.embedding_sharing": "all",
    },
    "replace": {
        "objective.name": "replace_mlm",
        "objective.masking_unit": "word",
    },
    "unigram": {
        "objective.name": "electra_15",
        "objective.generator": "unigram",
        "objective.label_smoothing": 0.1,
    },
}


@pytest.fixture(scope="module", name="runs")
def runs_of_every_kind(tmp_path_factory, store):
  folder, done = tmp_path_factory.mktemp("runs"), {}

  def run(name):
    if name not in done:
      config = helpers.store_config(
          store, **RUNS[name] | {"train.num_steps": 2}
      )
      done[name] = pretrain(config, folder / name, quiet=True)
    return folder / name, done[name]

  return run


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_trains_evaluates_and_predicts(name, runs):
  workdir, result = runs(name)
  recorded = result.evaluation
  assert np.isfinite(recorded["loss"])
  figures = evaluate(workdir)
  np.testing.assert_allclose(figures["loss"], recorded["loss"], rtol=1e-4)
  predictor = PretrainedModel(workdir)
  detects = name not in ("masked_lm", "replace")
  assert ("rtd_auc" in recorded) == detects
  if detects:
    (detection,) = predictor.detect(["dra dre"], corrupted=True)
    assert all(0 < p < 1 for p in detection.probabilities)
  else:
    with pytest.raises(UserError, match="this run has no discriminator"):
      predictor.detect(["dra"])
  if name != "unigram":
    (fill,) = predictor.fill("dra [MASK]", top=2)
    assert len(fill.tokens) == 2


@pytest.mark.slow
def test_electric_ranks_texts(runs, capsys):
  workdir, _ = runs("electric")
  texts = ["dra dre dri", "dri dre dra dra", "dre"]
  scores = PretrainedModel(workdir).score(texts)
  for score in scores:
    assert len(score.tokens) == len(score.log_likelihoods) > 0
    np.testing.assert_allclose(score.total, sum(score.log_likelihoods))
  command = ["predict", "--workdir", str(workdir), "--pseudo-log-likelihood"]
  with pytest.raises(SystemExit) as ended:
    cli.main([*command, *texts])
  assert not ended.value.code
  printed = capsys.readouterr().out.splitlines()
  order = sorted(range(3), key=lambda i: -scores[i].total)
  ranks = [order.index(i) + 1 for i in range(3)]
  for line, rank, i in zip(printed, ranks, range(3), strict=True):
    told = line.split("a token")[1].split("rank")[1]
    assert told.split()[:2] == [str(rank), f"{i}:"]
    assert line.endswith(texts[i])


@pytest.mark.slow
def test_a_text_longer_than_a_row_is_scored_in_parts(runs):
  predictor = PretrainedModel(runs("electric")[0])
  text = " ".join(["dra"] * 60)
  (score,) = predictor.score([text])
  assert len(score.tokens) == len(predictor.tokenizer.encode(text)) > 32


@pytest.mark.slow
def test_a_run_without_likelihoods_says_so(runs):
  with pytest.raises(UserError, match="no network that gives likelihoods"):
    PretrainedModel(runs("unigram")[0]).score(["dra"])


@pytest.mark.slow
def test_a_masked_lm_scores_text(runs):
  (score,) = PretrainedModel(runs("masked_lm")[0]).score(["dra dre"])
  assert all(value < 0 for value in score.log_likelihoods)
