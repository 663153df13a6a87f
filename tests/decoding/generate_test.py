"""Greedy, beam and sampled texts against definitions tried out one by one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.generate import generate
from tests.decoding import toy

SOURCES = tuple(range(5, 17))


@functools.cache
def writer(config, seed):

  @jax.jit
  def write(sources, numbers):
    model = toy.Toy(sources, config.beams, config.max_length)
    return generate(model.step, model.kept, numbers, config, toy.IDS, seed=seed)

  return write


@functools.cache
def texts_of(config, sources=SOURCES, numbers=None, seed=0):
  """Returns tokens, lengths and scores of made-up sources."""
  numbers = sources if numbers is None else numbers
  given = (jnp.asarray(x, jnp.int32) for x in (sources, numbers))
  return jax.tree.map(np.asarray, writer(config, seed)(*given))


def text(written, row):
  length = written.lengths[row]
  assert (written.tokens[row, length:] == toy.IDS.pad).all()
  return tuple(written.tokens[row, :length].tolist())


def penalty(length, alpha):
  return ((5 + length) / 6) ** alpha


@pytest.mark.parametrize(
    ("alpha", "min_length", "ngram"),
    [(0.0, 0, 0), (0.6, 0, 0), (1.5, 0, 0), (0.6, 2, 0), (0.6, 2, 1)],
)
def test_a_full_beam_finds_the_best_of_all_texts(alpha, min_length, ngram):
  length = 4
  config = DecodingConfig(
      "beam",
      beam_size=5**length,
      max_length=length,
      min_length=min_length,
      length_penalty=alpha,
      no_repeat_ngram=ngram,
  )
  written = texts_of(config, SOURCES[:4])
  for row, source in enumerate(SOURCES[:4]):
    score, best = max(
        (toy.log_probability(source, x) / penalty(len(x), alpha), x)
        for x in toy.ended_texts(length, min_length)
        if not (ngram and toy.has_repeat(x, ngram))
    )
    assert text(written, row) == best
    np.testing.assert_allclose(written.scores[row], score, rtol=1e-4)


def greedy_text(source, length, banned=lambda tokens, token: False):
  tokens = ()
  while len(tokens) < length and tokens[-1:] != toy.ENDS:
    choices = [t for t in (*toy.WORDS, *toy.ENDS) if not banned(tokens, t)]
    scores = [toy.log_probability(source, (*tokens, t)) for t in choices]
    tokens += (choices[int(np.argmax(scores))],)
  return tokens


def test_greedy_takes_the_likeliest_token_each_time():
  written = texts_of(DecodingConfig("greedy", max_length=8))
  lengths = set()
  for row, source in enumerate(SOURCES):
    tokens = text(written, row)
    assert tokens == greedy_text(source, 8)
    score = toy.log_probability(source, tokens) / penalty(len(tokens), 0.6)
    np.testing.assert_allclose(written.scores[row], score, rtol=1e-4)
    lengths.add(len(tokens))
  assert len(lengths) > 1


def test_one_beam_is_greedy():
  config = DecodingConfig("greedy", max_length=8, length_penalty=0.0)
  one = dataclasses.replace(config, method="beam", beam_size=1)
  for ours, theirs in zip(texts_of(one), texts_of(config), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_wider_beam_scores_better_on_average():
  means = [
      texts_of(DecodingConfig("beam", beam_size=k, max_length=8)).scores.mean()
      for k in (1, 4)
  ]
  assert means[1] > means[0]


def beam_text(source, beams, length, alpha):
  """A search in plain Python that never stops before its time."""
  live, finished = [(0.0, ())], []
  for place in range(length):
    grown = sorted(
        (
            (toy.log_probability(source, (*tokens, t)), (*tokens, t))
            for _, tokens in live
            for t in (*toy.WORDS, *toy.ENDS)
        ),
        reverse=True,
    )[: 2 * beams]
    finished += [
        (total / penalty(place + 1, alpha), tokens)
        for total, tokens in grown[:beams]
        if tokens[-1] == toy.IDS.end
    ]
    live = [x for x in grown if x[1][-1] != toy.IDS.end][:beams]
  return max(finished)[1] if finished else live[0][1]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("beams", [2, 3])
def test_a_narrow_beam_is_its_definition(beams, alpha):
  config = DecodingConfig(
      "beam", beam_size=beams, max_length=8, length_penalty=alpha
  )
  for source in SOURCES:
    # Alone, as a batch goes on until the last of its texts has ended.
    written = texts_of(config, (source,))
    assert text(written, 0) == beam_text(source, beams, 8, alpha)


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_no_ngram_stands_twice(method):
  config = DecodingConfig(
      method, max_length=12, min_length=10, no_repeat_ngram=2
  )
  free = texts_of(dataclasses.replace(config, no_repeat_ngram=0))
  written = texts_of(config)
  rows = range(len(SOURCES))
  assert any(toy.has_repeat(text(free, row), 2) for row in rows)
  assert not any(toy.has_repeat(text(written, row), 2) for row in rows)


def test_greedy_with_ngrams_and_a_least_length_is_its_definition():
  config = DecodingConfig(
      "greedy", max_length=10, min_length=6, no_repeat_ngram=2
  )
  written = texts_of(config)

  def banned(tokens, token):
    if token == toy.IDS.end:
      return len(tokens) < 6
    return toy.has_repeat((*tokens, token), 2) and not toy.has_repeat(tokens, 2)

  for row, source in enumerate(SOURCES):
    assert text(written, row) == greedy_text(source, 10, banned)


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_texts_are_no_shorter_than_asked(method):
  free = texts_of(DecodingConfig(method, max_length=8))
  written = texts_of(DecodingConfig(method, max_length=8, min_length=5))
  assert free.lengths.min() < 6
  assert written.lengths.min() >= 6  # The end token is one more.


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_a_text_does_not_depend_on_its_batch(method):
  config = DecodingConfig(method, max_length=8)
  whole = texts_of(config)
  chosen = (7, 2)
  part = texts_of(config, tuple(SOURCES[i] for i in chosen))
  for row, i in enumerate(chosen):
    np.testing.assert_array_equal(part.tokens[row], whole.tokens[i])
    np.testing.assert_allclose(part.scores[row], whole.scores[i], rtol=1e-6)


def test_draws_depend_on_seed_and_number():
  config = DecodingConfig("sample", max_length=8)
  sources = (5,) * 12
  first = texts_of(config, sources, tuple(range(12)))
  assert len({text(first, row) for row in range(12)}) > 6
  again = texts_of(config, sources, tuple(range(11, -1, -1)))
  np.testing.assert_array_equal(again.tokens[::-1], first.tokens)
  other = texts_of(config, sources, tuple(range(12)), seed=1)
  assert (other.tokens != first.tokens).any()
  # All words are as likely: another place must be another draw.
  config = DecodingConfig(
      "sample", max_length=8, min_length=7, temperature=100.0
  )
  even = texts_of(config, sources, tuple(range(12)))
  assert np.mean([len(set(text(even, row)[:-1])) for row in range(12)]) > 2.5


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.7}],
)
def test_draws_are_as_frequent_as_they_are_likely(options):
  count, source = 4000, 5
  config = DecodingConfig("sample", max_length=1, **options)
  written = texts_of(config, (source,) * count, tuple(range(count)))
  ids = [*toy.ENDS, *toy.WORDS]
  logits = np.array([toy.log_probability(source, (i,)) for i in ids])
  shares = np.exp(logits / options.get("temperature", 1.0))
  order = np.argsort(-shares)
  if "top_k" in options:
    shares[order[options["top_k"] :]] = 0
  if "top_p" in options:
    total = np.cumsum((shares / shares.sum())[order])
    shares[order[np.searchsorted(total, options["top_p"]) + 1 :]] = 0
    assert 0 < (shares > 0).sum() < len(ids)
  shares /= shares.sum()
  found = np.array([(written.tokens[:, 0] == i).mean() for i in ids])
  assert (found[shares == 0] == 0).all()
  np.testing.assert_allclose(found, shares, atol=0.03)
