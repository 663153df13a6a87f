"""The Rust tokenizer, guarded, does what the release does."""

import json

import hypothesis
import hypothesis.strategies as st
import pytest

from electra_jax.text import wordpiece
from electra_jax.text.tokenizer import load_tokenizer

MODES = {
    "lower_strip": (True, True),
    "lower_keep_accents": (True, False),
    "cased_strip": (False, True),
    "cased_keep_accents": (False, False),
}
# Characters on which the Rust library alone goes astray: a sigma at the end of
# a word, Chinese of extension E, unassigned, younger than its tables, one whose
# category changed.
TREACHEROUS = "Σ\U0002b820\u0378\u061d\u07fd\u166d\u08e2\ufffd\u2028\u00ad"


@pytest.mark.parametrize("mode", MODES)
def test_golden_strings(golden, mode):
  lowercase, strip_accents = MODES[mode]
  tokenizer = load_tokenizer(
      golden / "vocab.txt", lowercase=lowercase, strip_accents=strip_accents
  )
  cases = json.loads((golden / "tokenization.json").read_text())["cases"]
  assert len(cases) == 40
  ids = tokenizer.encode_batch([case["text"] for case in cases])
  for case, found in zip(cases, ids, strict=True):
    assert found == case["ids"][mode], case["text"]


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    st.text(
        st.sampled_from("abE é中ß!\t'" + TREACHEROUS)
        | st.characters(exclude_categories=()),
        max_size=30,
    ),
    st.sampled_from(list(MODES.values())),
)
def test_any_text_is_split_as_by_the_release(tokenizer, text, mode):
  lowercase, strip_accents = mode
  engine = wordpiece.WordPiece(
      tokenizer.tokens(range(tokenizer.vocab_size)),
      lowercase=lowercase,
      strip_accents=strip_accents,
  )
  words = wordpiece.release_words(
      text, lowercase=lowercase, strip_accents=strip_accents
  )
  vocabulary = {piece: i for i, piece in enumerate(engine.pieces)}
  expected = [i for word in words for i in longest_match(word, vocabulary)]
  # Beside another text, so that the two ways through Rust must be re-joined.
  assert engine.encode_batch(["the", text, text])[1:] == [expected] * 2


@pytest.mark.parametrize("character", TREACHEROUS[:7])
def test_treacherous_characters_are_noticed(character):
  splitter = wordpiece.WordSplitter(lowercase=True, strip_accents=True)
  assert splitter.agrees("plain text, “quoted”, naïve")
  assert not splitter.agrees(f"plain {character}")
  assert not splitter.agrees(f"plain {character}")  # Also the second time.


def test_words_by_hand():
  def words(text, **options):
    return wordpiece.release_words(
        text, **{"lowercase": True, "strip_accents": True, **options}
    )

  assert words("It's  [MASK]!") == ["it", "'", "s", "[", "mask", "]", "!"]
  assert words("Crème", strip_accents=False) == ["crème"]
  assert words("Crème") == ["creme"]
  assert words("Crème", lowercase=False) == ["Crème"]
  assert words("a中b\u200bc") == ["a", "中", "bc"]
  assert words("ΛΟΓΟΣ") == ["λογος"]
  assert words("É中文a", split_chinese=False) == ["e中文a"]


def test_chinese_is_kept_together_on_both_ways_through_the_library():
  pieces = ["[UNK]", "中", "##国", "国", "a"]
  for split, ids in ((True, [1, 3]), (False, [1, 2])):
    engine = wordpiece.WordPiece(
        pieces, lowercase=True, strip_accents=True, split_chinese=split
    )
    # A final sigma takes the way of the release's own rules.
    assert engine.encode_batch(["中国", "中国 ΟΣ"]) == [ids, [*ids, 0]]


def test_longer_words_than_the_limit_are_unknown():
  for limit, ids in ((3, [[1, 2, 2], [0]]), (4, [[1, 2, 2], [1, 2, 2, 2]])):
    engine = wordpiece.WordPiece(
        ["[UNK]", "a", "##a"],
        lowercase=True,
        strip_accents=True,
        max_word_length=limit,
    )
    assert engine.encode_batch(["aaa", "aaaa"]) == ids


def longest_match(word, vocabulary):
  """WordPiece, written once more and plainly."""
  if len(word) > 200:
    return [vocabulary["[UNK]"]]
  ids, start = [], 0
  while start < len(word):
    prefix = "##" if start else ""
    for end in range(len(word), start, -1):
      if prefix + word[start:end] in vocabulary:
        break
    else:
      return [vocabulary["[UNK]"]]
    ids.append(vocabulary[prefix + word[start:end]])
    start = end
  return ids
