"""Which tokens may come, against definitions in plain Python."""

import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.decoding import choosing
from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.steps import NEVER, Ids
from electra_jax.errors import UserError


def test_the_first_of_the_largest_is_found():
  rows = jnp.array([[0.0, 3.0, -1.0, 3.0], [-5.0, -7.0, -5.0, NEVER]])
  np.testing.assert_array_equal(choosing.first_largest(rows), [1, 0])


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_repeats_are_their_definition(size):
  rng = np.random.default_rng(size)
  vocab_size, length = 4, 9
  written = rng.integers(0, vocab_size, (3, 2, length))
  for place in range(length):
    got = choosing.repeats(
        jnp.asarray(written, jnp.int32), jnp.int32(place), size, vocab_size
    )
    wanted = np.zeros_like(got)
    for row, beam in np.ndindex(3, 2):
      past = written[row, beam, :place].tolist()
      grams = {tuple(past[i : i + size]) for i in range(len(past) - size + 1)}
      for token in range(vocab_size):
        gram = tuple([*past, token][-size:])
        wanted[row, beam, token] = len(gram) == size and gram in grams
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("top_k", [0, 1, 3, 50])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
def test_the_likeliest_are_their_definition(top_k, top_p):
  logits = np.random.default_rng(0).normal(size=(6, 11)) * 2
  got = np.asarray(
      choosing.likeliest(jnp.asarray(logits, jnp.float32), top_k, top_p)
  )
  for row, kept in zip(logits, got, strict=True):
    order = np.argsort(-row)[: top_k or None]
    shares = np.exp(row[order]) / np.exp(row[order]).sum()
    count = 1
    while count < len(order) and shares[:count].sum() < top_p:
      count += 1
    assert set(np.flatnonzero(kept)) == set(order[:count])


def test_special_tokens_are_never_written_and_the_end_not_too_soon():
  config, ids = DecodingConfig(min_length=2), Ids(0, 1, 2, (4,))
  written = jnp.zeros((1, 1, 8), jnp.int32)
  for place, banned in ((0, {0, 1, 2, 4}), (1, {0, 1, 2, 4}), (2, {0, 2, 4})):
    logits = choosing.allowed(
        jnp.ones((1, 1, 6)), written, jnp.int32(place), config, ids
    )
    assert set(np.flatnonzero(logits[0, 0] == NEVER)) == banned


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "best"),
        ("beam_size", 0),
        ("max_length", 0),
        ("min_length", 64),
        ("length_penalty", -1.0),
        ("no_repeat_ngram", -1),
        ("temperature", 0.0),
        ("top_k", -1),
        ("top_p", 0.0),
    ],
)
def test_nonsense_is_refused_by_name(name, value):
  with pytest.raises(UserError, match=f"config.generation.{name} is .?{value}"):
    DecodingConfig(**{name: value})
