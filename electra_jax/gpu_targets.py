"""NVIDIA GPUs as XLA's compiler wants them described, to compile without one."""

from typing import NamedTuple


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
