"""The model card of an exported folder: README.md as Hugging Face's hub reads it.

Its head is YAML that the hub searches by; its text is for people. Names, labels
and all else that comes from data is escaped: it shows what it is and is never
Markdown, HTML or YAML.
"""

import dataclasses
import html
import json
import math
import re
from typing import Any

from etils import epath

from electra_jax import __version__
from electra_jax.errors import UserError
from electra_jax.files import to_json
from electra_jax.interop.card_facts import CardFacts, Score
from electra_jax.interop.card_snippets import snippets_of
from electra_jax.interop.huggingface_files import CONFIG_FILE
from electra_jax.interop.huggingface_vocabulary import SETTINGS_FILE
from electra_jax.text.visible import visible

CARD_FILE = "README.md"
_LONGEST = 80  # Characters of a label.
_MOST = 50  # Labels.
# Also what makes lists of numbers, and links of bare addresses.
_SYNTAX = re.compile(
    r"([\\`*_{}\[\]()#+!|~$@-]|(?<=\d)\.(?=\s|$)|(?<=www)\.|:(?=//))"
)
# What the hub calls a model of a class.
_PIPELINES = {
    "ElectraForSequenceClassification": "text-classification",
    "ElectraForTokenClassification": "token-classification",
    "ElectraForQuestionAnswering": "question-answering",
    "ElectraForMaskedLM": "fill-mask",
    "EncoderDecoderModel": "text2text-generation",
}
_KINDS = {
    "ElectraForSequenceClassification": "classifies texts",
    "ElectraForTokenClassification": "tags words",
    "ElectraForQuestionAnswering": "answers questions about a text",
    "ElectraForMaskedLM": "fills in masked words",
    "ElectraForPreTraining": "says which tokens of a text were replaced",
    "EncoderDecoderModel": "writes a text from a text",
}
_NO_METRICS = ("total", "thresh")  # Ends of names.
# Ours -> the hub's, where these differ.
_METRICS = {
    "matthews": "matthews_correlation",
    "mcc": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "exact": "exact_match",
    "rtd_auc": "roc_auc",
}


def write_card(folder: epath.PathLike, facts: CardFacts) -> None:
  """Writes README.md into a folder that transformers opens.

  Args:
    folder: has config.json and the tokenizer's files.
    facts: what is known of the model.
  """
  path = epath.Path(folder)
  facts = dataclasses.replace(facts, scores=_own_scores(path.name, facts))
  config = json.loads((path / CONFIG_FILE).read_text())
  settings = json.loads((path / SETTINGS_FILE).read_text())
  text = "\n".join(
      [
          _front_matter(config, facts),
          *_introduction(config, facts),
          *_use(config, settings, facts),
          *_data(config, facts),
          *_scores(facts),
          *_recipe(facts),
          *_limits(config, settings, facts),
          "",
          f"Exported by electra_jax {__version__}.",
          "",
      ]
  )
  (path / CARD_FILE).write_bytes(text.encode("utf-8", "replace"))


def escaped(text: str) -> str:
  """Writes text of the data so that a card shows it and nothing else."""
  text = visible(" ".join(text.split()))
  text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
  return _SYNTAX.sub(r"\\\1", html.escape(text, quote=False))


def _own_scores(folder: str, facts: CardFacts) -> list[Score]:
  """Returns the scores of one network: of a pre-training each has its own."""
  if facts.task:
    return list(facts.scores)
  is_generator = folder == "generator"
  return [
      score
      for score in facts.scores
      if score.name != "loss" and ("mlm" in score.name) == is_generator
  ]


def _front_matter(config: dict[str, Any], facts: CardFacts) -> str:
  yaml = _import_yaml()
  class_name = config["architectures"][0]
  head: dict[str, Any] = {"library_name": "transformers"}
  if facts.language:
    head["language"] = facts.language
  if class_name in _PIPELINES:
    head["pipeline_tag"] = _PIPELINES[class_name]
  head["tags"] = ["electra", "electra_jax"]
  results = [
      {
          "type": _metric(score),
          "name": score.name.rpartition("/")[2],
          "value": round(score.value, 4),
      }
      for score in facts.scores
      if math.isfinite(score.value) and not score.name.endswith(_NO_METRICS)
  ]
  if results:
    head["metrics"] = sorted({result["type"] for result in results})
    data = "made-up" if facts.is_made_up else facts.task or "held-out rows"
    kind = _PIPELINES.get(class_name, "replaced-token-detection")
    head["model-index"] = [
        {
            "name": facts.name,
            "results": [
                {
                    "task": {"type": kind, "name": facts.task or kind},
                    "dataset": {"name": data, "type": data},
                    "metrics": results,
                }
            ],
        }
    ]
  lines = yaml.safe_dump(
      head, sort_keys=False, allow_unicode=False, width=math.inf
  )
  notes = "# license: yours to choose, as apache-2.0\n"
  if not facts.language:
    notes += "# language: that of the texts, as en\n"
  return f"---\n{lines}{notes}---\n"


def _metric(score: Score) -> str:
  name = score.name.rpartition("/")[2]
  return _METRICS.get(name, name)


def _introduction(config: dict[str, Any], facts: CardFacts) -> list[str]:
  class_name = config["architectures"][0]
  shapes = config.get("encoder", config)  # Of either side.
  layers = shapes["num_hidden_layers"]
  lines = [
      f"# {escaped(facts.name)}",
      "",
      f"An [ELECTRA](https://arxiv.org/abs/2003.10555) that"
      f" {_KINDS[class_name]}: {layers} layer{'s' if layers > 1 else ''} of"
      f" {shapes['hidden_size']}, {shapes['vocab_size']:,} pieces, as"
      f" `{class_name}`.",
      f"It was made from {escaped(facts.source)}.",
  ]
  labels = list(config.get("id2label", {}).values())
  if labels and config.get("problem_type") != "regression":
    shown = ", ".join(map(escaped, labels[:_MOST]))
    more = len(labels) - _MOST
    lines.append(f"Labels: {shown}{f' and {more} more' if more > 0 else ''}.")
  return lines


def _use(
    config: dict[str, Any], settings: dict[str, Any], facts: CardFacts
) -> list[str]:
  questions = facts.config.get("questions", {})
  snippets = snippets_of(
      config,
      settings,
      questions.get("max_answer_length", 30),
      takes_pairs=facts.takes_pairs,
      may_lack_answer=facts.may_lack_answer,
  )
  lines = ["", "## How to use it", ""]
  lines.append("`.` is this folder; on the hub, write the model's name.")
  for about, code in snippets:
    lines += ["", about, "", "```python", code.strip(), "```"]
  return lines


def _data(config: dict[str, Any], facts: CardFacts) -> list[str]:
  if not facts.data:
    return []
  what = "Fine-tuned" if facts.task else "Pre-trained"
  lines = ["", "## Data", ""]
  start = f" from {escaped(facts.start)}" if facts.start else ""
  lines.append(f"{what} for {facts.step:,} steps{start} on:")
  lines.append("")
  return lines + [f"- {_escaped_line(line)}" for line in facts.data]


def _escaped_line(text: str) -> str:
  """Escapes a line that may be long: each word of it counts for itself."""
  return " ".join(map(escaped, text.split()))


def _scores(facts: CardFacts) -> list[str]:
  if not facts.scores:
    return []
  lines = ["", "## Scores", ""]
  if any(score.spread for score in facts.scores):
    lines += [
        f"This model is of seed {facts.seed}, one of {facts.num_seeds}; the best"
        " one was chosen on these very scores, so the median is the fairer"
        " figure.",
        "",
        "| score | this model | median | standard deviation | least | largest |",
        "|---|---|---|---|---|---|",
    ]
    for score in facts.scores:
      spread = score.spread or (math.nan,) * 4
      lines.append(_row(score.name, score.value, *spread))
    return lines
  if facts.task:
    lines += [f"One seed alone ({facts.seed}), so the spread is not known.", ""]
  lines += ["| score | value |", "|---|---|"]
  return lines + [_row(score.name, score.value) for score in facts.scores]


def _row(name: str, *values: float) -> str:
  cells = ["" if math.isnan(x) else f"{x:.4g}" for x in values]
  return f"| {' | '.join([escaped(name), *cells])} |"


def _recipe(facts: CardFacts) -> list[str]:
  if not facts.config:
    return []
  text = _visible_lines(to_json(facts.config, indent=1))
  longest = max(map(len, re.findall("`+", text)), default=0)
  fence = "`" * max(3, longest + 1)
  trained = f" by electra_jax {facts.version}" if facts.version else ""
  device = f" on {escaped(facts.device)}" if facts.device else ""
  return [
      "",
      "## Recipe",
      "",
      f"Trained{trained}{device}, with this config:",
      "",
      f"{fence}json",
      text,
      fence,
  ]


def _visible_lines(text: str) -> str:
  """Writes controls as escapes, line by line."""
  return "\n".join(map(visible, text.split("\n")))


def _limits(
    config: dict[str, Any], settings: dict[str, Any], facts: CardFacts
) -> list[str]:
  length = settings["model_max_length"]
  lines = [f"It reads {length:,} tokens of a text; what is longer must be cut."]
  if facts.config.get("data", {}).get("windows", "first") != "first":
    windows = facts.config["data"]["windows"]
    lines.append(
        "The scores above are of long texts read in windows, pooled by"
        f" `{windows}`; transformers reads the first window alone."
    )
  if settings.get("do_lower_case"):
    accents = " and drops accents" if settings.get("strip_accents") else ""
    lines.append(f"Its tokenizer lower-cases{accents}.")
  else:
    lines.append("Its tokenizer keeps upper and lower case.")
  dtype = facts.config.get("model", {}).get("dtype", "float32")
  if dtype != "float32":
    lines.append(
        f"It was trained and scored in {dtype} and is stored in float32, so that"
        " probabilities may differ by some hundredths."
    )
  if facts.has_random_heads:
    lines.append(
        "A larger model has taught its encoder alone: the heads are random, and"
        " so are answers of theirs."
    )
  if rounded := facts.config.get("model", {}).get("quantization"):
    lines.append(
        f"It was trained and scored with {rounded} weights and is stored without"
        " rounding, so that answers may differ."
    )
  if not facts.task:
    lines.append("It has learned no task: fine-tune it for one.")
  lines.append("It knows nothing but its training data, with all their bias.")
  return ["", "## Limits", "", *(f"- {line}" for line in lines)]


def _import_yaml() -> Any:
  try:
    import yaml
  except ImportError as error:
    raise UserError(
        "the model card needs the package pyyaml, which is not installed; run"
        " pip install 'electra-jax[interop]'"
    ) from error
  return yaml
