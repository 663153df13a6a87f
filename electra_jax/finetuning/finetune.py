"""The verb `finetune`: one or several tasks, one or several seeds."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from etils import epath
from jax.experimental import multihost_utils

from electra_jax.compress.teacher import with_absolute_paths
from electra_jax.devices import sharding
from electra_jax.disk.scratch import check_no_link_inside, open_scratch
from electra_jax.files import absolute, to_json, write_whole
from electra_jax.finetuning import diffcse, task_data
from electra_jax.finetuning.data_notes import (
    show_labels,
    show_notes,
    show_vocabulary_notes,
)
from electra_jax.finetuning.evaluation import Evaluator
from electra_jax.finetuning.pretrained_encoder import (
    PretrainedEncoder,
    find_encoder,
)
from electra_jax.finetuning.programs import (
    check_scores,
    check_start,
    make_programs,
)
from electra_jax.finetuning.seeds import (
    as_text,
    finished_seeds,
    medians_and_deviations,
    summarise,
    write_summary,
)
from electra_jax.finetuning.task_data import TaskData
from electra_jax.finetuning.task_teacher import (
    find_task_teacher,
    taught_tasks,
    with_unlabelled,
)
from electra_jax.finetuning.taught import TaskTeacher
from electra_jax.finetuning.trainer import TaskTrainer
from electra_jax.progress import Progress
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.console import Show, shower
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.parameters import note_parameters
from electra_jax.runs.sections import replaced
from electra_jax.runs.tracking import open_trackers
from electra_jax.runs.weights import SCORES
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.generation_batches import GenerationBatches
from electra_jax.tasks.synthetic import make_task
from electra_jax.training import loop
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState
from electra_jax.training.trackers import tracker_names
from electra_jax.training.writers import ScalarWriter
from electra_jax.trees import count_parameters


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
  """How a fine-tuning ended.

  Attributes:
    summary: of `seeds.summarise` over the finished seeds, or empty.
    stopped_by: the signal's number if one ended it early.
  """

  summary: Mapping[str, Any]
  stopped_by: int | None = None


def finetune(
    config: FinetuneConfig, workdir: epath.PathLike, *, quiet: bool = False
) -> FinetuneResult:
  """Fine-tunes on the config's tasks, once for each seed, and scores.

  The same call resumes: a finished seed is not run again, and an interrupted
  one goes on from its checkpoint.

  Args:
    config: what to do.
    workdir: a local or gs:// folder; made if it is not there.
    quiet: whether to print nothing.

  Returns:
    The scores of every seed, their median and spread.

  Raises:
    UserError: values that do not fit each other, data or a checkpoint that is
      missing or broken, a loss that is not finite.
  """
  show, is_first = shower(quiet), jax.process_index() == 0
  progress = Progress(quiet=quiet or not is_first)
  workdirs.check_ours(workdir)
  tracker_names(config.trackers)
  # --- Where to start, and what to learn ---
  mesh = sharding.make_mesh(**dataclasses.asdict(config.mesh))
  train = config.train
  sharding.check_batch(mesh, train.batch_size, train.accumulation_steps)
  named = task_data.find_tasks(config)
  check_scores(named)
  if config.data.synthetic:
    config = _with_synthetic_task(config, workdir)
  config = _with_absolute_paths(config)
  start = find_encoder(config)
  check_start(config, start, named)
  detection = diffcse.make_detection(config, start)
  source = task_data.source_of(config)
  with progress.stage("reading the tasks", "longer the more text there is"):
    tasks = [
        with_unlabelled(config, task_data.read_task(task, source))
        for task in taught_tasks(config, start, named)
    ]
    teacher = find_task_teacher(config, start, [x.task for x in tasks], mesh)
    batches, trainer, start_params, evaluator = make_programs(
        config, start, tasks, mesh, teacher, detection
    )
  # --- Workdir; nothing has been written before this line ---
  facts = facts_of(start, tasks, teacher)
  entered = workdirs.entered(
      workdir, workdirs.FINETUNING, config, start.tokenizer, facts
  )
  with entered as entry:
    _describe(start, tasks, teacher, trainer, batches, show)
    if is_first:
      note_parameters(workdir, trainer.abstract.params)
    show_notes(config, tasks, batches.features, evaluator.features, show)
    show_vocabulary_notes(tasks, batches.features, start.tokenizer, show)
    # --- Seeds ---
    scores, summary = finished_seeds(workdir), {}
    for seed in range(config.seeds):
      if seed not in scores:
        init = functools.partial(trainer.init, seed, start_params)
        later = sum(s not in scores for s in range(seed + 1, config.seeds))
        scores[seed], signal = _run_seed(
            entry, trainer, init, batches, evaluator, seed, progress, later
        )
        if signal is not None:
          return FinetuneResult(summary, signal)
      summary = summarise(scores, evaluator.main_metrics)
      if is_first:
        write_summary(workdir, summary)
        if not config.train.keep_all_models:
          _delete_other_models(workdir, scores, summary["best_seed"])
    if is_first and config.seeds > 1:
      with open_trackers(config, workdir, "summary", is_new=False) as trackers:
        trackers.finish(medians_and_deviations(summary))
  show(as_text(summary))
  for line in evaluator.explain(summary["median"]):
    show(line)
  best = summary["best_seed"]
  show(f"the best model is of seed {best}; everything is in {workdir}")
  return FinetuneResult(summary)


def facts_of(
    start: PretrainedEncoder,
    tasks: Sequence[TaskData],
    teacher: TaskTeacher | None = None,
) -> dict[str, Any]:
  """Returns what a workdir keeps of its tasks, its encoder and its teacher."""
  origin = {} if teacher is None else {"teacher": teacher.origin}
  return {
      **origin,
      "start": start.origin,
      "examples_digest": task_data.digest_of(tasks),
      "tasks": [task_data.task_to_json(data.task) for data in tasks],
      "examples": {
          data.task.name: {split: len(e) for split, e in data.splits.items()}
          for data in tasks
      },
      "tokenizer_digest": start.tokenizer.digest,
      "encoder": dataclasses.asdict(start.encoder),
  }


def _with_synthetic_task(
    config: FinetuneConfig, workdir: epath.PathLike
) -> FinetuneConfig:
  """Writes synthetic examples into the workdir, to be learned from there."""
  folder = epath.Path(workdir) / "synthetic_task"
  vocabulary = folder / "vocab.txt"
  changes: dict[str, Any] = {"data.folder": str(folder)}
  if not config.init_from:
    changes |= {"random_init": True, "data.tokenizer": str(vocabulary)}
  config = replaced(config, changes)
  workdirs.check(workdir, workdirs.FINETUNING, config)
  if jax.process_index() == 0 and not vocabulary.exists():
    with open_scratch(folder) as scratch:
      make_task(config.task.split("+"), scratch.folder)
      scratch.publish()
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("synthetic task")
  return config


def _with_absolute_paths(config: FinetuneConfig) -> FinetuneConfig:
  # The model is opened later on, from anywhere.
  table, folder = config.table, absolute(config.data.folder)
  return dataclasses.replace(
      config,
      init_from=shipped.absolute_or_name(config.init_from),
      distill=with_absolute_paths(config.distill),
      data=dataclasses.replace(
          config.data,
          folder=folder,
          tokenizer=absolute(config.data.tokenizer),
      ),
      table=dataclasses.replace(
          table,
          train=absolute(table.train),
          dev=absolute(table.dev),
          test=absolute(table.test),
      ),
  )


def _run_seed(
    entry: workdirs.Entry,
    trainer: TaskTrainer,
    init: Callable[[], TrainState],
    batches: Batches | GenerationBatches,
    evaluator: Evaluator,
    seed: int,
    progress: Progress,
    later_seeds: int,
) -> tuple[dict[str, float], int | None]:
  """Trains one seed to its end, or to a signal, whose number is returned.

  Its scores are written last: they are the sign that it is finished.
  """
  show, is_first = shower(not progress.is_shown), jax.process_index() == 0
  folder = _seed_folder(entry.workdir, seed)
  predicted = {}

  def evaluate(params):
    predicted.update(evaluator.predict(params, evaluator.dev_splits))
    return loop.Evaluation(evaluator.scores(predicted))

  with contextlib.ExitStack() as stack:
    checkpointer = stack.enter_context(
        Checkpointer(workdirs.checkpoints(folder), 2, entry.still_ours)
    )
    state = checkpointer.restore_latest(trainer.abstract, trainer.shardings)
    state = init() if state is None else state
    step = int(state.step)
    show(f"seed {seed}: steps {step:,} to {trainer.num_steps:,}")
    if step < trainer.num_steps:  # Without a step nothing is changed.
      entry.go_on(show, seed=seed, step=step)
    writer = trackers = None
    if is_first:
      trackers = stack.enter_context(
          open_trackers(trainer.config, entry.workdir, "finetune", seed=seed)
      )
      writer = ScalarWriter(folder, step, trackers)
      stack.enter_context(contextlib.closing(writer))
    rows = _to_global(trainer.mesh, batches.training(seed, step))
    result = loop.run(
        *(state, trainer.train_step, rows, evaluate, checkpointer, writer),
        _loop_config(trainer),
        progress,
        observe=functools.partial(_show_scores, progress, trainer.num_steps),
        later_steps=later_seeds * trainer.num_steps,
    )
    if result.stopped_by is not None:
      _tell_stop(result, seed, show)
      return {}, result.stopped_by
    params = result.state.params
    if not predicted:  # It was finished but for its scores.
      evaluate(params)
    predicted |= evaluator.predict(params, evaluator.test_splits)
    scores = evaluator.scores(predicted)
    if is_first:
      evaluator.write(folder, predicted)
      write_whole(folder / SCORES, [to_json(scores, indent=1)])
      trackers.finish(scores)
  return scores, None


def _show_scores(
    progress: Progress, last_step: int, step: int, found: loop.Evaluation
) -> None:
  if step < last_step:  # At the end all seeds are told together.
    scores = found.figures.items()
    told = ", ".join(f"{name} {value:.2f}" for name, value in scores)
    progress.tell(f"step {step:,}: {told}")


def _tell_stop(result: loop.Result, seed: int, show: Show) -> None:
  show(
      f"stopped by signal {result.stopped_by} in seed {seed}, after"
      f" step {result.step:,}; the same command resumes"
  )


def _seed_folder(workdir: epath.PathLike, seed: int) -> epath.Path:
  folder = epath.Path(workdir) / f"seed_{seed}"
  check_no_link_inside(folder, folder / "predictions", folder / "leaderboard")
  return folder


def _loop_config(trainer: TaskTrainer) -> loop.LoopConfig:
  train = trainer.config.train
  return loop.LoopConfig(
      num_train_steps=trainer.num_steps,
      log_every_steps=train.log_every_steps,
      eval_every_steps=train.eval_every_steps,
      checkpoint_every_steps=train.checkpoint_every_steps,
      batch_size=train.batch_size,
      advice="start again in another --workdir with a smaller"
      " config.optimizer.learning_rate",
  )


def _to_global(mesh, batches) -> Iterator[Any]:
  for batch in batches:
    yield sharding.rows_to_global(mesh, batch)


def _delete_other_models(workdir, scores, best_seed) -> None:
  for seed in scores:
    folder = epath.Path(workdir) / f"seed_{seed}"
    models = workdirs.checkpoints(folder)
    is_link = os.path.islink(folder) or os.path.islink(models)
    if seed != best_seed and models.exists() and not is_link:
      models.rmtree()


def _describe(
    start: PretrainedEncoder,
    tasks: Sequence[TaskData],
    teacher: TaskTeacher | None,
    trainer: TaskTrainer,
    batches: Batches | GenerationBatches,
    show: Show,
) -> None:
  config, params = trainer.config, trainer.abstract.params
  show(f"parameters   {count_parameters(params):,}, {start.origin}")
  if teacher is not None:
    show(f"teacher      {teacher.description}")
  seen = start.trained_length
  if seen is not None and seen < config.data.max_length:
    show(
        f"note         the start has seen {seen} positions and"
        f" texts may have {config.data.max_length}: the others are learned here"
    )
  for data in tasks:
    sizes = ", ".join(f"{split} {len(e):,}" for split, e in data.splits.items())
    show(f"task         {data.task.name} ({data.task.kind}): {sizes}")
    show_labels(data, show)
    if data.task.tag_scheme:
      show(f"tags         {data.task.tag_scheme} in the data, learnt as BIOES")
  show(
      f"batch        {batches.describe()}; {trainer.num_steps:,} steps for each"
      f" of {config.seeds} seed{'s' if config.seeds > 1 else ''}"
  )
