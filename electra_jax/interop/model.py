"""Trained networks in memory: what every format is read to, and written of."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax

from electra_jax.compress.pruning import filled_up_config, filled_up_params
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.models.electra import (
    Electra,
    discriminator_embeddings,
    own_embeddings,
)
from electra_jax.pretraining.trainer import abstract_params, init_params_of
from electra_jax.shapes import Params
from electra_jax.tasks.task import Task
from electra_jax.training.optimizer import AdamState
from electra_jax.trees import path_names


class PretrainedState(NamedTuple):
  """Networks, and how far they were trained.

  Attributes:
    config: the networks' shapes.
    params: their parameters.
    moments: the optimizer's, or None where the source has none.
    step: updates done.
    fresh: names of the parts that the source lacks, freshly initialised.
    left_out: names of the parts of the source that are not here.
  """

  config: ElectraConfig
  params: Params
  moments: AdamState | None = None
  step: int = 0
  fresh: tuple[str, ...] = ()
  left_out: tuple[str, ...] = ()

  @property
  def encoder(self) -> EncoderConfig:
    """The encoder that is kept."""
    return self.config.discriminator


class FinetunedState(NamedTuple):
  """An encoder and its heads.

  Attributes:
    encoder: its shapes.
    tasks: what each head is for.
    params: of encoder and heads.
    step: updates done.
    max_length: tokens that a text is cut to.
    head: the shape of the heads; see `task_heads.SHAPES`.
    windows: how the windows of a longer one are pooled; "first" reads no other.
    bottleneck: dimensions of the heads' bottleneck; 0 for none.
    moments: none: what a fine-tuning leaves of its optimizer is no use.
    fresh: nothing: all of it was trained.
    left_out: nothing.
  """

  encoder: EncoderConfig
  tasks: tuple[Task, ...]
  params: Params
  step: int
  max_length: int
  head: str = "released"
  windows: str = "first"
  bottleneck: int = 0

  moments = None
  fresh = ()
  left_out = ()


Model = PretrainedState | FinetunedState


def init_params(config: ElectraConfig, seed: int) -> Params:
  """Returns fresh parameters."""
  model = Electra(config)
  return jax.jit(lambda: init_params_of(model, seed))()


def read_params(
    config: ElectraConfig,
    read: Callable[[Params], Params],
    fresh: Collection[str] = (),
    seed: int = 0,
) -> Params:
  """Returns parameters out of a source.

  Args:
    config: the networks.
    read: fills shapes with what the source has, the embeddings as in
      `seen_params`.
    fresh: parts that the source lacks.
    seed: of those.
  """
  abstract = abstract_params(config)
  seen = read({name: abstract[name] for name in abstract if name not in fresh})
  if fresh:
    made = init_params(config, seed)
    seen = {**seen, **{name: made[name] for name in fresh}}
  return {
      **seen,
      "embeddings": own_embeddings(seen["embeddings"], seen, config),
  }


def seen_params(params: Params, config: ElectraConfig) -> Params:
  """Returns parameters with the embeddings as the discriminator sees them.

  That is how every other format has them. The optimizer's moments need no such
  step: what the discriminator adds to the generator's tables has the gradient
  of the sum that it sees.
  """
  return {**params, "embeddings": discriminator_embeddings(params, config)}


def with_vocabulary(model: PretrainedState, size: int) -> PretrainedState:
  """Returns a model without moments with the first rows of its vocabulary.

  Args:
    model: of a larger vocabulary.
    size: pieces to keep.
  """

  networks = {
      name: dataclasses.replace(network, vocab_size=size)
      for name in ("discriminator", "generator")
      if (network := getattr(model.config, name)) is not None
  }
  return model._replace(
      config=dataclasses.replace(model.config, **networks),
      params=cut_vocabulary(model.params, size),
  )


def cut_vocabulary(params: Params, size: int) -> Params:
  """Returns parameters with the first rows of the word tables and biases."""

  def cut(path: str, leaf: Any) -> Any:
    is_table = path.endswith("word_embeddings/embedding")
    is_cut = is_table or path.endswith("_head/output_bias")
    return leaf[:size] if is_cut else leaf

  leaves = [cut(path, leaf) for path, leaf in path_names(params)]
  return jax.tree.unflatten(jax.tree.structure(params), leaves)


def with_all_heads(model: Model) -> tuple[Model, tuple[str, ...]]:
  """Fills a pruned model up with heads of zeros, and says so.

  Google's checkpoints and Hugging Face's folders do not tell how wide a head
  is. The answers stay the same; columns and layers stay pruned.

  Raises:
    UserError: as `filled_up_config`.
  """
  encoder = model.encoder
  if encoder.attention_width == encoder.hidden_size:
    return model, ()
  whole = filled_up_config(encoder)

  def fill(params):
    part = filled_up_params(params["discriminator"], encoder)
    return {**params, "discriminator": part}

  note = (
      f"the {encoder.num_heads} heads of each layer were filled up with heads of"
      f" zeros to {whole.num_heads}, since the format has no other place for"
      f" their width of {encoder.head_width}: answers stay the same"
  )
  params, moments = fill(model.params), model.moments
  if isinstance(model, FinetunedState):
    return model._replace(params=params, encoder=whole), (note,)
  if moments is not None:
    moments = AdamState(*map(fill, moments))
  config = dataclasses.replace(model.config, discriminator=whole)
  filled = model._replace(config=config, params=params, moments=moments)
  return filled, (note,)


def own_tables_sharing(
    discriminator: EncoderConfig, generator: EncoderConfig, wanted: str | None
) -> str | None:
  """Returns the embedding_sharing of a generator that has its own tables.

  Args:
    discriminator: its shapes.
    generator: its shapes.
    wanted: what to choose where the widths allow both.

  Returns:
    "none" for tables as wide as the generator, "gradient_disentangled" for
    tables as wide as the discriminator's, None for others.
  """
  widths = {
      "none": generator.hidden_size,
      "gradient_disentangled": discriminator.embedding_size,
  }
  found = [x for x in widths if widths[x] == generator.embedding_size]
  if wanted in found:
    return wanted
  return found[0] if found else None
