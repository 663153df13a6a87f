"""What a run answers to many lines, in stages that may overlap.

`read` and `prepare` need the tokenizer alone, `compute` the devices, `records`
neither; so that lines are read and answers written while devices compute.
"""

import abc
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from electra_jax.bulk.lines import Line
from electra_jax.devices import sharding
from electra_jax.errors import UserError, listed
from electra_jax.finetuning.inputs import (
    check_answers,
    line_fields,
    parse_fields,
)
from electra_jax.finetuning.many_texts import ManyTexts
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.pretraining.text_rows import MASK
from electra_jax.runs.buckets import make_fine_buckets
from electra_jax.runs.workdir import Run
from electra_jax.tasks.task import Task
from electra_jax.trees import path_names

# Tokens of a batch on one device. On a CPU a batch should stay in its caches.
_CPU_TOKENS, _ACCELERATOR_TOKENS = 2048, 32_768

OnShare = Callable[[float], None]


class Answers(abc.ABC):
  """Answers of one model to lines.

  Attributes:
    depends_on: all of the model that they depend on, as a checksum.
  """

  depends_on: str

  @abc.abstractmethod
  def read(self, line: Line) -> Any:
    """Returns what a line asks.

    Raises:
      UserError: it lacks something; the message begins with its place.
    """

  @abc.abstractmethod
  def prepare(self, asked: Sequence[Any]) -> Any:
    """Turns what many lines ask into numbers."""

  @abc.abstractmethod
  def compute(self, prepared: Any, on_share: OnShare) -> Any:
    """Runs the network; `on_share` is told which share of it is done."""

  @abc.abstractmethod
  def records(
      self, asked: Sequence[Any], prepared: Any, computed: Any
  ) -> list[dict[str, Any]]:
    """Returns an answer to each line, as `predict --json` prints it."""


class TaskAnswers(Answers):
  """Answers of a fine-tuned model to the texts of one task."""

  def __init__(
      self,
      workdir: epath.PathLike,
      run: Run,
      *,
      task: str | None,
      seed: int | None,
      question: str | None,
      field: str | None,
  ):
    """Loads the model.

    Raises:
      UserError: no such task or seed, a task without answers, or a question to
        one that asks none.
    """
    model = FinetunedModel(workdir, seed=seed)
    self._task = model.task(task)
    check_answers(self._task)  # Else every line would be a bad one.
    if question is not None and self._task.kind != "questions":
      raise UserError(
          f"--question {question!r} has no meaning for {self._task.name}, which"
          " asks none; leave it out"
      )
    self._question = question
    self._columns = _columns(run, self._task, field)
    self._many = ManyTexts(model, self._task, _batch_tokens())
    self.depends_on = _digest(run, model.params)

  def read(self, line: Line) -> Any:
    fields = line.fields()
    if isinstance(fields, str):
      fields = line_fields(self._task, fields, line.place)
    return parse_fields(
        self._task,
        _named(fields, self._columns, line.place),
        place=line.place,
        name=str(line.index),
        question=self._question,
    )

  def prepare(self, asked):
    return self._many.features(asked)

  def compute(self, prepared, on_share):
    return self._many.outputs(
        prepared, lambda texts: on_share(texts / len(prepared))
    )

  def records(self, asked, prepared, computed):
    return self._many.decode(asked, prepared, computed).records


class PretrainedAnswers(Answers):
  """What a pre-trained model says of texts: token by token, or how likely."""

  def __init__(
      self,
      workdir: epath.PathLike,
      run: Run,
      *,
      likelihoods: bool,
      field: str | None,
  ):
    """Loads the model onto all devices."""
    mesh = sharding.make_mesh()
    shards = sharding.batch_shards(mesh)
    buckets = make_fine_buckets(
        run.config.data.length, _batch_tokens() * shards, shards
    )
    self._model = PretrainedModel(workdir, buckets=buckets, mesh=mesh)
    self._likelihoods = likelihoods
    self._columns = {"text": field} if field else {}
    self.depends_on = _digest(run, self._model.params)

  def read(self, line: Line) -> str:
    fields = line.fields()
    if isinstance(fields, str):
      return fields
    text = _named(fields, self._columns, line.place).get("text")
    if not isinstance(text, str) or not text.strip():
      raise UserError(
          f"{line.place} has no text under"
          f" {self._columns.get('text', 'text')!r} but {listed(fields)}; name"
          " the key or column that holds it by --field"
      )
    return text

  def prepare(self, asked):
    if self._likelihoods:
      return asked
    judged = [text for text in asked if MASK not in text]
    masks = [self._model.masks_of(text) for text in asked if MASK in text]
    return self._model.rows_of(judged) if judged else None, masks

  def compute(self, prepared, on_share):
    if self._likelihoods:
      return self._model.score(prepared)
    rows, masks = prepared
    flat = [mask for some in masks for mask in some]
    filled = self._model.fill_rows(flat) if flat else []
    if rows is None:
      return [], filled
    count = len(rows.input_ids)
    detections = self._model.detect_parts(
        rows, on_batch=lambda done: on_share(done / count)
    )
    return detections, filled

  def records(self, asked, prepared, computed):
    if self._likelihoods:
      return [
          {"text": text, **score._asdict()}
          for text, score in zip(asked, computed, strict=True)
      ]
    detections, fills = map(iter, computed)
    masks = iter(prepared[1])
    return [
        {"text": text, "fills": [next(fills)._asdict() for _ in next(masks)]}
        if MASK in text
        else {"text": text, **next(detections)._asdict()}
        for text in asked
    ]


def _batch_tokens() -> int:
  is_cpu = jax.devices()[0].platform == "cpu"
  return _CPU_TOKENS if is_cpu else _ACCELERATOR_TOKENS


def _columns(run: Run, task: Task, field: str | None) -> dict[str, str]:
  """Returns the columns of a table that a task's fields stand in."""
  columns = {}
  if task.name == "table" or task.kind == "generation":
    table = run.config.table
    given = {
        "text": table.text,
        "other_text": table.other_text,
        "id": table.id,
    }
    columns = {name: column for name, column in given.items() if column}
  if field:
    columns["context" if task.kind == "questions" else "text"] = field
  return columns


def _named(
    cells: Mapping[str, Any], columns: Mapping[str, str], place: str
) -> dict[str, Any]:
  """Returns the cells by the names of fields; a null is left out.

  Raises:
    UserError: an object has neither the column nor the field itself.
  """
  fields = {name: x for name, x in cells.items() if x is not None}
  for name, column in columns.items():
    if column in fields:
      fields[name] = fields[column]
    elif column not in cells and name not in cells and name != "id":
      raise UserError(
          f"{place} has nothing under {column!r}, only {listed(cells)}; name"
          " the key or column that holds the text by --field"
      )
  return fields


def _digest(run: Run, params: Any) -> str:
  """Returns a checksum of a run's config, facts, tokenizer and parameters."""
  told = [
      dataclasses.asdict(run.config),
      dict(run.facts),
      run.tokenizer.digest,
  ]
  found = hashlib.sha256(json.dumps(told, default=str).encode())
  for name, leaf in path_names(params):
    found.update(name.encode())
    found.update(np.ascontiguousarray(leaf).tobytes())
  return found.hexdigest()
