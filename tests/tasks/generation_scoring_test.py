"""Scores of written text: by hand, by the packages, and without them."""

import importlib.util

import pytest
from rouge_score import rouge_scorer
from sacrebleu import metrics

from electra_jax.errors import UserError
from electra_jax.tasks import generation_scoring as scoring
from electra_jax.tasks.examples import GenerationExample

TARGETS = ["the cat sat on the mat today", "a dog barks", "Anna"]
WRITTEN = ["the cat sat on a mat", "dogs bark", "anna"]


def examples(targets=TARGETS, **others):
  return [
      GenerationExample(str(i), f"source {i} of it", None, target, **others)
      for i, target in enumerate(targets)
  ]


def test_bleu_and_chrf_are_those_of_a_whole_corpus():
  found = scoring.score_texts(("chrf", "bleu"), examples(), WRITTEN)
  assert list(found) == ["chrf", "bleu"]
  assert found["bleu"] == metrics.BLEU().corpus_score(WRITTEN, [TARGETS]).score
  assert found["chrf"] == metrics.CHRF().corpus_score(WRITTEN, [TARGETS]).score
  perfect = scoring.score_texts(("chrf", "bleu"), examples(), TARGETS)
  assert perfect == pytest.approx({"chrf": 100, "bleu": 100})


def test_rouge_is_a_mean_with_a_stemmer():
  found = scoring.score_texts(scoring.ROUGE, examples(), WRITTEN)
  # 5 of 6 and of 7 words; of the second both stems, of 2 and of 3 words.
  first, second = 2 * 5 / (6 + 7), 2 * 2 / (2 + 3)
  assert found["rouge1"] == pytest.approx(100 * (first + second + 1) / 3)
  scorer = rouge_scorer.RougeScorer(["rougeLsum"], use_stemmer=True)
  means = [
      scorer.score(target, text)["rougeLsum"].fmeasure
      for target, text in zip(TARGETS, WRITTEN, strict=True)
  ]
  assert found["rougeLsum"] == pytest.approx(100 * sum(means) / 3)


def test_answers_take_the_best_of_several_targets():
  several = examples(["Anna Miller"], more_targets=("Anna",))
  wanted = ("f1", "exact_match", "rougeL")
  assert scoring.score_texts(wanted, several, ["the anna"]) == {
      "f1": 100,
      "exact_match": 100,
      # ROUGE does not know articles: 1 of 2 words and 1 of 1.
      "rougeL": pytest.approx(100 * 2 / 3),
  }
  alone = scoring.score_texts(wanted, examples(["Anna Miller"]), ["the anna"])
  assert alone["exact_match"] == 0 and alone["f1"] == pytest.approx(200 / 3)


def test_baselines_copy_the_source_and_its_first_words():
  some = examples(["source 0 of it"])
  assert scoring.write_baseline("copy", some) == ["source 0 of it"]
  assert scoring.write_baseline("lead", some, words=2) == ["source 0"]
  asked = [GenerationExample("", "who?", "Ann came.", "Ann")]
  assert scoring.write_baseline("copy", asked) == ["Ann came."]
  found = scoring.baselines(("rouge1",), some, ["a b", "c", "d e f"])
  assert found["copy"] == {"rouge1": 100}
  assert found["lead"]["rouge1"] == pytest.approx(100 * 2 * 2 / (2 + 4))


def test_what_is_told_beside_the_scores():
  lines = scoring.describe_baselines(("chrf", "bleu"), examples(), examples())
  assert lines[0].startswith("the source itself has chrf ")
  assert "its first 3 words have chrf" in lines[0]
  assert "bleu nrefs:1|case:mixed" in lines[1] and "version:" in lines[1]
  (alone,) = scoring.describe_baselines(("rouge1",), examples(), examples())
  assert "rouge1" in alone


def test_a_missing_package_is_told_before_it_is_needed(monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
      importlib.util,
      "find_spec",
      lambda name, *rest: None if name == "sacrebleu" else find(name, *rest),
  )
  scoring.check_packages(("rouge1", "f1"))
  with pytest.raises(
      UserError, match=r"sacrebleu, which is.*electra-jax\[text\]"
  ):
    scoring.check_packages(("chrf", "bleu"))
  with pytest.raises(UserError, match="no text to score"):
    scoring.score_texts(("f1",), [], [])
