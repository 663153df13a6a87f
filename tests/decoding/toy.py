"""A made-up model whose next token depends on the source and all before it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from electra_jax.decoding.steps import Ids

VOCAB_SIZE = 7  # Begin, padding, the end, and four words.
IDS = Ids(begin=1, end=2, pad=0)
ENDS = (IDS.end,)
WORDS = (3, 4, 5, 6)
STATES = 997
_TABLE = np.random.default_rng(7).normal(size=(STATES, VOCAB_SIZE)) * 1.5


class Toy:
  """Logits from a hash of the source's number and the tokens before."""

  def __init__(self, sources, beams, length):
    self.sources = jnp.asarray(sources, jnp.int32)
    self.kept = jnp.zeros((len(sources), length, beams), jnp.int32)
    self.table = jnp.asarray(_TABLE, jnp.float32)

  def step(self, kept, tokens, ancestry, place):
    zero = jnp.zeros_like(place)
    kept = jax.lax.dynamic_update_slice(
        kept, tokens[:, None], (zero, place, zero)
    )
    batch, beams, length = ancestry.shape
    places = jnp.arange(length)
    own = jnp.arange(beams)[None, :, None]
    is_now = (places == place)[None, None]
    writers = jnp.where(is_now, own, ancestry)  # [B, K, T]
    rows = kept[jnp.arange(batch)[:, None, None], places[None, None], writers]
    state = jnp.broadcast_to(self.sources[:, None], (batch, beams))
    for i in range(length):
      state = jnp.where(i <= place, next_state(state, rows[:, :, i]), state)
    return self.table[state], kept


def next_state(state, token):
  return (state * 31 + token * 101 + 17) % STATES


def log_probability(source, tokens):
  """Log-probability of a text, with the end token that it has."""
  state, total = source, 0.0
  for before, token in zip((IDS.begin, *tokens), tokens, strict=False):
    state = next_state(state, before)
    logits = _TABLE[state]
    total += logits[token] - np.log(np.exp(logits).sum())
  return total


def ended_texts(max_length, min_length=0):
  """Every text of words that ends in time."""
  for length in range(min_length, max_length):
    for words in itertools.product(WORDS, repeat=length):
      yield (*words, IDS.end)


def has_repeat(tokens, size):
  grams = [tokens[i : i + size] for i in range(len(tokens) - size + 1)]
  return len(set(grams)) < len(grams)
