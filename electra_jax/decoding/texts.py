"""Texts by a sequence-to-sequence model."""

import functools
from collections.abc import Callable

import jax

from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.generate import generate
from electra_jax.decoding.steps import Generated, Ids
from electra_jax.models.autoencoder import Autoencoder
from electra_jax.models.seq2seq import Seq2Seq
from electra_jax.shapes import Array, Float, Int, Params


def make_generate(
    model: Seq2Seq,
    config: DecodingConfig,
    *,
    begin_id: int,
    end_id: int,
    pad_id: int,
    never_ids: tuple[int, ...] = (),
    seed: int = 0,
) -> Callable[..., Generated]:
  """Returns a compiled function that writes a text for each source.

  Args:
    model: any architecture.
    config: how.
    begin_id: is read at the first place.
    end_id: ends a text.
    pad_id: stands behind it.
    never_ids: are not written, and neither are the first and the third.
    seed: of draws.

  Returns:
    (params, source_ids [B, S], source_mask [B, S], text_numbers [B],
    source_segments [B, S] or None) -> Generated. The numbers are those of the
    texts in their file; see `generate`. It raises a UserError where source and
    target need more positions than the encoder has.
  """
  ids = Ids(begin_id, end_id, pad_id, tuple(never_ids))

  @jax.jit
  def write(
      params: Params,
      source_ids: Int[Array, "B S"],
      source_mask: Int[Array, "B S"],
      text_numbers: Int[Array, " B"],
      source_segments: Int[Array, "B S"] | None = None,
  ) -> Generated:
    bound = functools.partial(model.apply, {"params": params})
    memory, kept = bound(
        source_ids,
        source_mask,
        source_segments=source_segments,
        beam_size=config.beams,
        max_length=config.max_length,
        method="start",
    )
    return _write(bound, memory, kept, text_numbers, config, ids, seed)

  return write


def make_generate_at(
    model: Autoencoder,
    config: DecodingConfig,
    *,
    begin_id: int,
    end_id: int,
    pad_id: int,
    never_ids: tuple[int, ...] = (),
    seed: int = 0,
) -> Callable[..., Generated]:
  """Returns a compiled function that writes a text for each value of z.

  Args:
    model: the network; the others are as of `make_generate`.
    config: how.
    begin_id: is read at the first place.
    end_id: ends a text.
    pad_id: stands behind it.
    never_ids: are not written, and neither are the first and the third.
    seed: of draws of tokens.

  Returns:
    (params, latents [B, Z], text_numbers [B]) -> Generated.
  """
  ids = Ids(begin_id, end_id, pad_id, tuple(never_ids))

  @jax.jit
  def write_at(
      params: Params,
      latents: Float[Array, "B Z"],
      text_numbers: Int[Array, " B"],
  ) -> Generated:
    bound = functools.partial(model.apply, {"params": params})
    memory, kept = bound(
        latents,
        beam_size=config.beams,
        max_length=config.max_length,
        method="start_at",
    )
    return _write(bound, memory, kept, text_numbers, config, ids, seed)

  return write_at


def _write(bound, memory, kept, text_numbers, config, ids, seed) -> Generated:
  def step(kept, tokens, ancestry, place):
    return bound(memory, kept, tokens, ancestry, place, method="step")

  return generate(step, kept, text_numbers, config, ids, seed)
