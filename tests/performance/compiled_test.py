"""What is read out of compiled programs, against programs known by heart."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from electra_jax.devices import sharding
from electra_jax.performance import compiled
from electra_jax.pretraining.trainer import make_mesh, make_trainer
from electra_jax.runs.networks import Vocabulary
from electra_jax.text.tokenizer import SpecialIds
from tests.helpers import slow, tiny_config

SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)


def text_of(function, *shapes):
  mesh = sharding.make_mesh()
  rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
  shapes = [jax.ShapeDtypeStruct(x, jnp.float32, sharding=rows) for x in shapes]
  program = jax.jit(function, out_shardings=whole)
  return program.lower(*shapes).compile().as_text()


def test_a_sum_over_devices_is_one_reduction_of_its_size():
  found = compiled.collectives_of(
      text_of(lambda x: jnp.sum(x, axis=0), (64, 1000))
  )
  assert list(found) == ["all-reduce"]
  assert found["all-reduce"].executions == 1
  assert found["all-reduce"].bytes == {"f32": 4000}


def test_a_loop_counts_by_its_trips():
  def five_sums(x):
    def add(total, _):
      return total + jnp.sum(x * jnp.sum(total), axis=0), None

    return jax.lax.scan(add, jnp.ones(1000), None, length=5)[0]

  found = compiled.collectives_of(text_of(five_sums, (64, 1000)))
  assert found["all-reduce"].executions == 5
  assert found["all-reduce"].bytes == {"f32": 20_000}


def test_a_gathered_array_counts_whole():
  found = compiled.collectives_of(text_of(lambda x: x + 1, (64, 10)))
  assert found["all-gather"].bytes == {"f32": 64 * 10 * 4}


def test_a_program_of_one_device_sends_nothing():
  text = jax.jit(lambda x: x * 2).lower(jnp.ones(4)).compile().as_text()
  assert compiled.collectives_of(text) == {}


@pytest.mark.parametrize(
    ("result", "sizes"),
    [
        ("f32[]", {"f32": 4}),
        ("(f32[3], bf16[4,8]{1,0:T(8,128)})", {"f32": 12, "bf16": 64}),
        ("pred[10]", {"pred": 10}),
        ("u16[2,3]", {"u16": 12}),
    ],
)
def test_sizes_of_types(result, sizes):
  assert compiled.bytes_by_type(result) == sizes


def test_what_runs_beside_computation_counts_apart():
  text = """
%sparse (x: f32[8]) -> f32[8] {
  %x = f32[8] parameter(0)
  ROOT %a = f32[8] all-reduce(%x), to_apply=%add
}
ENTRY %main () -> f32[8] {
  %p = f32[8] parameter(0)
  %q = f32[4] parameter(1)
  %r = f32[2] parameter(2)
  %s = ((f32[8]), f32[8], u32[]) call-start(%p), to_apply=%sparse
  %n = f32[4] all-reduce-start(%q), to_apply=%add
  %b = f32[2] all-reduce(%r), to_apply=%add
}
"""
  kind = compiled.collectives_of(text)["all-reduce"]
  assert (kind.instructions, kind.asynchronous) == (3, 2)
  assert kind.bytes == {"f32": 4 * (8 + 4 + 2)}
  assert kind.asynchronous_bytes == 4 * (8 + 4)


def test_cycles_of_a_loop_count_by_its_trips():
  text = """
%limit (x: s32[]) -> pred[] {
  %c = s32[] constant(7)
}
%body (x: s32[]) -> s32[] {
  %a = f32[8] fusion(%p), backend_config={"estimated_cycles":"10"}
}
ENTRY %main () -> f32[8] {
  %w = s32[] while(%p), condition=%limit, body=%body
  %b = f32[8] fusion(%p), backend_config={"estimated_cycles":"5"}
}
"""
  assert compiled.estimated_cycles_of(text) == 75


def step_of(**overrides):
  config = tiny_config(**{"model.num_layers": 1}, **overrides)
  vocabulary = Vocabulary(500, SPECIAL)
  mesh = make_mesh(config, vocabulary)
  trainer = make_trainer(config, vocabulary, mesh)
  return trainer, config


def test_the_step_is_compiled_without_its_arrays():
  trainer, config = step_of()
  step = compiled.compile_step(
      trainer, config.train.batch_size, config.data.length
  )
  state = sum(
      x.size * x.dtype.itemsize for x in jax.tree.leaves(trainer.abstract)
  )
  rows = config.train.batch_size // 8 * (config.data.length * 2 + 8)
  # What comes back besides the state is a few numbers.
  assert 0 <= step.memory.state - state - rows < 2_000
  assert step.memory.temporaries > 0
  assert step.needed_bytes == step.memory.total


@pytest.mark.parametrize("accumulation_steps", [1, slow(2)])
def test_gradients_are_reduced_once(accumulation_steps):
  trainer, config = step_of(
      **{
          "train.accumulation_steps": accumulation_steps,
          "train.batch_size": 16,
      }
  )
  step = compiled.compile_step(trainer, 16, config.data.length)
  sent = step.collectives["all-reduce"].bytes["f32"]
  gradients = 4 * sum(x.size for x in jax.tree.leaves(trainer.abstract.params))
  assert 0 <= sent - gradients < 200  # The sums of metrics.


@pytest.mark.slow
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_split_parameters_are_gathered_and_reduced_once(accumulation_steps):
  trainer, config = step_of(
      **{
          "mesh.fsdp": 4,
          "train.accumulation_steps": accumulation_steps,
          "train.batch_size": 16,
      }
  )
  step = compiled.compile_step(trainer, 16, config.data.length)
  specs = jax.tree.map(lambda where: where.spec, trainer.shardings.params)
  split = whole = 0
  for leaf, spec in zip(
      jax.tree.leaves(trainer.abstract.params),
      jax.tree.leaves(specs),
      strict=True,
  ):
    size = 4 * leaf.size
    split, whole = (split + size, whole) if spec else (split, whole + size)
  scores = 4 * 16 * config.data.length  # By which positions are chosen.
  assert step.collectives["all-gather"].bytes["f32"] - split in (0, scores)
  assert step.collectives["reduce-scatter"].bytes == {"f32": split}
  sent = step.collectives["all-reduce"].bytes["f32"]
  # A fourth of what is split, over two devices, and the rest over all eight.
  assert 0 <= sent - (split // 4 + whole) < 200 + whole


def test_too_little_memory_is_an_answer():
  message = "RESOURCE_EXHAUSTED: Ran out. Used 95.25G of 15.75G hbm. Exceeded"

  class NothingFits:

    def lower(self, *_):
      return self

    def compile(self):
      raise jax.errors.JaxRuntimeError(message)

    def __call__(self):
      pass

  trainer, config = step_of()
  trainer = dataclasses.replace(trainer, train_step=NothingFits())
  found = compiled.compile_step(trainer, 8, config.data.length)
  assert found.memory is None
  np.testing.assert_allclose(found.needed_bytes / 2**30, 95.25)
  np.testing.assert_allclose(found.limit_bytes / 2**30, 15.75)
