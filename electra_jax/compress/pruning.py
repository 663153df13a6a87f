"""Encoders with fewer layers, heads and feed-forward columns.

A head is its columns of query, key and value and its rows of the attention's
output; a column of the feed-forward part is one of its first product and the row
of the second that reads it. What is left out of all of them is as if those rows
of the second had been zero.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from electra_jax.errors import UserError
from electra_jax.models.config import EncoderConfig
from electra_jax.shapes import Params


class Kept(NamedTuple):
  """What stays of an encoder; all numbers count from 0.

  Attributes:
    layers: their numbers, rising.
    heads: of each of these layers, rising; as many of each.
    columns: of each of these layers, rising; as many of each.
  """

  layers: tuple[int, ...]
  heads: tuple[tuple[int, ...], ...]
  columns: tuple[tuple[int, ...], ...]


def everything(encoder: EncoderConfig, without: Sequence[int] = ()) -> Kept:
  """Keeps all heads and columns of all layers but some."""
  layers = tuple(i for i in range(encoder.num_layers) if i not in without)
  heads = tuple(range(encoder.num_heads))
  columns = tuple(range(encoder.intermediate_size))
  return Kept(layers, (heads,) * len(layers), (columns,) * len(layers))


def pruned_config(encoder: EncoderConfig, kept: Kept) -> EncoderConfig:
  """Returns the shapes of what stays; heads are as wide as they were."""
  num_heads = len(kept.heads[0])
  head_size = encoder.head_size
  if num_heads != encoder.num_heads:
    head_size = encoder.head_width
  return dataclasses.replace(
      encoder,
      num_layers=len(kept.layers),
      num_heads=num_heads,
      intermediate_size=len(kept.columns[0]),
      head_size=head_size,
  )


def pruned_params(params: Params, encoder: EncoderConfig, kept: Kept) -> Params:
  """Takes what stays out of an encoder's parameters, or of moments of them.

  Args:
    params: of the encoder: layers, and what stands before them.
    encoder: its shapes.
    kept: what stays.
  """
  result = {n: x for n, x in params.items() if not n.startswith("layer_")}
  every = zip(kept.layers, kept.heads, kept.columns, strict=True)
  for new, (old, heads, columns) in enumerate(every):
    units = _units_of(heads, encoder.head_width)
    result[f"layer_{new}"] = _pruned_layer(
        params[f"layer_{old}"], units, np.asarray(columns)
    )
  return result


def filled_up_config(encoder: EncoderConfig) -> EncoderConfig:
  """Returns shapes with as many heads as the width has place for.

  Formats without a width of heads divide the model's width by their number.

  Raises:
    UserError: heads of that width do not divide it, or are too many.
  """
  width, size = encoder.hidden_size, encoder.head_width
  if width % size or encoder.attention_width > width:
    raise UserError(
        f"the model has {encoder.num_heads} heads of {size} in a width of"
        f" {width}, and this format has heads of an equal share of the width"
        " alone; keep the workdir, or export it to ONNX, LiteRT or StableHLO"
    )
  return dataclasses.replace(encoder, num_heads=width // size, head_size=None)


def filled_up_params(params: Params, encoder: EncoderConfig) -> Params:
  """Puts heads of zeros behind those of every layer; answers stay the same.

  Args:
    params: of the encoder, or moments of them.
    encoder: its shapes, of which `filled_up_config` makes others.
  """
  missing = encoder.hidden_size - encoder.attention_width

  def fill(layer):
    attention = dict(layer["attention"])
    for name in ("query", "key", "value"):
      attention[name] = jax.tree.map(
          lambda x: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]),
          attention[name],
      )
    output = attention["output"]
    kernel = np.pad(output["kernel"], [(0, missing), (0, 0)])
    attention["output"] = {**output, "kernel": kernel}
    return {**layer, "attention": attention}

  return {
      name: fill(part) if name.startswith("layer_") else part
      for name, part in params.items()
  }


def _units_of(heads: Sequence[int], head_width: int) -> np.ndarray:
  """Returns the places of heads in what stands side by side of all."""
  return (
      np.asarray(heads)[:, None] * head_width + np.arange(head_width)
  ).ravel()


def _pruned_layer(layer: Params, units: Any, columns: Any) -> Params:
  attention = layer["attention"]
  return {
      **layer,
      "attention": {
          **{
              name: jax.tree.map(lambda x: x[..., units], attention[name])
              for name in ("query", "key", "value")
          },
          "output": _with_rows(attention["output"], units),
      },
      "intermediate": jax.tree.map(
          lambda x: x[..., columns], layer["intermediate"]
      ),
      "output": _with_rows(layer["output"], columns),
  }


def _with_rows(linear: Params, rows: Any) -> Params:
  return {**linear, "kernel": linear["kernel"][rows]}
