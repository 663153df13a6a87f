"""One text a source: the likeliest token each time, or a drawn one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from electra_jax.decoding.choosing import (
    allowed,
    first_largest,
    likeliest,
    penalty,
)
from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.steps import NEVER, Generated, Ids, Step
from electra_jax.shapes import Array, Bool, Float, Int


class _State(NamedTuple):
  place: Int[Array, ""]
  newest: Int[Array, " B"]
  tokens: Int[Array, "B T"]
  lengths: Int[Array, " B"]
  totals: Float[Array, " B"]
  is_done: Bool[Array, " B"]
  kept: Any


def write(
    step: Step,
    kept: Any,
    text_numbers: Int[Array, " B"],
    config: DecodingConfig,
    ids: Ids,
    seed: int,
) -> Generated:
  """Writes until every text has ended.

  Args:
    step: reads one token of each text.
    kept: what the first step needs.
    text_numbers: what a draw depends on, with the seed and the place alone.
    config: how; its method "greedy" or "sample".
    ids: special ones.
    seed: of draws.
  """
  batch, length = text_numbers.shape[0], config.max_length
  ancestry = jnp.zeros((batch, 1, length), jnp.int32)

  def is_going_on(state):
    return (state.place < length) & ~jnp.all(state.is_done)

  def write_one(state):
    logits, kept = step(
        state.kept, state.newest[:, None], ancestry, state.place
    )
    may_come = allowed(logits, state.tokens[:, None], state.place, config, ids)[
        :, 0
    ]
    if config.method == "sample":
      chosen = _draw(may_come, text_numbers, state.place, config, seed)
    else:
      chosen = first_largest(may_come)
    logits = logits[:, 0]
    score = jnp.take_along_axis(logits, chosen[:, None], axis=1)[:, 0]
    score -= jax.nn.logsumexp(logits, axis=-1)
    newest = jnp.where(state.is_done, ids.pad, chosen)
    zero = jnp.zeros_like(state.place)
    return _State(
        state.place + 1,
        newest,
        jax.lax.dynamic_update_slice(
            state.tokens, newest[:, None], (zero, state.place)
        ),
        state.lengths + ~state.is_done,
        state.totals + jnp.where(state.is_done, 0.0, score),
        state.is_done | (chosen == ids.end),
        kept,
    )

  first = _State(
      jnp.zeros((), jnp.int32),
      jnp.full(batch, ids.begin, jnp.int32),
      jnp.full((batch, length), ids.pad, jnp.int32),
      jnp.zeros(batch, jnp.int32),
      jnp.zeros(batch, jnp.float32),
      jnp.zeros(batch, bool),
      kept,
  )
  last = jax.lax.while_loop(is_going_on, write_one, first)
  scores = last.totals / penalty(last.lengths, config)
  return Generated(last.tokens, last.lengths, scores)


def _draw(
    logits: Float[Array, "B V"],
    text_numbers: Int[Array, " B"],
    place: Int[Array, ""],
    config: DecodingConfig,
    seed: int,
) -> Int[Array, " B"]:
  logits = logits / config.temperature
  if config.top_k or config.top_p < 1:
    is_kept = likeliest(logits, config.top_k, config.top_p)
    logits = jnp.where(is_kept, logits, NEVER)
  key = jax.random.key(seed)

  def noise(number):
    text_key = jax.random.fold_in(key, number)
    here = jax.random.fold_in(text_key, place)
    return jax.random.gumbel(here, logits.shape[1:])

  drawn = logits + jax.vmap(noise)(text_numbers)
  return first_largest(drawn)
