"""Every score has a word, and guessing is told where it can be."""

from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.score_words import explain_score, explain_scores
from electra_jax.tasks.scoring import METRICS
from electra_jax.tasks.task import Task

TASK = Task("t", "classification", ("accuracy",), lambda *_: [], ("no", "yes"))


def test_every_metric_has_a_word():
  for name in METRICS:
    assert explain_score(f"task/dev/{name}"), name


def test_scores_of_questions():
  assert explain_score("squad2/dev/HasAns_total").endswith("have an answer")
  assert "best threshold" in explain_score("squad2/dev/best_f1")
  assert "log-odds" in explain_score("squad2/dev/best_f1_thresh")


def test_the_commonest_label_is_told():
  examples = [
      TextExample(str(i), "text", None, label)
      for i, label in enumerate(["yes", "yes", "no", "yes"])
  ]
  names = ["t/dev/accuracy", "t/dev/mcc", "t/dev/unheard_of"]
  assert explain_scores(names, {"t": TASK}, {("t", "dev"): examples}) == [
      "t/dev/accuracy: percent right; 100 is perfect; always answering 'yes'"
      " gives 75.0",
      "t/dev/mcc: Matthews correlation in percent; 0 is guessing; 100 is"
      " perfect",
  ]
