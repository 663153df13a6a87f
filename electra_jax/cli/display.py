"""What `predict` prints: colours for people, JSON lines for programs."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.console
import rich.text
from etils import epath

from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.pretraining.model import MASK, Detection, Fill, PretrainedModel
from electra_jax.tasks.task import Task

LEGEND = (
    "[bold green underline]replaced and found[/]  "
    "[yellow underline]replaced and missed[/]  [red]false alarm[/]  original"
    "  [dim](what stood there, probability of a replacement)[/]"
)


def render_detection(detection: Detection) -> rich.text.Text:
  """Colours one text: what was replaced, and what the discriminator says.

  A replaced token is underlined, with the original behind it. Green: found;
  yellow: missed; red: a false alarm; plain: rightly called original.
  """
  text = rich.text.Text()
  places = itertools.pairwise([*detection.tokens, ""])
  for i, (token, following) in enumerate(places):
    original = detection.originals[i]
    probability = detection.probabilities[i]
    replaced, called = token != original, probability > 0.5
    style = {
        (True, True): "bold green underline",
        (True, False): "yellow underline",
        (False, True): "red",
        (False, False): "",
    }[replaced, called]
    text.append(token.removeprefix("##").removeprefix("▁"), style=style)
    if replaced:
      shown = original.removeprefix("##").removeprefix("▁")
      text.append(f"({shown} {probability:.0%})", style="dim")
    elif called:
      text.append(f"({probability:.0%})", style="dim")
    if not following.startswith("##"):
      text.append(" ")
  return text


def suspects(detection: Detection, top: int = 3) -> list[tuple[str, float]]:
  """Returns the tokens most likely replaced, with their probabilities."""
  order = np.argsort(-np.asarray(detection.probabilities), kind="stable")
  return [
      (detection.tokens[i], detection.probabilities[i]) for i in order[:top]
  ]


def print_detections(
    workdir: epath.PathLike,
    texts: Sequence[str],
    *,
    corrupted: bool = False,
    held_out: int | None = None,
    seed: int = 0,
    as_json: bool = False,
) -> None:
  """Prints what a pre-trained model says of texts.

  Args:
    workdir: of a pretrain run.
    texts: one with [MASK] is filled in, any other judged token by token.
    corrupted: whether the generator replaces tokens first.
    held_out: judge so many corrupted held-out rows in place of texts.
    seed: of the corruption.
    as_json: a JSON object a line, in place of colours.
  """
  predictor = PretrainedModel(workdir)
  console = rich.console.Console(highlight=False)
  gapped = [text for text in texts if MASK in text]
  for text in gapped:
    fills = predictor.fill(text)
    if as_json:
      print(json.dumps({"text": text, "fills": [f._asdict() for f in fills]}))
    else:
      _print_fills(console, text, fills)
  texts = [text for text in texts if MASK not in text]
  if held_out:
    detections = predictor.detect_held_out(held_out, seed=seed)
  elif texts or not gapped:
    detections = predictor.detect(texts, corrupted=corrupted, seed=seed)
  else:
    return
  if as_json:
    for detection in detections:
      print(json.dumps(detection._asdict()))
    return
  console.print(LEGEND)
  for detection in detections:
    console.print()
    console.print(render_detection(detection))
    listed = ", ".join(f"{t} {p:.0%}" for t, p in suspects(detection))
    console.print(f"  most suspicious: {listed}", markup=False)


def render_prediction(task: Task, record: dict[str, Any]) -> rich.text.Text:
  """Formats one prediction for a terminal."""
  text = rich.text.Text()
  if task.kind == "tagging":
    for word, tag in zip(record["words"], record["tags"], strict=True):
      text.append(word)
      text.append(f"/{tag} ", style="dim" if tag == "O" else "bold green")
    return text
  if task.kind == "questions":
    text.append(record["answer"] or "(no answer)", style="bold green")
    text.append(
        f"  {record['probability']:.1%}, characters"
        f" {record['start']}-{record['end']}, log-odds of no answer"
        f" {record['null_odds']:.2f}",
        style="dim",
    )
    text.append(f"  {record['question']}")
    return text
  if task.kind == "regression":
    text.append(f"{record['rating']:.3f}", style="bold green")
  elif task.kind == "multilabel":
    text.append(", ".join(record["labels"]) or "(none)", style="bold green")
  else:
    text.append(f"{record['label']}", style="bold green")
  if "probabilities" in record:
    likely = sorted(record["probabilities"].items(), key=lambda x: -x[1])[:5]
    listed = ", ".join(f"{label} {p:.1%}" for label, p in likely)
    text.append(f"  ({listed})", style="dim")
  text.append(f"  {record['text']}")
  if "other_text" in record:
    text.append(f" | {record['other_text']}")
  return text


def print_answers(
    workdir: epath.PathLike,
    lines: Sequence[str],
    *,
    task: str | None = None,
    seed: int | None = None,
    question: str | None = None,
    as_json: bool = False,
) -> None:
  """Prints what a fine-tuned model answers; see `finetuning.inputs.parse_inputs`.

  Args:
    workdir: of a finetune run.
    lines: what is typed.
    task: of a model that has learned several.
    seed: whose model, or None for the best.
    question: asked of every line.
    as_json: a JSON object a line, in place of colours.
  """
  model = FinetunedModel(workdir, seed=seed)
  one = model.task(task)
  examples = parse_inputs(one, lines, question)
  console = rich.console.Console(highlight=False)
  for record in model.predict(examples, one.name).records:
    if as_json:
      print(json.dumps(record, ensure_ascii=False))
    else:
      console.print(render_prediction(one, record))


def print_scores(
    workdir: epath.PathLike, texts: Sequence[str], *, as_json: bool = False
) -> None:
  """Prints the pseudo-log-likelihood of texts, the likeliest first.

  Args:
    workdir: of a pretrain run.
    texts: to be ranked.
    as_json: a JSON object a line, with the value of every token.
  """
  scores = PretrainedModel(workdir).score(texts)
  for i in sorted(range(len(texts)), key=lambda i: -scores[i].total):
    if as_json:
      print(json.dumps({"text": texts[i], **scores[i]._asdict()}))
    else:
      per_token = scores[i].total / max(1, len(scores[i].tokens))
      print(f"{scores[i].total:10.2f}  {per_token:7.3f} a token  {texts[i]}")


def _print_fills(console, text: str, fills: Sequence[Fill]) -> None:
  console.print(text, markup=False)
  for fill in fills:
    pairs = zip(fill.tokens, fill.probabilities, strict=True)
    listed = ", ".join(f"{token} {p:.1%}" for token, p in pairs)
    console.print(f"  {MASK} {listed}", markup=False)
