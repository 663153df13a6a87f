"""Tokens of one vocabulary found in another, by text and by meaning."""

import zlib

import hypothesis
import hypothesis.strategies as st
import pytest

from electra_jax.text.match_tokens import match_tokens
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from tests import helpers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def wordpiece(pieces, **options):
  return Tokenizer("wordpiece", "\n".join(pieces).encode(), **options)


def matches(source, target):
  rows = match_tokens(source, target)
  return {
      target.token(i): source.token(int(row))
      for i, row in enumerate(rows)
      if row >= 0
  }


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    st.sets(st.text("ab#", min_size=1, max_size=4)),
    st.sets(st.text("ab#", min_size=1, max_size=4)),
)
def test_wordpieces_match_by_text(old, new):
  def shuffled(pieces, salt):
    return sorted(pieces, key=lambda x: zlib.crc32((x + salt).encode()))

  source = wordpiece(shuffled({*old, *SPECIAL}, "old"))
  target = wordpiece(shuffled({*new, *SPECIAL}, "new"))
  found = matches(source, target)
  assert found == {piece: piece for piece in {*(old & new), *SPECIAL}}


def train_sentencepiece(**options):
  usual = {"pad_id": -1, "unk_id": 0, "bos_id": 1, "eos_id": 2}
  model = helpers.sentencepiece_model(**usual | options)
  return Tokenizer("sentencepiece", model)


@pytest.fixture(scope="module", name="spiece")
def a_sentencepiece_model():
  return train_sentencepiece(control_symbols=["<pad>", "<cls>", "<mask>"])


ROLES = {
    "[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<cls>", "[SEP]": "</s>",
    "[MASK]": "<mask>",
}  # fmt: skip


def test_wordpieces_and_sentencepieces_match_by_meaning(spiece):
  word_pieces = load_tokenizer(helpers.GOLDEN / "vocab.txt")
  found = matches(spiece, word_pieces)
  assert {piece: found.pop(piece) for piece in ROLES} == ROLES
  assert found["the"] == "▁the" and found["##s"] == "s" and found[","] == ","
  assert found["a"] == "▁a" and found["##a"] == "a"
  for piece, other in found.items():
    same = piece.removeprefix("##") == other.removeprefix("▁")
    begins = not piece.startswith("##"), other.startswith("▁")
    assert same and (begins[0] == begins[1] or not piece.isalnum())
  back = matches(word_pieces, spiece)
  assert {back.pop(other): other for other in ROLES.values()} == ROLES
  assert back["▁the"] == "the" and back["s"] == "##s" and back[","] == ","


def test_two_sentencepiece_models_match_by_text(spiece):
  other = train_sentencepiece(
      pad_id=3, control_symbols=["[CLS]", "<sep>", "[MASK]"]
  )
  found = matches(spiece, other)
  roles = zip(other.special, spiece.special, strict=True)
  for theirs, ours in roles:
    assert found.pop(other.token(theirs)) == spiece.token(ours)
  assert len(found) > 200
  assert all(piece == same for piece, same in found.items())
