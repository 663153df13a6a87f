"""What `plan` found, as a table for people and JSON for machines."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from electra_jax import files

_HOURS_PER_DAY, _SECS_PER_HOUR = 24, 3600


@dataclasses.dataclass(frozen=True)
class Plan:
  """A run on devices that need not be there.

  Attributes:
    topology: as asked for.
    device_kind: as jax names it.
    num_devices: in the topology.
    mesh: size of each axis.
    batch_size: rows of a step over all devices.
    length: tokens of a row.
    accumulation_steps: micro-batches of a step.
    rows_per_device: of a step.
    remat: what the backward pass computes again.
    num_steps: of the run.
    parameters: by part of the networks.
    flops_per_step: model FLOPs, see models/flops.py.
    memory: bytes of one device by use, or None where the step does not fit.
    needed_bytes: of one device in all.
    limit_bytes: what one device has, or None where it is not known.
    collectives: of a step, by kind; bytes of the whole arrays on one device.
    least_gradient_bytes: of one reduction of all gradients in float32.
    suggestion: values of the config with which the step fits, where the
      config's do not; empty where none were found or none are needed.
    suggested_bytes: what it needs then, compiled.
    peak_tflops: dense bfloat16 TFLOP/s of a device, or None.
    efficiency: model FLOPs utilisation that was counted on.
    compute_secs: of a step, at that efficiency; None without a peak.
    exposed_network_secs: of collectives that nothing hides.
    hidden_network_secs: of those that run beside computation.
    price: of one device for one hour, or None.
    lower_secs: Python to StableHLO.
    compile_secs: StableHLO to a program, here.
    estimated_cycles: the TPU compiler's count for a step, its kernels left
      out; 0 elsewhere.
  """

  topology: str
  device_kind: str
  num_devices: int
  mesh: Mapping[str, int]
  batch_size: int
  length: int
  accumulation_steps: int
  rows_per_device: int
  remat: str
  num_steps: int
  parameters: Mapping[str, int]
  flops_per_step: int
  memory: Mapping[str, int] | None
  needed_bytes: int
  limit_bytes: int | None
  collectives: Mapping[str, Any]
  least_gradient_bytes: int
  suggestion: Mapping[str, Any]
  suggested_bytes: int | None
  peak_tflops: float | None
  efficiency: float
  compute_secs: float | None
  exposed_network_secs: float | None
  hidden_network_secs: float | None
  price: float | None
  lower_secs: float
  compile_secs: float
  estimated_cycles: int

  @property
  def fits(self) -> bool | None:
    """Whether the step fits as the config has it; None: not known."""
    if self.limit_bytes is None:
      return None
    return self.needed_bytes <= self.limit_bytes

  @property
  def step_secs(self) -> float | None:
    """Of one step, or None without a peak."""
    if self.compute_secs is None:
      return None
    return (
        max(self.compute_secs, self.hidden_network_secs)
        + self.exposed_network_secs
    )

  @property
  def device_hours(self) -> float | None:
    """Of the whole run, or None without a peak."""
    if self.step_secs is None:
      return None
    secs = self.num_steps * self.step_secs
    return self.num_devices * secs / _SECS_PER_HOUR

  @property
  def cost(self) -> float | None:
    """Of the whole run in the price's currency."""
    if self.price is None or self.device_hours is None:
      return None
    return self.price * self.device_hours

  def to_json(self) -> str:
    """Returns everything as one JSON object."""
    own = ("fits", "step_secs", "device_hours", "cost")
    values = dataclasses.asdict(self) | {
        name: getattr(self, name) for name in own
    }
    return files.to_json(values, indent=1) + "\n"

  def table(self) -> str:
    """Returns what a person wants to know, a line each."""
    return "\n".join(f"{name:<14}{text}" for name, text in self._lines())

  def _lines(self) -> Iterator[tuple[str, str]]:
    yield "topology", (
        f"{self.topology}: {self.num_devices} x {self.device_kind}, mesh"
        f" {dict(self.mesh)}"
    )
    listed = ", ".join(f"{n} {size:,}" for n, size in self.parameters.items())
    yield "parameters", f"{sum(self.parameters.values()):,} ({listed})"
    yield "batch", (
        f"{self.batch_size} rows of {self.length} tokens,"
        f" {self.rows_per_device} a device, {self.accumulation_steps}"
        f" micro-batch{'es' if self.accumulation_steps > 1 else ''}, remat"
        f" {self.remat}"
    )
    yield "model FLOPs", f"{self.flops_per_step:.3e} a step"
    yield "memory", self._memory()
    if self.fits is False:
      yield "instead", self._instead()
    for name, kind in sorted(self.collectives.items()):
      sizes = ", ".join(
          f"{n / 1e6:,.1f} MB {t}" for t, n in kind["bytes"].items()
      )
      yield name, (
          f"{kind['executions']} a step, {kind['asynchronous']} of"
          f" {kind['instructions']} beside computation: {sizes}"
      )
    yield "gradients", (
        f"{self.least_gradient_bytes / 1e6:,.1f} MB in float32: the least that"
        " is reduced over the data axis"
    )
    yield from self._times()
    yield "compiled in", f"{self.lower_secs + self.compile_secs:.0f} s"

  def _memory(self) -> str:
    needed = f"{self.needed_bytes / 2**30:.2f} GiB a device"
    if self.memory is not None:
      parts = ", ".join(f"{n} {x / 2**30:.2f}" for n, x in self.memory.items())
      needed += f" ({parts})"
    if self.limit_bytes is None:
      return needed
    verdict = "fits" if self.fits else "does NOT fit"
    return f"{needed} of {self.limit_bytes / 2**30:.2f}: {verdict}"

  def _instead(self) -> str:
    if not self.suggestion:
      return (
          "nothing that was tried fits; take more devices, or a smaller"
          " config.train.batch_size"
      )
    flags = " ".join(f"--config.{k}={v}" for k, v in self.suggestion.items())
    return f"{flags} needs {self.suggested_bytes / 2**30:.2f} GiB: fits"

  def _times(self) -> Iterator[tuple[str, str]]:
    if self.step_secs is None:
      yield "time", f"left out: no peak FLOP/s for {self.device_kind}"
      return
    yield "step", (
        f"{1e3 * self.step_secs:,.1f} ms: {1e3 * self.compute_secs:,.1f} of"
        f" computation at {self.efficiency:.0%} of {self.peak_tflops:g}"
        f" TFLOP/s, {1e3 * self.exposed_network_secs:,.1f} of waiting for the"
        f" network, {1e3 * self.hidden_network_secs:,.1f} of it hidden"
    )
    yield "speed", f"{self.batch_size / self.step_secs:,.0f} sequences/s"
    days = self.num_steps * self.step_secs / _SECS_PER_HOUR / _HOURS_PER_DAY
    yield "run", (
        f"{self.num_steps:,} steps: {days:,.2f} days, {self.device_hours:,.0f}"
        " device-hours"
    )
    if self.cost is not None:
      yield "cost", (
          f"{self.cost:,.2f} at {self.price:g} a device and hour, without"
          " evaluation, checkpoints and failures"
      )
