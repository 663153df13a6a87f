"""The forward pass of a network, written once for every format.

It is spelled in the few operations of `Operations`, which one class carries out
in JAX and another writes into an ONNX graph. Dropout, packing of several texts
in a row and everything else that only training needs is left out. Parameters
are arrays; what is computed from them alone is computed here.

Source: of the formulas, `electra_jax.models`, which every exported file is
compared with.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from electra_jax.exporting.networks import (
    DETECTION,
    EMBEDDING,
    MASKED_LM,
    Head,
    Network,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.task_heads import NEVER
from electra_jax.shapes import Params

Value = Any  # A JAX array, or the name of a value in a graph.


@runtime_checkable
class Operations(Protocol):
  """What a forward pass is made of; x and y are values, others parameters."""

  def lookup(self, table: Any, ids: Value) -> Value:
    """[V, E] and [B, L] -> [B, L, E]."""

  def first_rows(self, table: Any, ids: Value) -> Value:
    """[P, E] and [B, L] -> [1, L, E], the first L rows."""

  def scaled_rows(self, row: Any, numbers: Value) -> Value:
    """[1, 1, E] and whole numbers [B, L] -> [B, L, E], each times the row."""

  def add(self, x: Value, y: Value) -> Value:
    """Broadcasts."""

  def scale(self, x: Value, factor: float) -> Value:
    """Multiplies by a number."""

  def affine(self, x: Value, kernel: Any, bias: Any | None) -> Value:
    """[…, M], [M, O] and [O] -> […, O]."""

  def project(self, x: Value, kernel: Any, bias: Any) -> Value:
    """The same, of which the result goes straight into other affines."""

  def tied_logits(self, x: Value, table: Any, bias: Any) -> Value:
    """[B, K, E], [V, E] and [V] -> [B, K, V]."""

  def matmul(self, x: Value, y: Value) -> Value:
    """Of the last two axes."""

  def layer_norm(self, x: Value, scale: Any, bias: Any) -> Value:
    """Over the last axis."""

  def gelu(self, x: Value) -> Value:
    """The exact one."""

  def softmax(self, x: Value) -> Value:
    """Over the last axis."""

  def log_softmax(self, x: Value) -> Value:
    """Over the last axis."""

  def heads(self, x: Value, count: int, *, transposed: bool = False) -> Value:
    """[B, L, N H] -> [B, N, L, H], or [B, N, H, L]."""

  def join_heads(self, x: Value) -> Value:
    """[B, N, L, H] -> [B, L, N H]."""

  def attention_bias(self, mask: Value) -> Value:
    """[B, L] -> [B, 1, 1, L]: 0 of tokens, a large negative of padding."""

  def context_bias(self, mask: Value, segments: Value, never: float) -> Value:
    """[B, L] -> [B, L]: 0 of segment 1 and the first token, else -never."""

  def squeeze(self, x: Value) -> Value:
    """Drops the last axis, of length 1."""

  def first_token(self, x: Value) -> Value:
    """[B, L, D] -> [B, D]."""

  def rows(self, x: Value) -> Value:
    """[B, L] -> [B, 1, L]."""

  def gather(self, x: Value, places: Value) -> Value:
    """[B, L, D] and [B, K] -> [B, K, D]."""

  def one_slot(self, x: Value, slot: int) -> Value:
    """[B, K, D] -> [B, 1, D]."""

  def top(self, x: Value, count: int) -> tuple[Value, Value]:
    """[…, L] -> the largest values, falling, and their places: […, S] each."""

  def join(self, x: Value, y: Value) -> Value:
    """[B, 1, D] twice -> [B, 1, 2 D]."""

  def stack(self, parts: list[Value]) -> Value:
    """[B, L] each -> [B, S, L]."""

  def mean_token(self, x: Value, mask: Value) -> Value:
    """[B, L, D] and [B, L] -> [B, D], over the tokens alone."""

  def largest_token(self, x: Value, mask: Value) -> Value:
    """The same, the largest of each column."""

  def first_columns(self, x: Value, count: int) -> Value:
    """[B, D] -> [B, count]."""

  def unit(self, x: Value) -> Value:
    """[B, D] -> vectors of length 1."""


def forward(
    ops: Operations,
    network: Network,
    params: Params,
    inputs: Mapping[str, Value],
) -> dict[str, Value]:
  """Computes the outputs of a network.

  Args:
    ops: how to compute.
    network: which one.
    params: as `network.params`.
    inputs: by the names of `network.inputs`.

  Returns:
    Values by the names of `network.outputs`.
  """
  tables, layers = params[network.parts[0]], params[network.parts[1]]
  hidden = encode(ops, network.config, tables, layers, inputs)
  outputs = {}
  for head in network.heads:
    if head.kind == EMBEDDING:
      outputs["vectors"] = _vectors(ops, head, hidden, inputs["input_mask"])
      continue
    of_head = params[network.parts[2]]
    if head.name:
      of_head = of_head[head.name]
    if head.kind == "questions":
      found = _search(ops, of_head, hidden, inputs, network.beam_size)
    else:
      table = tables["word_embeddings"]["embedding"]
      found = {"logits": _logits(ops, head, of_head, hidden, inputs, table)}
    outputs |= {head.prefix + name: value for name, value in found.items()}
  return outputs


def encode(
    ops: Operations,
    config: EncoderConfig,
    tables: Params,
    layers: Params,
    inputs: Mapping[str, Value],
    kept: list[tuple[Value, Value]] | None = None,
) -> Value:
  """Computes the states of an encoder's last layer.

  Args:
    ops: how to compute.
    config: shapes of the encoder.
    tables: its embeddings.
    layers: its projection and layers.
    inputs: `input_ids`, `segment_ids` and `input_mask`.
    kept: gets keys [B, N, H, L] and values [B, N, L, H] of each layer.
  """
  segments = tables["token_type_embeddings"]["embedding"]
  places = tables["position_embeddings"]["embedding"] + segments[:1]
  step = (segments[1:2] - segments[:1])[None]
  ids = inputs["input_ids"]
  hidden = ops.lookup(tables["word_embeddings"]["embedding"], ids)
  hidden = ops.add(hidden, ops.first_rows(places, ids))
  hidden = ops.add(hidden, ops.scaled_rows(step, inputs["segment_ids"]))
  hidden = projected(ops, norm(ops, hidden, tables["layer_norm"]), layers)
  bias = ops.attention_bias(inputs["input_mask"])
  for i in range(config.num_layers):
    layer = layers[f"layer_{i}"]
    query, key, value = project_heads(
        ops, hidden, layer["attention"], config.num_heads
    )
    if kept is not None:
      kept.append((key, value))
    scores = ops.add(ops.matmul(query, key), bias)
    mixed = ops.matmul(ops.softmax(scores), value)
    hidden = after_attention(
        ops, hidden, mixed, layer["attention"], layer["attention_layer_norm"]
    )
    hidden = feed_forward(ops, hidden, layer)
  return hidden


def projected(ops: Operations, hidden: Value, layers: Params) -> Value:
  """Brings embeddings to the width of the layers."""
  if "embeddings_project" not in layers:
    return hidden
  project = layers["embeddings_project"]
  return ops.project(hidden, project["kernel"], project["bias"])


def project_heads(
    ops: Operations, hidden: Value, params: Params, num_heads: int
) -> tuple[Value, Value, Value]:
  """Returns scaled queries, keys [B, N, H, L] and values of each head."""
  key, value = read_heads(ops, hidden, params, num_heads)
  return ask_heads(ops, hidden, params, num_heads), key, value


def ask_heads(
    ops: Operations, hidden: Value, params: Params, num_heads: int
) -> Value:
  """Returns the scaled queries of each head, [B, N, L, H]."""
  head_width = params["query"]["kernel"].shape[1] // num_heads
  query = ops.scale(linear(ops, hidden, params["query"]), head_width**-0.5)
  return ops.heads(query, num_heads)


def read_heads(
    ops: Operations, hidden: Value, params: Params, num_heads: int
) -> tuple[Value, Value]:
  """Returns keys [B, N, H, L] and values [B, N, L, H] of each head."""
  key = linear(ops, hidden, params["key"])
  value = linear(ops, hidden, params["value"])
  key = ops.heads(key, num_heads, transposed=True)
  return key, ops.heads(value, num_heads)


def after_attention(
    ops: Operations,
    hidden: Value,
    mixed: Value,
    params: Params,
    norm_params: Params,
) -> Value:
  """Adds what the heads have mixed, [B, N, L, H], and normalizes."""
  attended = linear(ops, ops.join_heads(mixed), params["output"])
  return norm(ops, ops.add(hidden, attended), norm_params)


def feed_forward(ops: Operations, hidden: Value, layer: Params) -> Value:
  """The second half of a layer."""
  wide = ops.gelu(linear(ops, hidden, layer["intermediate"]))
  hidden = ops.add(hidden, linear(ops, wide, layer["output"]))
  return norm(ops, hidden, layer["output_layer_norm"])


def masked_lm_logits(
    ops: Operations, params: Params, hidden: Value, table: Any
) -> Value:
  """Logits of every piece of the vocabulary, [B, K, V]."""
  hidden = ops.gelu(linear(ops, hidden, params["dense"]))
  hidden = norm(ops, hidden, params["layer_norm"])
  return ops.tied_logits(hidden, table, params["output_bias"])


def _vectors(ops, head: Head, hidden, mask) -> Value:
  if head.pooling == "cls":
    pooled = ops.first_token(hidden)
  elif head.pooling == "max":
    pooled = ops.largest_token(hidden, mask)
  else:
    pooled = ops.mean_token(hidden, mask)
  kept = ops.first_columns(pooled, head.size)
  return ops.unit(kept) if head.is_normalized else kept


def _logits(ops, head: Head, params, hidden, inputs, table) -> Value:
  if head.kind == DETECTION:
    hidden = ops.gelu(linear(ops, hidden, params["dense"]))
    return ops.squeeze(linear(ops, hidden, params["prediction"]))
  if head.kind == MASKED_LM:
    hidden = ops.gather(hidden, inputs["positions"])
    return masked_lm_logits(ops, params, hidden, table)
  if head.kind != "tagging":
    hidden = ops.first_token(hidden)
  if "out_proj" in params:  # Of Hugging Face's shape.
    hidden = ops.gelu(linear(ops, hidden, params["hidden"]))
    return linear(ops, hidden, params["out_proj"])
  return linear(ops, hidden, params["dense"])


def _search(ops, params, hidden, inputs, beam_size) -> dict[str, Value]:
  """The likeliest spans, starts first; see `models.task_heads.SpanHead`."""
  outside = ops.context_bias(inputs["input_mask"], inputs["segment_ids"], NEVER)
  kernel, bias = params["end_hidden"]["kernel"], params["end_hidden"]["bias"]
  width = kernel.shape[0] // 2
  start_logits = ops.squeeze(linear(ops, hidden, params["start"]))
  start_logits = ops.add(start_logits, outside)
  start_log_probs, start_index = ops.top(
      ops.log_softmax(start_logits), beam_size
  )
  of_ends = ops.affine(hidden, kernel[width:], bias)
  of_starts = ops.affine(ops.gather(hidden, start_index), kernel[:width], None)
  ends = []
  for slot in range(beam_size):
    joint = ops.gelu(ops.add(of_ends, ops.one_slot(of_starts, slot)))
    logits = ops.add(ops.squeeze(linear(ops, joint, params["end"])), outside)
    ends.append(logits)
  end_log_probs, end_index = ops.top(
      ops.log_softmax(ops.stack(ends)), beam_size
  )
  where = ops.matmul(ops.rows(ops.softmax(start_logits)), hidden)  # [B, 1, D]
  both = ops.join(ops.rows(ops.first_token(hidden)), where)
  both = ops.gelu(linear(ops, both, params["answerable_hidden"]))
  impossible = ops.squeeze(ops.squeeze(linear(ops, both, params["answerable"])))
  return {
      "start_log_probs": start_log_probs,
      "start_index": start_index,
      "end_log_probs": end_log_probs,
      "end_index": end_index,
      "impossible": impossible,
  }


def linear(ops: Operations, x: Value, params: Params) -> Value:
  """A linear layer with a bias."""
  return ops.affine(x, params["kernel"], params["bias"])


def norm(ops: Operations, x: Value, params: Params) -> Value:
  """LayerNorm over the last axis."""
  return ops.layer_norm(x, params["scale"], params["bias"])
