"""Fine-tuning: one or several tasks, one or several seeds."""

import dataclasses
import functools
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import rich.console
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.files import absolute, write_whole
from electra_jax.finetuning import seeds as seed_scores
from electra_jax.finetuning import task_data
from electra_jax.finetuning import trainer as task_programs
from electra_jax.finetuning.evaluation import Evaluator
from electra_jax.finetuning.model import TaskPredictor, head_of
from electra_jax.finetuning.pretrained_encoder import StartingPoint, find_start
from electra_jax.finetuning.task_data import TaskData
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.weights import SCORES
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.features import make_features
from electra_jax.tasks.scoring import check_packages
from electra_jax.tasks.synthetic import make_task
from electra_jax.training import loop
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.writers import ScalarWriter
from electra_jax.trees import count_parameters


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
  """How a fine-tuning ended.

  Attributes:
    summary: of `seed_scores.summarise` over the finished seeds, or empty.
    stopped_by: the signal's number if one ended it early.
  """

  summary: Mapping[str, Any]
  stopped_by: int | None = None


def finetune(
    config: ConfigDict, workdir: epath.PathLike, *, quiet: bool = False
) -> FinetuneResult:
  """Fine-tunes on the config's tasks, once for each seed, and scores.

  The same call resumes: a finished seed is not run again, and an interrupted
  one goes on from its checkpoint.

  Args:
    config: as of configs/finetune.py.
    workdir: a local or gs:// folder; made if it is not there.
    quiet: whether to print nothing.

  Returns:
    The scores of every seed, their median and spread.

  Raises:
    UserError: values that do not fit each other, data or a checkpoint that is
      missing or broken, a loss that is not finite.
  """
  config = config.copy_and_resolve_references()
  # --- Where to start, and what to learn ---
  mesh = sharding.make_mesh(**config.mesh)
  task_programs.check_numbers(config, mesh)
  named = task_data.find_tasks(config)
  if any(task.kind != "questions" for task in named):
    check_packages()
  if config.data.made_up:
    _make_up(config, workdir)
  _with_absolute_paths(config)
  start = find_start(config)
  _check_lengths(config, start)
  source = task_data.source_of(config)
  tasks = [task_data.read_task(task, source) for task in named]
  # --- Programs ---
  batches = _training_batches(config, start, tasks, mesh)
  parts = task_programs.build(
      config,
      start.encoder,
      [head_of(data.task) for data in tasks],
      mesh,
      batches.steps_of(config.train.num_epochs),
  )
  encoder_params = start.restore(parts.abstract.params, parts.shardings.params)
  evaluator = Evaluator(
      tasks, TaskPredictor(config, start.encoder, start.tokenizer, mesh)
  )
  # --- Workdir; nothing has been written before this line ---
  facts = facts_of(start, tasks)
  workdirs.enter(workdir, workdirs.FINETUNING, config, start.tokenizer, facts)
  is_first = jax.process_index() == 0
  if is_first and not quiet:
    _describe(config, start, tasks, parts, batches)
  # --- Seeds ---
  scores, summary = _finished_seeds(workdir), {}
  for seed in range(config.seeds):
    if seed not in scores:
      folder = epath.Path(workdir) / f"seed_{seed}"
      init = functools.partial(parts.init, seed, encoder_params)
      result = _train(
          config, folder, parts, init, batches, evaluator, seed, quiet=quiet
      )
      if result.stopped_by is not None:
        if is_first and not quiet:
          print(
              f"stopped by signal {result.stopped_by} in seed {seed}, after"
              f" step {result.step:,}; the same command resumes"
          )
        return FinetuneResult(summary, result.stopped_by)
      scores[seed] = evaluator.finish(result.state.params, folder, config)
      del result  # Its state would lie beside that of the next seed.
    summary = seed_scores.summarise(scores, evaluator.main_metrics)
    if is_first:
      _write_summary(workdir, summary)
      if not config.train.keep_all_models:
        _delete_other_models(workdir, scores, summary["best_seed"])
  if is_first and not quiet:
    rich.console.Console().print(*seed_scores.make_tables(summary))
    best = summary["best_seed"]
    print(f"the best model is of seed {best}; everything is in {workdir}")
  return FinetuneResult(summary)


def facts_of(start: StartingPoint, tasks: Sequence[TaskData]) -> dict[str, Any]:
  """Returns what a workdir keeps of its tasks and its encoder."""
  return {
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


def _make_up(config: ConfigDict, workdir: epath.PathLike) -> None:
  folder = epath.Path(workdir) / "made_up_task"
  vocabulary = folder / "vocab.txt"
  config.data.folder = str(folder)
  if not config.init_from:
    config.random_init, config.data.tokenizer = True, str(vocabulary)
  workdirs.check(workdir, workdirs.FINETUNING, config)
  if jax.process_index() == 0 and not vocabulary.exists():
    make_task(config.task.split("+"), folder)
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("made-up task")


def _with_absolute_paths(config: ConfigDict) -> None:
  # The model is opened later on, from anywhere.
  for section, name in (
      ("data", "folder"),
      ("table", "train"),
      ("table", "dev"),
      ("table", "test"),
  ):
    config[section][name] = absolute(config[section][name])


def _check_lengths(config: ConfigDict, start: StartingPoint) -> None:
  longest = start.encoder.max_position_embeddings
  if config.data.max_length > longest:
    raise UserError(
        f"config.data.max_length {config.data.max_length} exceeds the"
        f" {longest} positions of the checkpoint; set"
        f" --config.data.max_length={longest}"
    )
  if config.train.num_epochs <= 0:
    raise UserError(
        f"config.train.num_epochs is {config.train.num_epochs}; it must be"
        " above 0"
    )


def _finished_seeds(workdir: epath.PathLike) -> dict[int, dict[str, float]]:
  paths = epath.Path(workdir).glob(f"seed_*/{SCORES}")
  return {
      int(path.parent.name.removeprefix("seed_")): json.loads(path.read_text())
      for path in paths
  }


def _training_batches(config, start, tasks, mesh) -> Batches:
  options = task_data.feature_options(config)
  return Batches(
      {
          data.task.name: make_features(
              data.task,
              data.splits["train"],
              start.tokenizer,
              options,
              for_training=True,
          )
          for data in tasks
      },
      batch_size=config.train.batch_size,
      row_length=config.data.max_length,
      pad_id=start.tokenizer.special.pad,
      is_packed=config.data.packing,
      accumulation_steps=config.train.accumulation_steps,
      row_multiple=sharding.batch_shards(mesh),
  )


def _train(
    config, folder, parts, init, batches, evaluator, seed, *, quiet
) -> loop.Result:
  """Runs one seed, from its checkpoint where there is one."""
  is_first = jax.process_index() == 0
  checkpointer = Checkpointer(workdirs.checkpoints(folder), keep=2)
  state = checkpointer.restore_latest(parts.abstract, parts.shardings)
  if state is None:
    state = init()
  step = int(state.step)
  if is_first and not quiet:
    print(f"seed {seed}: steps {step:,} to {parts.num_steps:,}", flush=True)
  writer = ScalarWriter(folder, step) if is_first else None
  train = config.train
  try:
    return loop.run(
        state,
        parts.train_step,
        _to_global(parts.mesh, batches.training(seed, step)),
        evaluator.scores,
        checkpointer,
        writer,
        loop.LoopConfig(
            num_train_steps=parts.num_steps,
            log_every_steps=train.log_every_steps,
            eval_every_steps=train.eval_every_steps,
            checkpoint_every_steps=train.checkpoint_every_steps,
            batch_size=train.batch_size,
            advice="start again in another --workdir with a smaller"
            " config.optimizer.learning_rate",
        ),
        quiet=quiet or not is_first,
    )
  finally:
    if writer is not None:
      writer.close()
    checkpointer.close()


def _to_global(mesh, batches) -> Iterator[Any]:
  for batch in batches:
    yield sharding.rows_to_global(mesh, batch)


def _write_summary(workdir: epath.PathLike, summary: Mapping[str, Any]) -> None:
  path = epath.Path(workdir)
  write_whole(path / SCORES, [json.dumps(summary, indent=1)])
  text = io.StringIO()
  console = rich.console.Console(file=text, width=160)
  console.print(*seed_scores.make_tables(summary))
  write_whole(path / "scores.txt", [text.getvalue()])


def _delete_other_models(workdir, scores, best_seed) -> None:
  for seed in scores:
    folder = workdirs.checkpoints(epath.Path(workdir) / f"seed_{seed}")
    if seed != best_seed and folder.exists():
      folder.rmtree()


def _describe(config, start, tasks, parts, batches) -> None:
  params = parts.abstract.params
  print(f"parameters   {count_parameters(params):,}, {start.origin}")
  seen = start.trained_length
  if seen is not None and seen < config.data.max_length:
    print(
        f"note         the start has seen {seen} positions and"
        f" texts may have {config.data.max_length}: the others are learned here"
    )
  for data in tasks:
    sizes = ", ".join(f"{split} {len(e):,}" for split, e in data.splits.items())
    print(f"task         {data.task.name} ({data.task.kind}): {sizes}")
    if data.task.labels:
      shown = ", ".join(data.task.labels[:12])
      more = len(data.task.labels) - 12
      print(f"labels       {shown}{f' and {more} more' if more > 0 else ''}")
  rows = " or ".join(map(str, batches.row_counts))
  print(
      f"batch        {config.train.batch_size} texts in {rows} rows of"
      f" {config.data.max_length} tokens; {parts.num_steps:,} steps for each"
      f" of {config.seeds} seed{'s' if config.seeds > 1 else ''}",
      flush=True,
  )
