"""StableHLO by jax.export: batch and length of any size, parameters apart."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from electra_jax.exporting.forward import forward
from electra_jax.exporting.jax_operations import JaxOperations
from electra_jax.exporting.networks import BATCH, LENGTH, SLOTS, Network
from electra_jax.trees import path_names

PROGRAM, WEIGHTS = "model.jax_export", "model.safetensors"
PORTABLE = "model.stablehlo"
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write_stablehlo(folder: pathlib.Path, network: Network) -> None:
  """Writes a network's program, for `jax.export` and bare, and its parameters.

  The program takes the parameters, a dict by their paths, and the inputs, a
  dict by their names.
  """
  import safetensors.numpy
  from jax import export

  tree = jax.tree.structure(network.params)
  leaves = path_names(network.params)
  paths = [path for path, _ in leaves]

  def program(params, inputs):
    nested = jax.tree.unflatten(tree, [params[path] for path in paths])
    return forward(JaxOperations(), network, nested, inputs)

  sizes = dict(
      zip(
          (BATCH, LENGTH, SLOTS),
          export.symbolic_shape(
              f"{BATCH}, {LENGTH}, {SLOTS}",
              constraints=(
                  f"{LENGTH} <= {network.longest}",
                  f"{LENGTH} >= {network.shortest}",
              ),
          ),
          strict=True,
      )
  )
  inputs = {
      port.name: jax.ShapeDtypeStruct(
          [sizes.get(x, x) for x in port.shape], jnp.int32
      )
      for port in network.inputs
  }
  shapes = {
      path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
      for path, leaf in leaves
  }
  exported = export.export(jax.jit(program), platforms=_PLATFORMS)(
      shapes, inputs
  )
  (folder / PROGRAM).write_bytes(exported.serialize())
  (folder / PORTABLE).write_bytes(exported.mlir_module_serialized)
  weights = {path: np.ascontiguousarray(leaf) for path, leaf in leaves}
  # Not by save_file, which lets nobody else read the file.
  (folder / WEIGHTS).write_bytes(safetensors.numpy.save(weights))
