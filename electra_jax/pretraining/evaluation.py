"""Metrics of a checkpoint on a split: of pre-training, or of its tasks."""

import itertools
import logging
from collections.abc import Callable

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from electra_jax.compress.teacher import Teacher
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.pretraining import held_out
from electra_jax.pretraining.data import teacher_of
from electra_jax.pretraining.trainer import EvalSums, Trainer, make_trainer
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.networks import vocabulary_of_run
from electra_jax.runs.sections import replaced
from electra_jax.shapes import Params
from electra_jax.store import feed
from electra_jax.store.reader import Split, Store, open_store
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.training import metrics
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.loop import Evaluation

_log = logging.getLogger(__name__)


def evaluate_run(
    workdir: epath.PathLike,
    run: workdirs.Run,
    *,
    split: str | None = None,
    store: epath.PathLike | None = None,
    max_rows: int | None = None,
) -> dict[str, float]:
  """Evaluates a pretrain run on rows of a token store.

  Args:
    workdir: of the run.
    run: what is in it.
    split: "train" or "validation", the default.
    store: a token store of the run's vocabulary, or None for its own.
    max_rows: rows to use, or None for the config's number.

  Returns:
    Losses in nats and shares by name, `rtd_auc` over all tokens but padding,
    and `unigram_entropy` of the training text in nats where that is known.

  Raises:
    UserError: no checkpoint, no such split, a store of another vocabulary.
  """
  # Masks and samples are drawn anew but from fixed keys, so that two
  # evaluations of one checkpoint are equal.
  split = split or "validation"
  opened = open_rows(workdir, run, split=split, store=store, max_rows=max_rows)
  config = replaced(run.config, {"data.length": opened.manifest.length})
  mesh = sharding.make_mesh()
  vocabulary = vocabulary_of_run(run)
  teacher = _teacher_if_there(config, workdir, run.tokenizer, mesh)
  trainer = make_trainer(config, vocabulary, mesh, teacher)
  with Checkpointer(workdirs.checkpoints(workdir)) as checkpointer:
    params = checkpointer.read_params(
        trainer.abstract.params, trainer.shardings.params
    )
  figures = make_evaluate(
      trainer,
      opened.split(split),
      config.train.eval_batch_size,
      max_rows or config.train.eval_max_rows,
  )(params).figures
  entropy = run.facts["unigram_entropy"]
  if entropy is None:  # Converted, so that its training text is not known.
    return figures
  return {**figures, "unigram_entropy": entropy}


def open_rows(
    workdir: epath.PathLike,
    run: workdirs.Run,
    *,
    split: str,
    store: epath.PathLike | None,
    max_rows: int | None,
) -> Store:
  """Opens the token store that a run is evaluated on.

  Args:
    workdir: of the run.
    run: what is in it.
    split: "train" or "validation", of which rows are to be read.
    store: where it lies, or None for the run's own.
    max_rows: how many rows, or None.

  Raises:
    UserError: there is no such split, no store, or one of another vocabulary.
  """
  config = run.config
  if split not in ("train", "validation"):
    raise UserError(
        f"--split {split} is neither 'train' nor 'validation', the splits of a"
        " token store"
    )
  if max_rows is not None and max_rows < 1:
    raise UserError(f"--max-rows is {max_rows}; it must be at least 1")
  tokenizer = shipped.place_of(workdir) / "tokenizer"
  if not (store or config.data.store):  # Converted, or shipped.
    raise UserError(
        f"no token store is named, and {workdir} has none of its own; name one by"
        f" --store, made by electra-jax prepare TEXT --output STORE --tokenizer"
        f" {tokenizer} --length {config.data.length}"
    )
  opened = open_store(store or config.data.store)
  if opened.manifest.tokenizer_digest != run.tokenizer.digest:
    raise UserError(
        f"store {store or config.data.store} was made with another tokenizer"
        f" than the run in {workdir}; prepare it with --tokenizer"
        f" {tokenizer}"
    )
  if store is None:
    workdirs.check_rows(run, opened, "name it by --store, if it is meant")
  return opened


def _teacher_if_there(
    config: PretrainConfig,
    workdir: epath.PathLike,
    tokenizer: Tokenizer,
    mesh: Mesh,
) -> Teacher | None:
  """Finds the teacher of a run; says so where it is gone."""
  place = config.distill.teacher
  if place and not shipped.place_of(place).exists():
    _log.warning(
        "the teacher %s of %s is not there any more: relation_loss is left out",
        place,
        workdir,
    )
    return None
  return teacher_of(config, tokenizer, mesh)


def make_evaluate(
    trainer: Trainer,
    split: Split,
    batch_size: int,
    max_rows: int,
    tokenizer: Tokenizer | None = None,
) -> Callable[[Params], Evaluation]:
  """Returns a function from parameters to figures on the first rows.

  Args:
    trainer: the compiled programs.
    split: the rows.
    batch_size: rows per batch over all processes.
    max_rows: rows to use at most, rounded up to whole batches.
    tokenizer: of the rows, for a sample of them beside the figures; or None.
  """
  num_batches = -(-min(max_rows, split.num_rows) // batch_size)
  # Made here, so that evaluating transfers rows and nothing else.
  indices = [
      sharding.to_everywhere(trainer.mesh, np.int32(i))
      for i in range(num_batches)
  ]

  def evaluate_params(params: Params) -> Evaluation:
    batches = feed.evaluation_batches(
        split,
        batch_size=batch_size,
        row_multiple=sharding.batch_shards(trainer.mesh),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    results = []
    for index, batch in zip(
        indices, itertools.islice(batches, num_batches), strict=True
    ):
      found = trainer.eval_step(
          params, sharding.to_global(trainer.mesh, batch), index
      )
      # The rows that are kept are those of the first batch.
      results.append(found._replace(judged=None) if results else found)
    return _evaluation(trainer, jax.device_get(results), tokenizer)

  return evaluate_params


def _evaluation(
    trainer: Trainer, results: list[EvalSums], tokenizer: Tokenizer | None
) -> Evaluation:
  figures = metrics.divide(metrics.add_up(found.sums for found in results))
  histogram, bands = (
      None if parts[0] is None else np.sum(parts, axis=0, dtype=np.float64)
      for parts in (
          [found.histogram for found in results],
          [found.bands for found in results],
      )
  )
  if histogram is not None:
    figures["rtd_auc"] = metrics.area_under_curve(histogram)
  figures["loss"] = sum(
      factor * figures[name] for name, factor in trainer.loss_weights.items()
  )
  judged = results[0].judged
  if tokenizer is None or judged is None:
    return Evaluation(figures)
  sample = held_out.make_sample(tokenizer, judged, histogram, bands)
  return Evaluation(figures, sample)
