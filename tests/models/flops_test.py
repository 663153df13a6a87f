"""Model FLOPs against the published accounting and XLA's own count."""

import jax
import jax.numpy as jnp
import pytest

from electra_jax.models.flops import training_flops_per_row
from electra_jax.pretraining.trainer import Electra, init_params_of
from electra_jax.runs.networks import electra_config
from tests import helpers


@pytest.mark.parametrize(
    ("size", "length", "expected"),
    [
        ("small", 128, 8.99e9),
        ("base", 128, 7.82e10),
        ("base", 512, 3.42e11),
        ("large", 512, 1.11e12),
    ],
)
def test_the_papers_sizes(size, length, expected):
  config = helpers.load_config(f"configs/pretrain.py:{size}")
  slots = int((config.objective.mask_prob + 0.005) * length)
  found = training_flops_per_row(electra_config(config, 30522), length, slots)
  assert found == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(
    ("objective", "generator", "token_positions"),
    [
        ("electra", "masked_lm", 0),
        ("electric", "two_tower", 0),
        ("replace_mlm", "masked_lm", 9),
        ("masked_lm", "masked_lm", 0),
        ("electra", "uniform", 0),
    ],
)
def test_xla_counts_as_much(objective, generator, token_positions):
  length, slots, vocab_size, rows = 64, 9, 4096, 4
  config = helpers.tiny_config(
      **{
          "objective.name": objective,
          "objective.generator": generator,
          "model.hidden_size": 256,
          "data.length": length,
      }
  )
  networks = electra_config(config, vocab_size)
  model = Electra(networks)
  params = jax.eval_shape(lambda: init_params_of(model, 0))
  ids = jax.ShapeDtypeStruct((rows, length), jnp.int32)
  positions = jax.ShapeDtypeStruct((rows, slots), jnp.int32)

  def forward(params, ids, positions):
    def apply(method, *args):
      return model.apply({"params": params}, *args, method=method)

    outputs = [apply("__call__", ids, ids, ids, positions)]
    if networks.has_two_towers:
      states = apply("generate", ids, ids, ids).sequence
      every = jnp.broadcast_to(jnp.arange(length)[None], ids.shape)
      outputs.append(apply("generator_logits", states, every))
    if networks.has_token_head:
      states = apply("discriminate", ids, ids, ids).sequence
      outputs.append(apply("token_logits", states, positions))
    return outputs

  compiled = jax.jit(forward).lower(params, ids, positions).compile()
  counted = compiled.cost_analysis()["flops"]
  ours = training_flops_per_row(networks, length, slots, token_positions) / 3
  # XLA also counts norms, activations and softmax.
  assert ours * rows <= counted <= 1.1 * ours * rows
