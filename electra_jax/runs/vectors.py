"""Texts in, vectors out, in the order of the texts and in bounded memory."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from electra_jax.errors import UserError
from electra_jax.models.autoencoder import LatentEncoder
from electra_jax.models.config import EncoderConfig
from electra_jax.models.pooling import (
    POOLINGS,
    TextEncoder,
    check_dimensions,
    layers_below,
)
from electra_jax.shapes import Float, Params
from electra_jax.text.tokenizer import Tokenizer

LAYER, POOLING = -1, "mean"  # Of a run that was not trained to embed.
LATENT = "latent"  # Pooling of a run of task=autoencode: z in place of states.
WINDOWS = ("mean", "max", "first")

_CHUNK_TEXTS = 4096  # That are held, and sorted by length, at a time.
_BATCH_ROWS = 64
_SHORTEST = 16  # Tokens that a row is padded to; then twice as many, …


@dataclasses.dataclass(frozen=True)
class VectorOptions:
  """How a text becomes a vector.

  Attributes:
    layer: whose states; 0 is what the first layer reads, -1 the last one.
    pooling: "mean" or "max" over the tokens, or "cls", the first one's; or
      "latent", the mean of z of an autoencoder, which is of the last layer.
    dimensions: how many numbers are kept, from the first on; 0 for all.
    normalized: whether a vector is scaled to length 1.
    windows: of a text longer than a row: the "mean" or "max" over the vectors
      of all its parts, or the "first" part's alone.
  """

  layer: int = LAYER
  pooling: str = POOLING
  dimensions: int = 0
  normalized: bool = True
  windows: str = "mean"

  def __post_init__(self):
    for name, value, names in (
        ("--pooling", self.pooling, (*POOLINGS, LATENT)),
        ("--windows", self.windows, WINDOWS),
    ):
      if value not in names:
        raise UserError(f"{name} is {value!r}; choose of {', '.join(names)}")


class Embedder:
  """Turns texts into vectors.

  Attributes:
    dimensions: numbers of a vector.
    options: how a text becomes one.
    encoder: the layers that are computed.
    params: "embeddings" and "discriminator".
    length: tokens of a row at most.
  """

  def __init__(
      self,
      encoder: EncoderConfig,
      params: Params,
      tokenizer: Tokenizer,
      length: int,
      options: VectorOptions,
  ):
    """Checks the options; a program is compiled when the first text comes.

    Args:
      encoder: shapes of the discriminator.
      params: its "embeddings", as it sees them, and "discriminator"; of an
        autoencoder "latent_head" as well.
      tokenizer: of its vocabulary.
      length: tokens of a row; positions past it are not trained.
      options: how a text becomes a vector.

    Raises:
      UserError: there is no such layer, or fewer dimensions.
    """
    self.options = options
    is_latent = options.pooling == LATENT
    width = _latent_size(options, params) if is_latent else encoder.hidden_size
    self.dimensions = check_dimensions(
        options.dimensions, width, "--dimensions"
    )
    # In float32 whatever the run computes in: vectors are kept, and compared
    # with those of exported files.
    encoder = dataclasses.replace(
        encoder,
        num_layers=layers_below(options.layer, encoder.num_layers, "--layer"),
        dtype="float32",
        remat="none",
    )
    self.encoder = encoder
    parts = ["embeddings", "discriminator"]
    if is_latent:
      model, parts = LatentEncoder(encoder, width), [*parts, "latent_head"]
    else:
      model = TextEncoder(encoder, options.pooling)
    self.params = {name: params[name] for name in parts}
    self._run = jax.jit(
        lambda params, *rows: model.apply({"params": params}, *rows)
    )
    self._special = tokenizer.special
    self._encode = tokenizer.encode_batch
    self.length = length

  def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "n D"]:
    """Returns a vector of each text, in float32; zeros of a blank one."""
    chunks = [vectors for _, vectors in self.stream(texts)]
    return np.concatenate(chunks) if chunks else self._zeros(0)

  def stream(
      self, texts: Iterable[str]
  ) -> Iterator[tuple[list[str], Float[np.ndarray, "n D"]]]:
    """Yields a few thousand texts at a time with their vectors, in order."""
    texts = iter(texts)
    while chunk := list(itertools.islice(texts, _CHUNK_TEXTS)):
      yield chunk, self._embed_chunk(chunk)

  def _zeros(self, count: int) -> np.ndarray:
    return np.zeros((count, self.dimensions), np.float32)

  def _embed_chunk(self, texts: list[str]) -> np.ndarray:
    rows, owners = [], []
    for owner, pieces in enumerate(self._encode(texts)):
      parts = range(0, len(pieces), self.length - 2)
      for start in parts[:1] if self.options.windows == "first" else parts:
        rows.append(pieces[start : start + self.length - 2])
        owners.append(owner)
    if not rows:
      return self._zeros(len(texts))
    vectors = self._pool_windows(self._embed_rows(rows), owners, len(texts))
    vectors = vectors[:, : self.dimensions]
    return _unit(vectors) if self.options.normalized else vectors

  def _embed_rows(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns a vector of each row; those of like length go together."""
    lengths = [len(row) + 2 for row in rows]
    order = np.argsort(lengths, kind="stable")
    found = []
    for start in range(0, len(rows), _BATCH_ROWS):
      numbers = order[start : start + _BATCH_ROWS]
      batch = self._batch([rows[i] for i in numbers], lengths[numbers[-1]])
      if len(found) > 1:  # What is queued stays bounded.
        found[-2] = np.asarray(found[-2])
      found.append(self._run(self.params, *batch))
    places = np.argsort(order)
    return np.concatenate([np.asarray(x) for x in found])[: len(rows)][places]

  def _batch(self, rows, longest: int) -> tuple[np.ndarray, ...]:
    """Lays rows out in one of few shapes, each of which is a program."""
    length = _SHORTEST
    while length < longest:
      length *= 2
    length = min(length, self.length)
    count = _BATCH_ROWS if len(rows) > 8 else 8 if len(rows) > 1 else 1
    ids = np.full((count, length), self._special.pad, np.int32)
    mask = np.zeros_like(ids)
    for number, pieces in enumerate(rows):
      row = [self._special.cls, *pieces, self._special.sep]
      ids[number, : len(row)] = row
      mask[number, : len(row)] = 1
    return ids, mask, np.zeros_like(ids)

  def _pool_windows(self, vectors, owners, count: int) -> np.ndarray:
    owners = np.asarray(owners)
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    if self.options.windows == "max":
      pooled = np.maximum.reduceat(vectors, starts, axis=0)
    else:
      windows = np.diff([*starts, len(owners)])[:, None]
      pooled = np.add.reduceat(vectors, starts, axis=0) / windows
    whole = np.zeros((count, vectors.shape[1]), np.float32)
    whole[owners[starts]] = pooled
    return whole


class EmbedsTexts:
  """What every opened run can do: turn texts into vectors."""

  def embedder(
      self,
      *,
      layer: int | None = None,
      pooling: str | None = None,
      dimensions: int | None = None,
      normalized: bool | None = None,
      windows: str | None = None,
  ) -> Embedder:
    """Returns what embeds, compiled once; see `VectorOptions`.

    None stands for what the run was trained for, or else for the defaults.

    Raises:
      UserError: there is no such layer or pooling, or fewer dimensions.
    """
    given = {
        "layer": layer,
        "pooling": pooling,
        "dimensions": dimensions,
        "normalized": normalized,
        "windows": windows,
    }
    told = {name: value for name, value in given.items() if value is not None}
    made = self.__dict__.setdefault("_embedders", {})
    key = tuple(sorted(told.items()))
    if key not in made:
      *parts, options = self._embedding_parts()
      made[key] = Embedder(*parts, dataclasses.replace(options, **told))
    return made[key]

  def embed(
      self, texts: Sequence[str], **options: Any
  ) -> Float[np.ndarray, "n D"]:
    """Returns a vector of each text, in float32.

        open_run("run").embed(["a film", "a book"], layer=-2)

    Args:
      texts: a blank one gets zeros.
      **options: of `embedder`.

    Raises:
      UserError: an option does not fit the model.
    """
    return self.embedder(**options).embed(texts)

  def _embedding_parts(
      self,
  ) -> tuple[EncoderConfig, Params, Tokenizer, int, VectorOptions]:
    """Returns what an `Embedder` is made of."""
    raise NotImplementedError


def _latent_size(options: VectorOptions, params: Params) -> int:
  """Returns how many numbers z has."""
  if "latent_head" not in params:
    raise UserError(
        f"--pooling is {LATENT!r}, and this run has no z, as those of"
        f" task=autoencode have; choose of {', '.join(POOLINGS)}"
    )
  if options.layer != LAYER:
    raise UserError(
        f"--layer is {options.layer}, and z is of the last layer; leave it out,"
        f" or add --pooling {POOLING} for vectors of another"
    )
  return params["latent_head"]["mean"]["bias"].shape[0]


def _unit(vectors: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
  norms = np.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors / np.where(norms > 0, norms, 1.0)
