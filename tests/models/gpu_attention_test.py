"""The kernels for a GPU, interpreted, give what plain attention gives."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from electra_jax.models.attention import AttentionConfig, attend
from electra_jax.models.dropout import token_seeds
from electra_jax.models.gpu_attention import LONGEST, fits, fused_attend

HEADS = 2
# In float32 a score of -10000 keeps its difference to others to 1 in 2000.
ROUGH = 1e-3


def arrays(length, head_width=16, dtype=jnp.float32):
  """Query, key, value and the gradient of what is mixed from them."""
  rng = np.random.default_rng(length)
  shape = (2, length, HEADS * head_width)
  return [jnp.asarray(rng.normal(size=shape), dtype) for _ in range(4)]


def tokens(length, is_packed=False):
  """The second row ends in padding; packed rows hold two texts."""
  place = np.arange(length)
  first = length // 3 if is_packed else length
  mask = np.tile(1 + (place >= first), (2, 1))
  mask[1, -length // 4 :] = 0
  positions = np.where(place < first, place, place - first)[None]
  if is_packed:
    positions = np.tile(positions, (2, 1))
  positions = jnp.asarray(positions)
  seeds = token_seeds(jnp.asarray([7, 8], jnp.uint32), positions)
  return jnp.asarray(mask), positions, seeds


def outputs(function, config, hidden, rest):
  """What attention gives, and its gradients by query, key and value."""

  @jax.jit
  def run(inputs, gradient):
    mixed, pull = jax.vjp(lambda *x: function(config, *x, *rest), *inputs)
    return mixed, *pull(gradient)

  *inputs, gradient = hidden
  return [np.asarray(x, np.float32) for x in run(inputs, gradient)]


def interpreted(*args):
  return fused_attend(*args, interpret=True)


class GpuAttentionTest(parameterized.TestCase):

  def assert_same(self, config, hidden, rest, tolerance=1e-5):
    ours = outputs(interpreted, config, hidden, rest)
    plain = outputs(attend, config, hidden, rest)
    names = "mixed", "query", "key", "value"
    for name, x, y in zip(names, ours, plain, strict=True):
      with self.subTest(name):
        np.testing.assert_allclose(x, y, atol=tolerance * np.abs(y).max())

  @parameterized.parameters(16, 48, 128, 256)
  def test_lengths(self, length):
    config = AttentionConfig(HEADS, 0.1)
    self.assert_same(config, arrays(length), tokens(length))

  @parameterized.parameters(32, 128)
  def test_widths_of_heads(self, head_width):
    config = AttentionConfig(HEADS, 0.1)
    self.assert_same(config, arrays(48, head_width), tokens(48))

  @parameterized.product(
      is_packed=(False, True),
      direction=("both", "left_to_right", "right_to_left"),
  )
  def test_who_sees_whom(self, is_packed, direction):
    # Padding that looks to the right sees nothing but padding.
    is_rough = direction == "right_to_left" and not is_packed
    self.assert_same(
        AttentionConfig(HEADS, 0.1, is_packed, direction),
        arrays(48),
        tokens(48, is_packed),
        tolerance=ROUGH if is_rough else 1e-5,
    )

  def test_who_sees_whom_in_a_single_block(self):
    config = AttentionConfig(HEADS, 0.1, True, "left_to_right")
    self.assert_same(config, arrays(32), tokens(32, is_packed=True))

  @parameterized.parameters(16, 48)
  def test_rows_of_padding(self, length):
    mask, *rest = tokens(length)
    rest = [mask.at[1].set(0), *rest]
    config = AttentionConfig(HEADS, 0.1)
    self.assert_same(config, arrays(length), rest, tolerance=ROUGH)

  @parameterized.parameters(16, 48)
  def test_bfloat16(self, length):
    # Plain attention rounds probabilities and the scale of dropout to 8 bits.
    hidden = arrays(length, dtype=jnp.bfloat16)
    config = AttentionConfig(HEADS, 0.1)
    self.assert_same(config, hidden, tokens(length), tolerance=0.02)

  def test_without_seeds_nothing_is_dropped(self):
    mask, positions, _ = tokens(32)
    config = AttentionConfig(HEADS, 0.1)
    self.assert_same(config, arrays(32), (mask, positions, None))

  def test_heads_on_several_devices(self):
    hidden, rest = arrays(48), tokens(48)
    whole = outputs(attend, AttentionConfig(HEADS, 0.1), hidden, rest)
    width = hidden[0].shape[-1] // HEADS
    for head in range(HEADS):
      part = slice(head * width, (head + 1) * width)
      alone = outputs(
          lambda *x, head=head: interpreted(*x, jnp.int32(head)),
          AttentionConfig(1, 0.1),
          [x[..., part] for x in hidden],
          rest,
      )
      for x, y in zip(alone, whole, strict=True):
        np.testing.assert_allclose(x, y[..., part], atol=1e-5)

  def test_what_fits(self):
    self.assertTrue(fits(128, 256, 4))
    self.assertTrue(fits(LONGEST, 768, 12))
    self.assertFalse(fits(LONGEST + 16, 768, 12))
    self.assertFalse(fits(100, 768, 12))
    self.assertFalse(fits(128, 96, 2))  # 48 wide.
    self.assertFalse(fits(128, 16, 2))  # Tensor cores take 16 or more.


if __name__ == "__main__":
  absltest.main()
