"""Pieces -> text with blanks where they are usual."""

import pytest

from electra_jax.text.join_words import join_words
from electra_jax.text.tokenizer import SPECIAL_NAMES, Tokenizer
from tests import helpers

WORDS = [
    "it",
    "s",
    "a",
    "command",
    "line",
    "and",
    "or",
    "film",
    "which",
    "was",
    "see",
    "above",
    "100",
    "x",
    "y",
]


@pytest.fixture(scope="module", name="own")
def vocabulary():
  special = [names[0] for names in SPECIAL_NAMES.values()]
  marks = list(",.;:!?%()[]{}'\"-/+")
  pieces = [*special, *marks, *WORDS, "##s"]
  return Tokenizer("wordpiece", "\n".join(pieces).encode())


@pytest.mark.parametrize(
    "text",
    [
        "it's a command-line film, which was 100%.",
        "see above (and/or see x): was it?",
        '"a film" was "it"; see [x]!',
        "x-y-x",
        "a y++ film",
        "x + y",
        "films",
        "",
    ],
)
def test_usual_text_comes_back(own, text):
  assert join_words(own, own.encode(text)) == text


def test_a_hyphen_between_words_loses_its_blanks(own):
  assert join_words(own, own.encode("a film - which was")) == "a film-which was"
  assert join_words(own, own.encode("- a film")) == "- a film"


def test_sentencepiece_knows_its_blanks():
  own = Tokenizer("sentencepiece", helpers.sentencepiece_model())
  text = "we the people , of the united states"
  assert join_words(own, own.encode(text)) == text
