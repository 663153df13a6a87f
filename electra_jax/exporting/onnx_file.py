"""ONNX: a graph straight from the parameters, and int8 by onnxruntime."""

import contextlib
import logging
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from electra_jax import __version__
from electra_jax.errors import UserError
from electra_jax.exporting.forward import forward
from electra_jax.exporting.networks import Network, Port
from electra_jax.exporting.onnx_operations import OnnxOperations
from electra_jax.trees import count_parameters

OPSET, IR_VERSION = 20, 10  # The first opset with Gelu, and its IR.
_MOST_BYTES = 2**31 - 2**24  # A protocol buffer ends at 2 GiB.


def write_onnx(path: pathlib.Path, network: Network) -> None:
  """Writes a network, batch and length of any size, and checks the file.

  Raises:
    UserError: it is too large for a file of ONNX.
  """
  check_size(count_parameters(network.params))
  ops = OnnxOperations(network.params)
  inputs = {port.name: port.name for port in network.inputs}
  outputs = forward(ops, network, network.params, inputs)
  write_graph(path, ops, outputs, network.inputs, network.outputs)


def check_size(num_parameters: int) -> None:
  """Raises a UserError where parameters are too many for one file of ONNX."""
  if 4 * num_parameters > _MOST_BYTES:
    raise UserError(
        f"the network has {4 * num_parameters:,} bytes of parameters and a file"
        f" of ONNX holds {_MOST_BYTES:,}; choose --to stablehlo"
    )


def write_graph(
    path: pathlib.Path,
    ops: OnnxOperations,
    outputs: Mapping[str, str],
    ports_in: Sequence[Port],
    ports_out: Sequence[Port],
) -> None:
  """Writes the nodes that some outputs need, and checks the file.

  Args:
    path: of the file.
    ops: what has been computed.
    outputs: values by the names of `ports_out`.
    ports_in: what goes in.
    ports_out: what comes out.
  """
  import onnx
  from onnx import helper

  for name, value in outputs.items():
    ops.name_output(value, name)
  nodes, needed = _needed(ops.nodes, [port.name for port in ports_out])
  graph = helper.make_graph(
      nodes,
      "electra",
      [_value(port) for port in ports_in],
      [_value(port) for port in ports_out],
      [one for one in ops.initializers if one.name in needed],
  )
  model = helper.make_model(
      graph,
      opset_imports=[helper.make_opsetid("", OPSET)],
      ir_version=IR_VERSION,
      producer_name="electra_jax",
      producer_version=__version__,
  )
  onnx.save_model(model, path)
  onnx.checker.check_model(str(path), full_check=True)


def _needed(nodes: Sequence[Any], outputs: Iterable[str]):
  """Returns the nodes that lead to outputs, and the names that they read."""
  needed, kept = set(outputs), []
  for node in reversed(nodes):
    if needed.intersection(node.output):
      needed.update(node.input)
      kept.append(node)
  return kept[::-1], needed


def quantize_onnx(source: pathlib.Path, target: pathlib.Path) -> None:
  """Writes a file with int8 weights; activations are rounded as they come."""
  from onnxruntime.quantization import QuantType, quantize_dynamic

  with _quiet():
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        # Values whose type is not inferred are float32.
        extra_options={"DefaultTensorType": 1},
    )


def _value(port: Port):
  from onnx import TensorProto, helper

  dtype = {"int32": TensorProto.INT32, "float32": TensorProto.FLOAT}
  return helper.make_tensor_value_info(
      port.name, dtype[port.dtype], port.shape, port.meaning
  )


@contextlib.contextmanager
def _quiet():
  """Keeps the quantizer's advice to preprocess away: nothing is to be fused."""
  logger = logging.getLogger()
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)
