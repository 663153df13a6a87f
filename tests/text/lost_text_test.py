"""What tokenizing loses is counted: words that are too long, vowel signs."""

import pytest

from electra_jax.errors import UserError
from electra_jax.text.lost_text import (
    LostText,
    check_long_words,
    find_lost,
)
from electra_jax.text.tokenizer import Tokenizer
from tests import helpers

SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


def lost_in(text, pieces="a ##a", **options):
  vocabulary = SPECIAL + "".join(f"{piece}\n" for piece in pieces.split())
  tokenizer = Tokenizer("wordpiece", vocabulary.encode(), **options)
  return measure(text, tokenizer)


def measure(text, tokenizer):
  documents = [text.split("\n")]
  ids = [tokenizer.encode_batch(lines) for lines in documents]
  return find_lost(documents, ids, tokenizer)


@pytest.mark.parametrize(
    ("text", "words", "characters"),
    [
        ("a" * 200 + " aa", 0, 0),
        ("a" * 201 + " aa", 1, 201),
        ("a" * 150 + "-" + "a" * 150, 0, 0),  # Punctuation ends a word.
        ("b " * 300, 0, 0),  # Unknown for another reason.
        ("a\n" + "c" * 300 + "\n" + "d" * 400, 2, 700),
        ("中" * 500, 0, 0),  # Chinese letters are words.
        ("ก" * 250 + " " + "ข" * 30, 1, 250),  # Thai has no spaces in a clause.
        ("がぎぐげご" * 50, 1, 250),  # So has kana; the marks are no words.
        ("한" * 67, 1, 67),  # Three letters each without accents.
        ("한" * 66, 0, 0),
        ("😀" * 201, 1, 201),
    ],
)
def test_long_words(text, words, characters):
  lost = lost_in(text)
  assert (lost.long_words, lost.long_word_characters) == (words, characters)
  assert lost.characters == len(text.replace("\n", ""))


def test_how_long_is_long_depends_on_options():
  assert lost_in("한" * 67, strip_accents=False).long_words == 0
  assert lost_in("中" * 201, split_chinese=False).long_words == 1
  assert lost_in("b" * 101, max_word_length=100).long_words == 1
  model = Tokenizer("sentencepiece", helpers.sentencepiece_model())
  assert measure("中" * 900, model).long_words == 0


def test_much_of_a_text_in_long_words_is_refused():
  check_long_words(LostText(1000, 1, 50), 200)
  with pytest.raises(UserError) as error:
    check_long_words(LostText(1000, 1, 51), 200)
  assert "5.1% of the text stands in words of more than 200" in str(error.value)
  for way_out in ("--tokenizer-kind sentencepiece", "--allow-long-words"):
    assert way_out in str(error.value)


@pytest.mark.parametrize(
    ("text", "letters", "accents", "example", "left"),
    [
        ("मैं कि", 2, 0, "मैं", "म"),  # U+093F is kept: it has a width.
        ("a が", 1, 0, "が", "か"),
        ("ぱ パ ﾊﾟ", 2, 0, "ぱ", "は"),  # A narrow mark is a letter already.
        ("ที่", 2, 0, "ที่", "ท"),
        ("мой ёж", 2, 0, "мой", "мои"),
        ("мо\u0301й", 1, 1, "мо\u0301й", "мои"),  # A stress mark is no letter.
        ("သို့", 3, 0, "သို့", "သ"),  # Burmese.
        ("أب", 1, 0, "أب", "اب"),
        ("بَب שָׁלוֹם", 0, 4, "", ""),  # Points, of which readers need none.
        ("élan Việt ϊ", 0, 4, "", ""),
        ("한국어 中文 ß ø", 0, 0, "", ""),
        ("1\ufe0f\u20e3 ❤\ufe0f 葛\U000e0100", 0, 0, "", ""),
    ],
)
def test_marks_that_are_dropped(text, letters, accents, example, left):
  lost = lost_in(text)
  assert lost.stripped_letters == letters
  assert lost.stripped_accents == accents
  assert (lost.example, lost.example_left) == (example, left)
  assert lost.sampled_characters == len(text)
  for options in ({"lowercase": False}, {"strip_accents": False}):
    kept = lost_in(text, **options)
    assert kept[3:] == LostText()[3:]


def test_a_long_example_is_cut():
  lost = lost_in("ท" * 10 + "ที่" * 50)
  assert lost.example == "ท" * 10 + "ที่ที่"
  assert lost.example_left == "ท" * 12


def test_only_the_beginning_of_a_document_is_searched():
  lost = lost_in("a" * 100 + "\n" + "b" * 155 + "मैं" * 99)
  assert lost.sampled_characters == 256 and lost.stripped_letters == 0


def test_sums():
  first = LostText(1, 2, 3, 4, 5, 6)
  second = LostText(10, 20, 30, 40, 50, 60, "मैं", "म")
  sums = (11, 22, 33, 44, 55, 66, "मैं", "म")
  assert first.plus(second) == second.plus(first) == sums
  assert LostText().long_word_share == LostText().stripped_letter_share == 0
