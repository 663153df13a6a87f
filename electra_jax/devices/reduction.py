"""Sums over a batch that is split over devices, each reduced once.

Left to itself XLA reduces a gradient wherever one arises: at each use of a
shared table, and in each micro-batch. Here every device computes on its own
rows with whole parameters until its sums are complete; then they are added up.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from electra_jax.devices.sharding import AXES, BATCH_AXES, batch_shards
from electra_jax.shapes import Params

# (params, examples, weights) -> what adds up over the rows of the examples.
SumFn = Callable[[Params, Any, Any], Any]


def sum_over_devices(
    compute: SumFn, mesh: Mesh, shardings: Any, *, has_gradients: bool = True
) -> SumFn:
  """Runs `compute` on every device's rows and adds up what it returns.

  Parameters that "fsdp" splits are gathered before and their gradients split
  after: one all-gather, one reduce-scatter and one all-reduce a step, whatever
  happens in between. The axis "tensor" is left to XLA, which then also gathers
  and splits.

  Args:
    compute: its sums over disjoint rows add up to those over all of them.
    mesh: the devices.
    shardings: of the parameters, by `sharding.params_shardings`.
    has_gradients: whether `compute` returns a pair, of which the first is laid
      out as the parameters.
  """
  if batch_shards(mesh) == 1:
    return compute
  axes, specs = set(AXES), jax.tree.map(lambda where: where.spec, shardings)
  if mesh.shape["tensor"] > 1:
    axes, specs = set(BATCH_AXES), jax.tree.map(lambda _: P(), shardings)

  def on_one_device(params, examples, weights):
    whole = jax.tree.map(_gather, params, specs)
    sums = compute(whole, examples, weights)
    if not has_gradients:
      return jax.lax.psum(sums, BATCH_AXES)
    grads, sums = sums
    grads = jax.tree.map(_reduce, grads, specs)
    return grads, jax.lax.psum(sums, BATCH_AXES)

  return jax.shard_map(
      on_one_device,
      mesh=mesh,
      in_specs=(specs, P(BATCH_AXES), P()),
      out_specs=(specs, P()) if has_gradients else P(),
      axis_names=axes,
      check_vma=False,  # Kernels do not say over which axes they vary.
  )


def _gather(leaf: jax.Array, spec: P) -> jax.Array:
  if "fsdp" not in spec:
    return leaf
  whole = jax.lax.all_gather(leaf, "fsdp", axis=spec.index("fsdp"), tiled=True)
  # Else XLA gathers anew for each use, at the precision of each.
  return jax.lax.optimization_barrier(whole)


def _reduce(gradient: jax.Array, spec: P) -> jax.Array:
  if "fsdp" not in spec:
    return jax.lax.psum(gradient, BATCH_AXES)
  part = jax.lax.psum_scatter(
      gradient, "fsdp", scatter_dimension=spec.index("fsdp"), tiled=True
  )
  return jax.lax.psum(part, "data")
