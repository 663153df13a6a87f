"""The TPU kernel, interpreted: the same function as the plain one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.models.attention import AttentionConfig, attend
from electra_jax.models.tpu_attention import fits, fused_attend

ROWS, LENGTH, HEADS = 3, 24, 4


def synthetic(width=32, dtype=jnp.float32):
  """Query, key, value, gradient; then mask, positions, seeds of 3 rows."""
  rngs = jax.random.split(jax.random.key(0), 5)
  hidden = [
      jax.random.normal(rng, (ROWS, LENGTH, width), dtype) for rng in rngs[:4]
  ]
  lengths = jnp.array([[LENGTH], [LENGTH - 7], [0]])
  place = jnp.arange(LENGTH)[None]
  mask = (place < lengths).astype(jnp.int32)
  seeds = jax.random.bits(rngs[4], (ROWS, LENGTH), jnp.uint32)
  return hidden, (mask, place, seeds)


def both(config, tokens, hidden, **options):
  """Outputs and gradients by both ways."""
  *qkv, gradient = hidden
  fused = functools.partial(fused_attend, interpret=True, **options)
  for way in (attend, fused):
    out, pull = jax.vjp(lambda *x, way=way: way(config, *x, *tokens), *qkv)
    yield out, *pull(gradient)


@pytest.mark.parametrize(
    "config",
    [
        AttentionConfig(HEADS),
        AttentionConfig(HEADS, 0.3),
        AttentionConfig(HEADS, 0.3, direction="left_to_right"),
        AttentionConfig(HEADS, direction="right_to_left"),
        AttentionConfig(1, 0.3),
    ],
)
def test_kernel_and_plain_attention_are_one_function(config):
  hidden, tokens = synthetic()
  plain, fused = both(config, tokens, hidden)
  for expected, value in zip(plain, fused, strict=True):
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("width", [128, 256])
def test_wide_models_are_read_a_register_of_heads_at_a_time(width):
  hidden, tokens = synthetic(width)
  plain, fused = both(AttentionConfig(HEADS, 0.3), tokens, hidden)
  for expected, value in zip(plain, fused, strict=True):
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=2e-6)


def test_packed_texts_do_not_see_each_other():
  hidden, (_, place, seeds) = synthetic()
  owners = jnp.broadcast_to(1 + (place >= 10), (ROWS, LENGTH))
  positions = jnp.where(place >= 10, place - 10, place)
  positions = jnp.broadcast_to(positions, (ROWS, LENGTH))
  config = AttentionConfig(HEADS, 0.3, is_packed=True)
  plain, fused = both(config, (owners, positions, seeds), hidden)
  for expected, value in zip(plain, fused, strict=True):
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=2e-6)
  query, key, value = hidden[:3]
  alone = fused_attend(
      AttentionConfig(HEADS),
      query[:, :10],
      key[:, :10],
      value[:, :10],
      owners[:, :10],
      positions[:, :10],
      None,
      interpret=True,
  )
  config = AttentionConfig(HEADS, is_packed=True)
  together = fused_attend(
      config, query, key, value, owners, positions, None, interpret=True
  )
  np.testing.assert_allclose(together[:, :10], alone, rtol=1e-5, atol=2e-6)


def test_no_seeds_mean_no_dropout():
  hidden, (mask, place, _) = synthetic()
  dropping, plain = (
      fused_attend(
          AttentionConfig(HEADS, rate),
          *hidden[:3],
          mask,
          place,
          None,
          interpret=True,
      )
      for rate in (0.5, 0.0)
  )
  np.testing.assert_array_equal(dropping, plain)


def test_heads_split_over_devices_drop_what_they_drop_together():
  hidden, tokens = synthetic()
  config = AttentionConfig(HEADS, 0.5)
  whole = fused_attend(config, *hidden[:3], *tokens, interpret=True)
  half = hidden[0].shape[-1] // 2
  second = fused_attend(
      AttentionConfig(HEADS // 2, 0.5),
      *(x[..., half:] for x in hidden[:3]),
      *tokens,
      first_head=HEADS // 2,
      interpret=True,
  )
  np.testing.assert_allclose(second, whole[..., half:], rtol=1e-6)


def test_bfloat16_agrees_to_its_own_precision():
  hidden, tokens = synthetic(dtype=jnp.bfloat16)
  plain, fused = both(AttentionConfig(HEADS, 0.1), tokens, hidden)
  for expected, value in zip(plain, fused, strict=True):
    assert value.dtype == jnp.bfloat16
    # Three roundings to 8 bits lie between the two.
    np.testing.assert_allclose(
        np.float32(value), np.float32(expected), rtol=0.03, atol=0.03
    )


def test_what_fits_the_kernel():
  assert fits(128, 256, 4) and fits(512, 768, 12) and fits(128, 64, 1)
  assert not fits(1024, 768, 12)  # Scores of a row fill the memory.
  assert not fits(100, 256, 4)  # Rows of registers hold eight tokens.
  assert not fits(128, 192, 3)  # Heads of 64 stand across registers of 128.
