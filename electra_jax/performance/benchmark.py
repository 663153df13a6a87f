"""How fast the training step of a config is on this machine, and why.

Measured is the very program that `pretrain` runs, fed on the same path and
with one step always queued, as in its loop. What the figures depend on stands
beside them, so that two of them can be compared.
"""

import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from electra_jax.devices import sharding
from electra_jax.devices.chips import chip_of
from electra_jax.errors import UserError
from electra_jax.performance.benchmark_result import BenchmarkResult, Spread
from electra_jax.performance.network_steps import network_programs
from electra_jax.pretraining import trainer as programs
from electra_jax.pretraining.phases import phase_configs
from electra_jax.pretraining.pretrain import open_store_of
from electra_jax.runs import config as settings
from electra_jax.runs import workdir as workdirs
from electra_jax.store.feed import Batch, Feed
from electra_jax.store.manifest import row_dtype
from electra_jax.text.tokenizer import SpecialIds
from electra_jax.trees import count_parameters

_WARMUP_CALLS, _PROFILED_STEPS = 5, 5

# Made-up rows have the vocabulary of BERT's uncased models.
_VOCAB_SIZE, _FIRST_WORD = 30_522, 1_000
_SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)


def benchmark(
    config: ConfigDict,
    *,
    steps: int = 50,
    phase: str | None = None,
    store: epath.PathLike | None = None,
    profile: epath.PathLike | None = None,
    peak_tflops: float | None = None,
) -> BenchmarkResult:
  """Measures the training step of a config on all devices.

  The weights are random: `init_from` changes no time.

  Args:
    config: as of configs/pretrain.py.
    steps: how many steps to time.
    phase: which of the config's phases, if it has some.
    store: a token store; by default the config's, and where it names none or
      has `data.made_up`, rows made up once and fed every step.
    profile: a local folder for a trace of some further steps, to be opened in
      xprof or Perfetto; of several processes, each gets a folder in it.
    peak_tflops: dense bfloat16 TFLOP/s of one device, where CHIPS does not
      know it; 0 leaves MFU out.

  Returns:
    The figures, those of this process where it has its own.

  Raises:
    UserError: values that do not fit each other, an unknown kind of device, a
      folder that cannot be written, too little memory.
  """
  if steps < 1:
    raise UserError(f"--steps is {steps}; it must be at least 1")
  config = one_phase(config, phase)
  if store is not None:
    config.data.update(store=str(store), made_up=False)
  device_kind = jax.devices()[0].device_kind
  peak = find_peak_tflops(device_kind, peak_tflops)
  if profile is not None:
    profile = writable_folder(profile, "--profile")
    if jax.process_count() > 1:  # They may have one host's name.
      profile /= f"process_{jax.process_index()}"
  data = _find_data(config)
  mesh = programs.make_mesh(config, data.vocabulary)
  parts = programs.build(config, data.vocabulary, mesh)
  try:
    return _measure(config, parts, data, steps, profile, peak)
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


def writable_folder(path: epath.PathLike, flag: str) -> pathlib.Path:
  """Makes a local folder, and tries whether it can be written.

  Raises:
    UserError: it cannot.
  """
  if "://" in str(path):
    raise UserError(f"{flag} {path} is not a local folder; give one")
  folder = pathlib.Path(path)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      return folder
  except OSError as error:
    raise UserError(
        f"{flag}: folder {folder} cannot be written: {error.strerror}; give"
        " another"
    ) from error


def find_vocabulary(config: ConfigDict) -> settings.Vocabulary:
  """Returns the vocabulary of the config's store, or one as large as BERT's."""
  if config.data.store and not config.data.made_up:
    store = open_store_of(config)
    return settings.vocabulary_of(store.tokenizer(), store)
  return settings.Vocabulary(
      _VOCAB_SIZE,
      _SPECIAL,
      is_continuation=np.arange(_VOCAB_SIZE) % 5 == 0,  # As many as BERT's.
      unigram_counts=np.ones(_VOCAB_SIZE, np.int64),
  )


class _Data(NamedTuple):
  vocabulary: settings.Vocabulary
  batches: Iterator[Batch]  # This process's rows.
  description: str
  is_feed: bool


def one_phase(config: ConfigDict, name: str | None) -> ConfigDict:
  """Returns a copy of a config, or of the phase of it that has the name.

  Raises:
    UserError: the config is not one of pre-training, or has no such phase.
  """
  if "objective" not in config:
    raise UserError(
        "this config is not one of configs/pretrain.py, and speed is that of"
        " pre-training"
    )
  config = config.copy_and_resolve_references()
  names = ", ".join(sorted(config.get("phases") or {}))
  if not names:
    if name is not None:
      raise UserError(f"--phase is {name}, and this config has no phases")
    return config
  made_up = config.data.made_up
  config.data.made_up = True  # A phase needs no store here.
  found = {phase.name: phase.config for phase in phase_configs(config, "")}
  if name not in found:
    raise UserError(
        f"this config has phases {names}; name one of them with --phase"
        if name is None
        else f"--phase is {name}; this config has {names}"
    )
  found[name].data.made_up = made_up
  return found[name]


def _find_data(config: ConfigDict) -> _Data:
  processes = jax.process_count()
  if config.data.store and not config.data.made_up:
    store = open_store_of(config)
    feed = Feed(
        store.split("train"),
        seed=config.seed,
        global_batch_size=config.train.batch_size,
        process_index=jax.process_index(),
        process_count=processes,
    )
    vocabulary = settings.vocabulary_of(store.tokenizer(), store)
    name = f"store {config.data.store}"
    return _Data(vocabulary, feed.iterate(), name, is_feed=True)
  vocabulary = find_vocabulary(config)
  batch = _made_up_rows(
      config.train.batch_size // processes, config.data.length, config.seed
  )
  return _Data(vocabulary, _forever(batch), "made-up rows", is_feed=False)


def _made_up_rows(rows: int, length: int, seed: int) -> Batch:
  rng = np.random.default_rng(seed)
  ids = rng.integers(_FIRST_WORD, _VOCAB_SIZE, (rows, length))
  middle = length // 2
  ids[:, 0], ids[:, [middle - 1, -1]] = _SPECIAL.cls, _SPECIAL.sep
  lengths = np.tile(np.int32([middle, length]), (rows, 1))
  return Batch(ids.astype(row_dtype(_VOCAB_SIZE)), lengths)


def _forever(batch: Batch) -> Iterator[Batch]:
  while True:
    yield batch


def _measure(config, parts, data, steps, profile, peak) -> BenchmarkResult:
  state, mesh, wait_secs = parts.init(), parts.mesh, []
  batch = sharding.to_global(mesh, next(data.batches))
  traced, trace_secs = _timed(lambda: parts.train_step.trace(state, batch))
  lowered, lower_secs = _timed(traced.lower)
  compiled, compile_secs = _timed(lowered.compile)

  def run():
    nonlocal state
    rows, waited = _timed(lambda: next(data.batches))
    wait_secs.append(waited)
    state, sums = compiled(state, sharding.to_global(mesh, rows))
    return sums

  step_secs = _time_calls(run, steps)
  timed_waits = wait_secs[-steps:]
  memory, memory_source = _peak_memory(mesh, compiled)
  if profile is not None:
    _profile(run, profile)
  networks = {
      name: _spread(_time_calls(program, steps))
      for name, program in network_programs(
          config, data.vocabulary, parts, state.params, batch
      ).items()
  }
  step = _spread(step_secs)
  sequences_per_sec = config.train.batch_size / step.median
  flops = settings.training_flops(config, data.vocabulary)
  peak_of_all = peak and peak * 1e12 * mesh.devices.size
  return BenchmarkResult(
      device_kind=mesh.devices.flat[0].device_kind,
      num_devices=mesh.devices.size,
      mesh=dict(mesh.shape),
      data=data.description,
      num_parameters=count_parameters(parts.abstract.params),
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
      trace_secs=trace_secs,
      lower_secs=lower_secs,
      compile_secs=compile_secs,
      compilation_cache=jax.config.jax_compilation_cache_dir,
      generator_secs=networks.get("generator"),
      discriminator_secs=networks.get("discriminator"),
      rest_secs=step.median - sum(x.median for x in networks.values()),
      feed_wait_secs=_spread(timed_waits) if data.is_feed else None,
      feed_wait_share=sum(timed_waits) / sum(step_secs)
      if data.is_feed
      else None,
      environment=workdirs.environment(),
      config=json.loads(config.to_json_best_effort()),
  )


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
  began = time.perf_counter()
  result = function()
  return result, time.perf_counter() - began


def _time_calls(run: Callable[[], Any], calls: int) -> list[float]:
  """Returns the seconds between one result and the next.

  As in the training loop, a call is queued before the one before it is waited
  for, so that the device never waits for Python.
  """
  secs = []
  with jax.transfer_guard("disallow"):
    previous = jax.block_until_ready(run())  # Compiles what is not yet.
    previous, began = run(), time.perf_counter()
    for _ in range(_WARMUP_CALLS + calls):
      queued = run()
      jax.block_until_ready(previous)
      ended = time.perf_counter()
      secs.append(ended - began)
      previous, began = queued, ended
    jax.block_until_ready(previous)
  return secs[_WARMUP_CALLS:]


def _spread(secs: Sequence[float]) -> Spread:
  lower, median, upper = np.percentile(secs, [25, 50, 75])
  return Spread(float(median), float(lower), float(upper))


def _profile(run: Callable[[], Any], folder: pathlib.Path) -> None:
  with (
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
