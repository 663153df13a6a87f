"""Trained vocabularies: reproducible, complete, honest about their size."""

import random
import re

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


def test_a_text_larger_than_the_sample_is_cut():
  assert sample_texts(["é" * 1000], 400) == ["é" * 50]


# Letters that were lost when only a quarter of the vocabulary could be letters:
# Chinese; Japanese; Hangul (whole syllables where accents are kept); Thai
# without spaces; Devanagari; emoji between words.
SCRIPTS = {
    "chinese": (range(0x4E00, 0x4E00 + 2000), 2005),
    "japanese": ([*range(0x3041, 0x30FA), *range(0x4E00, 0x4E00 + 900)], 1450),
    "hangul": (range(0xAC00, 0xAC00 + 800), 1700),
    "thai": ([*range(0xE01, 0xE3B), *range(0xE40, 0xE4F)], 160),
    "devanagari": (range(0x904, 0x950), 170),
    "emoji": (range(0x1F600, 0x1F64F), 190),
}


def text_of(letters, seed=0):
  """Returns lines in which letter r comes about twice as often as 2 r."""
  rng = random.Random(seed)
  letters = [chr(letter) for letter in letters]
  weights = [1 / (rank + 3) for rank in range(len(letters))]
  # Every letter several times, so that it is worth an entry.
  drawn = rng.choices(letters, weights, k=8000) + letters * 4
  rng.shuffle(drawn)
  return ["".join(drawn[i : i + 8]) for i in range(0, len(drawn), 8)]


def unknown_share(tokenizer, texts):
  ids = [i for each in tokenizer.encode_batch(texts) for i in each]
  return ids.count(tokenizer.special.unk) / len(ids)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("lowercase", [True, False])
def test_letters_of_any_script_are_kept(script, lowercase):
  letters, size = SCRIPTS[script]
  texts = text_of(letters)
  told = []
  tokenizer = train_tokenizer(
      texts, size, lowercase=lowercase, strip_accents=False, tell=told.append
  )
  assert not told
  assert unknown_share(tokenizer, texts) < 0.001
  assert unknown_share(tokenizer, ["".join(t[::-1]) for t in texts]) < 0.001


def test_letters_that_have_no_room_are_told():
  texts = text_of(SCRIPTS["chinese"][0][:600])
  told = []
  tokenizer = train_tokenizer(texts, 450, tell=told.append)
  assert 0.05 < unknown_share(tokenizer, texts) < 0.25
  [sentence] = told
  assert "--train-vocab 450 has room for 445 of 600 letters" in sentence
  assert "--train-vocab 605 or more keeps them" in sentence
  told.clear()
  assert (
      unknown_share(train_tokenizer(texts, 605, tell=told.append), texts) == 0
  )
  assert not told


def test_rare_letters_give_way_to_words(texts):
  # Each of these letters comes once in 1,700,000 letters.
  rare = " ".join(map(chr, range(0x1200, 0x1240)))
  pieces = train_tokenizer([*texts * 40, rare], 300).tokens(range(300))
  # A quarter of the vocabulary may be letters, and no rare one beyond it.
  assert sum(len(piece.removeprefix("##")) == 1 for piece in pieces) <= 150
  pieces = train_tokenizer(
      [*texts * 40, rare], 300, character_coverage=1.0
  ).tokens(range(300))
  assert set(rare.split()) <= set(pieces)


def test_the_alphabet_has_a_limit_that_is_told():
  told = []
  texts = ["abcd abc ab a"] * 9
  tokenizer = train_tokenizer(texts, 10, alphabet_limit=2, tell=told.append)
  assert tokenizer.tokens(range(5, 10)) == ["a", "b", "##a", "##b", "ab"]
  assert told == [
      "--alphabet-limit 2 leaves out letters that are 30.00% of the text's;"
      " words with one become [UNK]"
  ]


def test_a_final_sigma_is_a_letter_too():
  tokenizer = train_tokenizer(["ΟΔΟΣ ΣΟΦΟΣ ΟΔΟΣ"] * 9, 20)
  assert tokenizer.special.unk not in tokenizer.encode("ΔΟΦΟΣ")


def test_coverage_reaches_sentencepiece():
  texts = [
      line + "\u1230" * (i == 0) for i, line in enumerate(["abc ab"] * 999)
  ]
  letters = [
      "\u1230" in train_tokenizer(
          texts, 10, "sentencepiece", character_coverage=coverage
      ).tokens(range(10))
      for coverage in (0.99, 1.0)
  ]  # fmt: skip
  assert letters == [False, True]


def test_sentencepiece_learns_from_a_line_of_any_length():
  # The library passes over lines of more than 65,536 bytes.
  line = "한국어 안녕 " * 9000
  tokenizer = train_tokenizer([line, "abc"], 12, "sentencepiece")
  assert unknown_share(tokenizer, ["한국어 안녕"]) == 0


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
@pytest.mark.parametrize("script", ["thai", "hangul", "english"])
def test_the_size_that_is_named_works(texts, kind, script):
  if script != "english":
    texts = text_of(SCRIPTS[script][0])
  with pytest.raises(UserError, match="smaller vocabulary") as error:
    train_tokenizer(texts, 50_000, kind, strip_accents=False)
  size = int(re.search(r"by --train-vocab (\d+)", str(error.value))[1])
  assert 50 < size < 10_000
  trained = train_tokenizer(texts, size, kind, strip_accents=False)
  assert trained.vocab_size == size


def test_too_small_for_the_letters_of_sentencepiece():
  texts = text_of(SCRIPTS["thai"][0])
  with pytest.raises(UserError, match="is too small for the letters") as error:
    train_tokenizer(texts, 20, "sentencepiece", strip_accents=False)
  size = int(re.search(r"ask for --train-vocab (\d+)", str(error.value))[1])
  train_tokenizer(texts, size, "sentencepiece", strip_accents=False)
  with pytest.raises(UserError, match="is too small for the letters"):
    train_tokenizer(texts, size - 1, "sentencepiece", strip_accents=False)


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
@pytest.mark.parametrize("size", [10**9, 2**70, 1_000_001, 9, 0, -5])
def test_impossible_sizes(kind, size):
  with pytest.raises(
      UserError, match=rf"--train-vocab {size} .* 10 to 1,000,0"
  ):
    train_tokenizer(["text"], size, kind)


def test_other_errors():
  with pytest.raises(UserError, match="no text"):
    train_tokenizer([], 100)
  with pytest.raises(UserError, match="'bpe'"):
    train_tokenizer(["text"], 100, "bpe")
  for coverage in (0.5, 1.1, -1.0, float("nan")):
    with pytest.raises(UserError, match=r"--character-coverage .* 0.98 to 1"):
      train_tokenizer(["text"], 100, character_coverage=coverage)
  with pytest.raises(UserError, match="--alphabet-limit 0 is too small"):
    train_tokenizer(["text"], 100, alphabet_limit=0)
  with pytest.raises(UserError, match="--alphabet-limit 9 is of WordPiece"):
    train_tokenizer(["text"], 100, "sentencepiece", alphabet_limit=9)
