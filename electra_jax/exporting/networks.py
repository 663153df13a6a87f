"""What is exported: one network of a run, its inputs and its outputs."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop import workdir as runs
from electra_jax.interop.huggingface import network_parts
from electra_jax.interop.model import (
    FinetunedState,
    PretrainedState,
    seen_params,
)
from electra_jax.models.bottleneck import fold_bottlenecks
from electra_jax.models.config import EncoderConfig
from electra_jax.models.task_heads import HeadConfig
from electra_jax.pretraining.data import warn_of_random_heads
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Params
from electra_jax.tasks.task import Task

NETWORKS = ("discriminator", "generator")
EMBEDDER = "embedder"  # The name of a network that gives vectors of texts.
DETECTION, MASKED_LM = "detection", "masked_lm"  # Heads beside tasks'.
EMBEDDING = "embedding"  # Vectors of texts; no parameters of its own.
# Axes whose lengths the caller chooses.
BATCH, LENGTH, SLOTS = "batch", "length", "slots"
POSITIONS = "positions"  # The input that masked LM alone has.


class Port(NamedTuple):
  """One array that goes in or comes out.

  Attributes:
    name: of the array.
    dtype: "int32" or "float32".
    shape: of each axis its length, or the name of one that is not fixed.
    meaning: in words.
  """

  name: str
  dtype: str
  shape: tuple[str | int, ...]
  meaning: str


@dataclasses.dataclass(frozen=True)
class Head:
  """What stands on the encoder.

  Attributes:
    name: of its parameters, under `scope`: "" for those of pre-training.
    kind: DETECTION, MASKED_LM, EMBEDDING, or the kind of a task.
    size: outputs of a text, a token or a position.
    prefix: what its outputs' names begin with.
    task: what a head of fine-tuning has learned, else None.
    pooling: of an embedding; see `models.pooling`.
    layer: of an embedding, as it was asked for.
    is_normalized: of an embedding: whether vectors have length 1.
  """

  name: str
  kind: str
  size: int
  prefix: str = ""
  task: Task | None = None
  pooling: str = ""
  layer: int = -1
  is_normalized: bool = True


@dataclasses.dataclass(frozen=True)
class Network:
  """One encoder with its heads, in float32.

  Attributes:
    name: "discriminator", "generator" or "embedder".
    config: shapes of the encoder.
    parts: names in `params` of the embeddings, the encoder and the heads.
    params: numpy arrays by the paths of the run, the embeddings as the encoder
      sees them.
    heads: one, or one for each task.
    step: updates done.
    trained_length: longest row it was trained on; positions past it are not
      trained.
    beam_size: starts and ends that a search for answers keeps.
  """

  name: str
  config: EncoderConfig
  parts: tuple[str, str, str]
  params: Params
  heads: tuple[Head, ...]
  step: int
  trained_length: int
  beam_size: int = 1

  @property
  def shortest(self) -> int:
    """The shortest row that it takes."""
    is_search = any(head.kind == "questions" for head in self.heads)
    return self.beam_size if is_search else 1

  @property
  def longest(self) -> int:
    """The longest row that it takes."""
    return self.config.max_position_embeddings

  @property
  def inputs(self) -> tuple[Port, ...]:
    """What goes in."""
    row = (BATCH, LENGTH)
    ports = [
        Port("input_ids", "int32", row, "ids of the tokens, padded at the end"),
        Port("input_mask", "int32", row, "1 for tokens, 0 for padding"),
        Port("segment_ids", "int32", row, "0 or 1: the token's segment"),
    ]
    if any(head.kind == MASKED_LM for head in self.heads):
      where = "places of the tokens to guess, from 0"
      ports.append(Port(POSITIONS, "int32", (BATCH, SLOTS), where))
    return tuple(ports)

  @property
  def outputs(self) -> tuple[Port, ...]:
    """What comes out, in the order of the heads."""
    return tuple(
        port for head in self.heads for port in _outputs(head, self.beam_size)
    )


def _outputs(head: Head, beam_size: int) -> tuple[Port, ...]:
  def port(name, shape, meaning):
    dtype = "int32" if name.endswith("_index") else "float32"
    return Port(head.prefix + name, dtype, (BATCH, *shape), meaning)

  if head.kind == "questions":
    search, pairs = (beam_size,), (beam_size, beam_size)
    return (
        port("start_log_probs", search, "of the likeliest starts, falling"),
        port("start_index", search, "their places in the row"),
        port("end_log_probs", pairs, "of the likeliest ends of each start"),
        port("end_index", pairs, "their places in the row"),
        port("impossible", (), "log-odds that there is no answer"),
    )
  if head.kind == EMBEDDING:
    return (port("vectors", (head.size,), "of the texts"),)
  shape, meaning = {
      DETECTION: ((LENGTH,), "log-odds that each token was replaced"),
      MASKED_LM: ((SLOTS, head.size), "of every token of the vocabulary"),
      "tagging": ((LENGTH, head.size), "of the tags of each token"),
      "regression": ((head.size,), "the rating, scaled to 0 to 1"),
      "multilabel": ((head.size,), "log-odds of each label"),
      "classification": ((head.size,), "of the classes"),
  }[head.kind]
  return (port("logits", shape, meaning),)


def read_network(
    workdir: epath.PathLike,
    run: workdirs.Run,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> tuple[Network, PretrainedState | FinetunedState]:
  """Reads one network of a run's newest checkpoint.

  Args:
    workdir: of a pretrain or finetune run.
    run: what it says.
    name: of a pretrain run, one of NETWORKS; the discriminator where there is
      one, if None.
    seed: of a finetune run, whose model; the best, if None.

  Returns:
    The network, and the whole model that it is of.

  Raises:
    UserError: the run has no such network or no checkpoint, or the network is
      a pair of towers.
  """
  if run.kind is workdirs.FINETUNING:
    workdirs.check_not_given(run, network=name)
    state = runs.read_finetuned(workdir, run, seed)
    return network_of_tasks(state, run.config), state
  workdirs.check_not_given(run, seed=seed)
  warn_of_random_heads(workdir, run.config)
  state = runs.read_pretrained(workdir, run)
  length = run.config.data.length
  return network_of_pretraining(state, name, length), state


def network_of_pretraining(
    state: PretrainedState, name: str | None, trained_length: int
) -> Network:
  """Picks one network of a pre-trained model.

  Raises:
    UserError: there is no such network, or it is a pair of towers.
  """
  if name is not None and name not in NETWORKS:
    known = ", ".join((*NETWORKS, EMBEDDER))
    raise UserError(f"--network {name} is not one of {known}")
  found = {
      n: (config, parts) for n, config, parts in network_parts(state.config)
  }
  is_towers = state.config.has_two_towers
  if is_towers and (name == "generator" or not found):
    other = "export its discriminator, or " if found else "export "
    raise UserError(
        "the generator of this run is two towers, one of each direction, and"
        f" such a pair is not exported; {other}a run with"
        " config.objective.generator=masked_lm"
    )
  if name is None:
    name = next(iter(found), "discriminator")
  if name not in found:
    raise UserError(
        f"this run has no {name}; leave --network out, or choose one of"
        f" {', '.join(found)}"
    )
  config, parts = found[name]
  params = seen_params(state.params, state.config)
  kind = DETECTION if parts[2] == "discriminator_head" else MASKED_LM
  size = 1 if kind == DETECTION else config.vocab_size
  return Network(
      name,
      plain_config(config),
      parts,
      as_numpy({part: params[part] for part in parts}),
      (Head("", kind, size),),
      state.step,
      trained_length,
  )


def network_of_tasks(state: FinetunedState, config: FinetuneConfig) -> Network:
  """Returns the encoder and all heads of a fine-tuned model.

  A bottleneck is left out: its mean is read, by one layer in place of two.

  Raises:
    UserError: a head chooses start and end of an answer apart.
  """
  for task in state.tasks:
    if task.kind == "questions" and state.head != "released":
      raise UserError(
          f"{task.name} was trained with config.model.head={state.head}, whose"
          " search for answers is not exported; convert to huggingface, or"
          " fine-tune with --config.model.head=released"
      )
  from electra_jax.finetuning.task_predictor import head_of

  def head(task: Task) -> Head:
    shape: HeadConfig = head_of(task, state.head)
    prefix = f"{task.name}_" if len(state.tasks) > 1 else ""
    return Head(task.name, task.kind, shape.size, prefix, task)

  return Network(
      "discriminator",
      plain_config(state.encoder),
      ("embeddings", "discriminator", "task_specific"),
      as_numpy(fold_bottlenecks(state.params)),
      tuple(map(head, state.tasks)),
      state.step,
      state.max_length,
      config.questions.beam_size,
  )


def plain_config(config: EncoderConfig) -> EncoderConfig:
  """Returns the shapes of an encoder that computes in float32, unrounded."""
  return dataclasses.replace(
      config, dtype="float32", remat="none", quantization=""
  )


def as_numpy(params: Params) -> Params:
  """Returns parameters as numpy arrays in float32."""
  return jax.tree.map(lambda x: np.asarray(x, np.float32), params)
