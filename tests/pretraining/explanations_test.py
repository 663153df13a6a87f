"""Figures come with a word, and with the mark that makes them good."""

import math

from electra_jax.pretraining.explanations import describe_evaluation, explain

GOOD = {
    "loss": 8.0,
    "mlm_accuracy": 0.4,
    "mlm_loss": 3.37,
    "replaced_share": 0.12,
    "rtd_accuracy": 0.9,
    "rtd_auc": 0.781,
    "rtd_loss": 0.31,
    "rtd_precision": 0.7,
    "rtd_recall": 0.2,
    "sampled_mlm_accuracy": 0.3,
    "unigram_entropy": 5.97,
}


def lines(figures):
  return dict(zip(sorted(figures), explain(figures), strict=True))


def test_every_figure_has_a_word():
  for name, line in lines(GOOD).items():
    assert line.startswith(f"{name} ") and len(line.split()) > 6, line
  known = {**GOOD, "token_loss": 1.0, "token_accuracy": 0.5}
  assert all(len(line.split()) > 6 for line in explain(known))


def test_good_values_are_called_so():
  told = lines(GOOD)
  assert told["rtd_auc"].startswith("rtd_auc                0.7810 ")
  assert told["rtd_auc"].endswith("1 is perfect; better than guessing")
  assert "word frequencies alone give 5.97: better" in told["mlm_loss"]
  assert "one verdict for all gives 0.880: better" in told["rtd_accuracy"]
  assert "guessing gives 0.120: better" in told["rtd_precision"]
  entropy = -0.12 * math.log(0.12) - 0.88 * math.log(0.88)
  assert f"replaced tokens gives {entropy:.3f}: better" in told["rtd_loss"]


def test_bad_values_are_called_so():
  told = lines(
      {
          **GOOD,
          "mlm_loss": 6.1,
          "rtd_accuracy": 0.87,
          "rtd_auc": 0.5,
          "rtd_loss": 0.37,
          "rtd_precision": 0.1,
      }
  )
  for name in (
      "mlm_loss", "rtd_accuracy", "rtd_auc", "rtd_loss", "rtd_precision"
  ):  # fmt: skip
    assert told[name].endswith("no better yet"), told[name]


def test_a_figure_of_nothing_is_told():
  told = lines({**GOOD, "rtd_precision": float("nan")})
  assert told["rtd_precision"].endswith("there was nothing to count")


def test_the_line_of_an_evaluation():
  assert describe_evaluation(GOOD) == (
      "masked-LM loss 3.37 nats (word frequencies alone: 5.97);"
      " replaced-token AUC 0.781 (0.5 is guessing, 1 is perfect)"
  )
  assert describe_evaluation({"mlm_loss": 3.0}) == "masked-LM loss 3.00 nats"
