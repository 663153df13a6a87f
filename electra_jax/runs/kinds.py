"""The two sorts of runs: what each keeps, and what it says of its data."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from electra_jax.runs.config import PretrainConfig, read_pretrain_config
from electra_jax.runs.finetune_config import (
    FinetuneConfig,
    read_finetune_config,
)
from electra_jax.runs.history import Change

Config = PretrainConfig | FinetuneConfig


class StoreFacts(NamedTuple):
  """What a pretrain run's workdir says of its data; see `pretrain.facts_of`."""

  start: str
  rows_digest: str
  tokenizer_digest: str
  sources: list[str]
  unigram_entropy: float | None
  teacher: str | None = None


class TaskFacts(NamedTuple):
  """What a finetune run's says of its tasks; see `finetune.facts_of`."""

  start: str
  examples_digest: str
  tasks: list[dict[str, Any]]
  examples: dict[str, dict[str, int]]
  tokenizer_digest: str
  encoder: dict[str, Any]
  teacher: str | None = None


@dataclasses.dataclass(frozen=True)
class Kind:
  """What sort of run a workdir holds.

  Attributes:
    verb: the command that makes it.
    facts_file: where the facts about its data stand.
    immutable_facts: those that a run keeps.
    immutable: beginnings of config keys that a run keeps from its first step to
      its last; the rest may change when it is resumed.
    free: keys excepted from them.
    read: turns the values of a config file into the config.
    facts: the facts' names and types.
  """

  verb: str
  facts_file: str
  immutable_facts: tuple[str, ...]
  immutable: tuple[str, ...]
  read: Callable[[Mapping[str, Any]], Config]
  facts: type
  free: tuple[str, ...] = ("model.attention", "model.remat")

  def kept(self, changes: Iterable[Change]) -> list[Change]:
    """Returns those of some changes that no run of this kind may make."""
    return [
        change
        for change in changes
        if change.name.startswith(self.immutable)
        and change.name not in self.free
    ]


PRETRAINING = Kind(
    "pretrain",
    "store.json",
    ("rows_digest", "start", "teacher"),
    (
        *("seed", "data.length", "model.", "objective.", "optimizer.name"),
        *("train.batch_size", "init_from", "init.", "distill."),
    ),
    read=read_pretrain_config,
    facts=StoreFacts,
)
FINETUNING = Kind(
    "finetune",
    "task.json",
    ("start", "tokenizer_digest", "tasks", "examples_digest", "teacher"),
    (
        "task",
        "random_init",
        "data.max_length",
        "data.max_query_length",
        "data.doc_stride",
        "data.windows",
        "data.released_answer_spans",
        "data.double_unordered",
        "model.",
        "optimizer.",
        "questions.",
        "train.batch_size",
        "train.num_epochs",
        "train.loss_reduction",
        "bottleneck.",
        "distill.",
        "embedding.",
        "generation.",
        "autoencoder.",
    ),
    read=read_finetune_config,
    facts=TaskFacts,
)
