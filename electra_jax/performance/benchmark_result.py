"""The figures of a benchmark, for people and for programs."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from electra_jax import files


@dataclasses.dataclass(frozen=True)
class Spread:
  """Seconds of many equal things.

  Attributes:
    median: half of them took longer.
    lower: the first quartile.
    upper: the third quartile.
  """

  median: float
  lower: float
  upper: float

  def __str__(self) -> str:
    return (
        f"{1e3 * self.median:.2f} ms (quartiles {1e3 * self.lower:.2f} and"
        f" {1e3 * self.upper:.2f})"
    )


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
  """What was measured, and on what.

  Attributes:
    device_kind: as jax names it.
    num_devices: over all processes.
    mesh: size of each axis.
    data: where the rows came from.
    num_parameters: of all networks.
    steps: how many were timed, after some that were not.
    batch_size: rows of a step over all devices.
    length: tokens of a row, padding included.
    step_secs: from one step's end to the next one's.
    sequences_per_sec: rows over the median step.
    tokens_per_sec: the same times the length.
    flops_per_step: model FLOPs, see models/flops.py.
    peak_tflops: dense bfloat16 TFLOP/s of one device, or None if not known.
    mfu: model FLOPs utilisation, in [0, 1]; None without a peak.
    peak_memory_bytes: of this process's fullest device, or None.
    peak_memory_source: "device": what it counted until the last timed step;
      "compiler": what XLA plans for the step alone.
    trace_secs: Python to jaxpr.
    lower_secs: jaxpr to StableHLO.
    compile_secs: StableHLO to a program.
    compilation_cache: folder that the program may have been read from.
    generator_secs: forward and backward pass of the generator with its loss,
      and the norm of the gradient, as a program of its own; None where it is
      no network.
    discriminator_secs: the same of the discriminator.
    rest_secs: the median step less both: masking, sampling, the optimizer,
      and what the one program saves over two.
    feed_wait_secs: how long a step waited for its rows; None for made-up ones.
    feed_wait_share: of the time; what hides behind the device costs nothing.
    environment: versions, commit, command, devices.
    config: as resolved.
  """

  device_kind: str
  num_devices: int
  mesh: Mapping[str, int]
  data: str
  num_parameters: int
  steps: int
  batch_size: int
  length: int
  step_secs: Spread
  sequences_per_sec: float
  tokens_per_sec: float
  flops_per_step: int
  peak_tflops: float | None
  mfu: float | None
  peak_memory_bytes: int | None
  peak_memory_source: str
  trace_secs: float
  lower_secs: float
  compile_secs: float
  compilation_cache: str | None
  generator_secs: Spread | None
  discriminator_secs: Spread | None
  rest_secs: float
  feed_wait_secs: Spread | None
  feed_wait_share: float | None
  environment: Mapping[str, Any]
  config: Mapping[str, Any]

  def to_json(self) -> str:
    """Returns everything as one JSON object."""
    return files.to_json(dataclasses.asdict(self), indent=1) + "\n"

  def table(self) -> str:
    """Returns what a person wants to know, a line each."""
    return "\n".join(f"{name:<14}{text}" for name, text in self._lines())

  def _lines(self) -> Iterator[tuple[str, str]]:
    yield "devices", f"{self.num_devices} x {self.device_kind}, mesh {self.mesh}"
    yield "data", (
        f"{self.data}; {self.batch_size} rows of {self.length} tokens a step"
    )
    yield "parameters", f"{self.num_parameters:,}"
    yield "step", f"{self.step_secs}, of {self.steps} steps"
    yield "speed", (
        f"{self.sequences_per_sec:,.1f} sequences/s,"
        f" {self.tokens_per_sec:,.0f} tokens/s"
    )
    achieved = self.flops_per_step / self.step_secs.median / 1e12
    yield "model FLOPs", (
        f"{self.flops_per_step:.3e} a step, {achieved:,.2f} TFLOP/s"
    )
    yield "MFU", (
        f"left out: no peak FLOP/s for {self.device_kind}; give --peak-tflops"
        if self.mfu is None
        else f"{self.mfu:.1%} of {self.peak_tflops:g} TFLOP/s a device"
    )
    yield "peak memory", (
        "not known here"
        if self.peak_memory_bytes is None
        else f"{self.peak_memory_bytes / 2**30:.3f} GiB a device, counted by"
        f" the {self.peak_memory_source}"
    )
    yield "compilation", (
        f"{self.compile_secs:.1f} s, after {self.trace_secs:.1f} s of tracing"
        f" and {self.lower_secs:.1f} s of lowering"
    )
    for name in ("generator", "discriminator"):
      secs = getattr(self, f"{name}_secs")
      yield name, (
          "is no network here"
          if secs is None
          else f"{secs}: forward and backward, by itself"
      )
    yield "rest", (
        f"{1e3 * self.rest_secs:.2f} ms: masking, sampling, optimizer; the step"
        " less both networks"
    )
    if self.feed_wait_secs is not None:
      yield "feed", (
          f"{self.feed_wait_secs} of waiting a step,"
          f" {self.feed_wait_share:.1%} of the time"
      )
