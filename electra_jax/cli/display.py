"""What `predict` prints: colours for people, JSON lines for programs."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.console
import rich.text
from etils import epath

from electra_jax.cli.typed import by_index
from electra_jax.errors import UserError
from electra_jax.files import to_json
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.pretraining.explanations import explain
from electra_jax.pretraining.judging import (
    SHADES,
    Detection,
    is_corrupted,
    join_tokens,
    render_detection,
)
from electra_jax.pretraining.model import MASK, Fill, PretrainedModel
from electra_jax.tasks.score_words import explain_score
from electra_jax.tasks.task import Task
from electra_jax.text.visible import visible

_LEGEND = (
    "[bold green underline]replaced and found[/]  "
    "[yellow underline]replaced and missed[/]  [red]false alarm[/]  original"
    "  [dim](what stood there, probability)[/]"
)


def legend(answers: Sequence[Detection]) -> rich.text.Text:
  """Returns what the colours mean: of corrupted texts, or of one's own."""
  if any(map(is_corrupted, answers)):
    return rich.text.Text.from_markup(_LEGEND)
  text = rich.text.Text("probability of having been replaced: ")
  upper = 1.0
  for least, style in SHADES:
    told = f"over {least:.0%}" if upper == 1 else f"{least:.0%}-{upper:.0%}"
    text.append(told, style=style).append("  ")
    upper = least
  return text.append(f"under {upper:.0%}")


def suspects(detection: Detection, top: int = 3) -> list[tuple[str, float]]:
  """Returns the tokens most likely replaced, with their probabilities."""
  order = np.argsort(-np.asarray(detection.probabilities), kind="stable")
  return [
      (detection.tokens[i], detection.probabilities[i])
      for i in order
      if detection.originals[i] not in ("[CLS]", "[SEP]")
  ][:top]


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
    texts = {i: join_tokens(d.originals) for i, d in enumerate(answers)}
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
  judged = [a for a in answers if isinstance(a, Detection)]
  if judged and console.is_terminal:  # Else there is no colour to explain.
    console.print(legend(judged))
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
  elif task.kind == "generation":
    text.append(visible(record["written"]) or "(nothing)", style="bold green")
    text.append(f"  (score {record['score']:.2f})", style="dim")
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


def print_line(
    workdir: epath.PathLike,
    lines: Sequence[str],
    steps: int,
    *,
    task: str | None = None,
    seed: int | None = None,
    as_json: bool = False,
) -> None:
  """Prints texts on the line between two, as an autoencoder writes them.

  Args:
    workdir: of a finetune run of task=autoencode.
    lines: what is typed; two that are not blank.
    steps: how many texts.
    task: the run's, if it is named.
    seed: whose model, or None for the best.
    as_json: a JSON object a line.

  Raises:
    UserError: there are not two texts, or the run is of another task.
  """
  texts = list(by_index(lines).values())
  if len(texts) != 2:
    raise UserError(
        f"--interpolate {steps} lies between two texts, and {len(texts)}"
        f" {'is' if len(texts) == 1 else 'are'} given; give two"
    )
  model = FinetunedModel(workdir, seed=seed)
  model.task(task)
  _print_written(model.interpolate(*texts, steps), as_json)


def print_draws(
    workdir: epath.PathLike,
    count: int,
    *,
    task: str | None = None,
    seed: int | None = None,
    as_json: bool = False,
) -> None:
  """Prints texts of draws from an autoencoder's prior.

  Args:
    workdir: of a finetune run of task=autoencode.
    count: how many texts.
    task: the run's, if it is named.
    seed: whose model, or None for the best.
    as_json: a JSON object a line.

  Raises:
    UserError: the run is of another task, or no text is asked for.
  """
  model = FinetunedModel(workdir, seed=seed)
  model.task(task)
  _print_written(model.draw(count), as_json)


def _print_written(records: Sequence[dict[str, Any]], as_json: bool) -> None:
  console = rich.console.Console(highlight=False)
  for record in records:
    if as_json:
      _print_json(record)
      continue
    place = f"{record['place']:.2f}  " if "place" in record else ""
    line = rich.text.Text(place, style="dim")
    line.append(visible(record["written"]) or "(nothing)", style="bold green")
    line.append(f"  (score {record['score']:.2f})", style="dim")
    console.print(line)


def print_figures(figures: Mapping[str, float], *, as_json: bool) -> None:
  """Prints what an evaluation gave, with a word on each figure.

  Args:
    figures: of pre-training, or of tasks, as "rte/dev/accuracy".
    as_json: one JSON object in place of lines.
  """
  if as_json:
    print(to_json(figures, indent=1))
  elif any("/" in name for name in figures):
    for name, value in sorted(figures.items()):
      print(f"{name:<22} {value:<8.4f} {explain_score(name)}".rstrip())
  else:
    print(*explain(figures), sep="\n")


def _print_json(record: Mapping[str, Any]) -> None:
  is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
  print(to_json(record, ensure_ascii=not is_utf8))


def _number(index: int, texts: Mapping[int, str]) -> rich.text.Text:
  """Returns a line's number, where there is more than one line."""
  shown = f"{index}: " if len(texts) > 1 else ""
  return rich.text.Text(shown, style="dim")
