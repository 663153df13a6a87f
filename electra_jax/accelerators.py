"""Chips as their makers describe them, and devices to compile for without one.

The TPU compiler comes with `pip install "electra-jax[tpu]"`; it takes the
shape of a slice in place of devices, and needs no TPU.
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
    memory_gib: what a program may take; None where it was not tried.
    network_gb_per_sec: 10⁹ bytes that all its links send in a second, within
      a slice or a box.
  """

  kind: str
  peak_tflops: float
  memory_gib: float | None
  network_gb_per_sec: float


# Peaks and links: Google, "Cloud TPU system architecture" (interchip
# interconnect, one way); NVIDIA, data sheets (NVLink, one way). Memory of TPUs:
# what the compiler says of a program that does not fit.
CHIPS = {
    "v4": Chip(r"TPU v4", 275.0, 30.75, 300.0),
    "v5e": Chip(r"TPU v5( lite|e)", 197.0, 15.75, 200.0),
    "v5p": Chip(r"TPU v5p?", 459.0, 95.74, 600.0),
    "v6e": Chip(r"TPU v6( lite|e)", 918.0, 31.25, 448.0),
    "h100": Chip(r"NVIDIA H100 80GB HBM3", 989.0, None, 450.0),
    "h200": Chip(r"NVIDIA H200", 989.0, None, 450.0),
    "a100": Chip(
        r"(NVIDIA )?A100(-SXM4-[48]0GB|-PCIE-[48]0GB| 80GB PCIe)",
        312.0,
        None,
        300.0,
    ),
}
_TPUS = ("v4", "v5e", "v5p", "v6e")
_NAME = re.compile(r"(\w+):(\d+)x(\d+)(?:x(\d+))?")


def chip_of(device_kind: str) -> Chip | None:
  """Returns the chip that jax calls so, or None."""
  for chip in CHIPS.values():
    if re.fullmatch(chip.kind, device_kind):
      return chip
  return None


def keep_arrays_on_the_cpu() -> None:
  """Readies a process that only compiles; call it before anything uses jax.

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
    topology: "v5e:4x4" and the like, a TPU slice by its shape in chips; or
      "here", the devices of this machine.

  Raises:
    UserError: no such slice, or the TPU compiler is not installed.
  """
  if topology == HERE:
    return jax.devices()
  match = _NAME.fullmatch(topology)
  if match is None or match[1] not in _TPUS:
    raise UserError(
        f"--topology {topology!r} is neither {HERE!r} nor a TPU slice; name"
        f" one of {', '.join(_TPUS)} and its shape in chips, such as v5e:4x4"
        " or v5p:2x2x4"
    )
  options = {}
  if match[1] == "v4":
    options["chip_config_name"] = "megacore"  # One device per chip.
  shape = [int(n) for n in match.groups()[1:] if n]
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
