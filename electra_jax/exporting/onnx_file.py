"""ONNX: a graph straight from the parameters, and int8 by onnxruntime."""

import contextlib
import logging
import pathlib

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
  import onnx
  from onnx import helper

  num_bytes = 4 * count_parameters(network.params)
  if num_bytes > _MOST_BYTES:
    raise UserError(
        f"the network has {num_bytes:,} bytes of parameters and a file of ONNX"
        f" holds {_MOST_BYTES:,}; choose --to stablehlo"
    )
  ops = OnnxOperations(network.params)
  inputs = {port.name: port.name for port in network.inputs}
  for name, value in forward(ops, network, network.params, inputs).items():
    ops.name_output(value, name)
  graph = helper.make_graph(
      ops.nodes,
      "electra",
      [_value(port) for port in network.inputs],
      [_value(port) for port in network.outputs],
      ops.initializers,
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
