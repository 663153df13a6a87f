"""What `predict` prints: colours for people, JSON lines for programs."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.console
import rich.text
from etils import epath

from electra_jax.cli.typed import by_index
from electra_jax.files import to_json
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.pretraining.model import MASK, Detection, Fill, PretrainedModel
from electra_jax.tasks.task import Task
from electra_jax.text.visible import visible

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
    text.append(_bare(token), style=style)
    if replaced:
      shown = _bare(original)
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
    lines: Sequence[str],
    *,
    corrupted: bool = False,
    held_out: int | None = None,
    seed: int = 0,
    as_json: bool = False,
) -> None:
  """Prints what a pre-trained model says of texts, in their order.

  Args:
    workdir: of a pretrain run.
    lines: one with [MASK] is filled in, any other judged token by token; a
      blank one keeps its number and has no answer.
    corrupted: whether the generator replaces tokens first.
    held_out: judge so many corrupted held-out rows in place of lines.
    seed: of the corruption.
    as_json: a JSON object a line, in place of colours.
  """
  predictor = PretrainedModel(workdir)
  if held_out:
    answers = predictor.detect_held_out(held_out, seed=seed)
    texts = {i: _joined(d.originals) for i, d in enumerate(answers)}
  else:
    texts = by_index(lines)
    plain = [text for text in texts.values() if MASK not in text]
    detections = iter(())
    if plain or not texts:
      detections = iter(predictor.detect(plain, corrupted=corrupted, seed=seed))
    # All of them before the first is printed: an error leaves no half.
    answers = [
        predictor.fill(text) if MASK in text else next(detections)
        for text in texts.values()
    ]
  if as_json:
    for (index, text), answer in zip(texts.items(), answers, strict=True):
      is_filled = isinstance(answer, list)
      found = (
          {"fills": [fill._asdict() for fill in answer]}
          if is_filled
          else answer._asdict()
      )
      _print_json({"index": index, "text": text, **found})
    return
  _print_judged(texts, answers)


def _print_judged(
    texts: Mapping[int, str], answers: Sequence[Detection | list[Fill]]
) -> None:
  """Prints detections and fills for people."""
  console = rich.console.Console(highlight=False)
  if any(isinstance(answer, Detection) for answer in answers):
    console.print(LEGEND)
  for (index, text), answer in zip(texts.items(), answers, strict=True):
    console.print()
    line = _number(index, texts)
    if isinstance(answer, Detection):
      console.print(line + render_detection(answer))
      listed = ", ".join(
          f"{visible(token)} {p:.0%}" for token, p in suspects(answer)
      )
      console.print(rich.text.Text(f"  most suspicious: {listed}"))
      continue
    console.print(line + rich.text.Text(visible(text)))
    for fill in answer:
      pairs = zip(fill.tokens, fill.probabilities, strict=True)
      listed = ", ".join(f"{visible(token)} {p:.1%}" for token, p in pairs)
      console.print(rich.text.Text(f"  {MASK} {listed}"))


def render_prediction(task: Task, record: dict[str, Any]) -> rich.text.Text:
  """Formats one prediction for a terminal."""
  text = rich.text.Text()
  if task.kind == "tagging":
    for word, tag in zip(record["words"], record["tags"], strict=True):
      text.append(visible(word))
      text.append(
          f"/{visible(tag)} ", style="dim" if tag == "O" else "bold green"
      )
    return text
  if task.kind == "questions":
    text.append(visible(record["answer"]) or "(no answer)", style="bold green")
    text.append(
        f"  {record['probability']:.1%}, characters"
        f" {record['start']}-{record['end']}, log-odds of no answer"
        f" {record['null_odds']:.2f}",
        style="dim",
    )
    text.append(f"  {visible(record['question'])}")
    return text
  if task.kind == "regression":
    text.append(f"{record['rating']:.3f}", style="bold green")
  elif task.kind == "multilabel":
    text.append(
        visible(", ".join(record["labels"])) or "(none)", style="bold green"
    )
  else:
    text.append(visible(record["label"]), style="bold green")
  if "probabilities" in record:
    likely = sorted(record["probabilities"].items(), key=lambda x: -x[1])[:5]
    listed = ", ".join(f"{visible(label)} {p:.1%}" for label, p in likely)
    text.append(f"  ({listed})", style="dim")
  if cut := record.get("cut_tokens"):
    text.append(f"  ({cut:,} tokens at the end not read)", style="dim")
  text.append(f"  {visible(record['text'])}")
  if "other_text" in record:
    text.append(f" | {visible(record['other_text'])}")
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
  """Prints what a fine-tuned model answers, in the order of the lines.

  Args:
    workdir: of a finetune run.
    lines: what is typed, see `finetuning.inputs.parse_inputs`; a blank one
      keeps its number and has no answer.
    task: of a model that has learned several.
    seed: whose model, or None for the best.
    question: asked of every line.
    as_json: a JSON object a line, in place of colours.
  """
  model = FinetunedModel(workdir, seed=seed)
  one = model.task(task)
  typed = by_index(lines)
  examples = parse_inputs(
      one, list(typed.values()), question, indices=list(typed)
  )
  console = rich.console.Console(highlight=False)
  records = model.predict(examples, one.name).records
  for index, record in zip(typed, records, strict=True):
    if as_json:
      _print_json({"index": index, **record})
    else:
      console.print(_number(index, typed) + render_prediction(one, record))


def print_scores(
    workdir: epath.PathLike,
    lines: Sequence[str],
    *,
    as_json: bool = False,
    by_rank: bool = False,
) -> None:
  """Prints the pseudo-log-likelihood of texts and their rank among them.

  Args:
    workdir: of a pretrain run.
    lines: the texts; a blank one keeps its number and has no score.
    as_json: a JSON object a line, with the value of every token.
    by_rank: whether the likeliest comes first, in place of the typed order.
  """
  typed = by_index(lines)
  scores = dict(
      zip(
          typed,
          PretrainedModel(workdir).score(list(typed.values())),
          strict=True,
      )
  )
  likeliest = sorted(typed, key=lambda i: -scores[i].total)
  ranks = {index: rank for rank, index in enumerate(likeliest, start=1)}
  for index in likeliest if by_rank else typed:
    score, rank = scores[index], ranks[index]
    if as_json:
      record = {"index": index, "text": typed[index], "rank": rank}
      _print_json({**record, **score._asdict()})
    else:
      per_token = score.total / max(1, len(score.tokens))
      print(
          f"{score.total:10.2f}  {per_token:7.3f} a token  rank {rank:3} "
          f" {_number(index, typed)}{visible(typed[index])}"
      )


def _print_json(record: Mapping[str, Any]) -> None:
  is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
  print(to_json(record, ensure_ascii=not is_utf8))


def _number(index: int, texts: Mapping[int, str]) -> rich.text.Text:
  """Returns a line's number, where there is more than one line."""
  shown = f"{index}: " if len(texts) > 1 else ""
  return rich.text.Text(shown, style="dim")


def _bare(token: str) -> str:
  return visible(token.removeprefix("##").removeprefix("▁"))


def _joined(tokens: Sequence[str]) -> str:
  """Returns about the text that a row's tokens come from."""
  inside = tokens[1:-1]  # Without [CLS] and the last [SEP].
  if any(token.startswith("▁") for token in inside):
    return "".join(inside).replace("▁", " ").strip()
  return " ".join(inside).replace(" ##", "")
