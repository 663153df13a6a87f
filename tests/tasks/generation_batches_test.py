"""Pairs -> numbers -> batches of like length."""

import itertools

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.features import (
    FeatureOptions,
    cut_note,
    make_features,
)
from electra_jax.tasks.generation_batches import (
    POOL,
    GenerationBatches,
    lengths_up_to,
)
from electra_jax.tasks.generation_features import share_unknown
from electra_jax.tasks.text_to_text import generation_task

TASK = generation_task("translate", {"text": "source", "target": "target"})
BEGIN, END, PAD = 2, 3, 0


def features_of(tokenizer, pairs, **options):
  examples = [
      GenerationExample(str(i), *pair) if len(pair) == 3
      else GenerationExample(str(i), pair[0], None, pair[1])
      for i, pair in enumerate(pairs)
  ]  # fmt: skip
  return make_features(TASK, examples, tokenizer, FeatureOptions(**options))


@pytest.fixture(scope="module", name="many")
def features_of_many(tokenizer):
  rng = np.random.default_rng(0)
  lengths = rng.integers(1, 40, (200, 2))
  pairs = [(" ".join(["we"] * a), " ".join(["the"] * b)) for a, b in lengths]
  return features_of(tokenizer, pairs, max_length=32, max_target_length=16)


def batches_of(features, size=8, **options):
  ids = {"begin_id": BEGIN, "pad_id": PAD}
  return GenerationBatches(
      {TASK.name: features}, batch_size=size, **ids, **options
  )


def test_sources_and_targets_are_framed(tokenizer):
  special = tokenizer.special
  features = features_of(
      tokenizer, [("we the people", "of", "the states"), ("we", None)]
  )
  (we,), (the,) = map(tokenizer.encode, ("we", "the"))
  states = tokenizer.encode("the states")
  people = tokenizer.encode("people")
  of = tokenizer.encode("of")
  first = [special.cls, we, the, *people, special.sep]
  np.testing.assert_array_equal(features.texts[0], [*first, *of, special.sep])
  assert features.first_lengths.tolist() == [len(first), 3]
  target = [*states, special.sep]
  np.testing.assert_array_equal(features.targets["target_ids"][0], target)
  assert features.targets["target_lengths"].tolist() == [len(target), 0]


def test_what_is_too_long_is_cut_and_told(tokenizer):
  options = {"max_length": 6, "max_target_length": 4}
  pairs = [("we " * 9, "the " * 3), ("we " * 4, "the " * 5)]
  features = features_of(tokenizer, pairs, **options)
  assert [len(text) for text in features.texts] == [6, 6]
  # Three words and the end fit; of five the first four are learnt, and no end.
  assert features.targets["target_ids"][0][-1] == tokenizer.special.sep
  assert tokenizer.special.sep not in features.targets["target_ids"][1]
  assert cut_note(features, FeatureOptions(**options)) == (
      "1 of 2 sources are longer than config.data.max_length=6 tokens and lose"
      " their end (5 tokens in all); 1 of 2 targets are longer than"
      " config.generation.max_target_length=4 tokens and lose their end (2"
      " tokens in all)"
  )


def test_unknown_pieces_of_targets_are_counted(tokenizer):
  features = features_of(tokenizer, [("we", "the \u4e00"), ("\u4e00", "the")])
  assert share_unknown(features, tokenizer.special.unk) == 1 / 5


def test_lengths_are_half_and_all():
  assert lengths_up_to(100) == (56, 100)
  assert lengths_up_to(9) == (8, 9) and lengths_up_to(3) == (3,)


def test_a_batch_is_a_function_of_seed_and_step(many):
  batches = batches_of(many)
  steps = list(itertools.islice(batches.training(seed=1), 40))
  again = next(batches_of(many).training(seed=1, start_step=37))
  for one, other in zip(steps[37], again, strict=True):
    np.testing.assert_array_equal(one, other)
  other = next(batches.training(seed=2))
  assert not np.array_equal(other.source_ids[:, :8], steps[0].source_ids[:, :8])


def test_every_epoch_has_every_pair_once(many):
  batches = batches_of(many)
  assert batches.steps_of(2.0) == 2 * 25
  seen = []
  for pool in range(3):
    seen += [n for part in batches._pool(0, pool) for n in part]
  for epoch in range(len(seen) // 200):
    # A pool may hold the end of one epoch and the beginning of the next.
    assert POOL * 8 > 200
    counts = np.bincount(seen, minlength=200)
    assert counts.min() >= epoch + 1
  assert np.ptp(np.bincount(seen, minlength=200)) <= 1


def test_pairs_of_like_length_share_a_batch(many):
  steps = list(itertools.islice(batches_of(many).training(0), POOL))
  shapes = {(x.source_ids.shape[1], x.labels.shape[1]) for x in steps}
  assert shapes == set(itertools.product((16, 32), (8, 16)))
  # As many batches of short sources as these fill: one at most is mixed.
  short = sum(int((x.source_mask.sum(axis=1) <= 16).sum()) for x in steps)
  found = sum(x.source_ids.shape[1] == 16 for x in steps)
  assert found == short // 8 > 0
  # So do targets within either, where both kinds are mixed once.
  short = sum(int((x.weights.sum(axis=1) <= 8).sum()) for x in steps)
  found = sum(x.labels.shape[1] == 8 for x in steps)
  assert short // 8 - 2 <= found <= short // 8


def test_the_network_sees_the_target_one_token_late(many):
  batch = next(batches_of(many).training(0))
  assert (batch.target_ids[:, 0] == BEGIN).all()
  lengths = batch.weights.sum(1).astype(int)
  for row, length in enumerate(lengths):
    np.testing.assert_array_equal(
        batch.target_ids[row, 1:length], batch.labels[row, : length - 1]
    )
    assert batch.target_mask[row].sum() == length
    assert (batch.labels[row, length:] == PAD).all()
  np.testing.assert_array_equal(batch.source_mask == 0, batch.source_ids == PAD)


def test_in_order_every_pair_comes_once_and_rows_fill_up(many):
  batches = batches_of(many, 48, row_multiple=32)
  assert batches.batch_size == 64
  numbers, weights = [], 0
  for some, batch in batches.in_order():
    numbers += some.tolist()
    assert batch.source_ids.shape[0] == 64
    assert not batch.weights[len(some) :].any()
    weights += batch.weights.sum()
  assert sorted(numbers) == list(range(200))
  assert weights == many.targets["target_lengths"].sum()
  lengths = [len(many.texts[number]) for number in numbers]
  assert lengths == sorted(lengths, reverse=True)


def test_texts_without_targets_have_something_to_start_from(tokenizer):
  features = features_of(tokenizer, [("we", None), ("the", None)])
  ((_, batch),) = batches_of(features).in_order()
  assert batch.target_mask[:, 0].all() and not batch.weights.any()
  assert (batch.target_ids[:, 0] == BEGIN).all()


def test_no_pair_is_refused(tokenizer):
  with pytest.raises(UserError, match="no example of translate"):
    batches_of(features_of(tokenizer, []))
