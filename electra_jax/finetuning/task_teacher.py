"""Finds the teacher of a fine-tuning, and the texts that it alone answers."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from electra_jax.compress.teacher import (
    Student,
    check_teacher,
    frozen_encoder,
    load_teacher,
    with_digest,
)
from electra_jax.devices import sharding
from electra_jax.devices.attention import make_attend
from electra_jax.errors import UserError
from electra_jax.finetuning import task_data
from electra_jax.finetuning.forward import apply_and_look
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.pretrained_encoder import PretrainedEncoder
from electra_jax.finetuning.task_predictor import heads_of
from electra_jax.finetuning.taught import IS_LABELLED, Answers, TaskTeacher
from electra_jax.finetuning.trainer import init_params
from electra_jax.models.bottleneck import without_rate
from electra_jax.models.task_model import TaskModel
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.weights import find_weights, networks_of
from electra_jax.tasks.features import (
    FeatureOptions,
    Features,
    make_features,
)
from electra_jax.tasks.task import Task
from electra_jax.tasks.task_files import read_lines
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.training.checkpoint import Checkpointer

_KINDS = (
    "classification",
    "multilabel",
    "regression",
    "tagging",
    "questions",
)


def find_task_teacher(
    config: FinetuneConfig,
    start: PretrainedEncoder,
    tasks: Sequence[Task],
    mesh: Mesh,
) -> TaskTeacher | None:
  """Finds a config's teacher and reads it; None if the config names none.

  Args:
    config: of the student.
    start: of the student.
    tasks: of the student, with their labels.
    mesh: where the parameters are laid.

  Raises:
    UserError: there is no such run, it has not learned these very tasks, or it
      does not fit the student.
  """
  distill = config.distill
  if not distill.teacher:
    return None
  run = load_teacher(distill, start.tokenizer)
  whole = networks_of(run).discriminator
  student = Student(
      start.encoder,
      start.tokenizer,
      config.data.max_length,
      "config.data.max_length",
  )
  layer = check_teacher(distill, whole, student)
  learned = {task.name: task for task in _tasks_of(config, run)}
  for task in tasks:
    _check_task(config, run, task, learned)
  sharding.check_divisible(
      mesh,
      "number of the teacher's attention heads",
      whole.num_heads,
      ("tensor",),
  )
  encoder = frozen_encoder(whole, config.model.dtype)

  model = TaskModel(
      encoder,
      tuple(heads_of(tasks, run.config)),
      sharding.constrain_hidden(mesh),
      make_attend(config.model.attention, mesh),
  )
  abstract = jax.eval_shape(
      lambda: init_params(encoder, heads_of(learned.values(), run.config), 0)
  )
  folder, origin, _ = find_weights(distill.teacher, run)
  with Checkpointer(folder) as checkpointer:
    params = checkpointer.read_params(
        abstract, sharding.params_shardings(mesh, abstract)
    )
  origin = with_digest(origin, params)

  def answer(params, batch):
    outputs, projections = apply_and_look(model, params, batch, layer)
    outputs = {name: without_rate(said) for name, said in outputs.items()}
    return Answers(outputs, projections)

  return TaskTeacher(
      params,
      origin,
      answer,
      f"{origin}; layer {layer + 1} of {whole.num_layers},"
      f" {distill.relation_heads} relation heads",
  )


def taught_tasks(
    config: FinetuneConfig, start: PretrainedEncoder, tasks: Sequence[Task]
) -> list[Task]:
  """Gives the student's tasks the labels, in their order, of its teacher's.

  Raises:
    UserError: the teacher has not learned one of them, or other labels than
      config.table names.
  """
  if not config.distill.teacher:
    return list(tasks)
  run = load_teacher(config.distill, start.tokenizer)
  learned = {task.name: task for task in _tasks_of(config, run)}
  for task in tasks:
    if task.name not in learned:
      raise UserError(
          f"the teacher in {config.distill.teacher} has learned"
          f" {', '.join(learned)} and not {task.name}; fine-tune it on"
          f" {task.name}, or choose another --config.distill.teacher"
      )
    _check_labels(config, task, learned[task.name])
  return [
      dataclasses.replace(
          task,
          labels=learned[task.name].labels,
          label_range=learned[task.name].label_range,
          tag_scheme=learned[task.name].tag_scheme,
          word_unit=learned[task.name].word_unit,
      )
      for task in tasks
  ]


def with_unlabelled(
    config: FinetuneConfig, data: task_data.TaskData
) -> task_data.TaskData:
  """Adds the texts of config.distill.unlabelled to the splits of a task.

  Raises:
    UserError: there is no such file, a line of it is not a text of the task,
      or the task is of questions.
  """
  path = config.distill.unlabelled
  if not path:
    return data
  task, key = data.task, "config.distill.unlabelled"
  if not config.distill.teacher:
    raise UserError(
        f"{key} is {path} and config.distill.teacher is empty, so that no one"
        " answers for these texts; give a teacher, or leave it out"
    )
  if "+" in config.task or task.kind == "questions":
    raise UserError(
        f"{key} is {path} and config.task {config.task!r}: texts without labels"
        " are for one task alone, and not for questions; leave it out"
    )
  try:
    lines = {
        number - 1: line
        for number, line in read_lines(pathlib.Path(path))
        if line.strip()
    }
  except UserError as error:
    raise UserError(f"{key} {error}") from error
  if not lines:
    raise UserError(f"{key} {path} has no text; give some, or leave it out")
  try:
    examples = parse_inputs(task, list(lines.values()), indices=list(lines))
  except UserError as error:
    raise UserError(f"{key} {path}: {error}") from error
  splits = {**data.splits, task_data.UNLABELLED: examples}
  return dataclasses.replace(data, splits=splits)


def training_features(
    data: task_data.TaskData, tokenizer: Tokenizer, options: FeatureOptions
) -> Features:
  """Turns what a task is learnt from into numbers.

  Where some texts have no label, a target says which ones have.
  """
  labelled = data.splits["train"]
  unlabelled = data.splits.get(task_data.UNLABELLED, [])
  features = make_features(
      data.task, [*labelled, *unlabelled], tokenizer, options, for_training=True
  )
  if not unlabelled:
    return features
  is_labelled = (features.examples < len(labelled)).astype(np.float32)
  targets = {**features.targets, IS_LABELLED: is_labelled}
  return dataclasses.replace(features, targets=targets)


def _tasks_of(config: FinetuneConfig, run: workdirs.Run) -> list[Task]:
  if run.kind is not workdirs.FINETUNING:
    raise UserError(
        f"the teacher in {config.distill.teacher} is a pretrain run, which has"
        f" learned no task; fine-tune it on {config.task} first"
    )
  records = run.facts["tasks"]
  return [task_data.task_from_json(record, run.config) for record in records]


def _check_task(config, run, task: Task, learned) -> None:
  theirs, teacher = learned[task.name], config.distill.teacher
  if task.kind not in _KINDS:
    raise UserError(
        f"{task.name} is of the kind {task.kind}, which has no teacher; tasks"
        f" with one are of {', '.join(_KINDS)}"
    )
  if theirs.kind != task.kind:
    raise UserError(
        f"the teacher in {teacher} has learned {task.name} as {theirs.kind} and"
        f" config.table.kind is {task.kind!r}; choose the same"
    )
  shape = run.config.model.head
  if task.kind == "questions" and shape != config.model.head:
    raise UserError(
        f"the teacher in {teacher} answers questions with the head"
        f" config.model.head={shape!r} and the student has"
        f" {config.model.head!r}; choose the same"
    )


def _check_labels(config: FinetuneConfig, task: Task, theirs: Task) -> None:
  """Checks labels that the student names; their order is the teacher's."""
  for name in ("labels", "label_range"):
    ours, other = getattr(task, name), getattr(theirs, name)
    if ours and sorted(ours) != sorted(other or ()):
      raise UserError(
          f"the teacher in {config.distill.teacher} has learned {task.name} with"
          f" the {name.replace('_', ' ')} {_listed(other)} and the student's are"
          f" {_listed(ours)}; leave config.table.{name} out, which takes the"
          " teacher's"
      )


def _listed(values) -> str:
  return ", ".join(map(str, values or ())) or "none"
