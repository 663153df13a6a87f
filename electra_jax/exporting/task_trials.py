"""Fine-tuned models tried out on their dev sets: answers and scores."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.exporting.findings import NOTHING, Finding
from electra_jax.exporting.networks import Head, Network
from electra_jax.exporting.runtimes import Arrays, Runtime
from electra_jax.exporting.trials import TEXTS_FIX
from electra_jax.finetuning import task_data
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.task_predictor import TaskPredictor
from electra_jax.models.bottleneck import without_rate
from electra_jax.models.task_heads import SpanBeam
from electra_jax.runs import workdir as workdirs
from electra_jax.shapes import Params
from electra_jax.tasks.examples import Example
from electra_jax.tasks.features import Features
from electra_jax.tasks.predictions import Predictions, decode, has_gold
from electra_jax.tasks.task import Task

_BATCH_TEXTS = 16
_SEEN = -500.0  # Log-probability above which a token is not masked out.


@dataclasses.dataclass(frozen=True)
class TaskTrial:
  """The examples of one split, and what our own model says of them.

  Attributes:
    network: that is tried.
    head: of the task.
    split: name of the split, "" of given texts.
    examples: of the split.
    features: of the examples.
    predictor: decodes and scores.
    outputs: of our own model for all texts, as `TaskModel` has them.
    answers: of our own model.
    pad_id: id of padding.
  """

  network: Network
  head: Head
  split: str
  examples: Sequence[Example]
  features: Features
  predictor: TaskPredictor
  outputs: Any
  answers: Predictions
  pad_id: int

  def own(self) -> Finding:
    """Returns what our own model scores."""
    return self._found(self.outputs, self.answers)

  def of(self, runtime: Runtime) -> Finding:
    """Compares an exported file."""
    outputs = run_features(
        runtime, self.network, self.head, self.features, self.pad_id
    )
    answers = decode(
        self.head.task,
        self.examples,
        self.features,
        outputs,
        self.predictor.decode_options,
    )
    return self._found(outputs, answers)

  def _found(self, outputs: Any, answers: Predictions) -> Finding:
    task, scores = self.head.task, {}
    if has_gold(self.examples):
      found = self.predictor.score(task, self.examples, answers)
      scores = {f"{task.name}/{self.split}/{m}": v for m, v in found.items()}
    differing, total = _differing(task, answers.values, self.answers.values)
    largest = _largest(task, self.features, outputs, self.outputs)
    return Finding(largest, differing, total, scores)


@dataclasses.dataclass(frozen=True)
class TaskTrials:
  """What a fine-tuned model is tried on.

  Attributes:
    trials: one for each task and split.
    origin: of the examples, in words.
  """

  trials: Sequence[TaskTrial]
  origin: str

  def own(self) -> Finding:
    """Returns what our own model scores."""
    return sum((trial.own() for trial in self.trials), NOTHING)

  def of(self, runtime: Runtime) -> Finding:
    """Compares an exported file."""
    return sum((trial.of(runtime) for trial in self.trials), NOTHING)


def try_finetuned(
    network: Network,
    params: Params,
    run: workdirs.Run,
    *,
    count: int,
    lengths: Sequence[int],
    texts: Sequence[str] | None,
) -> TaskTrials:
  """Runs our own model on the dev sets of its tasks, or on texts.

  Args:
    network: that is exported.
    params: of our own model.
    run: of the fine-tuning.
    count: examples of a split at most.
    lengths: of rows that the file takes; none: any.
    texts: lines as of `parse_inputs`, or None.

  Raises:
    UserError: there is no dev set to be read, or a line lacks something.
  """
  config = run.config
  longest = min(config.data.max_length, max(lengths, default=network.longest))
  config = dataclasses.replace(
      config, data=dataclasses.replace(config.data, max_length=longest)
  )
  # Other devices multiply float32 in fewer digits.
  mesh = sharding.make_mesh(devices=jax.local_devices(backend="cpu")[:1])
  predictor = TaskPredictor(config, network.config, run.tokenizer, mesh)
  params = jax.device_put(params, mesh.devices.ravel()[0])
  trials, origins = [], []
  for head in network.heads:
    for split, examples in _examples(head.task, run, count, texts):
      features = predictor.features(head.task, examples)
      outputs = without_rate(predictor.outputs(params, head.task, features))
      answers = decode(
          head.task, examples, features, outputs, predictor.decode_options
      )
      trials.append(
          TaskTrial(
              network,
              head,
              split,
              examples,
              features,
              predictor,
              outputs,
              answers,
              run.tokenizer.special.pad,
          )
      )
      whose = f"of {head.name}/{split}" if split else "that were given"
      origins.append(f"{len(examples):,} examples {whose}")
  return TaskTrials(trials, ", ".join(origins))


def run_features(
    runtime: Runtime,
    network: Network,
    head: Head,
    features: Features,
    pad_id: int,
) -> Any:
  """Returns an exported file's outputs for all texts, as `TaskModel` has them.

  Args:
    runtime: of the file.
    network: that it holds.
    head: of the task.
    features: its texts.
    pad_id: id of padding.
  """
  order = np.argsort([len(text) for text in features.texts], kind="stable")
  parts = []
  for start in range(0, len(order), _BATCH_TEXTS):
    numbers = order[start : start + _BATCH_TEXTS]
    inputs = _inputs(network, features, numbers, pad_id)
    outputs = runtime(inputs)
    parts.append(_as_task_model(head, features, numbers, outputs))
  places = np.argsort(order)
  return jax.tree.map(lambda *x: np.concatenate(x)[places], *parts)


def _examples(
    task: Task, run: workdirs.Run, count: int, texts: Sequence[str] | None
) -> Iterator[tuple[str, list[Example]]]:
  if texts is not None:
    yield "", parse_inputs(task, texts)[:count]
    return
  if not task.dev_splits:
    raise UserError(f"the task {task.name} has no dev split; {TEXTS_FIX}")
  for split in task.dev_splits:
    yield split, read_dev_split(task, run, split)[:count]


def read_dev_split(task: Task, run: workdirs.Run, split: str) -> list[Example]:
  """Reads a split of a task from where a finetune run has read it.

  Raises:
    UserError: it is gone or damaged; the message tells of --texts.
  """
  try:
    return list(task.read(task_data.source_of(run.config), split))
  except UserError as error:
    raise UserError(
        f"the split {split!r} of {task.name} cannot be read ({error});"
        f" {TEXTS_FIX}"
    ) from error


def _inputs(network, features, numbers, pad_id) -> Arrays:
  texts = [features.texts[i] for i in numbers]
  width = max(network.shortest, *map(len, texts))
  ids = np.full((len(texts), width), pad_id, np.int32)
  for row, text in zip(ids, texts, strict=True):
    row[: len(text)] = text
  place = np.arange(width)[None]
  totals = np.asarray([len(text) for text in texts])[:, None]
  first = features.first_lengths[numbers][:, None]
  return {
      "input_ids": ids,
      "input_mask": (place < totals).astype(np.int32),
      "segment_ids": ((place >= first) & (place < totals)).astype(np.int32),
  }


def _as_task_model(
    head: Head,
    features: Features,
    numbers: np.ndarray,
    outputs: Mapping[str, np.ndarray],
) -> Any:
  if head.kind == "questions":
    return SpanBeam(*(outputs[head.prefix + n] for n in SpanBeam._fields))
  logits = outputs[head.prefix + "logits"]
  if head.kind != "tagging":
    return logits
  places = features.targets["word_places"][numbers]  # [n, W]
  # A place of a longer text is one of padding here, and never used.
  places = np.minimum(places, logits.shape[1] - 1)
  return np.take_along_axis(logits, places[..., None], axis=1)


def _differing(task: Task, values, own) -> tuple[int, int]:
  if task.kind == "tagging":
    pairs = [
        pair
        for ours, theirs in zip(own, values, strict=True)
        for pair in zip(ours, theirs, strict=True)
    ]
  else:
    pairs = list(zip(own, values, strict=True))
  if task.kind == "regression":
    low, high = task.label_range
    differs = [abs(x - y) > 0.01 * (high - low) for x, y in pairs]
  else:
    differs = [x != y for x, y in pairs]
  return sum(differs), len(pairs)


def _largest(task: Task, features: Features, outputs, own) -> float:
  if task.kind == "questions":
    return _largest_of_spans(outputs, own)
  difference = np.abs(outputs - own)
  if task.kind == "tagging":
    difference = difference[features.targets["weights"] > 0]
  return float(difference.max())


def _largest_of_spans(found: SpanBeam, own: SpanBeam) -> float:
  """Compares what both beams hold and no mask rules out."""
  starts = np.abs(found.start_log_probs - own.start_log_probs)
  largest = [starts[own.start_log_probs > _SEEN]]
  largest.append(np.abs(found.impossible - own.impossible))
  # Ends stand behind their start: compared where both have the same.
  same = (found.start_index == own.start_index)[..., None]
  ends = np.abs(found.end_log_probs - own.end_log_probs)
  largest.append(ends[same & (own.end_log_probs > _SEEN)])
  return float(np.concatenate([x.ravel() for x in largest]).max())
