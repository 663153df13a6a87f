"""Words of typed text: letters keep their marks, scripts their units."""

import random
import unicodedata

import pytest
import tokenizers

from electra_jax.tasks.words import (
    UNITS,
    find_unit,
    portable_pattern,
    split_words,
)
from tests.tasks.six_scripts import ALL_GAPS, ALL_WORDS


def split_elsewhere(text, unit):
  """By Oniguruma, as an exported folder's example does."""
  pattern = tokenizers.Regex(portable_pattern(unit))
  words = tokenizers.pre_tokenizers.Split(pattern, "removed", invert=True)
  return [word for word, _ in words.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's well-made, (1895-1943).", "It's well-made , ( 1895-1943 ) ."),
        ("हिन्दी क्\u200dष कि", "हिन्दी क्\u200dष कि"),
        ("مُحَمَّد می\u200cروم\u200f.", "مُحَمَّد می\u200cروم ."),
        ("น้ำ ที่นี่!", "น้ำ ที่นี่ !"),
        ("cafe\u0301s I\u0307 co\u00adop", "cafe\u0301s I\u0307 co\u00adop"),
        ("a\u2764\ufe0fb \U0001f469\u200d\U0001f467!", "a \u2764\ufe0f b \U0001f469\u200d\U0001f467 !"),
        ("\ufeffa\u200b b\u2028c\x00d", "a b c d"),
        ("", ""),
        ("\u0301a", "\u0301 a"),
        ("小明去了 北京。", "小明去了 北京 。"),
    ],
)  # fmt: skip
def test_words(text, words):
  assert split_words(text) == words.split()
  assert split_elsewhere(text, "word") == words.split()


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("word", "小明it's1950年 か\u3099き , ok"),
        ("character", "小 明 it's1950 年 か\u3099 き , ok"),
        ("letter", "小 明 i t ' s 1 9 5 0 年 か\u3099 き , o k"),
    ],
)
def test_units(unit, words):
  text = "小明it's1950年 か\u3099き, ok"
  assert split_words(text, unit) == words.split()
  assert split_elsewhere(text, unit) == words.split()


@pytest.mark.parametrize(
    ("unit", "sentences"),
    [
        ("word", ["the cat", "a b"]),
        ("word", ["a b c", "1 2"]),  # Short words are no sign of it alone.
        ("word", ["小明 去 北京"]),
        ("character", ["小 明 去 BMW 1950 年"]),
        ("character", ["か\u3099 き ok"]),
        ("letter", ["小 明 B M W か\u3099 น้"]),
        ("word", []),
    ],
)
def test_the_unit_of_a_data_set(unit, sentences):
  assert find_unit(sentence.split() for sentence in sentences) == unit


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_that_is_seen_is_lost_and_no_mark_parted(unit):
  rng = random.Random(unit)
  for _ in range(300):
    text = "".join(
        rng.choice(ALL_WORDS) + rng.choice(ALL_GAPS) for _ in "12345"
    )
    place = 0
    for word in split_words(text, unit):
      start = text.index(word, place)
      unseen = text[place:start].strip(
          "\u200b\u200e\u200f \t\r\n\u3000\u202f\u00a0"
      )
      assert not unseen, (text, word)
      place = start + len(word)
      if place < len(text):
        assert not unicodedata.category(text[place]).startswith("M"), text
