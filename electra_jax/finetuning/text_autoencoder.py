"""The programs of an autoencoder of text: z of a text, and a text of z."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from electra_jax.decoding.texts import make_generate_at
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning.autoencoder_loss import drawn_loss, text_seeds
from electra_jax.finetuning.generation_checks import (
    decoding_config,
    latent_dimensions,
)
from electra_jax.finetuning.generation_trainer import loss_of_batch
from electra_jax.finetuning.text_writer import TextWriter, without_padding
from electra_jax.models.bottleneck import gaussian_noise
from electra_jax.models.config import EncoderConfig
from electra_jax.models.dropout import token_seeds
from electra_jax.runs.buckets import Buckets
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Params
from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.feature_arrays import Features
from electra_jax.tasks.latent_scores import Costs, score_latents
from electra_jax.tasks.task import Task
from electra_jax.text.tokenizer import Tokenizer


class TextAutoencoder(TextWriter):
  """Writes texts again, and between others; z of a text is the mean."""

  def __init__(
      self,
      config: FinetuneConfig,
      encoder: EncoderConfig,
      tokenizer: Tokenizer,
      mesh: Mesh,
      buckets: Buckets | None = None,
  ):
    super().__init__(config, encoder, tokenizer, mesh, buckets)
    model, whole = self._model, NamedSharding(mesh, PartitionSpec())
    how = decoding_config(config)
    self._write_at = jax.jit(
        make_generate_at(model, how, **self._special_ids), out_shardings=whole
    )
    self._mean = jax.jit(
        lambda params, ids, mask: model.apply(
            {"params": params}, ids, mask, method="posterior"
        ).mean,
        out_shardings=whole,
    )

    def costs_of(params, batch, numbers):
      read = loss_of_batch(model, params, batch)
      drawn = drawn_loss(model, params, batch, text_seeds(numbers))
      return Costs(
          *(read.sums, read.counts, drawn.target.sums),
          *(drawn.divergences, drawn.means, drawn.deviations, drawn.latents),
      )

    self._costs = jax.jit(costs_of, out_shardings=whole)

  def costs(
      self, params: Params, task: Task, features: Features
  ) -> dict[str, Any]:
    """Returns the loss where z is the mean, and the scores of z.

    The latter hold one draw of each text, which depends on the number of the
    text in its split alone.
    """

    def run(batch, numbers):
      of_rows = self._numbers_of_rows(batch, features, numbers)
      asked = sharding.rows_to_global(self.mesh, (batch, of_rows))
      return self._costs(params, *asked)

    rows: list[Any] = [None] * len(features)
    for numbers, found in self._in_flight(task, features, run):
      for row, number in enumerate(numbers):
        rows[number] = Costs(*(part[row] for part in found))
    costs = Costs(*map(np.stack, zip(*rows, strict=True)))
    nats, tokens = (np.sum(x, dtype=np.float64) for x in costs[:2])
    return {"loss": float(nats / tokens), "latent": score_latents(costs)}

  def encode(
      self, params: Params, task: Task, texts: Sequence[str]
  ) -> Float[np.ndarray, "n K"]:
    """Returns the mean of z of each text."""
    examples = [GenerationExample("", text, None, None) for text in texts]
    features = self._told_features(task, examples)

    def run(batch, _):
      asked = (batch.source_ids, batch.source_mask)
      return self._mean(params, *sharding.rows_to_global(self.mesh, asked))

    found = np.zeros((len(texts), self._model.dimensions), np.float32)
    for numbers, means in self._in_flight(task, features, run):
      found[numbers] = means[: len(numbers)]
    return found

  def write(
      self, params: Params, latents: Float[np.ndarray, "n K"]
  ) -> list[dict[str, Any]]:
    """Writes a text of each value of z.

    Returns:
      Records with `written` and `score`, as `predict` has them.
    """
    count, shards = len(latents), sharding.batch_shards(self.mesh)
    size = min(self._config.train.eval_batch_size, count)
    size = -(-size // shards) * shards
    records = []
    for start in range(0, count, size):
      numbers = np.arange(start, start + size, dtype=np.int32)
      # Rows past the last one only fill up the batch.
      rows = latents[np.minimum(numbers, count - 1)].astype(np.float32)
      asked = sharding.rows_to_global(self.mesh, (rows, numbers))
      found = jax.device_get(self._write_at(params, *asked))
      kept = min(size, count - start)
      ids = without_padding(found.tokens[:kept], found.lengths[:kept])
      texts = self.texts_of(ids)
      records += [
          {"written": text, "score": float(score)}
          for text, score in zip(texts, found.scores, strict=False)
      ]
    return records

  def interpolate(
      self, params: Params, task: Task, first: str, last: str, steps: int
  ) -> list[dict[str, Any]]:
    """Writes texts on the line between two, both ends included.

    Args:
      params: of the network.
      task: the run's.
      first: the one end.
      last: the other.
      steps: how many texts are written, from 2.

    Returns:
      Records as of `write`, with `place` on the line from 0 to 1.

    Raises:
      UserError: there are fewer steps than ends.
    """
    if steps < 2:
      raise UserError(
          f"--interpolate is {steps}; it must be at least 2, the two ends"
      )
    start, end = self.encode(params, task, [first, last])
    places = np.linspace(0.0, 1.0, steps)[:, None]
    records = self.write(params, (1 - places) * start + places * end)
    return [
        {"place": float(place), **record}
        for (place,), record in zip(places, records, strict=True)
    ]

  def draw(
      self, params: Params, count: int, seed: int = 0
  ) -> list[dict[str, Any]]:
    """Writes texts of draws from the prior; each depends on its number alone.

    Raises:
      UserError: no text is asked for.
    """
    if count < 1:
      raise UserError(f"--from-prior is {count}; it must be at least 1")
    root = jnp.full((1,), seed % 2**32, jnp.uint32)
    seeds = token_seeds(root, jnp.arange(count)[None])[0]
    (latents,) = gaussian_noise(seeds, 1, self._model.dimensions)
    return self.write(params, np.asarray(latents))


def make_writer(config: FinetuneConfig, *rest: Any) -> TextWriter:
  """Returns the programs of a task that writes text; `rest` as of them."""
  kind = TextAutoencoder if latent_dimensions(config) else TextWriter
  return kind(config, *rest)
