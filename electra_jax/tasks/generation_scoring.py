"""Scores of written text: BLEU and chrF, ROUGE, exact match and F1.

BLEU and chrF are sacrebleu's over a whole split, ROUGE is rouge-score's with
its stemmer, a mean over texts, exact match and F1 are SQuAD's. All are in
percent. Definitions: Papineni et al. (2002), Popović (2015), Lin (2004); Post
(2018) on why the signature belongs beside a BLEU.
"""

import importlib.util
from collections.abc import Mapping, Sequence

from electra_jax.errors import UserError
from electra_jax.tasks import squad_scoring
from electra_jax.tasks.examples import GenerationExample

CORPUS = ("chrf", "bleu")
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
# What is imported for scores, and what it is called where it is installed from.
PACKAGES = {"sacrebleu": "sacrebleu", "rouge_score": "rouge-score"}
LEAD, COPY = "lead", "copy"  # What baselines write.


def check_packages(metrics: Sequence[str]) -> None:
  """Raises a UserError unless what scores is installed.

  Called before training, which would be lost without its scores.
  """
  needed = [
      name
      for name, theirs in (("sacrebleu", CORPUS), ("rouge_score", ROUGE))
      if set(theirs) & set(metrics) and importlib.util.find_spec(name) is None
  ]
  if needed:
    told = " and ".join(PACKAGES[name] for name in needed)
    raise UserError(
        f"scores of written text need {told}, which"
        f" {'are' if len(needed) > 1 else 'is'} not installed; run pip install"
        " 'electra-jax[text]'"
    )


def score_texts(
    metrics: Sequence[str],
    examples: Sequence[GenerationExample],
    written: Sequence[str],
) -> dict[str, float]:
  """Scores written texts.

  Args:
    metrics: of "chrf", "bleu", "rouge1", "rouge2", "rougeL", "rougeLsum",
      "exact_match" and "f1".
    examples: with their targets. Where a text has several, BLEU and chrF look
      at the first, all others take the best.
    written: in their order.

  Returns:
    The score by metric, in the order of `metrics`.

  Raises:
    UserError: there is nothing to score, or a package is not installed.
  """
  if not examples:
    raise UserError("there is no text to score; give a split that has some")
  check_packages(metrics)
  found: dict[str, float] = {}
  if set(CORPUS) & set(metrics):
    targets = [example.target for example in examples]
    found |= {
        name: float(scorer.corpus_score(list(written), [targets]).score)
        for name, scorer in _corpus_scorers().items()
    }
  if rouge := [name for name in metrics if name in ROUGE]:
    found |= _rouge(rouge, examples, written)
  pairs = [
      (text, [example.target, *example.more_targets])
      for text, example in zip(written, examples, strict=True)
  ]
  if "exact_match" in metrics:
    found["exact_match"] = _mean(
        squad_scoring.exact_match(text, golds) for text, golds in pairs
    )
  if "f1" in metrics:
    found["f1"] = _mean(squad_scoring.f1(*pair) for pair in pairs)
  return {name: found[name] for name in metrics}


def signatures(metrics: Sequence[str]) -> dict[str, str]:
  """Returns what sacrebleu says of how its metrics were computed."""
  scorers = {}
  if set(CORPUS) & set(metrics):
    scorers = _corpus_scorers()
  found = {}
  for name in metrics:
    if name in scorers:
      # It knows the number of references once it has scored.
      scorers[name].corpus_score(["a"], [["a"]])
      found[name] = str(scorers[name].get_signature())
  return found


def write_baseline(
    how: str, examples: Sequence[GenerationExample], *, words: int = 0
) -> list[str]:
  """Writes what needs no model: the source itself, or its first words.

  Args:
    how: "copy" for the source as it is, "lead" for its first words.
    examples: with what is read; of a question with a context, the context.
    words: of a lead.
  """
  texts = [
      example.text if example.other_text is None else example.other_text
      for example in examples
  ]
  if how == COPY:
    return texts
  return [" ".join(text.split()[:words]) for text in texts]


def baselines(
    metrics: Sequence[str],
    examples: Sequence[GenerationExample],
    targets: Sequence[str],
) -> dict[str, dict[str, float]]:
  """Scores copies of the sources, and their first words.

  Args:
    metrics: of `score_texts`.
    examples: with their targets.
    targets: of training: a lead has as many words as their median.

  Returns:
    Scores by metric, by "copy" and "lead".
  """
  words = lead_words(targets)
  return {
      how: score_texts(
          metrics, examples, write_baseline(how, examples, words=words)
      )
      for how in (COPY, LEAD)
  }


def describe_baselines(
    metrics: Sequence[str],
    train: Sequence[GenerationExample],
    examples: Sequence[GenerationExample],
) -> list[str]:
  """Says in lines what `baselines` score, and how BLEU and chrF are computed.

  Args:
    metrics: of `score_texts`.
    train: examples of training.
    examples: that are scored.
  """
  targets = [example.target for example in train]
  found = baselines(metrics, examples, targets)

  def told(how):
    return ", ".join(f"{name} {x:.2f}" for name, x in found[how].items())

  lines = [
      f"the source itself has {told(COPY)}; its first"
      f" {lead_words(targets)} words have {told(LEAD)}"
  ]
  if how := signatures(metrics):
    said = "; ".join(f"{name} {text}" for name, text in how.items())
    lines.append(f"signatures: {said}")
  return lines


def lead_words(targets: Sequence[str]) -> int:
  """Returns the median number of words of the targets of training."""
  counts = sorted(len(target.split()) for target in targets)
  return counts[len(counts) // 2]


def _corpus_scorers():
  from sacrebleu import metrics

  return {"chrf": metrics.CHRF(), "bleu": metrics.BLEU()}


def _rouge(
    names: Sequence[str],
    examples: Sequence[GenerationExample],
    written: Sequence[str],
) -> Mapping[str, float]:
  from rouge_score import rouge_scorer

  scorer = rouge_scorer.RougeScorer(list(names), use_stemmer=True)
  totals = dict.fromkeys(names, 0.0)
  for text, example in zip(written, examples, strict=True):
    golds = [example.target, *example.more_targets]
    best = scorer.score_multi(golds, text)
    for name in names:
      totals[name] += best[name].fmeasure
  return {name: 100 * total / len(examples) for name, total in totals.items()}


def _mean(values) -> float:
  values = list(values)
  return 100 * sum(values) / len(values)
