"""The programs that write text: answers and scores of a task of that kind."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float32, Int32

from electra_jax.decoding.texts import make_generate
from electra_jax.devices import sharding
from electra_jax.finetuning.generation_checks import (
    decoding_config,
    latent_dimensions,
)
from electra_jax.finetuning.generation_trainer import loss_of_batch
from electra_jax.finetuning.predictor import Predictor
from electra_jax.models.autoencoder import make_network
from electra_jax.models.config import EncoderConfig
from electra_jax.runs.buckets import Buckets
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Params
from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.feature_arrays import Features
from electra_jax.tasks.generation_batches import (
    GenerationBatches,
    lengths_up_to,
)
from electra_jax.tasks.generation_features import TARGET_LENGTHS
from electra_jax.tasks.generation_predictions import decode_texts
from electra_jax.tasks.predictions import Predictions
from electra_jax.tasks.task import Task
from electra_jax.text.join_words import join_words
from electra_jax.text.tokenizer import Tokenizer

_IN_FLIGHT = 2  # Batches: one is computed while the next waits for it.


class Written(NamedTuple):
  """What a network wrote, in the order of the sources.

  Attributes:
    tokens: [n, T] ids, the end of text included, then padding.
    lengths: [n] tokens of each.
    scores: [n] log-probability in nats, over a power of the length.
  """

  tokens: Int32[np.ndarray, "n T"]
  lengths: Int32[np.ndarray, " n"]
  scores: Float32[np.ndarray, " n"]


class TextWriter(Predictor):
  """Writes and scores; compiled once for each length of source."""

  def __init__(
      self,
      config: FinetuneConfig,
      encoder: EncoderConfig,
      tokenizer: Tokenizer,
      mesh: Mesh,
      buckets: Buckets | None = None,
  ):
    super().__init__(config, tokenizer, mesh)
    self._buckets = buckets
    model = self._model = make_network(
        encoder,
        config.generation.architecture,
        latent_dimensions(config),
        sharding.constrain_hidden(mesh),
    )
    special = tokenizer.special
    self._special_ids = {
        "begin_id": special.cls,
        "end_id": special.sep,
        "pad_id": special.pad,
        "never_ids": (special.unk, special.mask),
    }
    whole = NamedSharding(mesh, PartitionSpec())
    self._generate = jax.jit(
        make_generate(model, decoding_config(config), **self._special_ids),
        out_shardings=whole,
    )
    self._loss = jax.jit(
        lambda params, batch: loss_of_batch(model, params, batch),
        out_shardings=whole,
    )

  def predict(
      self,
      params: Params,
      task: Task,
      examples: Sequence[GenerationExample],
      features: Features | None = None,
  ) -> Predictions:
    """Writes a text of every example; `features` spares making them again."""
    if features is None:
      features = self._told_features(task, examples)
    written = self.outputs(params, task, features)
    found = self.decode(task, examples, features, written)
    if np.any(features.targets[TARGET_LENGTHS] == 0):
      return found
    return found._replace(**self.costs(params, task, features))

  def costs(
      self, params: Params, task: Task, features: Features
  ) -> dict[str, Any]:
    """Returns what true targets cost, by the fields of `Predictions`."""
    return {"loss": self.loss(params, task, features)}

  def outputs(
      self,
      params: Params,
      task: Task,
      features: Features,
      on_batch: Callable[[int], None] = lambda texts: None,
  ) -> Written:
    """Writes a text of every source.

    Args:
      params: of the network.
      task: of the features.
      features: of the sources.
      on_batch: is told how many are done, batch by batch.
    """
    count, room = len(features), self._config.generation.max_target_length
    whole = Written(
        np.full((count, room), self._tokenizer.special.pad, np.int32),
        np.zeros(count, np.int32),
        np.zeros(count, np.float32),
    )
    done = 0

    def run(batch, numbers):
      number_of_row = self._numbers_of_rows(batch, features, numbers)
      asked = (batch.source_ids, batch.source_mask, number_of_row)
      segments = sharding.rows_to_global(self.mesh, batch.source_segments)
      return self._generate(
          params,
          *sharding.rows_to_global(self.mesh, asked),
          source_segments=segments,
      )

    for numbers, found in self._in_flight(task, features, run):
      for name in Written._fields:
        part = getattr(found, name)[: len(numbers)]
        getattr(whole, name)[numbers] = part
      done += len(numbers)
      on_batch(done)
    return whole

  def loss(self, params: Params, task: Task, features: Features) -> float:
    """Returns the mean loss in nats of a target's token, without smoothing."""

    def run(batch, _):
      return self._loss(params, sharding.rows_to_global(self.mesh, batch))

    total = count = 0.0
    for _, found in self._in_flight(task, features, run):
      total += float(np.sum(found.sums, dtype=np.float64))
      count += float(np.sum(found.counts, dtype=np.float64))
    return total / max(count, 1.0)

  def decode(
      self,
      task: Task,
      examples: Sequence[GenerationExample],
      features: Features,
      written: Written,
  ) -> Predictions:
    """Turns ids into text."""
    del task  # All write alike.
    ids = without_padding(written.tokens, written.lengths)
    return self.in_words(examples, features, ids, written.scores)

  def in_words(
      self,
      examples: Sequence[GenerationExample],
      features: Features,
      ids: Sequence[Sequence[int]],
      scores: Float32[np.ndarray, " n"],
  ) -> Predictions:
    """The same of ids without padding, whoever has written them."""
    return decode_texts(examples, features, self.texts_of(ids), scores)

  def texts_of(self, ids: Sequence[Sequence[int]]) -> list[str]:
    """Joins the tokens of each text, without its end."""
    end = self._tokenizer.special.sep
    return [
        join_words(self._tokenizer, [i for i in row if i != end]) for row in ids
    ]

  def warm_up(self, params: Params, task: Task, rows: int, length: int) -> None:
    """Compiles the program on one of the buckets' shapes."""
    other = "a" if task.takes_pairs else None
    pieces = " ".join(["a"] * (length - (4 if other else 2)))
    example = GenerationExample("0", pieces, other, None)
    self.outputs(params, task, self.features(task, [example] * rows))

  def _numbers_of_rows(self, batch, features: Features, numbers):
    """Returns the number of each row's text in its file."""
    found = np.zeros(len(batch.labels), np.int32)
    found[: len(numbers)] = features.examples[numbers]
    return found

  def _in_flight(self, task: Task, features: Features, run: Callable[..., Any]):
    """Yields numbers of texts and what a program says of them."""
    waiting: list[tuple[np.ndarray, Any]] = []
    for numbers, batch in self._batches(task, features).in_order():
      waiting.append((numbers, run(batch, numbers)))
      if len(waiting) > _IN_FLIGHT:
        done, found = waiting.pop(0)
        yield done, jax.device_get(found)
    for done, found in waiting:
      yield done, jax.device_get(found)

  def _batches(self, task: Task, features: Features) -> GenerationBatches:
    shards = sharding.batch_shards(self.mesh)
    size = min(self._config.train.eval_batch_size, len(features))
    lengths = lengths_up_to(self._config.data.max_length)
    if self._buckets is not None:
      size = self._buckets.num_rows(len(features))
      lengths = self._buckets.lengths
    return GenerationBatches(
        {task.name: features},
        batch_size=size,
        begin_id=self._tokenizer.special.cls,
        pad_id=self._tokenizer.special.pad,
        row_multiple=shards,
        source_lengths=lengths,
        target_lengths=lengths_up_to(self._config.generation.max_target_length),
    )


def without_padding(
    tokens: Int32[np.ndarray, "n T"], lengths: Int32[np.ndarray, " n"]
) -> list[list[int]]:
  """Returns the ids of each text, of its own length."""
  return [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True)]
