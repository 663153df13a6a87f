"""Which way attention is computed, and how it is split over the devices."""

import dataclasses
import functools
import importlib
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from electra_jax.devices.sharding import BATCH_AXES, mesh_here
from electra_jax.errors import UserError
from electra_jax.models import tpu_attention
from electra_jax.models.attention import (
    SOURCE_TO_TARGET,
    AttentionConfig,
    attend,
)
from electra_jax.shapes import Hidden

PATHS = ("auto", "xla", "fused")
_OLDEST_GPU = 8.0  # Compute capability from which kernels multiply bfloat16.
_TOLERANCE = 0.05  # Of what kernel and plain attention differ by in bfloat16.

_log = logging.getLogger(__name__)


def make_attend(path: str, mesh: Mesh) -> Callable[..., Hidden]:
  """Returns how the programs of a mesh compute attention.

  All ways zero the same probabilities in dropout and agree to rounding.

  Args:
    path: "xla": scores and probabilities are arrays; "fused": they stay
      inside a kernel, for TPUs or NVIDIA GPUs (on a CPU the TPU's is
      interpreted, for tests); "auto": fused for bfloat16 where there is a
      kernel that rows and heads fit and that agrees with plain attention on
      this very device, else xla.
    mesh: the devices.

  Raises:
    UserError: there is no such path, now; or a row that does not fit the
      fused one, when the program is traced.
  """
  if path not in PATHS:
    raise UserError(
        f"config.model.attention is {path!r}; it must be one of"
        f" {', '.join(PATHS)}"
    )
  device = mesh.devices.flat[0]
  if path == "xla" or (path == "auto" and not is_trusted(device)):
    return attend
  kernels = _kernels_of(device.platform)
  fused_attend = functools.partial(
      kernels.fused_attend, interpret=device.platform == "cpu"
  )

  def choose(config: AttentionConfig, query: Hidden, *rest) -> Hidden:
    _, length, width = query.shape
    if path == "auto" and query.dtype != jnp.bfloat16:
      return attend(config, query, *rest)
    if config.direction == SOURCE_TO_TARGET:
      if path == "auto":
        return attend(config, query, *rest)
      raise UserError(
          "config.model.attention is 'fused', and the mask of a source with"
          " its target behind it has no kernel; set it to 'auto'"
      )
    if kernels.fits(length, width, config.num_heads):
      return _on_each_device(mesh, fused_attend, config, query, *rest)
    if path == "auto":
      return attend(config, query, *rest)
    raise UserError(
        f"config.model.attention is 'fused', and rows of {length} tokens with"
        f" {config.num_heads} heads in a width of {width} do not fit its"
        f" kernel, which takes up to {kernels.LONGEST} tokens, a multiple of"
        f" {kernels.MULTIPLE}; set it to 'auto'"
    )

  return choose


def agrees(fused_attend: Callable[..., Hidden]) -> bool:
  """Whether a kernel gives what plain attention gives, gradients included.

  Runs both on made-up rows, on the device where arrays are made.
  """
  batch, length, heads, width = 2, 256, 2, 128
  rng = np.random.default_rng(0)
  *qkv, gradient = (
      jnp.asarray(rng.normal(size=(batch, length, width)), jnp.bfloat16)
      for _ in range(4)
  )
  positions = jnp.arange(length)[None]
  mask = (positions < jnp.array([[length], [length - 9]])).astype(jnp.int32)
  seeds = jnp.asarray(rng.integers(0, 2**32, mask.shape), jnp.uint32)

  @functools.partial(jax.jit, static_argnums=0)
  def both(way, *qkv):
    def run(*qkv):
      config = AttentionConfig(heads, dropout=0.1)
      return way(config, *qkv, mask, positions, seeds)

    mixed, pull = jax.vjp(run, *qkv)
    return mixed, *pull(gradient)

  pairs = zip(both(attend, *qkv), both(fused_attend, *qkv), strict=True)
  return all(
      np.allclose(
          np.float32(x), np.float32(y), rtol=_TOLERANCE, atol=_TOLERANCE
      )
      for x, y in pairs
  )


@functools.cache
def is_trusted(device: Any) -> bool:
  """Whether "auto" may take the kernel on a device; warns where it is wrong."""
  if device.platform not in ("tpu", "gpu"):
    return False
  if device.platform == "gpu":
    capability = getattr(device, "compute_capability", _OLDEST_GPU)
    is_nvidia = "NVIDIA" in device.device_kind
    if not is_nvidia or float(capability) < _OLDEST_GPU:
      return False
  if device not in jax.devices():
    return True  # Only compiled for, as by `plan`.
  try:
    with jax.default_device(jax.local_devices()[0]):
      is_right = agrees(_kernels_of(device.platform).fused_attend)
    reason = "differs from plain attention"
  except Exception as error:  # Whatever it is, there is another way.
    is_right, reason = False, " ".join(str(error).split())[:200]
  if not is_right:
    _log.warning(
        "the attention kernel of %s is left out, since it %s; training goes"
        " on without, more slowly",
        device.device_kind,
        reason,
    )
  return is_right


def _kernels_of(platform: str) -> ModuleType:
  if platform == "gpu":  # Triton's part of jax is left alone elsewhere.
    return importlib.import_module("electra_jax.models.gpu_attention")
  return tpu_attention


def _on_each_device(mesh, fused_attend, config, query, key, value, *rest):
  # The compiler cannot split a kernel: each device runs it on its rows, and on
  # its heads where they divide over the tensor axis.
  here, axes = mesh_here(mesh)
  if not axes:
    return fused_attend(config, query, key, value, *rest)
  input_mask, positions, dropout_seeds = rest
  rows = tuple(axis for axis in BATCH_AXES if axis in axes)
  parts = mesh.shape["tensor"]
  is_split = config.num_heads % parts == 0
  local = config
  if is_split:
    local = dataclasses.replace(config, num_heads=config.num_heads // parts)

  def run(*arrays):
    first_head = 0
    if is_split:
      first_head = jax.lax.axis_index("tensor") * local.num_heads
    return fused_attend(local, *arrays, first_head)

  hidden = P(rows, None, "tensor" if is_split else None)
  tokens = P(rows, None)
  one_row = positions.shape[0] == 1 != query.shape[0]
  return jax.shard_map(
      run,
      mesh=here,
      in_specs=(
          *(hidden,) * 3,
          tokens,
          P() if one_row else tokens,
          None if dropout_seeds is None else tokens,
      ),
      out_specs=hidden,
      axis_names=set(axes),
      check_vma=False,  # A kernel does not say over which axes it varies.
  )(query, key, value, input_mask, positions, dropout_seeds)
