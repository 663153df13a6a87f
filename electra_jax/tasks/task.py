"""A task: what is read, predicted and scored; nothing of how it is trained."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks.examples import Example

# Kinds whose examples are texts or pairs with a label.
TEXT_KINDS = ("classification", "multilabel", "regression")


class MissingSplitError(UserError):
  """The data holds no such split; where it is optional it is left out."""


@dataclasses.dataclass(frozen=True)
class Source:
  """Where the examples of a task come from.

  Attributes:
    folder: the folder that holds the task's folder or is it, or None.
    use_tfds: whether tensorflow-datasets brings the data.
    options: what only tasks of the user's own data ask for, by name.
  """

  folder: pathlib.Path | None = None
  use_tfds: bool = False
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LearntVectors:
  """How a task that learns vectors of texts learns them.

  Attributes:
    method: "simcse" or "diffcse", from texts alone, or "pairs".
    layer: whose states are pooled; see `models.pooling`.
    pooling: of the states of a text's tokens; see there.
    has_projection: whether a layer stands on the vector in training alone.
    dimensions: of a vector that is used: its first so many numbers; 0 for all.
  """

  method: str
  layer: int
  pooling: str
  has_projection: bool
  dimensions: int


@dataclasses.dataclass(frozen=True)
class Task:
  """One task.

  Attributes:
    name: as in `config.task`; also the scope of its head.
    kind: "classification", "multilabel", "regression", "tagging",
      "questions", "embedding" or "generation".
    metrics: names of scores, in `scoring.METRICS` or, of questions, in
      `squad_scoring`, of generation in `generation_scoring`; the first one
      selects the best seed.
    read: (source, split) -> examples; raises MissingSplitError, or a UserError
      that names file, line and fix.
    labels: classes or tags in the order of their ids; empty where the
      training data tells them.
    dev_splits: splits that are scored.
    test_splits: splits that are predicted where the data has them.
    label_range: smallest and largest rating of a regression; None where the
      training data tells them.
    takes_pairs: whether its texts are pairs; the training data tells it.
    doubles_pairs: whether `double_unordered` adds each training pair the
      other way round.
    marks_spans: whether tags mark spans of words, and models learn them in the
      scheme BIOES.
    tag_scheme: of tags that mark spans, how the data writes them, a key of
      `tag_schemes.SCHEMES`; empty until the training data tells it.
    word_unit: how a text to tag is split into words, one of `words.UNITS`; the
      training data tells it.
    may_lack_answer: whether "no answer" is an answer.
    leaderboard: file name by split, for the GLUE server.
    check: (source, examples by split) -> notes on what looks wrong in them;
      raises a UserError for what surely is; None where nothing is looked at.
    learns_dev_labels: whether labels of dev that training lacks are classes,
      too.
    vectors: of an embedding, how it is learned; the config tells it.
  """

  name: str
  kind: str
  metrics: tuple[str, ...]
  read: Callable[[Source, str], list[Example]]
  labels: tuple[str, ...] = ()
  dev_splits: tuple[str, ...] = ("dev",)
  test_splits: tuple[str, ...] = ("test",)
  label_range: tuple[float, float] | None = None
  takes_pairs: bool = False
  doubles_pairs: bool = False
  marks_spans: bool = False
  tag_scheme: str = ""
  word_unit: str = "word"
  may_lack_answer: bool = False
  leaderboard: Mapping[str, str] = dataclasses.field(default_factory=dict)
  check: Callable[[Source, Mapping[str, list[Example]]], list[str]] | None = (
      None
  )
  learns_dev_labels: bool = False
  vectors: LearntVectors | None = None
