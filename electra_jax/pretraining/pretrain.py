"""Pre-training: config -> data, networks, objective, state; then the loop."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.files import absolute
from electra_jax.preprocessing.synthetic import make_store
from electra_jax.pretraining import phases
from electra_jax.pretraining import trainer as programs
from electra_jax.pretraining.evaluation import make_evaluate
from electra_jax.pretraining.warm_start import find_continuation
from electra_jax.runs import config as settings
from electra_jax.runs import workdir as workdirs
from electra_jax.store.feed import Feed
from electra_jax.store.reader import Store, open_store
from electra_jax.training import loop
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.writers import ScalarWriter
from electra_jax.trees import count_parameters, parameter_table

_log = logging.getLogger(__name__)


def pretrain(
    config: ConfigDict, workdir: epath.PathLike, *, quiet: bool = False
) -> loop.Result:
  """Pre-trains, or resumes the run that the workdir holds.

  The phases of a config that has some are run one after the other, each in a
  workdir of its own inside this one; those finished are not run again.

  The parameters that come out are a function of config and token store alone:
  stopping, resuming and the number of hosts do not change them, nor do
  devices beyond float rounding.

  Args:
    config: as of configs/pretrain.py.
    workdir: a local or gs:// folder; made if it is not there.
    quiet: whether to print nothing.

  Returns:
    The last state and the figures of the last evaluation, of the last phase
    that was run.

  Raises:
    UserError: values that do not fit each other, a broken store or workdir, a
      full disk, a loss that is not finite.
  """
  config = config.copy_and_resolve_references()
  if config.get("phases"):
    return _pretrain_phases(config, workdir, quiet)
  # --- Data ---
  store = _open_store(config, workdir)
  # --- Programs ---
  vocabulary = settings.vocabulary_of(store.tokenizer(), store)
  mesh = programs.make_mesh(config, vocabulary)
  parts = programs.build(config, vocabulary, mesh)
  train_feed = Feed(
      store.split("train"),
      seed=config.seed,
      global_batch_size=config.train.batch_size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
  )
  evaluate = make_evaluate(
      parts,
      store.split("validation"),
      config.train.eval_batch_size,
      config.train.eval_max_rows,
  )
  # --- Start; read whole before anything is written ---
  config.init_from = absolute(config.init_from)
  start = weights = None
  if _has_checkpoint(workdir):  # All that resuming needs is here.
    origin = workdirs.start_of(workdir)
  else:
    start = find_continuation(config, store.tokenizer(), parts)
    origin = workdirs.RANDOM_WEIGHTS if start is None else start.origin
    weights = None if start is None else start.restore(parts)
  # --- Workdir; nothing has been written before this line ---
  workdirs.enter(
      workdir,
      workdirs.PRETRAINING,
      config,
      store.tokenizer(),
      facts_of(store, origin),
  )
  is_first = jax.process_index() == 0
  checkpointer = Checkpointer(
      workdirs.checkpoints(workdir), config.train.keep_checkpoints
  )
  # --- State: (1) the workdir's checkpoint, else (2) init_from's weights,
  # else (3) fresh ---
  state = checkpointer.restore_latest(parts.abstract, parts.shardings)
  if state is None:
    state = parts.init() if start is None else start.init(parts, weights)
  del weights  # They would lie beside the state.
  step = int(state.step)
  if is_first and not quiet:
    _describe(config, parts, store, step, origin)
  # --- Train ---
  writer = ScalarWriter(workdir, step) if is_first else None
  batches = train_feed.iterate(step)
  try:
    result = loop.run(
        state,
        parts.train_step,
        _to_global(mesh, batches),
        evaluate,
        checkpointer,
        writer,
        _loop_config(config),
        quiet=quiet or not is_first,
    )
  finally:
    batches.close()
    if writer is not None:
      writer.close()
    checkpointer.close()
  if is_first and not quiet:
    _summarise(result, store, workdir)
  return result


def _pretrain_phases(
    config: ConfigDict, workdir: epath.PathLike, quiet: bool
) -> loop.Result:
  chain = phases.phase_configs(config, workdir)
  left = phases.unfinished(chain, workdir)
  # A mistake in the last phase is told before the first one has started.
  stores = [_checked_store(phase) for phase in left]
  _check_vocabularies(left, stores)
  phases.record(chain, workdir)
  for phase in left:
    if jax.process_index() == 0 and not quiet:
      print(f"phase        {phase.name} of {len(chain)}, in {phase.workdir}")
    result = None  # Frees the state of the phase before.
    result = pretrain(phase.config, phase.workdir, quiet=quiet)
    if result.stopped_by is not None:
      break
    phases.record(chain, workdir, finished=phase)
  return result


def _checked_store(phase: phases.Phase) -> Store | None:
  config = phase.config.copy_and_resolve_references()
  if config.data.made_up:
    return None
  try:
    store = _open_store(config, phase.workdir)
    vocabulary = settings.vocabulary_of(store.tokenizer(), store)
    programs.build(config, vocabulary, programs.make_mesh(config, vocabulary))
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


def facts_of(store: Store, start: str) -> dict[str, Any]:
  """Returns what a workdir keeps of its token store and its start."""
  return {
      "start": start,
      "rows_digest": store.manifest.rows_digest,
      "tokenizer_digest": store.manifest.tokenizer_digest,
      "sources": store.manifest.sources,
      "unigram_entropy": store.unigram_entropy(),
  }


def _open_store(config: ConfigDict, workdir: epath.PathLike) -> Store:
  if config.data.made_up:
    path = epath.Path(workdir) / "made_up_store"
    if jax.process_index() == 0:
      make_store(path, length=config.data.length)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices("made-up store")
    config.data.store = str(path)
  return open_store_of(config)


def open_store_of(config: ConfigDict) -> Store:
  """Opens the token store that a config names, and makes its path absolute.

  Raises:
    UserError: it names none, or one with rows of another length.
  """
  if not config.data.store:
    raise UserError(
        "config.data.store is empty; give the folder that `electra-jax"
        " prepare` has made: --config.data.store=STORE"
    )
  config.data.store = absolute(config.data.store)  # Evaluated from anywhere.
  store = open_store(config.data.store)
  if store.manifest.length != config.data.length:
    raise UserError(
        f"store {config.data.store} has rows of {store.manifest.length} tokens"
        f" and config.data.length is {config.data.length}; prepare it again"
        f" with --length {config.data.length}, or set"
        f" --config.data.length={store.manifest.length}"
    )
  return store


def _has_checkpoint(workdir: epath.PathLike) -> bool:
  folder = workdirs.checkpoints(workdir)
  if not folder.exists():
    return False
  checkpointer = Checkpointer(folder)
  steps = checkpointer.steps()
  checkpointer.close()
  return bool(steps)


def _to_global(mesh, batches) -> Iterator[Any]:
  for batch in batches:
    yield sharding.to_global(mesh, batch)


def _loop_config(config: ConfigDict) -> loop.LoopConfig:
  train = config.train
  return loop.LoopConfig(
      num_train_steps=train.num_steps,
      log_every_steps=train.log_every_steps,
      eval_every_steps=train.eval_every_steps,
      checkpoint_every_steps=train.checkpoint_every_steps,
      batch_size=train.batch_size,
  )


def _describe(config, parts, store, step, start) -> None:
  params = parts.abstract.params
  _log.debug("parameters:\n%s", parameter_table(params))
  sizes = {name: count_parameters(tree) for name, tree in params.items()}
  listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
  print(f"start        {start}")
  devices = parts.mesh.devices
  print(f"parameters   {count_parameters(params):,} ({listed})")
  print(
      f"devices      {devices.size} x {devices.flat[0].device_kind}, mesh"
      f" {dict(parts.mesh.shape)}"
  )
  print(
      f"data         {store.split('train').num_rows:,} rows of"
      f" {config.data.length} tokens, {store.split('validation').num_rows:,}"
      f" held out; unigram entropy {store.unigram_entropy():.3f} nats"
  )
  print(
      f"batch        {config.train.batch_size} rows,"
      f" {config.train.batch_size // devices.size} per device; steps"
      f" {step:,} to {config.train.num_steps:,}",
      flush=True,
  )


def _summarise(
    result: loop.Result, store: Store, workdir: epath.PathLike
) -> None:
  if result.stopped_by is not None:
    print(
        f"stopped by signal {result.stopped_by} after step {result.step:,};"
        " the checkpoint is written, the same command resumes"
    )
    return
  print(
      f"finished     step {result.step:,} in {result.train_secs:,.0f} s;"
      f" everything is in {workdir}"
  )
  for name, value in sorted(result.evaluation.items()):
    print(f"  {name:<22} {value:.4f}")
  if "mlm_loss" in result.evaluation:
    gain = store.unigram_entropy() - result.evaluation["mlm_loss"]
    print(f"  unigram_entropy        {store.unigram_entropy():.4f}")
    print(f"  nats under the entropy {gain:.4f}")
