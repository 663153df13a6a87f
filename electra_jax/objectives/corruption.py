"""The generator's samples, and the labels they make."""

import jax
import jax.numpy as jnp

from electra_jax.objectives.masking import MaskedRows, scatter_ids
from electra_jax.shapes import Array, Bool, Float, Int, SlotIds, TokenIds

_DISALLOWED = 1000.0  # Release, run_pretraining.py:_get_fake_data.
# Ids of a block: near the root of a usual vocabulary, and two registers of a
# TPU wide. At 175, the root of 30,522, its compiler copies all logits twice.
_BLOCK = 256


def sample_replacements(
    logits: Float[Array, "B K V"],
    uniforms: Float[Array, "B K"],
    *,
    temperature: float = 1.0,
    disallowed_ids: SlotIds | None = None,
) -> SlotIds:
  """Samples ids from softmax(logits / temperature), in float32.

  By the inverse of the distribution function, in two levels: blocks of the
  vocabulary, then the ids of one block. This takes one uniform number per
  slot where Gumbel noise takes V, and samples the same distribution to within
  the 2^-23 steps of a uniform number.

  Args:
    logits: of any float dtype.
    uniforms: in [0, 1).
    temperature: divides the logits.
    disallowed_ids: an id per slot that must not come out, or None.

  Source: release pretrain/pretrain_helpers.py:sample_from_softmax.
  """
  logits = jax.lax.stop_gradient(logits).astype(jnp.float32) / temperature
  vocab_size = logits.shape[-1]
  if disallowed_ids is not None:
    ids = jnp.arange(vocab_size, dtype=disallowed_ids.dtype)
    is_disallowed = ids[None, None] == disallowed_ids[..., None]
    logits -= _DISALLOWED * is_disallowed
  logits -= jnp.max(logits, axis=-1, keepdims=True)
  logits = jnp.pad(
      logits,
      ((0, 0), (0, 0), (0, -vocab_size % _BLOCK)),
      constant_values=-jnp.inf,
  ).reshape(*logits.shape[:2], -1, _BLOCK)
  mass = jnp.sum(jnp.exp(logits), axis=-1)  # [B, K, blocks]
  block, rest = _inverse_distribution(mass, uniforms * jnp.sum(mass, axis=-1))
  chosen = jnp.take_along_axis(logits, block[..., None, None], axis=2)
  within, _ = _inverse_distribution(jnp.exp(chosen[:, :, 0]), rest)
  return block * _BLOCK + within


def sample_from_one_distribution(
    logits: Float[Array, " V"],
    uniforms: Float[Array, "B K"],
    *,
    temperature: float = 1.0,
    disallowed_ids: SlotIds | None = None,
) -> SlotIds:
  """The same as `sample_replacements` where all slots share their logits.

  Takes memory for V numbers, not for V of every slot.

  Args:
    logits: of every slot.
    uniforms: in [0, 1).
    temperature: divides the logits.
    disallowed_ids: an id per slot that must not come out, or None.
  """
  weights = jax.nn.softmax(logits.astype(jnp.float32) / temperature)
  running = jnp.concatenate([jnp.zeros(1), jnp.cumsum(weights)])  # [V + 1]
  total = running[-1]
  if disallowed_ids is None:
    target = _below(uniforms * total, total)
  else:
    # The id's stretch is taken out of the line; who falls behind it moves on.
    start, end = running[disallowed_ids], running[disallowed_ids + 1]
    rest = start + (total - end)
    target = _below(uniforms * rest, rest)
    behind = _below(jnp.maximum(target + (end - start), end), total)
    target = jnp.where(target < start, target, behind)
  ids = jnp.searchsorted(running[1:], target, side="right")
  return ids.astype(jnp.int32)


def corrupt(
    masked: MaskedRows, replacements: SlotIds
) -> tuple[TokenIds, Bool[Array, "B L"]]:
  """Writes the samples over the original text.

  Args:
    masked: the text and its positions; samples of unused slots are ignored.
    replacements: the generator's samples, also where a token was kept.

  Returns:
    The corrupted ids, and True where an id differs from the original: a
    sample that equals the original is original.
  """
  original = masked.rows.input_ids
  corrupted_ids = scatter_ids(
      original, masked.masked_lm_positions, replacements
  )
  return corrupted_ids, corrupted_ids != original


def _inverse_distribution(
    weights: Float[Array, "B K M"], target: Float[Array, "B K"]
) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
  # The first index whose running sum exceeds the target, and what of the
  # target lies inside it. Rounding can lift the target to the full sum; the
  # second count then holds the index at the last weight that is not zero.
  running = jnp.cumsum(weights, axis=-1)
  index = jnp.minimum(
      jnp.sum(running <= target[..., None], axis=-1, dtype=jnp.int32),
      jnp.sum(running < running[..., -1:], axis=-1, dtype=jnp.int32),
  )
  before = jnp.take_along_axis(
      running, jnp.maximum(index - 1, 0)[..., None], axis=-1
  )[..., 0]
  return index, target - jnp.where(index > 0, before, 0.0)


def _below(x: Float[Array, "..."], bound: Float[Array, "..."]):
  # Rounding must not lift a share of the whole to the whole.
  return jnp.minimum(x, jnp.nextafter(bound, jnp.zeros_like(bound)))
