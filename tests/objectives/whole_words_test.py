"""Whole-word masking."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_jax.errors import UserError
from electra_jax.objectives import masking

CLS, SEP, MASK = 2, 3, 4
LENGTH, CONTINUATION = 32, 50  # Ids from 50 on go on with a word.
CONFIG = masking.MaskingConfig(
    0.3,
    LENGTH,
    MASK,
    (CLS, SEP, MASK),
    unit="word",
    is_continuation=np.arange(100) >= CONTINUATION,
)
choose = jax.jit(
    lambda uniforms, rows: masking.choose_words(uniforms, rows, CONFIG)
)


def row_of(word_lengths: list[int], separator: int | None = None):
  """[CLS] words [SEP], perhaps with a [SEP] behind a word, in one row."""
  ids, words = [CLS], [-1]
  for number, length in enumerate(word_lengths):
    ids += [10 + number % 30] + [CONTINUATION + number % 40] * (length - 1)
    words += [number] * length
    if number == separator:
      ids.append(SEP)
      words.append(-1)
  ids, words = [*ids[: LENGTH - 1], SEP], [*words[: LENGTH - 1], -1]
  padding = LENGTH - len(ids)
  rows = masking.unpack_rows(
      jnp.asarray([ids + [0] * padding]), jnp.asarray([[len(ids), len(ids)]])
  )
  return rows, np.asarray(words + [-1] * padding)


def chosen(rows, seed):
  uniforms = jax.random.uniform(jax.random.key(seed), (1, LENGTH))
  positions, weights = choose(uniforms, rows)
  return np.asarray(positions)[0][np.asarray(weights)[0] > 0]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=20),
    st.integers(0, 2**31 - 1),
    st.integers(0, 30),
)
def test_words_are_masked_whole_and_their_tokens_are_k(
    lengths, seed, separator
):
  rows, words = row_of(lengths, separator)
  positions = chosen(rows, seed)
  assert len(set(positions)) == len(positions) > 0
  assert np.all(words[positions] >= 0)
  budget = int(masking.slot_weights(rows, CONFIG).sum())
  assert len(positions) <= budget
  sizes = np.bincount(words[words >= 0])
  found = np.bincount(words[positions], minlength=len(sizes))
  is_whole = (found == 0) | (found == sizes)
  if not np.all(is_whole):  # One word alone that is longer than the budget.
    assert np.sum(found > 0) == 1 and len(positions) == budget
  left = budget - len(positions)
  assert left == 0 or not np.any((sizes == 1) & (found == 0))


def test_every_word_is_chosen_about_as_often():
  rows, words = row_of([2] * 14)
  counts = np.zeros(14)
  for seed in range(600):
    for word in set(words[chosen(rows, seed)]):
      counts[word] += 1
  expected = counts.sum() / 14
  assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_a_continuation_behind_a_special_token_starts_a_word():
  ids = [CLS, CONTINUATION, CONTINUATION, SEP, CONTINUATION, 11, SEP]
  rows = masking.unpack_rows(
      jnp.asarray([ids + [0] * (LENGTH - 7)]), jnp.asarray([[4, 7]])
  )
  groups = {frozenset(chosen(rows, seed).tolist()) for seed in range(60)}
  assert groups == {
      frozenset(g) for g in ([1, 2], [4, 5], [5, 4])
  } or groups <= {frozenset({1, 2}), frozenset({4, 5})}


def test_no_token_to_mask_leaves_all_slots_unused():
  rows = masking.unpack_rows(
      jnp.asarray([[CLS, SEP] + [0] * (LENGTH - 2)]), jnp.asarray([[2, 2]])
  )
  assert not len(chosen(rows, 0))


def test_words_need_draws_without_replacement():
  with pytest.raises(UserError, match="without replacement alone"):
    masking.MaskingConfig(0.15, 8, 4, (), "with_replacement", "word")


def test_an_unknown_unit():
  with pytest.raises(UserError, match="masking unit 'sentence'"):
    masking.MaskingConfig(0.15, 8, 4, (), unit="sentence")
