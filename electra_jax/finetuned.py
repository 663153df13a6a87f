"""A fine-tuned model: opens a finetune workdir, scores splits, answers."""

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jax
import rich.text
from etils import epath

from electra_jax import task_data
from electra_jax import workdir as workdirs
from electra_jax.errors import UserError
from electra_jax.starting_point import encoder_of, seed_folder
from electra_jax.task_outputs import write_outputs
from electra_jax.task_predictor import TaskPredictor, head_of
from electra_jax.task_programs import init_params
from electra_jax.tasks.examples import (
    Example,
    QuestionExample,
    TaggedExample,
    TextExample,
)
from electra_jax.tasks.predictions import Predictions, has_gold
from electra_jax.tasks.task import Source, Task
from electra_jax.training import sharding
from electra_jax.training.checkpoint import Checkpointer

# A word, hyphens and apostrophes inside it included, or one other character:
# how CoNLL's data is split, near enough.
_WORD = re.compile(r"\w+(?:[-'\u2019.]\w+)*|[^\w\s]")


class FinetunedModel:
  """One seed's model of a finetune run, ready to answer.

  Attributes:
    tasks: by name, with their labels.
  """

  def __init__(self, workdir: epath.PathLike, *, seed: int | None = None):
    """Loads the model of a seed, the best by default.

    Raises:
      UserError: the folder holds no finetune run, or no such seed.
    """
    run = workdirs.load(workdir)
    if run.kind is not workdirs.FINETUNING:
      raise UserError(
          f"{workdir} holds a pretrain run; fine-tune it first, with"
          f" --config.init_from={workdir}"
      )
    self._config = run.config
    self.tasks = {
        record["name"]: task_data.task_from_json(record, run.config)
        for record in run.facts["tasks"]
    }
    encoder = encoder_of(run)
    mesh = sharding.make_mesh()
    self._predictor = TaskPredictor(run.config, encoder, run.tokenizer, mesh)
    heads = [head_of(task) for task in self.tasks.values()]
    abstract = jax.eval_shape(lambda: init_params(encoder, heads, 0))
    folder = seed_folder(workdir, seed)
    checkpointer = Checkpointer(workdirs.checkpoints(folder))
    self._params = checkpointer.restore_params(
        abstract, sharding.params_shardings(mesh, abstract)
    )
    checkpointer.close()

  def task(self, name: str | None = None) -> Task:
    """Returns one of the tasks; the name may be left out where there is one.

    Raises:
      UserError: no such task, or several to choose from.
    """
    if name is None and len(self.tasks) == 1:
      return next(iter(self.tasks.values()))
    if name is None:
      raise UserError(
          f"this model has learned {len(self.tasks)} tasks; choose --task of"
          f" {', '.join(self.tasks)}"
      )
    if name not in self.tasks:
      raise UserError(
          f"the task {name!r} is not one that this model has learned; choose"
          f" --task of {', '.join(self.tasks)}"
      )
    return self.tasks[name]

  def evaluate(
      self,
      *,
      task: str | None = None,
      split: str | None = None,
      folder: epath.PathLike | None = None,
      output: epath.PathLike | None = None,
  ) -> dict[str, float]:
    """Scores the dev splits, or one split.

    Args:
      task: one of the tasks, or None for all.
      split: as the task calls it, or None for its dev splits.
      folder: where the task's files lie, or None for the run's own source.
      output: a folder for predictions and leaderboard files, or None.

    Returns:
      Scores by name, as "rte/dev/accuracy"; none of a split that does not
      tell the answers.

    Raises:
      UserError: there is no such split, or it does not tell the answers and
        no output is asked for.
    """
    source = task_data.source_of(self._config)
    if folder is not None:
      options = {**source.options, "train": "", "dev": "", "test": ""}
      source = Source(pathlib.Path(folder), options=options)
    scores = {}
    tasks = self.tasks.values() if task is None else [self.task(task)]
    for one in tasks:
      self._check_split(one, split)
      for name in (split,) if split else one.dev_splits:
        examples = one.read(source, name)
        can_score = has_gold(examples)
        if not can_score and output is None:
          raise UserError(
              f"the split {name!r} of {one.name} does not tell the answers, so"
              " it cannot be scored; give --output for its predictions"
          )
        answers = self._predictor.predict(self._params, one, examples)
        if output is not None:
          options = task_data.decode_options(self._config)
          write_outputs(
              epath.Path(output), one, name, examples, answers, options
          )
        if can_score:
          found = self._predictor.score(one, examples, answers)
          scores |= {f"{one.name}/{name}/{m}": v for m, v in found.items()}
    return scores

  def _check_split(self, task: Task, split: str | None) -> None:
    splits = ("train", *task.dev_splits, *task.test_splits)
    if split is not None and split not in splits:
      raise UserError(
          f"{task.name} has no split {split!r}; choose --split of"
          f" {', '.join(splits)}"
      )

  def predict(
      self, examples: Sequence[Example], task: str | None = None
  ) -> Predictions:
    """Answers examples of one task.

    Raises:
      UserError: no example, or several tasks to choose from.
    """
    if not examples:
      raise UserError("there is no text to predict on; give some")
    return self._predictor.predict(self._params, self.task(task), examples)


def parse_inputs(
    task: Task, lines: Sequence[str], question: str | None = None
) -> list[Example]:
  """Makes examples of what a user types.

  Args:
    task: what the examples are for.
    lines: each a text; a pair with a tab between; a context, if `question` is
      given; or a JSON object with the fields of the task's example: "text" and
      "other_text", "words", or "question" and "context"; an "id" if wanted.
    question: asked of every line.

  Raises:
    UserError: a line lacks something, with its number.
  """
  if question is not None and task.kind != "questions":
    raise UserError(
        f"--question {question!r} has no meaning for {task.name}, which asks"
        " none; leave it out"
    )
  return [
      _parse_line(task, line, number, question)
      for number, line in enumerate(lines, start=1)
  ]


def render(task: Task, record: dict[str, Any]) -> rich.text.Text:
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


def _parse_line(task, line, number, question) -> Example:
  fields = _fields(task, line, number)
  name = str(fields.get("id", number - 1))
  if task.kind == "questions":
    asked = _text(fields, "question", number) or question
    context = _text(fields, "context", number)
    if not asked or not context:
      raise UserError(
          f'line {number} needs a question and a context; give --question "…"'
          ' beside the context, or {"question": …, "context": …}'
      )
    return QuestionExample(name, asked, context, (), has_gold=False)
  if task.kind == "tagging":
    words = fields.get("words")
    if words is None:
      words = _WORD.findall(_text(fields, "text", number) or "")
    is_list = isinstance(words, list) and all(isinstance(w, str) for w in words)
    if not words or not is_list:
      raise UserError(
          f"line {number} has no words to tag; give a text, or"
          ' {"words": […]} with a list of them'
      )
    return TaggedExample(name, tuple(words), None)
  text = _text(fields, "text", number)
  other_text = _text(fields, "other_text", number)
  if not text:
    raise UserError(f"line {number} has no text; give some")
  if task.takes_pairs != (other_text is not None):
    wanted = "a pair, with a tab between" if task.takes_pairs else "one text"
    raise UserError(
        f"line {number} is {'one text' if task.takes_pairs else 'a pair'} and"
        f" {task.name} takes {wanted}"
    )
  return TextExample(name, text, other_text, None)


def _fields(task, line, number) -> dict[str, Any]:
  if line.lstrip().startswith("{"):
    try:
      return json.loads(line)
    except ValueError as error:
      raise UserError(
          f"line {number} begins as a JSON object and is none ({error}); mend"
          ' it, or write a text that begins so as {"text": "{…"}'
      ) from error
  if task.kind == "questions":
    return {"context": line}
  if task.kind == "tagging":
    return {"text": line}
  text, tab, other_text = line.partition("\t")
  return {"text": text, "other_text": other_text if tab else None}


def _text(fields: dict[str, Any], name: str, number: int) -> str | None:
  value = fields.get(name)
  if value is not None and not isinstance(value, str):
    raise UserError(
        f"line {number} has {value!r} under {name!r}; give a text between"
        " quotes"
    )
  return value
