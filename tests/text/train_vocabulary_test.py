"""Trained vocabularies: reproducible, complete, honest about their size."""

import random

import pytest

from electra_jax.errors import UserError
from electra_jax.text.tokenizer import load_tokenizer
from electra_jax.text.train_vocabulary import (
    SPECIAL_TOKENS,
    sample_texts,
    train_tokenizer,
)


@pytest.fixture(scope="module")
def texts(golden):
  text = (golden / "small_corpus.txt").read_text(encoding="utf-8")
  return [*text.split("\n\n"), "Ωmega ΛΟΓΟΣ ΛΟΓΟΣ [MASK] [MASK] \u0378x"]


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_twice_the_same_bytes(texts, tmp_path, kind):
  digests = set()
  for i in range(3):
    trained = train_tokenizer(
        iter(texts), 500, kind, output=tmp_path / f"{kind}{i}"
    )
    digests.add(trained.digest)
    assert load_tokenizer(tmp_path / f"{kind}{i}").digest == trained.digest
  assert len(digests) == 1
  assert trained.vocab_size == 500
  assert trained.kind == kind
  assert tuple(trained.tokens(range(5))) == SPECIAL_TOKENS


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_text_becomes_pieces_and_back(texts, kind):
  tokenizer = train_tokenizer(texts, 500, kind)
  sentence = "the congress of the united states"
  ids = tokenizer.encode(sentence.title())
  assert tokenizer.decode(ids) == sentence
  assert len(ids) < len(sentence) / 2
  assert tokenizer.special.unk not in ids
  assert tokenizer.special.mask not in tokenizer.encode("[MASK]")


def test_options_reach_the_vocabulary(texts):
  lower = train_tokenizer(texts, 500)
  cased = train_tokenizer(texts, 500, lowercase=False)
  assert not any(p.isupper() for p in lower.tokens(range(5, 500)))
  assert any(p.isupper() for p in cased.tokens(range(5, 500)))


def test_no_piece_is_wasted_on_continued_punctuation(texts):
  pieces = train_tokenizer(texts, 500).tokens(range(500))
  assert "," in pieces and "##," not in pieces
  assert "##s" in pieces


def test_sample_is_bounded_and_does_not_depend_on_order():
  texts = [f"text number {i:05d}" for i in range(4000)]
  bound = 20_000
  kept = sample_texts(texts, bound)
  assert bound / 4 < sum(map(len, kept)) <= bound
  assert kept == sorted(kept)
  assert sum(int(t[-5:]) < 2000 for t in kept) / len(kept) == pytest.approx(
      0.5, abs=0.1
  )
  random.Random(0).shuffle(texts)
  assert sorted(sample_texts(texts, bound)) == kept
  assert sample_texts(texts[:10], bound) == texts[:10]


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_too_little_text(kind):
  with pytest.raises(UserError, match=r"5000.*smaller vocabulary"):
    train_tokenizer(["some words and some words more"] * 3, 5000, kind)


def test_other_errors():
  with pytest.raises(UserError, match="no text"):
    train_tokenizer([], 100)
  with pytest.raises(UserError, match="too small"):
    train_tokenizer(["text"], 5)
  with pytest.raises(UserError, match="'bpe'"):
    train_tokenizer(["text"], 100, "bpe")
