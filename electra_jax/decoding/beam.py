"""Beam search: several texts a source at a time, of which the best is kept.

Source: flax's examples/wmt, decode.py, and T5X's decoding.py: of the 2 K
likeliest continuations those that end go to K finished texts, and K of the
others live on. An end counts only among the first K, as in fairseq's and
transformers' searches, so that one beam without a length penalty is greedy.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from electra_jax.decoding.choosing import allowed, penalty
from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.steps import NEVER, Generated, Ids, Step
from electra_jax.shapes import Array, Float, Int

_LEAST = NEVER / 2  # Below it no text stands behind a score.


class _Live(NamedTuple):
  totals: Float[Array, "B K"]  # Log-probabilities.
  tokens: Int[Array, "B K T"]
  ancestry: Int[Array, "B K T"]


class _Finished(NamedTuple):
  scores: Float[Array, "B K"]
  tokens: Int[Array, "B K T"]
  lengths: Int[Array, "B K"]


class _State(NamedTuple):
  place: Int[Array, ""]
  newest: Int[Array, "B K"]
  live: _Live
  finished: _Finished
  kept: Any


class _Candidates(NamedTuple):
  """The likeliest continuations, falling."""

  totals: Float[Array, "B C"]
  parents: Int[Array, "B C"]  # The beams that they continue.
  newest: Int[Array, "B C"]


def search(
    step: Step, kept: Any, batch: int, config: DecodingConfig, ids: Ids
) -> Generated:
  """Searches until no live text can become better than the finished ones.

  A source whose texts have all been longer than allowed gets the likeliest of
  them without an end.

  Args:
    step: reads one token of each beam.
    kept: what the first step needs.
    batch: B, number of sources.
    config: how.
    ids: special ones.
  """
  length = config.max_length

  def is_going_on(state):
    worst = jnp.min(state.finished.scores, axis=1)
    best = jnp.max(state.live.totals, axis=1)
    # Nothing that lives can get more than this: totals fall, as they are
    # negative, and the penalty is largest at the end.
    is_settled = (worst > best / penalty(length, config)) | (best < _LEAST)
    return (state.place < length) & ~jnp.all(is_settled)

  def advance(state):
    logits, kept = step(
        state.kept, state.newest, state.live.ancestry, state.place
    )
    candidates = _candidates(logits, state, config, ids)
    is_end = candidates.newest == ids.end
    finished = _finish(candidates, is_end, state, config)
    live, newest = _go_on(candidates, is_end, state)
    return _State(state.place + 1, newest, live, finished, kept)

  last = jax.lax.while_loop(
      is_going_on, advance, _first(kept, batch, config, ids)
  )
  has_end = last.finished.scores[:, 0] > _LEAST
  live = last.live
  return Generated(
      jnp.where(
          has_end[:, None], last.finished.tokens[:, 0], live.tokens[:, 0]
      ),
      jnp.where(has_end, last.finished.lengths[:, 0], length),
      jnp.where(
          has_end,
          last.finished.scores[:, 0],
          live.totals[:, 0] / penalty(length, config),
      ),
  )


def _first(kept, batch, config, ids) -> _State:
  shape = batch, config.beam_size
  tokens = jnp.full((*shape, config.max_length), ids.pad, jnp.int32)
  # All beams are alike at first: one alone lives.
  is_other = jnp.arange(config.beam_size)[None] > 0
  totals = jnp.broadcast_to(jnp.where(is_other, NEVER, 0.0), shape)
  return _State(
      jnp.zeros((), jnp.int32),
      jnp.full(shape, ids.begin, jnp.int32),
      _Live(totals, tokens, jnp.zeros_like(tokens)),
      _Finished(
          jnp.full(shape, NEVER, jnp.float32),
          tokens,
          jnp.zeros(shape, jnp.int32),
      ),
      kept,
  )


def _candidates(logits, state, config, ids) -> _Candidates:
  batch, beams, vocab_size = logits.shape
  total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
  logits = allowed(logits, state.live.tokens, state.place, config, ids)
  # The 2 K of each beam hold the 2 K of all.
  each = min(2 * beams, vocab_size)
  values, tokens = jax.lax.top_k(logits, each)  # [B, K, each]
  totals = state.live.totals[..., None] + values - total
  totals, index = jax.lax.top_k(
      totals.reshape(batch, -1), min(2 * beams, beams * each)
  )
  tokens = tokens.reshape(batch, -1)
  newest = jnp.take_along_axis(tokens, index, axis=1)
  return _Candidates(totals, index // each, newest.astype(jnp.int32))


def _finish(candidates, is_end, state, config) -> _Finished:
  beams = config.beam_size
  rank = jnp.arange(candidates.totals.shape[1])[None]
  is_finished = is_end & (rank < beams) & (candidates.totals > _LEAST)
  length = state.place + 1
  scores = jnp.where(
      is_finished, candidates.totals / penalty(length, config), NEVER
  )
  old = state.finished
  tokens = _continued(state.live.tokens, candidates, state.place)
  everyone = _Finished(
      jnp.concatenate([old.scores, scores], axis=1),
      jnp.concatenate([old.tokens, tokens], axis=1),
      jnp.concatenate(
          [old.lengths, jnp.broadcast_to(length, scores.shape)], axis=1
      ),
  )
  best, index = jax.lax.top_k(everyone.scores, beams)
  return _Finished(
      best,
      _of(everyone.tokens, index),
      jnp.take_along_axis(everyone.lengths, index, axis=1),
  )


def _go_on(candidates, is_end, state) -> tuple[_Live, Int[Array, "B K"]]:
  beams = state.live.totals.shape[1]
  totals, index = jax.lax.top_k(
      jnp.where(is_end, NEVER, candidates.totals), beams
  )
  parents, newest = (
      jnp.take_along_axis(x, index, axis=1)
      for x in (candidates.parents, candidates.newest)
  )
  chosen = _Candidates(totals, parents, newest)
  tokens = _continued(state.live.tokens, chosen, state.place)
  ancestry = _put(_of(state.live.ancestry, parents), parents, state.place)
  return _Live(totals, tokens, ancestry), newest


def _continued(tokens, candidates, place):
  return _put(_of(tokens, candidates.parents), candidates.newest, place)


def _of(rows: Int[Array, "B K T"], index: Int[Array, "B C"]):
  return jnp.take_along_axis(rows, index[..., None], axis=1)


def _put(rows: Int[Array, "B C T"], values: Int[Array, "B C"], place):
  zero = jnp.zeros_like(place)
  return jax.lax.dynamic_update_slice(
      rows, values[..., None].astype(rows.dtype), (zero, zero, place)
  )
