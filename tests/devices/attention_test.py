"""The choice of a way to compute attention, and its split over devices."""

import functools

import jax
import numpy as np
import pytest

from electra_jax.devices import attention as attention_paths
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.models import tpu_attention
from electra_jax.models.attention import attend
from electra_jax.pretraining.trainer import make_mesh, make_trainer
from electra_jax.runs.networks import Vocabulary
from electra_jax.store.feed import Batch
from electra_jax.text.tokenizer import SpecialIds
from tests.helpers import tiny_config

SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)


def after_a_step(path, **axes):
  """Parameters and sums of a training step with dropout."""
  config = tiny_config(
      **{"model.attention": path, "model.num_layers": 1},
      **{"model.hidden_size": 128},
      **{f"mesh.{axis}": size for axis, size in axes.items()},
  )
  devices = jax.devices()[: int(np.prod(list(axes.values())))]
  vocabulary = Vocabulary(500, SPECIAL)
  mesh = make_mesh(config, vocabulary, devices)
  trainer = make_trainer(config, vocabulary, mesh)
  rng = np.random.default_rng(0)
  ids = rng.integers(110, 500, (8, 32)).astype(np.uint16)
  ids[:, 0], ids[:, 29] = 101, 102
  batch = Batch(ids, np.tile([[16, 30]], (8, 1)).astype(np.int32))
  state, sums = trainer.train_step(
      trainer.init(), sharding.to_global(mesh, batch)
  )
  return jax.device_get((state.params, sums))


@pytest.fixture(scope="module")
def plain():
  return after_a_step("xla", data=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "axes",
    [
        {"data": 1},
        {"data": 2, "fsdp": 2, "tensor": 1},
        {"data": 2, "fsdp": 2, "tensor": 2},
    ],
)
def test_training_does_not_depend_on_the_path(plain, axes):
  fused = after_a_step("fused", **axes)
  # Adam divides by √v, so rounding is as large as a part of its step here.
  jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-5),
      fused,
      plain,
  )


def test_auto_is_plain_attention_off_tpus():
  mesh = sharding.make_mesh(data=1, devices=jax.devices()[:1])
  assert attention_paths.make_attend("auto", mesh) is attend


def test_an_unknown_path_is_named_with_the_known_ones():
  mesh = sharding.make_mesh(data=1, devices=jax.devices()[:1])
  with pytest.raises(UserError, match="'flash'; it must be one of auto, xla"):
    attention_paths.make_attend("flash", mesh)


def test_a_row_too_long_for_the_kernel_says_so():
  config = tiny_config(
      **{
          "model.attention": "fused",
          "model.max_position_embeddings": 1024,
          "data.length": 1024,
      }
  )
  mesh = sharding.make_mesh(data=1, devices=jax.devices()[:1])
  trainer = make_trainer(config, Vocabulary(500, SPECIAL), mesh)
  rows = Batch(
      jax.ShapeDtypeStruct((8, 1024), "uint16"),
      jax.ShapeDtypeStruct((8, 2), "int32"),
  )
  with pytest.raises(
      UserError, match=r"rows of 1024 tokens .* set it to 'auto'"
  ):
    trainer.train_step.lower(trainer.abstract, rows)


def test_kernels_are_compared_with_plain_attention():
  kernel = functools.partial(tpu_attention.fused_attend, interpret=True)
  assert attention_paths.agrees(kernel)

  def wrong(config, query, *rest):
    return kernel(config, query * 1.5, *rest)

  assert not attention_paths.agrees(wrong)


class Accelerator:
  """Says that it is one; computes nothing."""

  platform, device_kind = "tpu", "TPU v9"


@pytest.mark.parametrize("failure", [None, RuntimeError("no such\nopcode")])
def test_a_kernel_that_is_wrong_here_is_left_out(monkeypatch, caplog, failure):
  def fails(*_):
    if failure:
      raise failure
    return False

  device = Accelerator()
  monkeypatch.setattr(jax, "devices", lambda: [device])
  monkeypatch.setattr(attention_paths, "agrees", fails)
  assert not attention_paths.is_trusted(device)
  words = "no such opcode" if failure else "differs from plain attention"
  assert f"kernel of TPU v9 is left out, since it {words}" in caplog.text


def test_devices_that_are_only_compiled_for_are_trusted():
  assert attention_paths.is_trusted(Accelerator())


@pytest.mark.parametrize(
    ("kind", "capability", "is_trusted"),
    [
        ("NVIDIA H100 80GB HBM3", "9.0", True),
        ("Tesla V100-SXM2-16GB", "7.0", False),
        ("NVIDIA T4", "7.5", False),
        ("AMD Instinct MI300X", "9.4", False),
    ],
)
def test_kernels_are_for_new_gpus_of_one_maker(kind, capability, is_trusted):
  device = Accelerator()
  device.platform, device.device_kind = "gpu", kind
  device.compute_capability = capability
  assert attention_paths.is_trusted(device) == is_trusted
