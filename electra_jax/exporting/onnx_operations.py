"""The operations of a forward pass as nodes of an ONNX graph."""

from typing import Any

import numpy as np

from electra_jax.models.attention import MASKED_SCORE
from electra_jax.models.config import LAYER_NORM_EPSILON
from electra_jax.shapes import Params
from electra_jax.trees import path_names


class OnnxOperations:
  """See `forward.Operations`; values are names, parameters are numpy arrays.

  Attributes:
    nodes: of the graph, in their order.
    initializers: its constants; a parameter has its path for a name.
  """

  def __init__(self, params: Params):
    self.nodes: list[Any] = []
    self.initializers: list[Any] = []
    self._paths = {id(leaf): path for path, leaf in path_names(params)}
    self._constants: dict[Any, tuple[str, np.ndarray]] = {}
    self._counts: dict[str, int] = {}

  def lookup(self, table, ids):
    return self._add("Gather", self._constant(table), ids)

  def first_rows(self, table, ids):
    return self._slice(self._constant(table), 0, 0, self._length(ids))

  def scaled_rows(self, row, numbers):
    numbers = self._unsqueeze(self._float(numbers), -1)
    return self._add("Mul", numbers, self._constant(row))

  def add(self, x, y):
    return self._add("Add", x, y)

  def scale(self, x, factor):
    return self._add("Mul", x, self._constant(np.float32(factor)))

  def affine(self, x, kernel, bias):
    product = self._add("MatMul", x, self._constant(kernel))
    if bias is None:
      return product
    return self._add("Add", product, self._constant(bias))

  def project(self, x, kernel, bias):
    return self.affine(x, kernel, bias)

  def tied_logits(self, x, table, bias):
    # Gemm reads the table the other way round, so that it stands once.
    size, width = table.shape
    flat = self._reshape(x, (-1, width))
    rows = self._add(
        "Gemm", flat, self._constant(table), self._constant(bias), transB=1
    )
    leading = self._add("Shape", x, start=0, end=2)
    last = self._constant(np.asarray([size], np.int64))
    return self._add(
        "Reshape", rows, self._add("Concat", leading, last, axis=0)
    )

  def matmul(self, x, y):
    return self._add("MatMul", x, y)

  def layer_norm(self, x, scale, bias):
    return self._add(
        "LayerNormalization",
        x,
        self._constant(scale),
        self._constant(bias),
        axis=-1,
        epsilon=LAYER_NORM_EPSILON,
    )

  def gelu(self, x):
    return self._add("Gelu", x)

  def softmax(self, x):
    return self._add("Softmax", x, axis=-1)

  def log_softmax(self, x):
    return self._add("LogSoftmax", x, axis=-1)

  def heads(self, x, count, *, transposed=False):
    x = self._reshape(x, (0, 0, count, -1))
    order = (0, 2, 3, 1) if transposed else (0, 2, 1, 3)
    return self._add("Transpose", x, perm=order)

  def join_heads(self, x):
    # Two axes of any length and a third cannot be told: batch and length are
    # kept as they are.
    x = self._add("Transpose", x, perm=(0, 2, 1, 3))
    return self._reshape(x, (0, 0, -1))

  def attention_bias(self, mask):
    padding = self._add("Sub", self._scalar(1.0), self._float(mask))
    return self._unsqueeze(self.scale(padding, MASKED_SCORE), 1, 2)

  def context_bias(self, mask, segments, never):
    zero = self._constant(np.int32(0))
    length = self._add("Squeeze", self._length(mask))
    start, step = self._constant(np.int64(0)), self._constant(np.int64(1))
    places = self._add("Range", start, length, step)
    is_context = self._add("Greater", self._add("Mul", mask, segments), zero)
    is_first = self._add("Equal", places, start)
    seen = self._add("Or", is_context, is_first)
    return self._add("Where", seen, self._scalar(0.0), self._scalar(-never))

  def squeeze(self, x):
    return self._add("Squeeze", x, self._axes(-1))

  def first_token(self, x):
    return self._add("Gather", x, self._constant(np.int64(0)), axis=1)

  def rows(self, x):
    return self._unsqueeze(x, 1)

  def gather(self, x, places):
    places = self._add("Cast", places, to=_TYPES["int64"])
    places = self._unsqueeze(places, -1)
    return self._add("GatherND", x, places, batch_dims=1)

  def one_slot(self, x, slot):
    return self._slice(x, 1, slot, self._axes(slot + 1))

  def top(self, x, count):
    values, index = self._add("TopK", x, self._axes(count), num_outputs=2)
    return values, self._add("Cast", index, to=_TYPES["int32"])

  def join(self, x, y):
    return self._add("Concat", x, y, axis=-1)

  def stack(self, parts):
    parts = [self._unsqueeze(part, 1) for part in parts]
    return self._add("Concat", *parts, axis=1)

  def mean_token(self, x, mask):
    mask = self._float(mask)
    count = self._add("ReduceSum", mask, self._axes(1), keepdims=1)
    shares = self._unsqueeze(self._add("Div", mask, count), 1)  # [B, 1, L]
    return self._add("Squeeze", self._add("MatMul", shares, x), self._axes(1))

  def largest_token(self, x, mask):
    padding = self._add("Sub", self._scalar(1.0), self._float(mask))
    never = self._unsqueeze(self.scale(padding, _NEVER), -1)
    x = self._add("Add", x, never)
    return self._add("ReduceMax", x, self._axes(1), keepdims=0)

  def first_columns(self, x, count):
    return self._slice(x, 1, 0, self._axes(count))

  def unit(self, x):
    norm = self._add("ReduceL2", x, self._axes(-1), keepdims=1)
    return self._add("Div", x, self._add("Max", norm, self._scalar(1e-12)))

  def name_output(self, value: str, name: str) -> None:
    """Gives a value the name of an output."""
    import onnx.helper

    self.nodes.append(onnx.helper.make_node("Identity", [value], [name]))

  def _add(self, kind: str, *inputs: str, num_outputs: int = 1, **attributes):
    import onnx.helper

    names = [self._fresh(kind) for _ in range(num_outputs)]
    self.nodes.append(
        onnx.helper.make_node(
            kind, list(inputs), names, name=names[0], **attributes
        )
    )
    return names[0] if num_outputs == 1 else names

  def _constant(self, array) -> str:
    """Returns the name of a constant; equal small ones stand once."""
    import onnx.numpy_helper

    array = np.asarray(array)
    key = (
        (array.dtype.str, array.shape, array.tobytes())
        if array.size < 64 and id(array) not in self._paths
        else id(array)
    )
    if key not in self._constants:
      name = self._paths.get(id(array)) or self._fresh("constant")
      self.initializers.append(
          onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
      )
      # The array is kept: an id is of one array as long as that lives.
      self._constants[key] = name, array
    return self._constants[key][0]

  def _fresh(self, kind: str) -> str:
    number = self._counts[kind] = self._counts.get(kind, -1) + 1
    return f"{kind}_{number}"

  def _scalar(self, number: float) -> str:
    return self._constant(np.float32(number))

  def _axes(self, *axes: int) -> str:
    return self._constant(np.asarray(axes, np.int64))

  def _float(self, x: str) -> str:
    return self._add("Cast", x, to=_TYPES["float32"])

  def _length(self, ids: str) -> str:
    return self._add("Shape", ids, start=1, end=2)

  def _reshape(self, x: str, shape: tuple[int, ...]) -> str:
    return self._add("Reshape", x, self._axes(*shape))

  def _slice(self, x: str, axis: int, start: int, end: str) -> str:
    return self._add("Slice", x, self._axes(start), end, self._axes(axis))

  def _unsqueeze(self, x: str, *axes: int) -> str:
    return self._add("Unsqueeze", x, self._axes(*axes))


_NEVER = -1e30  # Added to the states of padding, which are compared.
# Of onnx.TensorProto.
_TYPES = {"float32": 1, "int32": 6, "int64": 7}
