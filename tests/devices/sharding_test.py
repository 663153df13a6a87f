"""How many devices share a state, by its size."""

import jax
import jax.numpy as jnp
import pytest

from electra_jax.devices.sharding import fewest_shards

WIDTH = 96
PARAMS = {
    "embeddings": {
        "word_embeddings": {
            "embedding": jax.ShapeDtypeStruct((1000, WIDTH), jnp.float32)
        }
    },
    "discriminator": {
        "layer_0": {
            "layer_norm": {"scale": jax.ShapeDtypeStruct((64,), jnp.float32)}
        }
    },
}
SIZE = 4 * (1000 * WIDTH + 64)


@pytest.mark.parametrize(
    ("memory", "shards"),
    [
        (8 * SIZE, 1),  # Parameters, two moments, gradients: half of it.
        (8 * SIZE - 1, 2),
        (7 * SIZE, 2),  # 3/2 of each state, whole parameters and gradients.
        (7 * SIZE - 1, 4),
        (SIZE * 11 // 2, 4),
        (SIZE * 11 // 2 - 1, 8),
        (1, 32),  # Nothing is enough: all, but that 64 does not divide 96.
    ],
)
def test_shards_leave_half_of_the_memory(memory, shards):
  assert fewest_shards(PARAMS, 64, memory) == shards


def test_there_are_no_more_shards_than_devices():
  assert fewest_shards(PARAMS, 2, 1) == 2
  assert fewest_shards(PARAMS, 1, 1) == 1
