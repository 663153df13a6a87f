"""Chips as their makers describe them, and devices to compile for without one.

The compilers come with the extras "tpu" and "gpu"; they take the shape of a
slice, or the description of a GPU, in place of devices, and need none.
"""

import os
import re
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from electra_jax.errors import UserError

HERE = "here"


class Chip(NamedTuple):
  """One device.

  Attributes:
    kind: what jax calls it, as a regular expression.
    peak_tflops: dense bfloat16 TFLOP/s.
    memory_gib: what a program may take.
    network_gb_per_sec: 10⁹ bytes that all its links send in a second, within
      a slice or a box.
    far_gb_per_sec: the same between boxes; None within slices of TPUs.
    has_sparse_cores: whether small cores beside the large ones can reduce
      arrays over the devices while the large ones compute.
  """

  kind: str
  peak_tflops: float
  memory_gib: float
  network_gb_per_sec: float
  far_gb_per_sec: float | None = None
  has_sparse_cores: bool = False


# Peaks and links: Google, "Cloud TPU system architecture" (interchip
# interconnect, one way); NVIDIA, data sheets of the chips (NVLink, one way) and
# of DGX systems (a network card for each). Memory of TPUs: what the compiler
# says of a program that does not fit; of GPUs: the three quarters of the card
# that jax takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
CHIPS = {
    "v4": Chip(r"TPU v4", 275.0, 30.75, 300.0),
    "v5e": Chip(r"TPU v5( lite|e)", 197.0, 15.75, 200.0),
    "v5p": Chip(r"TPU v5p?", 459.0, 95.74, 600.0, has_sparse_cores=True),
    "v6e": Chip(r"TPU v6( lite|e)", 918.0, 31.25, 448.0, has_sparse_cores=True),
    "h100": Chip(r"NVIDIA H100 80GB HBM3", 989.0, 59.3, 450.0, 50.0),
    "h200": Chip(r"NVIDIA H200", 989.0, 104.7, 450.0, 50.0),
    "a100": Chip(
        r"(NVIDIA )?A100(-SXM4-80GB| 80GB PCIe)", 312.0, 59.3, 300.0, 25.0
    ),
    "a100-40": Chip(
        r"(NVIDIA )?A100-(SXM4-40GB|PCIE-40GB)", 312.0, 29.6, 300.0, 25.0
    ),
}
GPUS_OF_A_BOX = 8
_REDUCE_ON_SPARSE_CORES = {
    "xla_tpu_enable_sparse_core_collective_offload_all_reduce": "true",
    "xla_tpu_use_tc_device_shape_on_sc": "true",
    "xla_sc_disable_megacore_partitioning": "true",
    "xla_sc_enable_instruction_fusion": "false",
}
_TPUS = ("v4", "v5e", "v5p", "v6e")
_SLICE = re.compile(r"(\w+):(\d+)x(\d+)(?:x(\d+))?")
_BOXES = re.compile(r"(\w+):(?:(\d+)x)?(\d+)")


def chip_of(device_kind: str) -> Chip | None:
  """Returns the chip that jax calls so, or None."""
  for chip in CHIPS.values():
    if re.fullmatch(chip.kind, device_kind):
      return chip
  return None


def memory_of(device: Any) -> int | None:
  """Returns the bytes that programs may take of a device, where known.

  Args:
    device: one of this machine, or of `devices_of`.
  """
  if chip := chip_of(device.device_kind):  # The same on all hosts.
    return round(chip.memory_gib * 2**30)
  stats = device.memory_stats() if device in jax.local_devices() else None
  return (stats or {}).get("bytes_limit")


def reduction_options(device: Any) -> dict[str, str]:
  """Returns the compiler's options that let reductions run beside products.

  GPUs need none; TPUs without SparseCores have none.
  """
  chip = chip_of(device.device_kind)
  return dict(_REDUCE_ON_SPARSE_CORES if chip and chip.has_sparse_cores else {})


def keep_arrays_on_the_cpu() -> None:
  """Keeps arrays of a process that only compiles on the CPU; call it first.

  The TPU library must not look for a TPU, nor ask what machine it is on.
  """
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-1")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  jax.config.update("jax_platforms", "cpu")


def devices_of(topology: str) -> list[Any]:
  """Returns the devices of a topology, to compile for.

  Args:
    topology: "v5e:4x4" and the like, a TPU slice by its shape in chips;
      "h100:8" or "h100:4x8", GPUs of one box, or boxes by the GPUs of each;
      or "here", the devices of this machine.

  Raises:
    UserError: no such topology, or the compiler for it is not installed.
  """
  if topology == HERE:
    return jax.devices()
  if (match := _SLICE.fullmatch(topology)) and match[1] in _TPUS:
    return _slice_of_tpus(topology, [int(n) for n in match.groups()[1:] if n])
  if (match := _BOXES.fullmatch(topology)) and match[1] in GPU_TARGETS:
    return _boxes_of_gpus(topology, match[1], int(match[2] or 1), int(match[3]))
  raise UserError(
      f"--topology {topology!r} is neither {HERE!r} nor one to compile for;"
      f" name one of {', '.join(_TPUS)} and its shape in chips, such as v5e:4x4"
      f" or v5p:2x2x4, or one of {', '.join(GPU_TARGETS)} and how many, such as"
      " h100:8, or h100:4x8 for four boxes"
  )


def _slice_of_tpus(topology: str, shape: list[int]) -> list[Any]:
  options = {}
  if topology.startswith("v4:"):
    options["chip_config_name"] = "megacore"  # One device per chip.
  if shape == [1, 1]:
    options["chips_per_host_bounds"] = [1, 1, 1]
  try:
    found = topologies.get_topology_desc(
        platform="tpu", topology_name=topology, **options
    )
  except (RuntimeError, ValueError, NotImplementedError) as error:
    reason = " ".join(str(error).split())
    if "INVALID_ARGUMENT" in reason:
      raise UserError(
          f"--topology {topology} is no slice that the TPU compiler knows:"
          f" {reason}; give the shape of a real one, such as v5e:4x4"
      ) from error
    raise UserError(
        f"--topology {topology} needs the TPU compiler, and it does not"
        f' start here: {reason}; install it with pip install "jax[tpu]"'
    ) from error
  return list(found.devices)


def _boxes_of_gpus(topology: str, name: str, boxes: int, gpus: int):
  if not 0 < gpus <= GPUS_OF_A_BOX or boxes < 1:
    raise UserError(
        f"--topology {topology} asks for {boxes} boxes of {gpus} GPUs; give at"
        f" least one box and 1 to {GPUS_OF_A_BOX} GPUs in each, such as"
        f" {name}:4x8"
    )
  try:
    found = topologies.get_topology_desc(
        platform="cuda",
        target_config=GPU_TARGETS[name].to_text(),
        topology=f"1x{boxes}x{gpus}",
    )
  except (RuntimeError, ValueError, NotImplementedError) as error:
    reason = " ".join(str(error).split())
    raise UserError(
        f"--topology {topology} needs the compiler for NVIDIA GPUs, and it does"
        f' not start here: {reason}; install it with pip install "jax[cuda12]"'
    ) from error
  return list(found.devices)


class GpuTarget(NamedTuple):
  """What a compiler must know of a GPU.

  Attributes:
    name: as CUDA tells it.
    capability: compute capability, major number; the minor one is 0.
    cores: streaming multiprocessors.
    fpus_per_core: float32 units of each.
    shared_bytes: shared memory that one block may take.
    shared_bytes_per_core: shared memory of a multiprocessor.
    memory_bytes: as CUDA tells it.
    memory_bytes_per_sec: bandwidth.
    cache_bytes: of the second level.
    clock_ghz: boost clock.
  """

  name: str
  capability: int
  cores: int
  fpus_per_core: int
  shared_bytes: int
  shared_bytes_per_core: int
  memory_bytes: int
  memory_bytes_per_sec: float
  cache_bytes: int
  clock_ghz: float

  def to_text(self) -> str:
    """Returns the description in protocol buffer text."""
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {self.shared_bytes}
  shared_memory_per_core: {self.shared_bytes_per_core}
  threads_per_core_limit: 2048
  core_count: {self.cores}
  fpus_per_core: {self.fpus_per_core}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  memory_bandwidth: {int(self.memory_bytes_per_sec)}
  device_memory_size: {self.memory_bytes}
  l2_cache_size: {self.cache_bytes}
  clock_rate_ghz: {self.clock_ghz}
  cuda_compute_capability {{ major: {self.capability} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{self.name}"
"""


_MIB = 2**20
# CUDA's programming guide, compute capabilities 8.0 and 9.0; the data sheets.
_A100 = GpuTarget(
    "NVIDIA A100-SXM4-80GB",
    capability=8,
    cores=108,
    fpus_per_core=64,
    shared_bytes=163 * 1024,
    shared_bytes_per_core=164 * 1024,
    memory_bytes=81_000 * _MIB,
    memory_bytes_per_sec=2.039e12,
    cache_bytes=40 * _MIB,
    clock_ghz=1.41,
)
_H100 = GpuTarget(
    "NVIDIA H100 80GB HBM3",
    capability=9,
    cores=132,
    fpus_per_core=128,
    shared_bytes=227 * 1024,
    shared_bytes_per_core=228 * 1024,
    memory_bytes=81_000 * _MIB,
    memory_bytes_per_sec=3.35e12,
    cache_bytes=50 * _MIB,
    clock_ghz=1.98,
)
_H200 = _H100._replace(
    name="NVIDIA H200",
    memory_bytes=143_000 * _MIB,
    memory_bytes_per_sec=4.8e12,
)
GPU_TARGETS = {"a100": _A100, "h100": _H100, "h200": _H200}
