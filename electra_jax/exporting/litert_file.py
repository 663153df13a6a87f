"""LiteRT: JAX -> StableHLO -> litert-converter, int8, int4 by ai-edge-quantizer.

GELU and the lookup of words are handed over as composites that the converter
knows: as plain operations the one becomes twenty nodes each, and the table of
the other is left out by the quantizer.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from electra_jax.exporting.forward import forward
from electra_jax.exporting.jax_operations import JaxOperations
from electra_jax.exporting.networks import BATCH, LENGTH, SLOTS, Network

# A phone reads one text at a time, and guesses one token of it.
_FIXED = {BATCH: 1, SLOTS: 1}
_TAKEN = -1e30  # Below any log-probability.
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}


class LitertOperations(JaxOperations):
  """The operations of JAX, two of them as the converter's composites."""

  def lookup(self, table, ids):
    def take(ids, table):
      return jnp.take(table, ids, axis=0, mode="clip")

    rows = jax.lax.composite(take, name="odml.embedding_lookup")(
        ids.reshape(-1), table
    )
    return rows.reshape(*ids.shape, table.shape[1])

  def project(self, x, kernel, bias):
    # An addition the converter would move behind the next products, which
    # then round other numbers than those that were trained on.
    return self.affine(x, kernel, None) - (-bias)[None, None]

  def gelu(self, x):
    def exact(x, *, approximate):
      del approximate
      return JaxOperations.gelu(self, x)

    # Without the attribute the converter leaves the composite as it is.
    composite = jax.lax.composite(exact, name="aten.gelu.default")
    return composite(x, approximate="none")

  def top(self, x, count):
    # One after the other: the converter reads no top_k of this JAX.
    places = jnp.arange(x.shape[-1]).reshape((1,) * (x.ndim - 1) + (-1,))
    values, index = [], []
    for _ in range(count):
      index.append(jnp.argmax(x, axis=-1).astype(jnp.int32))
      values.append(jnp.max(x, axis=-1))
      x = jnp.where(places == index[-1][..., None], _TAKEN, x)
    return jnp.stack(values, axis=-1), jnp.stack(index, axis=-1)


def signature(length: int) -> str:
  """Returns the name of the program for rows of a length."""
  return f"length_{length}"


def write_litert(
    path: pathlib.Path, network: Network, lengths: Sequence[int]
) -> None:
  """Writes a network as one program for each length; weights stand once."""
  with _quiet():
    from litert_converter import converter_api_ext as converter
    from litert_converter.mlir import ir, passmanager

  with ir.Context() as context:
    converter.prepare_mlir_context(context)
    modules = [_module(network, length) for length in lengths]
    module = modules[0]
    if len(modules) > 1:
      module = converter.merge_modules(modules)
    converter.run_convert_to_tfl_passes(
        module, passmanager.PassManager(), converter.ConvertToTFLConfig()
    )
    converter.export_flatbuffer_to_file(module.operation, str(path))


def quantize_litert(
    source: pathlib.Path, target: pathlib.Path, dtype: str = "int8"
) -> None:
  """Writes a file with small weights; activations are rounded as they come.

  What it computes is what `models.quantization` trains with.

  Args:
    source: of the float32 file.
    target: to be written.
    dtype: of weights, "int8" or "int4"; activations get 8 bits in either case.
  """
  from ai_edge_quantizer import quantizer, recipe

  recipes = {"int8": recipe.dynamic_wi8_afp32, "int4": recipe.dynamic_wi4_afp32}
  tool = quantizer.Quantizer(str(source))
  tool.load_quantization_recipe(recipes[dtype]())
  with contextlib.redirect_stderr(io.StringIO()):  # Its bars of progress.
    made = tool.quantize(
        enable_progress_bar=False, enable_progress_report=False
    )
  target.write_bytes(made.quantized_model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps the converter's C++ from greeting on standard error."""
  saved = {name: os.environ.get(name) for name in _QUIET}
  os.environ.update(_QUIET)
  try:
    yield
  finally:
    for name, value in saved.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value


def _module(network: Network, length: int) -> Any:
  """Returns the program for one length, in the converter's own context."""
  from litert_converter import converter_api_ext as converter
  from litert_converter.mlir import ir

  names = [port.name for port in network.inputs]
  sizes = _FIXED | {LENGTH: length}
  shapes = [
      jax.ShapeDtypeStruct([sizes.get(x, x) for x in port.shape], jnp.int32)
      for port in network.inputs
  ]
  params = jax.tree.map(jnp.asarray, network.params)

  def program(*values):
    inputs = dict(zip(names, values, strict=True))
    outputs = forward(LitertOperations(), network, params, inputs)
    return [outputs[port.name] for port in network.outputs]

  lowered = jax.jit(program).lower(*shapes).compiler_ir("stablehlo")
  content = io.BytesIO()
  lowered.operation.write_bytecode(file=content)
  module = ir.Module.parse(content.getvalue())
  name = signature(length)
  (main,) = (op for op in module.body.operations if str(op.name) == '"main"')
  main.operation.attributes["sym_name"] = ir.StringAttr.get(name)
  converter.set_signature(
      main.operation, name, names, [port.name for port in network.outputs]
  )
  return module
