"""The benchmark: its figures fit each other, its mistakes have one sentence."""

import dataclasses
import functools
import json
import re
import types

import jax
import pytest

from electra_jax import api
from electra_jax.cli import main as cli
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.models.flops import training_flops_per_row
from electra_jax.performance import benchmark as benchmarks
from electra_jax.performance.benchmark import (
    benchmark,
    find_peak_tflops,
    writable_folder,
)
from electra_jax.performance.network_steps import network_steps
from electra_jax.pretraining.trainer import make_trainer
from electra_jax.progress import Progress
from electra_jax.runs.networks import (
    electra_config,
    masking_config,
    training_flops,
)
from tests import helpers, processes

CONFIG = f"{helpers.ROOT}/configs/pretrain.py:small,runlocal"
NARROW = (
    "--config.model.hidden_size=64",
    "--config.model.embedding_size=32",
    "--config.model.num_layers=1",
)


def narrow_config(**overrides):
  return helpers.tiny_config(**{"model.num_layers": 1} | overrides)


@pytest.mark.slow
def test_figures_fit_each_other(tmp_path, capsys):
  config = narrow_config()
  result = benchmark(
      config, steps=3, peak_tflops=0.5, profile=tmp_path / "trace"
  )
  told = capsys.readouterr().err
  stages = ("initialising", "compiling the training step", "timing the step")
  places = [told.index(f"{stage}") for stage in (*stages, "timing the discr")]
  assert places == sorted(places)
  step = result.step_secs
  assert 0 < step.lower <= step.median <= step.upper
  assert (result.batch_size, result.length, result.steps) == (8, 32, 3)
  assert result.sequences_per_sec == pytest.approx(8 / step.median)
  assert result.tokens_per_sec == pytest.approx(32 * 8 / step.median)
  networks = electra_config(config, 30_522)
  assert result.flops_per_step == 8 * training_flops_per_row(networks, 32, 4)
  assert result.num_devices == 8
  assert result.mfu == pytest.approx(
      result.flops_per_step / step.median / (8 * 0.5e12)
  )
  trainer = result.generator_secs.median + result.discriminator_secs.median
  assert result.rest_secs == pytest.approx(step.median - trainer)
  # Parameters and both moments are copied to each of the devices.
  assert result.peak_memory_source == "compiler"
  assert result.peak_memory_bytes > 12 * result.num_parameters
  assert min(result.trace_secs, result.lower_secs, result.compile_secs) > 0
  assert result.feed_wait_secs is None and result.feed_wait_share is None
  written = json.loads(result.to_json())
  assert written["step_secs"]["median"] == step.median
  assert written["config"]["model"]["hidden_size"] == 64
  assert written["environment"]["packages"]["jax"] == jax.__version__
  assert f"{result.mfu:.1%} of 0.5 TFLOP/s" in result.table()
  assert "feed" not in result.table()
  traces = list((tmp_path / "trace").rglob("*"))
  assert {"perfetto_trace.json.gz"} < {path.name for path in traces}
  assert any(path.name.endswith(".xplane.pb") for path in traces)


@pytest.mark.slow
def test_a_store_is_read_and_waited_for(store):
  config = narrow_config(**{"objective.generator": "unigram"})
  result = benchmark(config, steps=2, store=store)
  assert result.data == f"store {store}"
  assert result.config["data"]["store"] == store
  assert 0 < result.feed_wait_share < 1
  assert 0 < result.feed_wait_secs.median < result.step_secs.upper
  networks = electra_config(config, 256)
  assert result.flops_per_step == 8 * training_flops_per_row(networks, 32, 4)
  assert result.generator_secs is None
  shown = result.table()
  assert "is no network here" in shown and "of waiting a step" in shown
  assert result.mfu is None and "left out: no peak FLOP/s for cpu" in shown
  assert config.data.synthetic  # The caller's config stays as it was.


@pytest.mark.slow
def test_a_phase_is_measured_without_a_store():
  config = helpers.load_config("configs/pretrain.py:tiny,two_stage,runlocal")
  small = {"data.synthetic": False, "model.embedding_size": 64}
  config = helpers.override(config, helpers.NARROW_ENCODER | small)
  result = benchmark(config, steps=1, phase="phase_1")
  assert result.config["objective"]["name"] == "masked_lm"
  assert not result.config["phases"]
  assert result.discriminator_secs is None
  assert result.data == "made-up rows"


@pytest.mark.parametrize(
    ("objective", "generator", "accumulation_steps"),
    [
        ("electra", "masked_lm", 1),
        helpers.slow("replace_mlm", "random", 1),
        helpers.slow("electra", "masked_lm", 2),
        helpers.slow("electric", "two_tower", 1),
        helpers.slow("masked_lm", "masked_lm", 1),
    ],
)
def test_each_network_computes_its_own_part_alone(
    objective, generator, accumulation_steps
):
  config = narrow_config(
      **{
          "objective.name": objective,
          "objective.generator": generator,
          "model.hidden_size": 256,
          "model.hidden_dropout": 0.0,
          "model.attention_dropout": 0.0,
          "train.accumulation_steps": accumulation_steps,
      }
  )
  vocabulary = benchmarks._find_data(config).vocabulary
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  trainer = make_trainer(config, vocabulary, mesh)
  rows = benchmarks._synthetic_rows(8, 32, seed=0)
  found = network_steps(
      trainer,
      trainer.init().params,
      sharding.to_global(mesh, rows),
  )
  networks = electra_config(config, vocabulary.size)
  own = {
      "generator": dataclasses.replace(
          networks, has_discriminator_head=False, has_token_head=False
      ),
      "discriminator": dataclasses.replace(networks, has_generator_head=False),
  }
  slots = masking_config(config, vocabulary).num_slots
  if networks.has_two_towers:
    slots = 0  # Their loss stands on every token, their samples count as rest.
  expected = {
      name: training_flops_per_row(each, 32, slots, slots)
      for name, each in own.items()
  }
  assert set(found) == {name for name, count in expected.items() if count}
  for name, program in found.items():
    jitted, *args = program.func, *program.args
    counted = jitted.lower(*args).compile().cost_analysis()["flops"]
    # XLA counts the body of a loop once.
    ours = expected[name] * 8 / accumulation_steps
    if (objective, name) == ("electric", "discriminator"):
      assert counted > 1.15 * ours  # It asks the generator's head as well.
    else:
      assert ours <= counted <= 1.15 * ours, name


@pytest.mark.parametrize(
    ("objective", "positions"),
    [("electra", 0), ("replace_mlm", 4), ("all_tokens_mlm", 32)],
)
def test_flops_count_the_positions_of_the_token_head(objective, positions):
  config = narrow_config(**{"objective.name": objective})
  vocabulary = benchmarks._find_data(config).vocabulary
  networks = electra_config(config, vocabulary.size)
  assert training_flops(config, vocabulary) == (
      8 * training_flops_per_row(networks, 32, 4, positions)
  )


def test_every_timed_call_follows_a_warm_one(monkeypatch):
  now, calls = [0.0], []

  def run():
    calls.append(len(calls))
    return len(calls)

  def wait(call):
    # The first ones compile; then each takes a second more.
    now[0] += 100.0 if call <= benchmarks._WARMUP_CALLS else float(call)
    return call

  monkeypatch.setattr(benchmarks.time, "perf_counter", lambda: now[0])
  monkeypatch.setattr(benchmarks.jax, "block_until_ready", wait)
  first = benchmarks._WARMUP_CALLS + 2
  assert benchmarks._time_calls(run, 3, Progress(quiet=True), "") == [
      first,
      first + 1,
      first + 2,
  ]


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("TPU v4", 275),
        ("TPU v5 lite", 197),
        ("TPU v5e", 197),
        ("TPU v5", 459),
        ("TPU v5p", 459),
        ("TPU v6 lite", 918),
        ("TPU v6e", 918),
    ],
)
def test_peaks(kind, peak):
  assert find_peak_tflops(kind, None) == peak
  assert find_peak_tflops(kind, 7.5) == 7.5
  assert find_peak_tflops(kind, 0.0) is None


@pytest.mark.parametrize(
    "kind",
    ["NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "TPU v4 lite"],
)
def test_a_peak_is_never_guessed(kind):
  with pytest.raises(UserError, match=f"'{kind}' is not known.*--peak-tflops"):
    find_peak_tflops(kind, None)
  assert find_peak_tflops("cpu", None) is None


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        ("pretrain.py:small", {"steps": 0}, "--steps is 0; it must be at least 1"),
        ("pretrain.py:base,staged", {}, "phases phase_1, phase_2; name one"),
        ("pretrain.py:base,staged", {"phase": "phase_3"}, "phase_3; this config has phase_1, phase_2"),
        ("pretrain.py:small", {"phase": "phase_1"}, "this config has no phases"),
        ("pretrain.py:small", {"peak_tflops": -1.0}, "--peak-tflops is -1; it must not"),
        ("pretrain.py:small", {"profile": "gs://b/x"}, "--profile gs://b/x is not a local"),
        ("pretrain.py:small", {"profile": f"{__file__}/x"}, "_test.py/x cannot be written: Not a directory"),
    ],
)  # fmt: skip
def test_mistakes_have_one_sentence(recipe, arguments, message):
  with pytest.raises(UserError, match=message):
    benchmark(helpers.load_config(f"configs/{recipe}"), **arguments)


@pytest.mark.parametrize("task", ["rte", "translate"])
@pytest.mark.parametrize(
    "measure", [api.benchmark, functools.partial(api.plan, topology="here")]
)
def test_a_config_of_finetuning_is_refused(measure, task):
  fix = r"not one of configs/pretrain\.py.*give one.*--config pretrain:small"
  with pytest.raises(UserError, match=fix):
    measure(f"finetune:task={task}")


def test_a_store_of_another_length_is_named(store):
  config = helpers.load_config("configs/pretrain.py:small")
  with pytest.raises(UserError, match=r"rows of 32 tokens.*length is 128"):
    benchmark(config, store=store)


def test_too_little_memory_is_said(monkeypatch):
  reasons = ["RESOURCE_EXHAUSTED: out of memory", "INTERNAL: a bug"]

  def fail(*args):
    raise jax.errors.JaxRuntimeError(reasons.pop(0))

  monkeypatch.setattr(benchmarks, "_measure", fail)
  with pytest.raises(UserError, match=r"8 rows a step.*8 x cpu; lower"):
    benchmark(narrow_config())
  with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
    benchmark(narrow_config())


def test_memory_is_the_fullest_devices():
  def device(stats):
    return types.SimpleNamespace(memory_stats=lambda: stats)

  mesh = types.SimpleNamespace(
      local_devices=[
          device({"peak_bytes_in_use": 5}),
          device({"peak_bytes_in_use": 9}),
      ]
  )
  assert benchmarks._peak_memory(mesh, None) == (9, "device")
  mesh.local_devices = [device(None)]
  silent = types.SimpleNamespace(memory_analysis=lambda: None)
  assert benchmarks._peak_memory(mesh, silent) == (None, "compiler")


def test_a_folder_is_made(tmp_path):
  assert writable_folder(tmp_path / "a/b", "--profile").is_dir()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("", "is a folder; give a file"),
        ("file/x.json", "--json: folder .*file cannot be written"),
    ],
)
def test_the_place_of_the_json_is_tried_first(
    tmp_path, file, message, monkeypatch, capsys
):
  (tmp_path / "file").write_text("")
  monkeypatch.setattr(benchmarks, "benchmark", lambda *_, **__: 1 / 0)
  with pytest.raises(SystemExit) as stop:
    cli.main(["benchmark", "--config", CONFIG, "--json", f"{tmp_path}/{file}"])
  error = capsys.readouterr().err
  assert stop.value.code == 2 and error.count("\n") == 1
  assert re.search(message, error)


@pytest.mark.slow
def test_two_processes_print_once(tmp_path, store):
  outputs = processes.run_together(
      *("benchmark", "--config", CONFIG, "--steps=2", f"--store={store}"),
      *(*NARROW, "--json", tmp_path / "{i}.json"),
      *("--profile", tmp_path / "trace"),
  )
  assert "sequences/s" in outputs[0] and "sequences/s" not in outputs[1]
  figures = helpers.read_json(tmp_path / "0.json")
  assert figures["environment"]["processes"] == figures["num_devices"] == 2
  assert not (tmp_path / "1.json").exists()
  for i in range(2):
    assert list((tmp_path / f"trace/process_{i}").rglob("perfetto_trace*"))
