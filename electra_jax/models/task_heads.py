"""What is put on top of the discriminator for a task.

As released, a class comes from one linear layer on the first token; tags from
one on the first piece of each word; an answer's end is chosen knowing its
start, and a classifier says whether there is an answer at all.

Hugging Face's heads differ: a class comes from two layers, and an answer's
start and end are chosen apart, both of them [CLS] where there is no answer.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.bottleneck import Bottleneck, BottleneckHead
from electra_jax.models.config import EncoderConfig
from electra_jax.models.dropout import dropout, fold_seeds
from electra_jax.models.layers import Linear, gelu
from electra_jax.models.products import matmul
from electra_jax.shapes import Array, Float, Hidden, Int, RowSeeds, TokenMask

SPAN_HIDDEN = 512  # Release, finetune/qa/qa_tasks.py: width of qa_hidden.
NEVER = 1000.0  # Release, qa_tasks.py: taken off logits outside the context.
SHAPES = ("released", "huggingface")


@dataclasses.dataclass(frozen=True)
class HeadConfig:
  """One task's head.

  Attributes:
    name: the task's.
    kind: the task's kind.
    size: outputs of a sequence or a token: classes, tags, 1 for a rating.
    shape: one of SHAPES; tags have the same head in both.
    bottleneck: through which a text's class or rating is read, or None; it
      has layers of its own, whatever the shape.
    layer: of an embedding: whose states are pooled, as in `models.pooling`.
    pooling: how they are.
    has_projection: whether a layer stands on the vector in training.
    has_condition: whether the vector is told to a detector.
  """

  name: str
  kind: str
  size: int
  shape: str = "released"
  bottleneck: Bottleneck | None = None
  layer: int = -1
  pooling: str = "mean"
  has_projection: bool = False
  has_condition: bool = False


class TextVectors(NamedTuple):
  """What an embedding learns by.

  Attributes:
    vector: of each text, not scaled.
    projected: what is compared in training; the same without a projection.
    condition: what a detector sees in place of the first token's embedding, or
      None.
  """

  vector: Float[Array, "B D"]
  projected: Float[Array, "B D"]
  condition: Float[Array, "B E"] | None


class SpanLogits(NamedTuple):
  """What training needs of a span head.

  Attributes:
    start: [B, L] logits of the first token, masked to the context and [CLS].
    end: [B, L] logits of the last token; as released, given the gold start.
    impossible: [B] log-odds that there is no answer, or None where [CLS] as
      start and end says so.
  """

  start: Float[Array, "B L"]
  end: Float[Array, "B L"]
  impossible: Float[Array, " B"] | None


class SpanBeam(NamedTuple):
  """The likeliest spans: S starts and, for each, T ends.

  Attributes:
    start_log_probs: [B, S]; as released, falling.
    start_index: [B, S] token places.
    end_log_probs: [B, S, T] falling in the last axis; T is S as released, and
      1 where starts and ends are chosen apart.
    end_index: [B, S, T] token places.
    impossible: [B] log-odds that there is no answer, as released; else the log
      probability of [CLS] as start and end.
  """

  start_log_probs: Float[Array, "B S"]
  start_index: Int[Array, "B S"]
  end_log_probs: Float[Array, "B S T"]
  end_index: Int[Array, "B S T"]
  impossible: Float[Array, " B"]


class SequenceHead(nn.Module):
  """Logits of a text's classes, or its rating.

  The release drops 0.1 here whatever the encoder drops.

  Source: release classification_tasks.py:get_prediction_module.
  """

  size: int
  dropout: float
  quantization: str = ""

  @nn.compact
  def __call__(
      self, first: Float[Array, "B D"], dropout_seeds: RowSeeds | None
  ) -> Float[Array, "B C"]:
    first = dropout(first, self.dropout, dropout_seeds)
    return _last(self.size, "dense", self.quantization)(first)


class DenseSequenceHead(nn.Module):
  """Logits of a text's classes, or its rating, from two layers.

  Both layers have dropout before them.

  Source: transformers, modeling_electra.py:ElectraClassificationHead.
  """

  size: int
  config: EncoderConfig

  @nn.compact
  def __call__(
      self, first: Float[Array, "B D"], dropout_seeds: RowSeeds | None
  ) -> Float[Array, "B C"]:
    rate, width = self.config.hidden_dropout, first.shape[-1]
    first = dropout(first, rate, fold_seeds(dropout_seeds, 0))
    rounding = self.config.quantization
    widen = Linear(width, self.config.dtype, _GLOROT, rounding, name="hidden")
    hidden = gelu(widen(first))
    hidden = dropout(hidden, rate, fold_seeds(dropout_seeds, 1))
    return _last(self.size, "out_proj", rounding)(hidden)


class TokenHead(nn.Module):
  """Logits of each word's tags; no dropout.

  Source: release tagging_tasks.py:get_prediction_module.
  """

  size: int
  quantization: str = ""

  @nn.compact
  def __call__(self, words: Float[Array, "B W D"]) -> Float[Array, "B W C"]:
    return _last(self.size, "dense", self.quantization)(words)


class SpanHead(nn.Module):
  """Start, end given the start, and whether there is an answer.

  Source: release qa_tasks.py:get_prediction_module with joint_prediction and
  answerable_classifier.
  """

  dtype: str
  quantization: str = ""

  def setup(self):
    rounding = self.quantization
    self.start = _last(1, None, rounding)
    self.end_hidden = PairLinear(SPAN_HIDDEN, self.dtype, rounding)
    self.end = _last(1, None, rounding)
    self.answerable_hidden = Linear(SPAN_HIDDEN, self.dtype, _GLOROT, rounding)
    self.answerable = _last(1, None, rounding)

  def logits(
      self,
      hidden: Hidden,
      context_mask: TokenMask,
      starts: Int[Array, " B"],
  ) -> SpanLogits:
    """Returns the training branch, whose end knows the gold start.

    Args:
      hidden: states of unpacked rows.
      context_mask: 1 for the context and for [CLS], 0 elsewhere.
      starts: places of the gold starts.
    """
    start_logits = self._start_logits(hidden, context_mask)
    start = jnp.take_along_axis(hidden, starts[:, None, None], axis=1)
    end_logits = self._end_logits(hidden, start, context_mask)
    impossible = self._impossible(hidden, start_logits)
    return SpanLogits(start_logits, end_logits, impossible)

  def search(
      self,
      hidden: Hidden,
      context_mask: TokenMask,
      beam_size: int,
      max_answer_length: int,
  ) -> SpanBeam:
    """Returns the likeliest spans, starts first; of any length."""
    del max_answer_length  # Decoding leaves out what is longer.
    beam_size = min(beam_size, hidden.shape[1])
    start_logits = self._start_logits(hidden, context_mask)
    start_log_probs, start_index = jax.lax.top_k(
        jax.nn.log_softmax(start_logits), beam_size
    )
    starts = jnp.take_along_axis(hidden, start_index[..., None], axis=1)
    ends = []
    for i in range(beam_size):  # [B, S, L, 512] at once would not fit.
      logits = self._end_logits(hidden, starts[:, i : i + 1], context_mask)
      ends.append(jax.lax.top_k(jax.nn.log_softmax(logits), beam_size))
    return SpanBeam(
        start_log_probs,
        start_index,
        jnp.stack([log_probs for log_probs, _ in ends], axis=1),
        jnp.stack([index for _, index in ends], axis=1),
        self._impossible(hidden, start_logits),
    )

  def _start_logits(self, hidden, context_mask):
    return _masked(self.start(hidden)[..., 0], context_mask)

  def _end_logits(self, hidden, start, context_mask):
    joint = gelu(self.end_hidden(start, hidden))  # [B, L, 512]
    return _masked(self.end(joint)[..., 0], context_mask)

  def _impossible(self, hidden, start_logits):
    attention = jax.nn.softmax(start_logits)
    where = jnp.einsum("bl,bld->bd", attention, hidden.astype(jnp.float32))
    both = jnp.concatenate(
        [hidden[:, 0], where.astype(hidden.dtype)], axis=-1
    )  # [B, 2D]
    return self.answerable(gelu(self.answerable_hidden(both)))[:, 0]


class SeparateSpanHead(nn.Module):
  """Start and end of an answer, each on its own; [CLS] where there is none.

  Source: transformers, modeling_electra.py:ElectraForQuestionAnswering, and
  its pipeline, which leaves the context and [CLS] alone to choose from.
  """

  quantization: str = ""

  def setup(self):
    self.qa_outputs = _last(2, None, self.quantization)

  def logits(
      self,
      hidden: Hidden,
      context_mask: TokenMask,
      starts: Int[Array, " B"] | None,
  ) -> SpanLogits:
    """Returns what training needs; the end does not know the start.

    Args:
      hidden: states of unpacked rows.
      context_mask: 1 for the context and for [CLS], 0 elsewhere.
      starts: not looked at.
    """
    del starts
    both = self.qa_outputs(hidden)  # [B, L, 2]
    start, end = (_masked(both[..., i], context_mask) for i in range(2))
    return SpanLogits(start, end, None)

  def search(
      self,
      hidden: Hidden,
      context_mask: TokenMask,
      beam_size: int,
      max_answer_length: int,
  ) -> SpanBeam:
    """Returns the likeliest of all spans up to a length in tokens."""
    length = hidden.shape[1]
    width = min(max_answer_length, length)
    logits = self.logits(hidden, context_mask, None)
    start, end = map(jax.nn.log_softmax, logits[:2])
    impossible = start[:, 0] + end[:, 0]
    # [CLS] is no part of an answer.
    is_context = (context_mask == 1) & (jnp.arange(length) > 0)[None]
    start, end = (jnp.where(is_context, x, -jnp.inf) for x in (start, end))
    later = jnp.pad(end, ((0, 0), (0, width)), constant_values=-jnp.inf)
    places = jnp.arange(length)[:, None] + jnp.arange(width)[None]
    spans = (start[:, :, None] + later[:, places]).reshape(len(start), -1)
    _, index = jax.lax.top_k(spans, min(beam_size, spans.shape[1]))
    start_index = index // width
    end_index = start_index + index % width
    return SpanBeam(
        jnp.take_along_axis(start, start_index, axis=1),
        start_index,
        jnp.take_along_axis(later, end_index, axis=1)[..., None],
        end_index[..., None],
        impossible,
    )


class VectorHead(nn.Module):
  """What stands on a text's vector in training alone.

  Source: SimCSE (Gao et al., 2021), §3, for the projection. The condition is
  ours: DiffCSE puts the vector itself in the place of the first token's
  embedding, which has another width here.
  """

  head: HeadConfig
  config: EncoderConfig

  @nn.compact
  def __call__(self, vector: Float[Array, "B D"]) -> TextVectors:
    projected, condition = vector, None
    if self.head.has_projection:
      width = vector.shape[-1]
      dense = Linear(width, "float32", _GLOROT, name="projection")
      projected = jnp.tanh(dense(vector))
    if self.head.has_condition:
      width = self.config.embedding_size
      condition = Linear(width, "float32", _GLOROT, name="condition")(vector)
    return TextVectors(vector, projected, condition)


class PairLinear(nn.Module):
  """A linear layer over [one, other] that never builds the pair."""

  features: int
  dtype: str
  quantization: str = ""

  @nn.compact
  def __call__(
      self, one: Float[Array, "B 1 D"], other: Float[Array, "B L D"]
  ) -> Float[Array, "B L O"]:
    width = other.shape[-1]
    kernel = self.param("kernel", _GLOROT, (2 * width, self.features))
    bias = self.param("bias", nn.initializers.zeros_init(), self.features)
    # Each half has its own rounding, as the two products of an exported file.
    sum_of_both = matmul(
        one.astype(self.dtype), kernel[:width], self.quantization
    ) + matmul(other.astype(self.dtype), kernel[width:], self.quantization)
    return (sum_of_both + bias[None, None]).astype(self.dtype)


class TaskHeads(nn.Module):
  """The heads of all tasks, each under its task's name."""

  heads: tuple[HeadConfig, ...]
  config: EncoderConfig

  def setup(self):
    for head in self.heads:
      setattr(self, head.name, self._make(head))

  def _make(self, head: HeadConfig) -> nn.Module:
    is_released, rounding = head.shape == "released", self.config.quantization
    if head.kind == "questions":
      if is_released:
        return SpanHead(self.config.dtype, rounding)
      return SeparateSpanHead(rounding)
    if head.kind == "tagging":
      return TokenHead(head.size, rounding)
    if head.kind == "embedding":
      return VectorHead(head, self.config)
    if head.bottleneck is not None:
      return BottleneckHead(head.size, head.bottleneck, self.config)
    if is_released:
      return SequenceHead(head.size, self.config.hidden_dropout, rounding)
    return DenseSequenceHead(head.size, self.config)

  def of(self, name: str) -> nn.Module:
    """Returns the head of a task."""
    return getattr(self, name)


_GLOROT = nn.initializers.glorot_uniform()


def _last(features: int, name: str | None, quantization: str) -> Linear:
  """A layer that gives logits: always in float32."""
  return Linear(features, "float32", _GLOROT, quantization, name=name)


def _masked(logits, mask):
  return logits + NEVER * (mask.astype(jnp.float32) - 1.0)
