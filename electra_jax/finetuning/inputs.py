"""What a user types, as examples of a task."""

import json
from collections.abc import Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks.examples import (
    Example,
    QuestionExample,
    TaggedExample,
    TextExample,
)
from electra_jax.tasks.task import Task
from electra_jax.tasks.words import split_words


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
    words, text = fields.get("words"), None
    if words is None:
      text = _text(fields, "text", number)
      words = split_words(text or "", task.word_unit)
    is_list = isinstance(words, list) and all(isinstance(w, str) for w in words)
    if not words or not is_list:
      raise UserError(
          f"line {number} has no words to tag; give a text, or"
          ' {"words": […]} with a list of them'
      )
    return TaggedExample(name, tuple(words), None, text)
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
