"""A word on each figure of pre-training, and whether its value is good."""

import math
from collections.abc import Mapping

# What a loss or share is, and what it is compared with, if anything.
_MEANINGS = {
    "loss": "what training minimises, a weighted sum of the losses below;"
    " comparable within one config only",
    "mlm_accuracy": "share of masked tokens that the generator guesses right;"
    " 1 is perfect",
    "mlm_loss": "nats a masked token costs the generator; 0 is perfect",
    "relation_loss": "nats a token's relations to its text differ from the"
    " teacher's; 0 is perfect",
    "replaced_share": "share of tokens that the generator has replaced",
    "rtd_accuracy": "share of tokens rightly called original or replaced",
    "rtd_auc": "chance that a replaced token is more suspect than an original"
    " one; 0.5 is guessing, 1 is perfect",
    "rtd_loss": "nats a verdict costs the discriminator; 0 is perfect",
    "rtd_precision": "of tokens called replaced, the share that was",
    "rtd_recall": "of replaced tokens, the share called so: over 50 %"
    " probability",
    "sampled_mlm_accuracy": "share of masked tokens where the generator's"
    " sample is the original; the others are replaced",
    "token_accuracy": "share of tokens guessed right; 1 is perfect",
    "token_loss": "nats a token costs; 0 is perfect",
    "unigram_entropy": "nats a token costs who knows word frequencies alone; the mark"
    " for mlm_loss",
}
_BETTER, _NO_BETTER = "better than that", "no better yet"


def explain(figures: Mapping[str, float]) -> list[str]:
  """Returns a line for each figure: name, value, meaning, and a verdict.

  Args:
    figures: of `evaluation.make_evaluate`; with `unigram_entropy`, which the
      masked-LM loss is compared with, where it is known.
  """
  lines = []
  for name, value in sorted(figures.items()):
    meaning = _MEANINGS.get(name, "")
    if told := _verdict(name, figures):
      meaning += f"; {told}"
    lines.append(f"{name:<22} {value:<8.4f} {meaning}".rstrip())
  return lines


def describe_evaluation(figures: Mapping[str, float]) -> str:
  """Returns the one or two figures that tell most, each with its scale."""
  parts = []
  if "mlm_loss" in figures:
    scale = ""
    if "unigram_entropy" in figures:
      scale = f" (word frequencies alone: {figures['unigram_entropy']:.2f})"
    parts.append(f"masked-LM loss {figures['mlm_loss']:.2f} nats{scale}")
  if "rtd_auc" in figures:
    parts.append(
        f"replaced-token AUC {figures['rtd_auc']:.3f} (0.5 is guessing, 1 is"
        " perfect)"
    )
  if "relation_loss" in figures:
    parts.append(
        f"relations {figures['relation_loss']:.4f} nats from the teacher's"
    )
  if "token_loss" in figures:
    parts.append(f"token loss {figures['token_loss']:.2f} nats")
  return "; ".join(parts)


def _verdict(name: str, figures: Mapping[str, float]) -> str:
  """Says what knowing nothing of the text would give, and which is better."""
  value, share = figures[name], figures.get("replaced_share")
  if not math.isfinite(value):
    return "there was nothing to count"
  if name == "mlm_loss" and "unigram_entropy" in figures:
    entropy = figures["unigram_entropy"]
    told = _BETTER if value < entropy else _NO_BETTER
    return f"word frequencies alone give {entropy:.2f}: {told}"
  if name == "rtd_auc":
    return _BETTER.replace("that", "guessing") if value > 0.5 else _NO_BETTER
  if share is None or not 0 < share < 1:
    return ""
  if name == "rtd_accuracy":
    told = _BETTER if value > max(share, 1 - share) else _NO_BETTER
    return f"one verdict for all gives {max(share, 1 - share):.3f}: {told}"
  if name == "rtd_loss":
    entropy = -share * math.log(share) - (1 - share) * math.log1p(-share)
    told = _BETTER if value < entropy else _NO_BETTER
    return f"always telling the share of replaced tokens gives {entropy:.3f}: {told}"
  if name == "rtd_precision":
    told = _BETTER if value > share else _NO_BETTER
    return f"guessing gives {share:.3f}: {told}"
  return ""
