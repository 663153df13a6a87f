"""A run's vectors of texts as a network: what is exported, and tried out."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from electra_jax.errors import UserError
from electra_jax.exporting.networks import (
    EMBEDDER,
    EMBEDDING,
    Head,
    Network,
    as_numpy,
    plain_config,
)
from electra_jax.exporting.task_trials import read_dev_split
from electra_jax.exporting.trials import (
    TEXTS_FIX,
    PretrainedTrials,
    inputs_of,
    rows_of_run,
    rows_of_texts,
    run_batches,
)
from electra_jax.finetuning import task_data
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.models.pooling import TextEncoder, unit_vectors
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.vectors import LATENT
from electra_jax.tasks.text_groups import pair_of


def is_embedder(run: workdirs.Run, network: str | None) -> bool:
  """Says whether what is to be exported gives vectors."""
  if network is not None or run.kind is workdirs.PRETRAINING:
    return network == EMBEDDER
  return run.config.task == EMBEDDING


def read_embedder(
    workdir: epath.PathLike,
    run: workdirs.Run,
    seed: int | None,
    options: Mapping[str, Any],
) -> Network:
  """Reads a run's encoder up to the layer whose states are pooled.

  Args:
    workdir: of a pretrain or finetune run.
    run: what it says.
    seed: of a finetune run, whose model; the best, if None.
    options: of `runs.vectors.EmbedsTexts.embedder`.

  Raises:
    UserError: there is no such layer or model, fewer dimensions, or vectors
      that no file computes.
  """
  if run.kind is workdirs.FINETUNING:
    model = FinetunedModel(workdir, seed=seed)
  else:
    workdirs.check_not_given(run, seed=seed)
    model = PretrainedModel(workdir)
  embedder = model.embedder(**options)
  how, encoder = embedder.options, embedder.encoder
  if how.pooling == LATENT:
    raise UserError(
        f"the vectors of {workdir} are z of an autoencoder, which no exported"
        " file computes; give --pooling mean for those of its encoder"
    )
  params = jax.device_get(embedder.params)
  layers = {
      name: part
      for name, part in params["discriminator"].items()
      if not name.startswith("layer_")
      or int(name.removeprefix("layer_")) < encoder.num_layers
  }
  head = Head(
      "",
      EMBEDDING,
      embedder.dimensions,
      pooling=how.pooling,
      layer=how.layer,
      is_normalized=how.normalized,
  )
  return Network(
      EMBEDDER,
      plain_config(encoder),
      ("embeddings", "discriminator", ""),
      as_numpy({"embeddings": params["embeddings"], "discriminator": layers}),
      (head,),
      model.step,
      embedder.length,
  )


def try_embedder(
    network: Network,
    run: workdirs.Run,
    *,
    count: int,
    lengths: Sequence[int],
    texts: Sequence[str] | None,
) -> PretrainedTrials:
  """Embeds rows that training has held out, or texts, by our own model.

  Args:
    network: an embedder, with the parameters of our own model.
    run: whose validation split or dev set holds the rows.
    count: as of `try_pretrained`.
    lengths: as of `try_pretrained`.
    texts: as of `try_pretrained`.

  Raises:
    UserError: there are no such rows.
  """
  if run.kind is workdirs.FINETUNING:
    whose = "given texts"
    if texts is None:
      texts, whose = _dev_texts(run)
    texts = texts[:count]
    batch = rows_of_texts(run.tokenizer, texts, network.trained_length)
    origin = f"{len(texts):,} rows of {whose}"
  else:
    batch, origin = rows_of_run(run, count, texts)
  (head,) = network.heads
  model = TextEncoder(network.config, head.pooling)

  def vectors(params, inputs):
    found = model.apply({"params": params}, *inputs.values())
    found = found[:, : head.size]
    return unit_vectors(found) if head.is_normalized else found

  batches = []
  for inputs in inputs_of(batch, lengths):
    batches += run_batches(vectors, network.params, inputs)
  return PretrainedTrials(network, batches, origin)


def _dev_texts(run: workdirs.Run) -> tuple[list[str], str]:
  record = run.facts["tasks"][0]
  task = task_data.task_from_json(record, run.config)
  if not task.dev_splits or task.kind in ("tagging", "questions"):
    raise UserError(f"{task.name} has no dev texts to embed; {TEXTS_FIX}")
  split = task.dev_splits[0]
  examples = read_dev_split(task, run, split)
  texts = [
      pair_of(e)[0] if task.kind == EMBEDDING else e.text for e in examples
  ]
  return texts, f"{task.name}/{split}"
