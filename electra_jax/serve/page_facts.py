"""The files of the page, and what it must know of a model."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from electra_jax.reporting.palette import FOLDER as REPORT
from electra_jax.serve import examples
from electra_jax.tasks.task import Task

FIELDS = {
    "pretrain": ("text", "positions", "top"),
    "questions": ("question", "context", "id"),
    "tagging": ("text", "words", "id"),
    "one": ("text", "id"),
    "pair": ("text", "other_text", "id"),
}


def page_files() -> Mapping[str, pathlib.Path]:
  """Returns where each file of the page lies; its look is that of a report."""
  page = pathlib.Path(__file__).parent / "page"
  return {path.name: path for path in (*page.iterdir(), REPORT / "style.css")}


def task_fields(task: Task) -> tuple[str, ...]:
  """Returns the names of what an input of a task holds."""
  kind = task.kind
  if kind not in ("questions", "tagging"):
    kind = "pair" if task.takes_pairs else "one"
  return FIELDS[kind]


def pretrained_facts(name: str, row_tokens: int) -> dict[str, Any]:
  """Returns what the page must know of a pre-trained model.

  Args:
    name: of the model, to be shown.
    row_tokens: longest input in tokens; longer texts are judged in parts.
  """
  return {
      "name": name,
      "verb": "pretrain",
      "kind": "detection",
      "row_tokens": row_tokens,
      "fields": FIELDS["pretrain"],
      "examples": examples.DETECTION,
  }


def finetuned_facts(
    name: str, row_tokens: int, tasks: Iterable[Task]
) -> dict[str, Any]:
  """Returns what the page must know of a fine-tuned model.

  Args:
    name: of the model, to be shown.
    row_tokens: longest input in tokens.
    tasks: that it has learned.
  """
  return {
      "name": name,
      "verb": "finetune",
      "kind": "tasks",
      "row_tokens": row_tokens,
      "tasks": [
          {
              "name": task.name,
              "kind": task.kind,
              "labels": task.labels,
              "label_range": task.label_range,
              "takes_pairs": task.takes_pairs,
              "fields": task_fields(task),
              "examples": examples.examples_of(task),
          }
          for task in tasks
      ],
  }
