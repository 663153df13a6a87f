"""What a user types, as examples of a task."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks.examples import (
    Example,
    GenerationExample,
    QuestionExample,
    TaggedExample,
    TextExample,
)
from electra_jax.tasks.task import Task
from electra_jax.tasks.words import split_words


def parse_inputs(
    task: Task,
    lines: Sequence[str],
    question: str | None = None,
    *,
    indices: Sequence[int] | None = None,
) -> list[Example]:
  """Makes examples of what a user types.

  Args:
    task: what the examples are for.
    lines: each a text; a pair with a tab between; a context, if `question` is
      given; or a JSON object with the fields of the task's example: "text" and
      "other_text", "words", or "question" and "context"; an "id" if wanted.
    question: asked of every line.
    indices: numbers of the lines, from 0, where some have been left out.

  Returns:
    The examples; one without an "id" has the number of its line.

  Raises:
    UserError: a line lacks something, or is not JSON, with its number from 1.
  """
  if question is not None and task.kind != "questions":
    raise UserError(
        f"--question {question!r} has no meaning for {task.name}, which asks"
        " none; leave it out"
    )
  indices = range(len(lines)) if indices is None else indices
  return [
      parse_fields(
          task,
          line_fields(task, line, f"line {index + 1}"),
          place=f"line {index + 1}",
          name=str(index),
          question=question,
      )
      for index, line in zip(indices, lines, strict=True)
  ]


def check_answers(task: Task) -> None:
  """Raises a UserError for a task that has vectors and no answers."""
  if task.kind == "embedding":
    raise UserError(
        f"this run has learned vectors of texts ({task.name}) and no answers;"
        " turn texts into vectors by electra-jax embed"
    )


def line_fields(task: Task, line: str, place: str) -> dict[str, Any]:
  """Returns what a line holds, by the names of `parse_fields`.

  Args:
    task: what the example is for.
    line: of `parse_inputs`.
    place: what an error message calls it.

  Raises:
    UserError: it begins as a JSON object and is none.
  """
  if line.lstrip().startswith("{"):
    try:
      return json.loads(line)
    except RecursionError as error:
      raise UserError(
          f"{place} is JSON nested too deeply to be read; give a flat"
          ' object, as {"text": …}'
      ) from error
    except ValueError as error:
      raise UserError(
          f"{place} begins as a JSON object and is none ({error}); mend"
          ' it, or write a text that begins so as {"text": "{…"}'
      ) from error
  if task.kind == "questions":
    return {"context": line}
  if task.kind == "tagging":
    return {"text": line}
  text, tab, other_text = line.partition("\t")
  return {"text": text, "other_text": other_text if tab else None}


def parse_fields(
    task: Task,
    fields: Mapping[str, Any],
    *,
    place: str,
    name: str = "0",
    question: str | None = None,
) -> Example:
  """Makes an example of the fields that its task has.

  Args:
    task: what the example is for.
    fields: "text" and "other_text", "words", or "question" and "context"; an
      "id" if wanted. Of a text to write, "text" is the source.
    place: what an error message calls them.
    name: of the example, where there is no "id".
    question: asked where the fields ask none.

  Raises:
    UserError: a field is missing or of the wrong type, or the task has no
      answers.
  """
  check_answers(task)
  name = str(fields.get("id", name))
  _check_characters(name, "id", place)
  if task.kind == "questions":
    asked = _text(fields, "question", place) or question
    context = _text(fields, "context", place)
    if not asked or not context:
      raise UserError(
          f'{place} needs a question and a context; give --question "…"'
          ' beside the context, or {"question": …, "context": …}'
      )
    return QuestionExample(name, asked, context, (), has_gold=False)
  if task.kind == "tagging":
    words, text = fields.get("words"), None
    if words is None:
      text = _text(fields, "text", place)
      words = split_words(text or "", task.word_unit)
    is_list = isinstance(words, list) and all(isinstance(w, str) for w in words)
    if not words or not is_list:
      raise UserError(
          f"{place} has no words to tag; give a text, or"
          ' {"words": […]} with a list of them'
      )
    for word in words:
      _check_characters(word, "words", place)
    return TaggedExample(name, tuple(words), None, text)
  text = _text(fields, "text", place)
  other_text = _text(fields, "other_text", place)
  if not text:
    raise UserError(
        f"{place} has no text{_found(fields)}; give some, or an object"
        ' {"text": …}'
    )
  if task.takes_pairs != (other_text is not None):
    wanted = "a pair, with a tab between" if task.takes_pairs else "one text"
    raise UserError(
        f"{place} is {'one text' if task.takes_pairs else 'a pair'} and"
        f" {task.name} takes {wanted}"
    )
  if task.kind == "generation":
    return GenerationExample(name, text, other_text, None)
  return TextExample(name, text, other_text, None)


def _text(fields: dict[str, Any], name: str, place: str) -> str | None:
  value = fields.get(name)
  if value is not None and not isinstance(value, str):
    raise UserError(
        f"{place} has {_short(value)} under {name!r}; give a text"
        " between quotes"
    )
  if value is not None:
    _check_characters(value, name, place)
  return value


def _check_characters(value: str, name: str, place: str) -> None:
  if value.isprintable():  # At once; a half of a pair never is.
    return
  for character in value:
    if "\ud800" <= character <= "\udfff":
      raise UserError(
          f"{place} has {character!r} under {name!r}, half of a surrogate"
          " pair and no character; write both halves, or the character itself"
      )


def _found(fields: dict[str, Any]) -> str:
  others = [name for name in fields if name not in ("text", "other_text")]
  return f" but {', '.join(map(repr, others))}" if others else ""


def _short(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 80 else f"{text[:77]}..."
