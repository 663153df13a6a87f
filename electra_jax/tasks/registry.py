"""All tasks by name, each read from files or from tensorflow-datasets."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import autoencoding, table, text_pairs, text_to_text
from electra_jax.tasks.examples import Example
from electra_jax.tasks.glue import GLUE_TASKS
from electra_jax.tasks.question_files import QUESTION_TASKS
from electra_jax.tasks.reviews import REVIEW_TASKS
from electra_jax.tasks.tagging import TAGGING_TASKS
from electra_jax.tasks.task import Source, Task
from electra_jax.tasks.tfds_reader import read_tfds


def find_task(name: str, options: Mapping[str, Any] | None = None) -> Task:
  """Returns the task of a name.

  Args:
    name: a key of `TASKS`, or for the user's own data "table", "embedding",
      "autoencode" or a key of `text_to_text.METRICS`.
    options: of `table_task`, `embedding_task`, `autoencoding_task` or
      `generation_task`; other tasks have none.

  Raises:
    UserError: there is no such task, or the options of a table are not right.
  """
  if name == table.NAME:
    return _with_tfds(table.table_task(options or {}))
  if name == text_pairs.NAME:
    return text_pairs.embedding_task(options or {})
  if name == autoencoding.NAME:
    return autoencoding.autoencoding_task(options or {})
  if name in text_to_text.METRICS:
    return text_to_text.generation_task(name, options or {})
  if name not in TASKS:
    own = [table.NAME, text_pairs.NAME, *text_to_text.METRICS]
    own.append(autoencoding.NAME)
    raise UserError(
        f"the task {name!r} is unknown; choose one of {[*TASKS, *own]} in"
        " --config configs/finetune.py:task=…"
    )
  return TASKS[name]


def _with_tfds(task: Task) -> Task:
  return dataclasses.replace(task, read=functools.partial(_read, task))


def _read(task: Task, source: Source, split: str) -> list[Example]:
  if source.use_tfds:
    return read_tfds(task, split)
  return task.read(source, split)


TASKS = {
    name: _with_tfds(task)
    for name, task in {**GLUE_TASKS, **QUESTION_TASKS, **TAGGING_TASKS}.items()
} | REVIEW_TASKS
