"""The splits of a fine-tuning config's tasks, as examples."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.finetuning.generation_checks import (
    check_generation,
    writes_text,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.pooling import check_dimensions, layers_below
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.tasks.examples import Example
from electra_jax.tasks.features import FeatureOptions, with_labels
from electra_jax.tasks.predictions import DecodeOptions
from electra_jax.tasks.registry import find_task
from electra_jax.tasks.squad_scoring import NO_ANSWER_THRESHOLD
from electra_jax.tasks.task import (
    LearntVectors,
    MissingSplitError,
    Source,
    Task,
)

UNLABELLED = "unlabelled"  # A split: texts that a teacher alone answers.


@dataclasses.dataclass(frozen=True)
class TaskData:
  """A task that knows its labels, and its examples.

  Attributes:
    task: the task.
    splits: examples by split; "train" and every dev split are there, test
      splits where the data has them.
    notes: what looks wrong in them.
  """

  task: Task
  splits: Mapping[str, list[Example]]
  notes: Sequence[str] = ()


def find_tasks(config: FinetuneConfig) -> list[Task]:
  """Returns the tasks that a config names.

  Raises:
    UserError: there is no such task, one is named twice, or one does not go
      with what else is asked for.
  """
  names = config.task.split("+")
  if len(set(names)) < len(names):
    raise UserError(f"config.task {config.task!r} names a task twice")
  tasks = [_find_task(name, config) for name in names]
  if writes_text(tasks):
    check_generation(config, tasks)
  if config.bottleneck.dimensions:
    _check_bottleneck(config, tasks)
  if len(tasks) > 1 and any(task.vectors for task in tasks):
    raise UserError(
        f"config.task {config.task!r} learns vectors beside another task, and"
        " their batches differ; learn task=embedding by itself"
    )
  if config.distill.teacher and any(task.vectors for task in tasks):
    raise UserError(
        f"config.task is {config.task!r}, and config.distill.teacher is"
        f" {config.distill.teacher!r}; vectors have no teacher: leave one of"
        " them out"
    )
  return tasks


def _check_bottleneck(config: FinetuneConfig, tasks: Sequence[Task]) -> None:
  asked = f"config.bottleneck.dimensions is {config.bottleneck.dimensions}"
  for task in tasks:
    if task.kind in ("tagging", "questions", "embedding"):
      raise UserError(
          f"{asked}, and {task.name} is a task of {task.kind}, whose answers are"
          " read from many tokens; a bottleneck is for classes and ratings of"
          " whole texts: leave it out with --config.bottleneck.dimensions=0"
      )
  if config.model.head != "released":
    raise UserError(
        f"{asked}, and config.model.head is {config.model.head!r}; a bottleneck"
        " has layers of its own: leave --config.model.head out"
    )
  if config.distill.teacher:
    raise UserError(
        f"{asked}, and config.distill.teacher is {config.distill.teacher!r}; a"
        " teacher's logits are learned without noise: leave one of them out"
    )


def check_vectors(tasks: Sequence[Task], encoder: EncoderConfig) -> None:
  """Raises a UserError where vectors are asked for that no layer gives."""
  section = "config.embedding"
  for vectors in (task.vectors for task in tasks if task.vectors):
    layers_below(vectors.layer, encoder.num_layers, f"{section}.layer")
    check_dimensions(
        vectors.dimensions, encoder.hidden_size, f"{section}.dimensions"
    )


def source_of(config: FinetuneConfig) -> Source:
  """Returns where a config's examples come from.

  Raises:
    UserError: the data is not on a local disk.
  """
  data = config.data
  options = dataclasses.asdict(config.table)
  for path in (data.folder, *(options[s] for s in ("train", "dev", "test"))):
    if "://" in path:
      raise UserError(
          f"the task's data is at {path!r} and must lie on a local disk; copy"
          " it there, for example with gcloud storage cp"
      )
  folder = pathlib.Path(data.folder) if data.folder else None
  return Source(folder, data.source == "tfds", options)


def read_task(task: Task, source: Source) -> TaskData:
  """Reads every split of a task.

  Raises:
    UserError: a split that training needs is missing or broken.
  """
  splits = {
      split: task.read(source, split) for split in ("train", *task.dev_splits)
  }
  for split in task.test_splits:
    try:
      splits[split] = task.read(source, split)
    except MissingSplitError:
      continue
  notes = task.check(source, splits) if task.check else ()
  examples = list(splits["train"])
  if task.kind == "tagging" or task.learns_dev_labels:
    for split in task.dev_splits:
      examples += splits[split]
  return TaskData(with_labels(task, examples), splits, tuple(notes))


def digest_of(tasks: Sequence[TaskData]) -> str:
  """Returns a hash of every training and dev example."""
  digest = hashlib.sha256()
  for data in tasks:
    learnt = [x for x in ("train", UNLABELLED) if x in data.splits]
    for split in (*learnt, *data.task.dev_splits):
      digest.update(f"{data.task.name} {split}\n".encode())
      for example in data.splits[split]:
        digest.update(repr(example).encode("utf-8", "surrogatepass"))
  return digest.hexdigest()


def feature_options(config: FinetuneConfig) -> FeatureOptions:
  """Returns how a config cuts texts."""
  return FeatureOptions(
      max_length=config.data.max_length,
      max_query_length=config.data.max_query_length,
      doc_stride=config.data.doc_stride,
      double_unordered=config.data.double_unordered,
      released_answer_spans=config.data.released_answer_spans,
      windows=config.data.windows,
      max_target_length=config.generation.max_target_length,
  )


def decode_options(config: FinetuneConfig) -> DecodeOptions:
  """Returns how a config chooses answers."""
  are_separate = config.model.head == "huggingface"
  threshold = config.questions.null_threshold
  if threshold is None:  # As likely as the best span, in transformers.
    threshold = 0.0 if are_separate else NO_ANSWER_THRESHOLD
  return DecodeOptions(
      n_best_size=config.questions.n_best_size,
      max_answer_length=config.questions.max_answer_length,
      null_threshold=threshold,
      windows=config.data.windows,
      are_separate=are_separate,
  )


def task_to_json(task: Task) -> dict[str, Any]:
  """Returns what a fine-tuned model must remember of its task."""
  return {
      "name": task.name,
      "labels": list(task.labels),
      "label_range": task.label_range and list(task.label_range),
      "takes_pairs": task.takes_pairs,
      "tag_scheme": task.tag_scheme,
      "word_unit": task.word_unit,
  }


def task_from_json(record: Mapping[str, Any], config: FinetuneConfig) -> Task:
  """Returns the task of a fine-tuned model."""
  return dataclasses.replace(
      _find_task(record["name"], config),
      labels=tuple(record["labels"]),
      label_range=record["label_range"] and tuple(record["label_range"]),
      takes_pairs=record["takes_pairs"],
      tag_scheme=record["tag_scheme"],
      word_unit=record["word_unit"],
  )


def _find_task(name: str, config: FinetuneConfig) -> Task:
  task = find_task(name, dataclasses.asdict(config.table))
  if task.kind != "embedding":
    return task
  how = config.embedding
  if how.method == "pairs" and not task.takes_pairs:
    raise UserError(
        "config.embedding.method is 'pairs' and config.table.other_text is"
        " empty; name the column of what belongs to a text by"
        " --config.table.other_text, or learn from texts alone by"
        " --config.embedding.method=simcse"
    )
  if how.projection and how.dimensions:
    raise UserError(
        f"config.embedding.dimensions={how.dimensions} are prefixes of the vector"
        " that is used, and config.embedding.projection puts a layer between it"
        " and the loss; set --config.embedding.projection=false"
    )
  if min(how.dimensions, default=1) < 1:
    raise UserError(
        f"config.embedding.dimensions is {how.dimensions}, and a prefix of a"
        " vector has 1 number at least; leave out what is smaller"
    )
  for key, one_way in (
      (f"data.windows={config.data.windows}", config.data.windows == "first"),
      (
          f"train.accumulation_steps={config.train.accumulation_steps}",
          config.train.accumulation_steps == 1,
      ),
  ):
    if not one_way:
      raise UserError(
          f"config.{key} has no meaning for task=embedding, which compares the"
          " first config.data.max_length tokens of all texts of a batch with"
          " each other; leave it out"
      )
  vectors = LearntVectors(
      how.method,
      how.layer,
      how.pooling,
      how.projection,
      max(how.dimensions, default=0),
  )
  return dataclasses.replace(task, vectors=vectors)
