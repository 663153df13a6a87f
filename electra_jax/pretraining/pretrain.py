"""The verb `pretrain`: config to data, networks, state; then the loop."""

import contextlib
import dataclasses
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import rich.text
from etils import epath

from electra_jax.compress.teacher import (
    Teacher,
    describe_teacher,
    with_absolute_paths,
)
from electra_jax.devices import sharding
from electra_jax.devices.chips import chip_of
from electra_jax.errors import UserError
from electra_jax.pretraining import phases
from electra_jax.pretraining.data import (
    check_learns,
    open_store_to_train,
    teacher_of,
    with_own_store,
)
from electra_jax.pretraining.evaluation import make_evaluate
from electra_jax.pretraining.explanations import describe_evaluation, explain
from electra_jax.pretraining.judging import detection_of, render_detection
from electra_jax.pretraining.trainer import Trainer, make_mesh, make_trainer
from electra_jax.pretraining.warm_start import find_warm_start
from electra_jax.progress import Progress
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.console import Show, shower
from electra_jax.runs.networks import learns_by_itself, vocabulary_of
from electra_jax.runs.parameters import note_parameters
from electra_jax.runs.start_shapes import with_shapes_of_start
from electra_jax.runs.tracking import open_trackers
from electra_jax.store.feed import Feed
from electra_jax.store.reader import Store
from electra_jax.training import loop
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.trackers import tracker_names
from electra_jax.training.writers import ScalarWriter
from electra_jax.trees import count_parameters, parameter_table

_log = logging.getLogger(__name__)

_MOST_TOKENS = 48  # Of a sentence that is shown during training.


def pretrain(
    config: PretrainConfig, workdir: epath.PathLike, *, quiet: bool = False
) -> loop.Result:
  """Pre-trains, or resumes the run that the workdir holds.

  The phases of a config that has some are run one after the other, each in a
  workdir of its own inside this one; those finished are not run again.

  The parameters that come out are a function of config and token store alone:
  stopping, resuming and the number of hosts do not change them, nor do
  devices beyond float rounding.

  Args:
    config: what to do.
    workdir: a local or gs:// folder; made if it is not there.
    quiet: whether to print nothing.

  Returns:
    The last state and the figures of the last evaluation, of the last phase
    that was run.

  Raises:
    UserError: values that do not fit each other, a broken store or workdir, a
      full disk, a loss that is not finite.
  """
  workdirs.check_ours(workdir)
  tracker_names(config.trackers)
  config = with_shapes_of_start(config, workdir)
  if config.phases:
    return _pretrain_phases(config, workdir, quiet)
  is_first = jax.process_index() == 0
  show = shower(quiet)
  progress = Progress(quiet=quiet or not is_first)
  # --- Data ---
  config = with_own_store(config, workdir)
  config = _with_absolute_paths(config)
  store = open_store_to_train(config)
  # --- Programs ---
  vocabulary = vocabulary_of(store.tokenizer(), store)
  mesh = make_mesh(config, vocabulary)
  teacher = None
  if config.distill.teacher:
    with progress.stage("reading the teacher", "seconds"):
      teacher = teacher_of(config, store.tokenizer(), mesh)
  check_learns(config)
  trainer = make_trainer(config, vocabulary, mesh, teacher)
  train_feed = Feed(
      store.split("train"),
      seed=config.seed,
      global_batch_size=config.train.batch_size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
  )
  evaluate = make_evaluate(
      trainer,
      store.split("validation"),
      config.train.eval_batch_size,
      config.train.eval_max_rows,
      store.tokenizer(),
  )
  # --- Start; read whole before anything is written ---
  start = weights = None
  if _has_checkpoint(workdir):  # All that resuming needs is here.
    origin = workdirs.start_of(workdir)
  else:
    start = find_warm_start(config, store.tokenizer(), trainer)
    origin = workdirs.RANDOM_WEIGHTS if start is None else start.origin
    weights = None if start is None else start.restore(trainer)
  # --- Workdir; nothing has been written before this line ---
  with contextlib.ExitStack() as stack:
    entry = stack.enter_context(
        workdirs.entered(
            workdir,
            workdirs.PRETRAINING,
            config,
            store.tokenizer(),
            facts_of(store, origin, teacher),
        )
    )
    checkpointer = stack.enter_context(
        Checkpointer(
            workdirs.checkpoints(workdir),
            config.train.keep_checkpoints,
            entry.still_ours,
        )
    )
    # --- State: (1) the workdir's checkpoint, else (2) init_from's weights,
    # else (3) fresh ---
    with progress.stage("loading or initialising the weights", "seconds"):
      state = checkpointer.restore_latest(trainer.abstract, trainer.shardings)
      if state is None:
        state = (
            trainer.init() if start is None else start.init(trainer, weights)
        )
    del weights  # They would lie beside the state.
    step = int(state.step)
    _describe(trainer, store, step, origin, show)
    if is_first:
      note_parameters(workdir, trainer.abstract.params)
    if step < config.train.num_steps:  # Without a step nothing is changed.
      entry.go_on(show, step=step)
    # --- Train ---
    writer = trackers = None
    if is_first:
      trackers = stack.enter_context(
          open_trackers(
              config,
              workdir,
              "pretrain",
              is_new=step < config.train.num_steps,
          )
      )
      writer = stack.enter_context(
          contextlib.closing(ScalarWriter(workdir, step, trackers))
      )
    batches = stack.enter_context(contextlib.closing(train_feed.iterate(step)))
    result = loop.run(
        state,
        trainer.train_step,
        _to_global(mesh, batches),
        evaluate,
        checkpointer,
        writer,
        _loop_config(trainer),
        progress,
        observe=_shower_of(config, store, progress),
    )
    if trackers is not None and result.stopped_by is None:
      trackers.finish(result.evaluation)
  _summarise(result, store, workdir, show)
  return result


def facts_of(
    store: Store, start: str, teacher: Teacher | None = None
) -> dict[str, Any]:
  """Returns what a workdir keeps of token store, start and teacher."""
  origin = {} if teacher is None else {"teacher": teacher.origin}
  return {
      **origin,
      "start": start,
      "rows_digest": store.manifest.rows_digest,
      "tokenizer_digest": store.manifest.tokenizer_digest,
      "sources": store.manifest.sources,
      "unigram_entropy": store.unigram_entropy(),
  }


def _with_absolute_paths(config: PretrainConfig) -> PretrainConfig:
  # They are opened later on, from anywhere.
  place = shipped.absolute_or_name(config.init_from)
  distill = with_absolute_paths(config.distill)
  return dataclasses.replace(config, init_from=place, distill=distill)


def _has_checkpoint(workdir: epath.PathLike) -> bool:
  folder = workdirs.checkpoints(workdir)
  if not folder.exists():
    return False
  with Checkpointer(folder) as checkpointer:
    return bool(checkpointer.steps())


def _to_global(mesh, batches) -> Iterator[Any]:
  for batch in batches:
    yield sharding.to_global(mesh, batch)


def _loop_config(trainer: Trainer) -> loop.LoopConfig:
  train, devices = trainer.config.train, trainer.mesh.devices
  chip = chip_of(devices.flat[0].device_kind)
  peak_rows_per_sec = None
  if chip is not None:
    peak = chip.peak_tflops * 1e12 * devices.size
    peak_rows_per_sec = peak / trainer.flops_per_step * train.batch_size
  return loop.LoopConfig(
      num_train_steps=train.num_steps,
      log_every_steps=train.log_every_steps,
      eval_every_steps=train.eval_every_steps,
      checkpoint_every_steps=train.checkpoint_every_steps,
      batch_size=train.batch_size,
      peak_rows_per_sec=peak_rows_per_sec,
  )


def _describe(
    trainer: Trainer, store: Store, step: int, start: str, show: Show
) -> None:
  config, params = trainer.config, trainer.abstract.params
  _log.debug("parameters:\n%s", parameter_table(params))
  sizes = {name: count_parameters(tree) for name, tree in params.items()}
  listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
  show(f"start        {start}")
  if trainer.teacher is not None:
    show(describe_teacher(config.distill, trainer.teacher))
    if not learns_by_itself(config):
      show(
          "note         the run learns from its teacher alone: its heads stay"
          " random, to be replaced in fine-tuning; predict answers at random"
      )
  devices = trainer.mesh.devices
  show(f"parameters   {count_parameters(params):,} ({listed})")
  show(
      f"devices      {devices.size} x {devices.flat[0].device_kind}, mesh"
      f" {dict(trainer.mesh.shape)}"
  )
  show(
      f"data         {store.split('train').num_rows:,} rows of"
      f" {config.data.length} tokens, {store.split('validation').num_rows:,}"
      f" held out; unigram entropy {store.unigram_entropy():.3f} nats"
  )
  show(
      f"batch        {config.train.batch_size} rows,"
      f" {config.train.batch_size // devices.size} per device; steps"
      f" {step:,} to {config.train.num_steps:,}"
  )


def _summarise(
    result: loop.Result, store: Store, workdir: epath.PathLike, show: Show
) -> None:
  if result.stopped_by is not None:
    show(
        f"stopped by signal {result.stopped_by} after step {result.step:,};"
        " the checkpoint is written, the same command resumes"
    )
    return
  show(
      f"finished     step {result.step:,} in {result.train_secs:,.0f} s;"
      f" everything is in {workdir}"
  )
  for line in explain(with_entropy(result.evaluation, store)):
    show(f"  {line}")


def with_entropy(
    figures: Mapping[str, float], store: Store
) -> Mapping[str, float]:
  """Adds what the masked-LM loss is compared with, where there is one."""
  if "mlm_loss" not in figures:
    return figures
  return {**figures, "unigram_entropy": store.unigram_entropy()}


def _shower_of(
    config: PretrainConfig, store: Store, progress: Progress
) -> loop.Observe:
  """Returns what shows an evaluation and a judged sentence, as text."""
  is_explained = False

  def observe(step: int, found: loop.Evaluation) -> None:
    nonlocal is_explained
    told = describe_evaluation(with_entropy(found.figures, store))
    if step < config.train.num_steps:  # At the end all are told.
      progress.tell(f"step {step:,}: {told}")
    if found.sample is None:
      return
    if not is_explained:
      progress.tell(
          "a held-out sentence; behind a replaced token: what stood there, and"
          " the probability that the model gives of a replacement"
      )
    is_explained = True
    sentence = detection_of(found.sample["rows"][0])
    shown = render_detection(sentence, _MOST_TOKENS)
    progress.tell(rich.text.Text("  ") + shown)

  return observe


def _pretrain_phases(
    config: PretrainConfig, workdir: epath.PathLike, quiet: bool
) -> loop.Result:
  show = shower(quiet)
  chain = phases.phase_configs(config, workdir)
  left = phases.unfinished(chain, workdir)
  # A mistake in the last phase is told before the first one has started.
  stores = [_checked_store(phase) for phase in left]
  _check_vocabularies(left, stores)

  def begin() -> None:
    phases.record(chain, workdir, whole=config)

  with workdirs.locked(workdir, begin):
    for phase in left:
      show(f"phase        {phase.name} of {len(chain)}, in {phase.workdir}")
      result = None  # Frees the state of the phase before.
      result = pretrain(phase.config, phase.workdir, quiet=quiet)
      if result.stopped_by is not None:
        break
      phases.record(chain, workdir, finished=phase)
  return result


def _checked_store(phase: phases.Phase) -> Store | None:
  config = phase.config
  if config.data.synthetic:
    return None
  try:
    store = open_store_to_train(config)
    vocabulary = vocabulary_of(store.tokenizer(), store)
    make_trainer(config, vocabulary, make_mesh(config, vocabulary))
  except UserError as error:
    raise UserError(f"{phase.name}: {error}") from error
  return store


def _check_vocabularies(
    chain: Sequence[phases.Phase], stores: Sequence[Store | None]
) -> None:
  pairs = itertools.pairwise(zip(chain, stores, strict=True))
  for (before, first), (phase, second) in pairs:
    if (
        first is not None
        and second is not None
        and phase.config.init.vocabulary == "same"
        and first.manifest.tokenizer_digest != second.manifest.tokenizer_digest
    ):
      raise UserError(
          f"{phase.name}: store {second.path} has another vocabulary than"
          f" {first.path} of {before.name}; prepare both with the same"
          " --tokenizer"
      )
