"""Retrieval by vectors: ranks and scores by hand, halves of texts."""

import numpy as np
import pytest

from electra_jax.tasks import retrieval
from electra_jax.tasks.examples import PairExample
from electra_jax.tasks.text_groups import pair_of

EAST, NORTH, NORTH_EAST = [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]


def found(vectors, partners, ids=(0, 1, 2)):
  return retrieval.find_partners(
      np.array(vectors), np.array(partners), np.array(ids)
  )


def test_ranks_and_cosines_are_those_by_hand(monkeypatch):
  vectors, partners = [EAST, EAST, NORTH], [EAST, NORTH, NORTH_EAST]
  ranks = found(vectors, partners)
  assert [one.rank for one in ranks] == [1, 3, 2]
  assert [one.cosine for one in ranks] == pytest.approx([1, 0, 0.5**0.5])
  monkeypatch.setattr(retrieval, "_ROWS", 2)
  assert found(vectors, partners) == ranks


def test_equal_vectors_of_all_texts_find_nothing():
  assert [one.rank for one in found([EAST] * 3, [EAST] * 3)] == [3, 3, 3]


@pytest.mark.parametrize("width", [2, 63, 768])
def test_rounding_brings_no_partner_nearer(width):
  vectors = np.random.default_rng(0).normal(size=(20, width))
  for vector in vectors:
    ranks = found([vector] * 30, [vector] * 30, ids=range(30))
    assert {one.rank for one in ranks} == {30}


def test_a_partner_of_the_same_text_is_no_rival():
  ranks = found([EAST] * 3, [EAST, EAST, NORTH], ids=(0, 0, 1))
  assert [one.rank for one in ranks] == [1, 1, 3]


def test_scores_are_those_by_hand():
  examples = [PairExample("", "a", "b", None, x) for x in (1.0, 5.0, 3.0)]
  some = [
      retrieval.Found(0.1, 1),
      retrieval.Found(0.9, 4),
      retrieval.Found(0.3, 20),
  ]
  scores = retrieval.score_partners(
      ("spearman", "recall_at_1", "recall_at_10", "mrr"), examples, some
  )
  assert scores == pytest.approx(
      {
          "spearman": 100,
          "recall_at_1": 100 / 3,
          "recall_at_10": 200 / 3,
          "mrr": 100 * (1 + 1 / 4 + 1 / 20) / 3,
      }
  )


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("a b c d e", ("a b c", "d e")),
        ("日本語", ("日本", "語")),
        ("a", ("a", "a")),
    ],
)
def test_a_text_without_a_partner_is_halved(text, pair):
  assert pair_of(PairExample("", text, None, None, None)) == pair
