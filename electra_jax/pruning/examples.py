"""What heads and columns are measured on: held-out rows, or a task's dev texts."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from electra_jax.compress.importance import ExampleLoss
from electra_jax.errors import UserError
from electra_jax.finetuning import task_data
from electra_jax.finetuning.forward import apply
from electra_jax.finetuning.task_data import TaskData
from electra_jax.finetuning.task_predictor import heads_of
from electra_jax.finetuning.total_loss import loss_weights, summed_losses
from electra_jax.models.bottleneck import without_rate
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.models.electra import Electra
from electra_jax.models.task_model import TaskModel
from electra_jax.objectives.losses import total_loss
from electra_jax.objectives.masking import mask_rows, unpack_rows
from electra_jax.pretraining.evaluation import open_rows
from electra_jax.pretraining.text_rows import padded_batch, text_rows
from electra_jax.pretraining.trainer import bind
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import (
    learns_by_itself,
    masking_config,
    method_of,
    objective_options,
    own_loss_weights,
    vocabulary_of_run,
)
from electra_jax.runs.sections import replaced
from electra_jax.runs.weights import networks_of
from electra_jax.store.feed import Batch, evaluation_batches
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.features import Features, make_features
from electra_jax.tasks.predictions import has_gold
from electra_jax.tasks.task import Source, Task

_STREAM = 2**32 - 3  # Of fold_in(key(seed), …); no step reaches it.
_ROWS = 64  # That are masked at a time.


class Examples(NamedTuple):
  """Examples, and what a network loses on each.

  Attributes:
    rows: trees of arrays of the same shapes.
    loss: shapes of a discriminator -> the loss of one example with it.
    origin: what they are, in words.
  """

  rows: Sequence[Any]
  loss: Callable[[EncoderConfig], ExampleLoss]
  origin: str


def pretraining_examples(
    workdir: epath.PathLike,
    run: workdirs.Run,
    *,
    store: epath.PathLike | None,
    texts: Sequence[str] | None,
    split: str | None,
    max_rows: int,
) -> Examples:
  """Returns masked rows, whose loss is that of the run's objective.

  Args:
    workdir: of the run.
    run: what is in it.
    store: a token store, or None for the run's own.
    texts: lines in place of a store, or None.
    split: "train" or "validation" of the store, the default.
    max_rows: how many at most.

  Raises:
    UserError: there is no store and no text, or one that does not fit, or the
      run has no loss of its own.
  """
  if not learns_by_itself(run.config):
    raise UserError(
        f"{workdir} has learned from its teacher alone and its heads are random,"
        " so that no loss tells what counts; fine-tune it, and prune that run"
    )
  if texts is not None:
    config = run.config
    batches, origin = _batches_of_texts(run, texts, max_rows), "rows of text"
  elif store is None and not run.config.data.store:
    raise UserError(
        f"{workdir} has no token store of its own to measure heads and columns"
        " on; name one by --store, or give lines of text by --texts FILE"
    )
  else:
    split = split or "validation"
    opened = open_rows(
        workdir, run, split=split, store=store, max_rows=max_rows
    )
    config = replaced(run.config, {"data.length": opened.manifest.length})
    batches = evaluation_batches(opened.split(split), batch_size=_ROWS)
    origin = f"{split} rows"
  vocabulary, method = vocabulary_of_run(run), method_of(config)
  masking = masking_config(config, vocabulary)
  options = objective_options(config, vocabulary)
  factors, networks = own_loss_weights(config), networks_of(run)

  @jax.jit
  def mask(batch, index):
    rng = jax.random.fold_in(jax.random.key(config.seed), _STREAM)
    rng = jax.random.fold_in(rng, index)
    return mask_rows(rng, unpack_rows(*batch), masking)

  def loss_of(encoder: EncoderConfig) -> ExampleLoss:
    model = Electra(_in_float32(networks, encoder))

    def loss(params, masked):
      outcome = method.run(bind(model, params, None), masked, options)
      return total_loss(factors, outcome.losses, method.weigh(masked))

    return loss

  rows = []
  for index, batch in enumerate(batches):
    real = np.asarray(batch.segment_lengths)[:, 1] > 0
    rows += _one_by_one(jax.device_get(mask(batch, np.int32(index))), real)
    if len(rows) >= max_rows:
      break
  return Examples(rows[:max_rows], loss_of, origin)


def read_tasks(
    run: workdirs.Run, tasks: Sequence[Task], folder: str | None
) -> list[TaskData]:
  """Reads the dev splits of a fine-tuning.

  Args:
    run: the fine-tuning.
    tasks: its own.
    folder: where the files lie, or None for the run's own.

  Raises:
    UserError: a split is missing, or does not tell the answers.
  """
  source = _source_of(run, folder)
  data = []
  for task in tasks:
    splits = {split: task.read(source, split) for split in task.dev_splits}
    for split, examples in splits.items():
      _check_gold(task, split, examples)
    data.append(TaskData(task, splits))
  return data


def task_examples(
    run: workdirs.Run,
    data: Sequence[TaskData],
    *,
    folder: str | None,
    split: str | None,
    max_rows: int,
) -> Examples:
  """Returns a fine-tuning's texts, whose loss is that of its labels.

  They are taken at even distances over all tasks and their splits. Of a run
  that embeds texts an example is a batch, whose texts are compared.

  Args:
    run: the fine-tuning.
    data: of `read_tasks`.
    folder: where the files lie, or None for the run's own.
    split: which texts, or None for the dev splits.
    max_rows: texts at most.

  Raises:
    UserError: a task has no such split, or it does not tell the answers.
  """
  tasks, config = [one.task for one in data], run.config
  heads = heads_of(tasks, config)
  features = {one.task.name: _features(run, one, split, folder) for one in data}
  (group,) = {some.group for some in features.values()}
  is_compared = any(task.vectors for task in tasks)
  size = config.train.batch_size * group if is_compared else 1
  count = sum(map(len, features.values()))
  batches = Batches(
      features,
      batch_size=min(size, count),
      row_length=config.data.max_length,
      pad_id=run.tokenizer.special.pad,
      is_packed=False,
  )

  def loss_of(encoder: EncoderConfig) -> ExampleLoss:
    shapes = dataclasses.replace(encoder, dtype="float32", remat="none")
    model = TaskModel(shapes, tuple(heads))

    def loss(params, batch):
      outputs = apply(model, params, batch)
      outputs = {name: without_rate(said) for name, said in outputs.items()}
      losses = summed_losses(config, heads, outputs, batch, group)
      weights = loss_weights(config, heads, batch, group)
      return sum(losses[name] * weights[name] for name in losses)

    return loss

  rows = []
  starts = np.arange(0, count - batches.batch_size + 1, batches.batch_size)
  most = max(1, max_rows // batches.batch_size)
  for start in starts[_spread(len(starts), most)]:
    numbers = np.arange(start, start + batches.batch_size)
    rows.append(batches.make(numbers, 0)._replace(seed=()))
  names = {split} if split else {s for one in data for s in one.splits}
  return Examples(rows, loss_of, f"texts of {', '.join(sorted(names))}")


def _in_float32(
    networks: ElectraConfig, encoder: EncoderConfig
) -> ElectraConfig:
  plain = {"dtype": "float32", "remat": "none"}
  generator = networks.generator
  if generator is not None:
    generator = dataclasses.replace(generator, **plain)
  return dataclasses.replace(
      networks,
      discriminator=dataclasses.replace(encoder, **plain),
      generator=generator,
  )


def _batches_of_texts(
    run: workdirs.Run, texts: Sequence[str], max_rows: int
) -> Iterator[Batch]:
  lines = [text for text in texts if text.strip()]
  if not lines:
    raise UserError("--texts has no line of text; give one for each text")
  length, pad = run.config.data.length, run.tokenizer.special.pad
  rows = text_rows(run.tokenizer, lines[:max_rows], length).input_ids
  for start in range(0, len(rows), _ROWS):
    some = rows[start : start + _ROWS]
    yield padded_batch(some, len(some), length, pad)


def _one_by_one(batch: Any, real: np.ndarray) -> list[Any]:
  """Returns the real rows of a batch as batches of one."""
  return [
      jax.tree.map(lambda x, i=i: x[i : i + 1], batch)
      for i in np.flatnonzero(real)
  ]


def _features(
    run: workdirs.Run, data: TaskData, split: str | None, folder: str | None
) -> Features:
  task, splits = data.task, data.splits
  if split is not None:
    known = ("train", *task.dev_splits)
    if split not in known:
      raise UserError(
          f"{task.name} has no split {split!r} with labels; choose --split of"
          f" {', '.join(known)}"
      )
    if split not in splits:
      splits = {split: task.read(_source_of(run, folder), split)}
      _check_gold(task, split, splits[split])
    splits = {split: splits[split]}
  examples = [example for some in splits.values() for example in some]
  options = task_data.feature_options(run.config)
  return make_features(
      task, examples, run.tokenizer, options, for_training=True
  )


def _source_of(run: workdirs.Run, folder: str | None) -> Source:
  source = task_data.source_of(run.config)
  if folder is None:
    return source
  options = {**source.options, "train": "", "dev": "", "test": ""}
  return Source(pathlib.Path(folder), options=options)


def _check_gold(task: Task, split: str, examples: Sequence[Any]) -> None:
  if not has_gold(examples):
    raise UserError(
        f"the split {split!r} of {task.name} does not tell the answers, so that"
        " no loss tells what counts; choose another --split"
    )


def _spread(total: int, most: int) -> np.ndarray:
  """Returns numbers below a total at even distances."""
  count = min(total, most)
  return np.arange(count) * total // count
