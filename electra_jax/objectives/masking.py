"""Which tokens are masked, and the row layout they are masked in.

Everything random of a step but dropout is drawn here, for the whole global
batch at once and before either network runs; so a loss depends neither on
micro-batches nor on devices, and its weight is known before its sum.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from electra_jax.errors import UserError
from electra_jax.shapes import (
    Array,
    Bool,
    Float,
    Int,
    Positions,
    RowSeeds,
    SlotIds,
    SlotWeights,
    TokenIds,
    TokenMask,
)

WRITE_MASK_PROB = 0.85  # The other 15 % keep their token; none is random.


@dataclasses.dataclass(frozen=True, eq=False)
class MaskingConfig:
  """How positions are chosen.

  Attributes:
    mask_prob: share of a row's tokens, specials counted, that is masked.
    max_length: L, which bounds the number of slots.
    mask_id: id of [MASK].
    unmaskable_ids: ids that are never masked: [CLS], [SEP], [MASK].
    draw: "without_replacement" chooses distinct positions, as the paper
      intends; "with_replacement" draws each slot on its own, as the release
      does, so that about 7 % of slots repeat another.
    unit: "token", or "word": all pieces of a chosen word are masked.
    is_continuation: [V] whether an id goes on with the word before it; needed
      for words alone.
  """

  mask_prob: float
  max_length: int
  mask_id: int
  unmaskable_ids: tuple[int, ...]
  draw: str = "without_replacement"
  unit: str = "token"
  is_continuation: np.ndarray | None = None

  def __post_init__(self):
    if self.unit not in ("token", "word"):
      raise UserError(
          f"masking unit {self.unit!r} is neither 'token' nor 'word'"
      )
    if self.unit == "word" and self.draw == "with_replacement":
      raise UserError(
          "words are masked without replacement alone; set"
          " config.objective.masking_draw='without_replacement' or"
          " masking_unit='token'"
      )
    if not 0 < self.mask_prob < 1:
      raise UserError(
          f"mask_prob is {self.mask_prob}; it must lie between 0 and 1"
      )
    if self.draw not in ("without_replacement", "with_replacement"):
      raise UserError(
          f"masking draw {self.draw!r} is neither 'without_replacement' nor"
          " 'with_replacement'"
      )

  @property
  def num_slots(self) -> int:
    """K. Source: release configure_pretraining.py, max_predictions_per_seq."""
    return max(1, int((self.mask_prob + 0.005) * self.max_length))


class Rows(NamedTuple):
  """Text as it is fed.

  Attributes:
    input_ids: [B, L] token ids.
    input_mask: [B, L] 1 for tokens, 0 for padding.
    segment_ids: [B, L] 0 for the first segment and padding, 1 for the second.
  """

  input_ids: TokenIds
  input_mask: TokenMask
  segment_ids: Int[Array, "B L"]


class MaskedRows(NamedTuple):
  """Text with its masked positions and every random number of the step.

  Attributes:
    rows: the original text.
    masked_input_ids: [B, L] ids with [MASK] written.
    masked_lm_positions: [B, K] chosen positions; 0 in unused slots.
    masked_lm_ids: [B, K] original ids there; 0 in unused slots.
    masked_lm_weights: [B, K] 1.0 for used slots, 0.0 for unused ones.
    sample_uniforms: [B, K] in [0, 1), one for each slot's replacement.
    dropout_seeds: [B] one per row.
    is_maskable: [B, L] True for tokens that could have been chosen.
  """

  rows: Rows
  masked_input_ids: TokenIds
  masked_lm_positions: Positions
  masked_lm_ids: SlotIds
  masked_lm_weights: SlotWeights
  sample_uniforms: Float[Array, "B K"]
  dropout_seeds: RowSeeds
  is_maskable: Bool[Array, "B L"]


def unpack_rows(
    input_ids: Int[Array, "B L"] | Array, segment_lengths: Int[Array, "B 2"]
) -> Rows:
  """Derives mask and segments from the two lengths that a stored row carries.

  Args:
    input_ids: ids of any integer dtype.
    segment_lengths: tokens up to the end of the first segment, and of all.
  """
  place = jnp.arange(input_ids.shape[1], dtype=jnp.int32)[None]
  first, total = segment_lengths[:, :1], segment_lengths[:, 1:]
  input_mask = place < total
  return Rows(
      input_ids.astype(jnp.int32),
      input_mask.astype(jnp.int32),
      (input_mask & (place >= first)).astype(jnp.int32),
  )


def mask_rows(rng: jax.Array, rows: Rows, config: MaskingConfig) -> MaskedRows:
  """Chooses K positions a row and writes [MASK] at 85 % of them.

  Source: ELECTRA §2; release pretrain/pretrain_helpers.py:mask.
  """
  position_rng, write_rng, sample_rng, dropout_rng = jax.random.split(rng, 4)
  batch, length = rows.input_ids.shape
  slots = (batch, config.num_slots)
  if config.unit == "word":
    choose, shape = choose_words, (batch, length)
  elif config.draw == "without_replacement":
    choose, shape = choose_distinct_positions, (batch, length)
  else:
    choose, shape = draw_positions, slots
  positions, weights = choose(
      jax.random.uniform(position_rng, shape), rows, config
  )
  masked_lm_ids = jnp.take_along_axis(rows.input_ids, positions, axis=1)
  masked_lm_ids *= weights.astype(jnp.int32)
  writes = jax.random.uniform(write_rng, slots) < WRITE_MASK_PROB
  return MaskedRows(
      rows=rows,
      masked_input_ids=write_masks(
          rows.input_ids, positions, writes & (weights > 0), config.mask_id
      ),
      masked_lm_positions=positions,
      masked_lm_ids=masked_lm_ids,
      masked_lm_weights=weights,
      sample_uniforms=jax.random.uniform(sample_rng, slots),
      dropout_seeds=jax.random.bits(dropout_rng, (batch,), jnp.uint32),
      is_maskable=maskable(rows, config),
  )


def maskable(rows: Rows, config: MaskingConfig) -> Bool[Array, "B L"]:
  """True for real tokens that are not special."""
  special = jnp.isin(rows.input_ids, jnp.asarray(config.unmaskable_ids))
  return (rows.input_mask > 0) & ~special


def slot_weights(rows: Rows, config: MaskingConfig) -> SlotWeights:
  """1.0 for the first k slots, k = max(1, min(K, round(mask_prob·tokens))).

  Tokens count [CLS] and [SEP]; the product is rounded in float32, half to
  even, as TensorFlow's.
  """
  tokens = jnp.sum(rows.input_mask, axis=1).astype(jnp.float32)
  count = jnp.round(tokens * jnp.float32(config.mask_prob)).astype(jnp.int32)
  count = jnp.clip(count, 1, config.num_slots)
  slot = jnp.arange(config.num_slots, dtype=jnp.int32)
  return (slot[None] < count[:, None]).astype(jnp.float32)


def choose_distinct_positions(
    uniforms: Float[Array, "B L"], rows: Rows, config: MaskingConfig
) -> tuple[Positions, SlotWeights]:
  """Chooses maskable positions without replacement, all sets equally likely.

  A row with fewer maskable tokens than slots leaves slots unused.
  """
  scores = jnp.where(maskable(rows, config), uniforms, -1.0)
  best, positions = jax.lax.top_k(scores, config.num_slots)
  weights = slot_weights(rows, config) * (best >= 0)
  return positions * weights.astype(jnp.int32), weights


def choose_words(
    uniforms: Float[Array, "B L"], rows: Rows, config: MaskingConfig
) -> tuple[Positions, SlotWeights]:
  """Chooses whole words in random order until k tokens are chosen.

  The word that would exceed k is passed over and words of one token fill what
  is left; only where the first word alone is longer than k is it cut.

  Source: BERT's whole-word masking, made to keep the released number k of
  tokens; the release of ELECTRA masks tokens.
  """
  length = rows.input_ids.shape[1]
  candidates = maskable(rows, config)
  goes_on = jnp.asarray(config.is_continuation)[rows.input_ids] & candidates
  goes_on &= jnp.roll(candidates, 1, axis=1)  # Nothing goes on after [CLS].
  word = jnp.cumsum(~goes_on, axis=1) - 1  # [B, L]
  scores = jnp.take_along_axis(uniforms, word, axis=1)
  # Tokens of a word have one score; a stable sort keeps them side by side.
  order = jnp.argsort(jnp.where(candidates, -scores, 1.0), axis=1, stable=True)
  word = jnp.take_along_axis(word, order, axis=1)
  candidates = jnp.take_along_axis(candidates, order, axis=1)
  rank = jnp.arange(length, dtype=jnp.int32)[None]
  is_last = jnp.roll(word, -1, axis=1) != word
  is_last = is_last.at[:, -1].set(True)
  is_first = jnp.roll(is_last, 1, axis=1)
  # The rank of the last token of each token's word.
  end = jax.lax.cummin(jnp.where(is_last, rank, length), axis=1, reverse=True)
  budget = jnp.sum(slot_weights(rows, config), axis=1, keepdims=True)
  chosen = candidates & (end < budget)
  is_cut = ~jnp.any(chosen, axis=1, keepdims=True)
  chosen |= is_cut & candidates & (rank < budget)
  left = budget - jnp.sum(chosen, axis=1, keepdims=True)
  single = candidates & is_first & is_last & ~chosen
  chosen |= single & (jnp.cumsum(single, axis=1) <= left)
  weights, slots = jax.lax.top_k(chosen.astype(jnp.float32), config.num_slots)
  positions = jnp.take_along_axis(order, slots, axis=1)
  return positions * weights.astype(jnp.int32), weights


def draw_positions(
    uniforms: Float[Array, "B K"], rows: Rows, config: MaskingConfig
) -> tuple[Positions, SlotWeights]:
  """Draws each slot's position alone, so that positions can repeat.

  The released behaviour; a row without a maskable token, where the release
  reads beyond the row, leaves all slots unused.
  """
  rank = jnp.cumsum(maskable(rows, config), axis=1)  # [B, L] from 1.
  total = rank[:, -1:]
  drawn = jnp.floor(uniforms * total).astype(jnp.int32)
  drawn = jnp.minimum(drawn, total - 1)  # A product can round up to total.
  positions = jnp.sum(
      rank[:, None, :] <= drawn[:, :, None], axis=2, dtype=jnp.int32
  )
  weights = slot_weights(rows, config) * (total > 0)
  return positions * weights.astype(jnp.int32), weights


def write_masks(
    input_ids: TokenIds,
    positions: Positions,
    writes: Bool[Array, "B K"],
    mask_id: int,
) -> TokenIds:
  """Writes [MASK]; where slots repeat a position one that writes is enough."""
  hit = _hits(positions, input_ids.shape[1]) & writes[..., None]
  return jnp.where(jnp.any(hit, axis=1), mask_id, input_ids)


def scatter_ids(
    input_ids: TokenIds, positions: Positions, updates: SlotIds
) -> TokenIds:
  """Writes one id per slot; repeated positions get the mean, rounded down.

  Position 0 holds [CLS] and marks unused slots: writes there are ignored.

  Source: release pretrain/pretrain_helpers.py:scatter_update.
  """
  hit = _hits(positions, input_ids.shape[1]).astype(jnp.int32)
  count = jnp.sum(hit, axis=1)
  total = jnp.einsum("bkl,bk->bl", hit, updates)
  return jnp.where(count > 0, total // jnp.maximum(count, 1), input_ids)


def selected(masked: MaskedRows) -> Bool[Array, "B L"]:
  """True where a position was chosen, whatever was written there."""
  return jnp.any(
      _hits(masked.masked_lm_positions, masked.rows.input_ids.shape[1]), axis=1
  )


def _hits(positions: Positions, length: int) -> Bool[Array, "B K L"]:
  # Comparing beats scattering on every backend: K and L are small.
  place = jnp.arange(length, dtype=positions.dtype)
  hit = positions[..., None] == place[None, None]
  return hit & (place > 0)[None, None]
