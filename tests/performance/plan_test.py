"""`plan`: figures that add up, suggestions that fit, mistakes that say so."""

import dataclasses
import importlib.util
import json

import pytest

from electra_jax.cli import main as cli
from electra_jax.devices import chips as accelerators
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.performance import plan as plans
from electra_jax.performance.plan import plan
from electra_jax.pretraining import trainer as trainers
from electra_jax.pretraining.trainer import make_mesh, make_trainer
from electra_jax.runs.networks import Vocabulary, training_flops
from electra_jax.text.tokenizer import SpecialIds
from tests import helpers
from tests.helpers import ROOT, batch_of, tiny_config


def small_config(**overrides):
  return tiny_config(**{"model.num_layers": 1}, **overrides)


@pytest.fixture(autouse=True, scope="module")
def small_vocabulary():
  with pytest.MonkeyPatch.context() as patch:
    special = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)
    vocabulary = Vocabulary(500, special)
    patch.setattr(plans, "find_vocabulary", lambda config: vocabulary)
    yield vocabulary


@pytest.fixture(scope="module")
def here(small_vocabulary):
  return plan(small_config(), "here")


def test_figures_are_those_of_the_step(here, small_vocabulary):
  config = small_config()
  assert here.flops_per_step == training_flops(config, small_vocabulary)
  assert here.num_devices == 8 and here.rows_per_device == 1
  assert here.needed_bytes == sum(here.memory.values())
  assert here.least_gradient_bytes == 4 * sum(here.parameters.values())
  assert here.collectives["all-reduce"]["executions"] >= 1


@pytest.mark.parametrize(
    "size", ["tiny", "small", "base", "large", "small_pp", "base_pp"]
)
@pytest.mark.slow
def test_memory_and_flops_of_every_preset(size, small_vocabulary):
  config = helpers.load_config(f"configs/pretrain.py:{size},runlocal")
  config = helpers.override(config, {"model.num_layers": 1})
  found = plan(config, "here")
  assert found.flops_per_step == training_flops(config, small_vocabulary)
  mesh = make_mesh(config, small_vocabulary)
  trainer = make_trainer(config, small_vocabulary, mesh)
  # Of real arrays, as a run compiles it.
  rows = batch_of(config.train.batch_size, config.data.length)
  stats = (
      trainer.train_step.lower(trainer.init(), sharding.to_global(mesh, rows))
      .compile()
      .memory_analysis()
  )
  taken = (
      stats.argument_size_in_bytes
      + stats.temp_size_in_bytes
      + stats.generated_code_size_in_bytes
  )
  assert found.needed_bytes == pytest.approx(taken, rel=0.1)


def test_what_is_not_known_is_left_out(here):
  assert (here.fits, here.step_secs, here.cost) == (None, None, None)
  assert "no peak FLOP/s for cpu" in here.table()


def test_times_and_cost_follow_from_the_figures(here):
  known = dataclasses.replace(
      here,
      peak_tflops=100.0,
      compute_secs=0.3,
      hidden_network_secs=0.1,
      exposed_network_secs=0.2,
      num_steps=7_200,
      price=2.0,
      limit_bytes=here.needed_bytes,
  )
  assert known.step_secs == pytest.approx(0.5)
  assert known.device_hours == pytest.approx(8.0)
  assert known.cost == pytest.approx(16.0)
  assert known.fits
  table = known.table()
  assert "500.0 ms: 300.0 of computation at 40%" in table
  assert "16.00 at 2 a device and hour" in table
  slow = dataclasses.replace(known, hidden_network_secs=0.7)
  assert slow.step_secs == pytest.approx(0.9)  # It hides no more than there is.


def test_collectives_cost_what_they_send(monkeypatch):
  chip = accelerators.Chip("cpu", 1.0, 1.0, 1e-3)
  monkeypatch.setitem(accelerators.CHIPS, "slow", chip)
  found = plan(small_config(), "here", efficiency=0.5)
  assert found.compute_secs == pytest.approx(found.flops_per_step / 4e12)
  reduced = sum(found.collectives["all-reduce"]["bytes"].values())
  gathered = sum(
      sum(kind["bytes"].values())
      for name, kind in found.collectives.items()
      if name != "all-reduce"
  )
  secs = (2 * reduced + gathered) / 1e6
  assert found.exposed_network_secs == pytest.approx(secs)


@pytest.mark.slow
def test_a_suggestion_is_compiled_and_fits(monkeypatch):
  config = small_config(**{"train.batch_size": 512, "mesh.data": 8})
  fitting = plan(config, "here")
  limit = int(0.7 * fitting.needed_bytes)
  monkeypatch.setattr(plans, "_limit", lambda *_: limit)
  found = plan(config, "here")
  assert found.fits is False
  assert found.suggestion["train.accumulation_steps"] > 1
  assert found.suggested_bytes <= limit
  assert "--config.train.accumulation_steps=" in found.table()
  assert plan(config, "here", suggest=False).suggestion == {}


@pytest.mark.slow
def test_a_state_too_large_for_a_device_is_split(monkeypatch):
  config = small_config(**{"mesh.fsdp": 1})
  monkeypatch.setattr(plans, "_limit", lambda *_: 1_800_000)
  monkeypatch.setattr(trainers, "memory_of", lambda _: 1_800_000)
  found = plan(config, "here")
  assert found.fits is False
  assert found.suggestion["mesh.fsdp"] > 1
  assert found.suggested_bytes <= 1_800_000


@pytest.mark.slow
def test_where_nothing_fits_the_table_says_so(monkeypatch):
  monkeypatch.setattr(plans, "_limit", lambda *_: 10)
  found = plan(small_config(**{"train.batch_size": 8}), "here")
  assert found.suggestion == {} and found.suggested_bytes is None
  assert "nothing that was tried fits" in found.table()


@pytest.mark.parametrize(
    ("topology", "options", "words"),
    [
        ("v9:2x2", {}, "'v9:2x2' is neither 'here' nor one to compile for"),
        ("v5e:8", {}, "'v5e:8' is neither"),
        ("h100", {}, "'h100' is neither"),
        ("h100:9", {}, "asks for 1 boxes of 9 GPUs; give at least one box and"),
        ("h100:0x8", {}, "asks for 0 boxes of 8 GPUs"),
        ("v5e", {}, "'v5e' is neither"),
        ("here", {"efficiency": 0.0}, "--efficiency is 0"),
        ("here", {"efficiency": 1.5}, "--efficiency is 1.5"),
        ("here", {"price": -1.0}, "--price is -1"),
        ("here", {"phase": "phase_1"}, "this config has no phases"),
    ],
)
def test_mistakes(topology, options, words):
  with pytest.raises(UserError, match=words):
    plan(small_config(), topology, **options)


@pytest.mark.parametrize(
    ("module", "topology", "extra"),
    [
        ("libtpu", "v5e:2x2", r"jax\[tpu\]"),
        ("jax_plugins.xla_cuda12", "h100:8", r"jax\[cuda12\]"),
    ],
)
def test_without_its_compiler_the_extra_is_named(module, topology, extra):
  parent = module.partition(".")[0]
  if importlib.util.find_spec(parent) and importlib.util.find_spec(module):
    pytest.skip("it is installed")
  with pytest.raises(UserError, match=f'install it with pip install "{extra}'):
    plan(small_config(), topology)


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys):
  file = tmp_path / "plans" / "small.json"
  arguments = ["plan", "--config", f"{ROOT}/configs/pretrain.py:small,runlocal"]
  arguments += ["--config.model.num_layers=1", "--topology", "here"]
  with pytest.raises(SystemExit) as ended:
    cli.main([*arguments, "--price", "1.5", "--json", str(file)])
  assert ended.value.code == 0
  shown = capsys.readouterr()
  assert "8 x cpu" in shown.out
  assert shown.err.startswith("compiling the training step for 8 x cpu … ")
  written = json.loads(file.read_text())
  assert written["price"] == 1.5 and written["fits"] is None


@pytest.mark.slow
def test_a_state_too_large_for_a_device_is_split_by_default(monkeypatch):
  monkeypatch.setattr(trainers, "memory_of", lambda _: 3_000_000)
  assert plan(small_config(), "here").mesh["fsdp"] > 1


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is None,
    reason="no compiler for GPUs",
)
def test_boxes_of_gpus():
  found = plan(small_config(**{"train.batch_size": 16}), "h100:2x8")
  assert (found.num_devices, found.mesh["data"]) == (16, 16)
  assert found.fits and found.collectives["all-reduce"]["asynchronous"]
  reduced = found.collectives["all-reduce"]["bytes"]["f32"]
  assert 0 <= reduced - found.least_gradient_bytes < 200
  # Between boxes there is less of a network.
  one = plan(small_config(**{"train.batch_size": 16}), "h100:8")
  assert found.hidden_network_secs > 5 * one.hidden_network_secs


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="no TPU compiler"
)
def test_a_tpu_slice(tmp_path):
  found = plan(small_config(), "v5e:2x2", price=1.0)
  assert found.device_kind == "TPU v5 lite" and found.fits
  assert found.estimated_cycles > 0 and found.cost > 0
