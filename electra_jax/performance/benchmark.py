"""How fast the training step of a config is on this machine, and why.

Measured is the very program that `pretrain` runs, fed on the same path and
with one step always queued, as in its loop. What the figures depend on stands
beside them, so that two of them can be compared.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from electra_jax.devices import sharding
from electra_jax.devices.chips import chip_of
from electra_jax.errors import UserError
from electra_jax.files import writable_folder
from electra_jax.performance.benchmark_result import BenchmarkResult, Spread
from electra_jax.performance.inputs import (
    FIRST_WORD,
    SPECIAL,
    VOCAB_SIZE,
    find_vocabulary,
)
from electra_jax.performance.network_steps import network_steps
from electra_jax.pretraining.data import open_store_of
from electra_jax.pretraining.phases import one_phase
from electra_jax.pretraining.trainer import Trainer, make_mesh, make_trainer
from electra_jax.progress import Progress
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig, check_no_teacher
from electra_jax.runs.networks import Vocabulary, vocabulary_of
from electra_jax.runs.sections import replaced
from electra_jax.runs.start_shapes import with_shapes_of_start
from electra_jax.store.feed import Batch, Feed
from electra_jax.store.manifest import row_dtype
from electra_jax.training.loop import COMPILE_TIME, COMPILING
from electra_jax.trees import count_parameters

_WARMUP_CALLS, _PROFILED_STEPS = 5, 5


def benchmark(
    config: PretrainConfig,
    *,
    steps: int = 50,
    phase: str | None = None,
    store: epath.PathLike | None = None,
    profile: epath.PathLike | None = None,
    peak_tflops: float | None = None,
    quiet: bool = False,
) -> BenchmarkResult:
  """Measures the training step of a config on all devices.

  The weights are random: `init_from` changes no time.

  Args:
    config: as of configs/pretrain.py.
    steps: how many steps to time.
    phase: which of the config's phases, if it has some.
    store: a token store; by default the config's, and where it names none or
      has `data.synthetic`, rows made up once and fed every step.
    profile: a local folder for a trace of some further steps, to be opened in
      xprof or Perfetto; of several processes, each gets a folder in it.
    peak_tflops: dense bfloat16 TFLOP/s of one device, where CHIPS does not
      know it; 0 leaves MFU out.
    quiet: whether to say nothing meanwhile.

  Returns:
    The figures, those of this process where it has its own.

  Raises:
    UserError: values that do not fit each other, an unknown kind of device, a
      folder that cannot be written, too little memory.
  """
  if steps < 1:
    raise UserError(f"--steps is {steps}; it must be at least 1")
  config = one_phase(with_shapes_of_start(config), phase)
  check_no_teacher(config, "benchmark")
  if store is not None:
    changes = {"data.store": str(store), "data.synthetic": False}
    config = replaced(config, changes)
  device_kind = jax.devices()[0].device_kind
  peak = find_peak_tflops(device_kind, peak_tflops)
  if profile is not None:
    profile = writable_folder(profile, "--profile")
    if jax.process_count() > 1:  # They may have one host's name.
      profile /= f"process_{jax.process_index()}"
  data = _find_data(config)
  mesh = make_mesh(config, data.vocabulary)
  trainer = make_trainer(config, data.vocabulary, mesh)
  try:
    progress = Progress(quiet=quiet or jax.process_index() > 0)
    return _measure(trainer, data, steps, profile, peak, progress)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise UserError(
        f"{config.train.batch_size} rows a step do not fit into the memory of"
        f" {mesh.devices.size} x {device_kind}; lower"
        " --config.train.batch_size, raise --config.train.accumulation_steps,"
        " or set --config.model.remat=layer"
    ) from error
  finally:
    data.batches.close()


def find_peak_tflops(device_kind: str, told: float | None) -> float | None:
  """Returns the dense bfloat16 TFLOP/s of a device, or None.

  Args:
    device_kind: as jax names it.
    told: the figure where the caller gives one; 0 stands for None.

  Raises:
    UserError: an accelerator that is not known, or a negative figure.
  """
  if told is not None:
    if told < 0:
      raise UserError(f"--peak-tflops is {told:g}; it must not be negative")
    return told or None
  chip = chip_of(device_kind)
  if chip is not None:
    return chip.peak_tflops
  if device_kind == "cpu":
    return None
  raise UserError(
      f"the peak FLOP/s of device kind {device_kind!r} is not known; give"
      " its dense bfloat16 TFLOP/s with --peak-tflops, or --peak-tflops 0 to"
      " leave MFU out"
  )


class _Data(NamedTuple):
  vocabulary: Vocabulary
  batches: Iterator[Batch]  # This process's rows.
  description: str
  is_feed: bool


def _find_data(config: PretrainConfig) -> _Data:
  processes = jax.process_count()
  if config.data.store and not config.data.synthetic:
    store = open_store_of(config)
    feed = Feed(
        store.split("train"),
        seed=config.seed,
        global_batch_size=config.train.batch_size,
        process_index=jax.process_index(),
        process_count=processes,
    )
    vocabulary = vocabulary_of(store.tokenizer(), store)
    name = f"store {config.data.store}"
    return _Data(vocabulary, feed.iterate(), name, is_feed=True)
  vocabulary = find_vocabulary(config)
  batch = _synthetic_rows(
      config.train.batch_size // processes, config.data.length, config.seed
  )
  return _Data(vocabulary, _forever(batch), "made-up rows", is_feed=False)


def _synthetic_rows(rows: int, length: int, seed: int) -> Batch:
  rng = np.random.default_rng(seed)
  ids = rng.integers(FIRST_WORD, VOCAB_SIZE, (rows, length))
  middle = length // 2
  ids[:, 0], ids[:, [middle - 1, -1]] = SPECIAL.cls, SPECIAL.sep
  lengths = np.tile(np.int32([middle, length]), (rows, 1))
  return Batch(ids.astype(row_dtype(VOCAB_SIZE)), lengths)


def _forever(batch: Batch) -> Iterator[Batch]:
  while True:
    yield batch


def _measure(
    trainer: Trainer,
    data: _Data,
    steps: int,
    profile: pathlib.Path | None,
    peak: float | None,
    progress: Progress,
) -> BenchmarkResult:
  config, mesh, wait_secs = trainer.config, trainer.mesh, []
  batch = sharding.to_global(mesh, next(data.batches))
  state, compiled, compilation = _compile(trainer, batch, progress)

  def run():
    nonlocal state
    rows, waited = _timed(lambda: next(data.batches))
    wait_secs.append(waited)
    state, sums = compiled(state, sharding.to_global(mesh, rows))
    return sums

  step_secs = _time_calls(run, steps, progress, "timing the step")
  waits = wait_secs[-steps:] if data.is_feed else []
  memory, memory_source = _peak_memory(mesh, compiled)
  if profile is not None:
    _profile(run, profile, progress)
  programs = network_steps(trainer, state.params, batch)
  networks = {
      name: _spread(_time_calls(program, steps, progress, f"timing the {name}"))
      for name, program in programs.items()
  }
  step, flops = _spread(step_secs), trainer.flops_per_step
  sequences_per_sec = config.train.batch_size / step.median
  peak_of_all = peak and peak * 1e12 * mesh.devices.size
  return BenchmarkResult(
      device_kind=mesh.devices.flat[0].device_kind,
      num_devices=mesh.devices.size,
      mesh=dict(mesh.shape),
      data=data.description,
      num_parameters=count_parameters(trainer.abstract.params),
      steps=steps,
      batch_size=config.train.batch_size,
      length=config.data.length,
      step_secs=step,
      sequences_per_sec=sequences_per_sec,
      tokens_per_sec=sequences_per_sec * config.data.length,
      flops_per_step=flops,
      peak_tflops=peak,
      mfu=peak_of_all and flops / step.median / peak_of_all,
      peak_memory_bytes=memory,
      peak_memory_source=memory_source,
      **compilation,
      compilation_cache=jax.config.jax_compilation_cache_dir,
      generator_secs=networks.get("generator"),
      discriminator_secs=networks.get("discriminator"),
      rest_secs=step.median - sum(x.median for x in networks.values()),
      feed_wait_secs=_spread(waits) if waits else None,
      feed_wait_share=sum(waits) / sum(step_secs) if waits else None,
      environment=workdirs.environment(),
      config=dataclasses.asdict(config),
  )


def _compile(
    trainer: Trainer, batch: Batch, progress: Progress
) -> tuple[Any, Any, dict[str, float]]:
  """Returns a fresh state, the compiled step, and the seconds of each stage."""
  with progress.stage("initialising the weights", "seconds"):
    state = jax.block_until_ready(trainer.init())
  with progress.stage(COMPILING, COMPILE_TIME):
    traced, trace_secs = _timed(lambda: trainer.train_step.trace(state, batch))
    lowered, lower_secs = _timed(traced.lower)
    compiled, compile_secs = _timed(lowered.compile)
  return (
      state,
      compiled,
      {
          "trace_secs": trace_secs,
          "lower_secs": lower_secs,
          "compile_secs": compile_secs,
      },
  )


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
  began = time.perf_counter()
  result = function()
  return result, time.perf_counter() - began


def _time_calls(
    run: Callable[[], Any], calls: int, progress: Progress, name: str
) -> list[float]:
  """Returns the seconds between one result and the next.

  As in the training loop, a call is queued before the one before it is waited
  for, so that the device never waits for Python.
  """
  secs = []
  progress.log(f"{name} …")
  with jax.transfer_guard("disallow"):
    with progress.stage(f"compiling for {name}"):
      previous = jax.block_until_ready(run())  # Compiles what is not yet.
    with progress.counting(_WARMUP_CALLS + calls, name=name):
      previous, began = run(), time.perf_counter()
      for done in range(1, _WARMUP_CALLS + calls + 1):
        queued = run()
        progress.update(done, "")
        jax.block_until_ready(previous)
        ended = time.perf_counter()
        secs.append(ended - began)
        previous, began = queued, ended
      jax.block_until_ready(previous)
  return secs[_WARMUP_CALLS:]


def _spread(secs: Sequence[float]) -> Spread:
  lower, median, upper = np.percentile(secs, [25, 50, 75])
  return Spread(float(median), float(lower), float(upper))


def _profile(
    run: Callable[[], Any], folder: pathlib.Path, progress: Progress
) -> None:
  with (
      progress.stage("writing the profile"),
      jax.transfer_guard("disallow"),
      jax.profiler.trace(folder, create_perfetto_trace=True),
  ):
    for step in range(_PROFILED_STEPS):
      with jax.profiler.StepTraceAnnotation("train_step", step_num=step):
        sums = run()
    jax.block_until_ready(sums)


def _peak_memory(mesh, compiled) -> tuple[int | None, str]:
  counted = [
      (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
      for device in mesh.local_devices
  ]
  if max(counted) > 0:
    return max(counted), "device"
  planned = compiled.memory_analysis()
  if planned is None:
    return None, "compiler"
  # What is written over donated arguments counts once.
  return (
      planned.argument_size_in_bytes
      + planned.output_size_in_bytes
      - planned.alias_size_in_bytes
      + planned.temp_size_in_bytes
      + planned.generated_code_size_in_bytes
  ), "compiler"
