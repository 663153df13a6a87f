"""Answers: the place the data names, in characters and in pieces."""

import logging
import pathlib
import re

import pytest

from electra_jax.tasks.answer_spans import find_characters
from electra_jax.tasks.examples import Answer, QuestionExample
from electra_jax.tasks.question_files import read_squad
from electra_jax.tasks.span_features import make_span_features
from electra_jax.tasks.task import Source
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer

CASE = pathlib.Path(__file__).parents[1] / "cases/qa-repeated-answer"
PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] 1 : red blue / the japan ##ese who ? 上 海"
    " ผ ##ล aa ##a"
)
TOKENIZER = Tokenizer("wordpiece", "\n".join(PIECES.split()).encode())


def learn(context, answer, **options):
  """Returns the characters that are learnt, and where they start."""
  example = QuestionExample("q7", "who?", context, (answer,))
  features, (pieces,) = make_span_features(
      [example], TOKENIZER, for_training=True, **options
  )
  if not features:
    return None
  first = features[0].start - features[0].first_length
  last = features[0].end - features[0].first_length
  start = int(pieces.starts[first])
  return context[start : int(pieces.ends[last])], start


@pytest.mark.parametrize("released", [False, True])
def test_repeated_answers_of_chinese_files(released):
  examples = read_squad("squad", Source(CASE), "train")
  features, contexts = make_span_features(
      examples,
      load_tokenizer(CASE / "vocab.txt"),
      released_answer_spans=released,
      for_training=True,
  )
  starts = [
      contexts[f.example].starts[f.start - f.first_length] for f in features
  ]
  assert starts == ([6, 6, 4] if released else [19, 6, 22])


@pytest.mark.parametrize(
    ("context", "text", "start"),
    [
        ("won 1:1", "1", 6),
        ("red/blue/red", "red", 9),
        ("the the", "the", 4),
        ("上海上海", "上海", 2),
        ("☃☃上海☃龘上海", "上海", 6),  # Behind tokens that are not known.
        ("Σ\u0378上海Σ海上海", "上海", 6),  # Words that Rust alone gets wrong.
        ("ผ\u0301ล/ผลผ\u0301ล/ผล", "ผล", 10),
    ],
)
def test_an_answer_is_learnt_at_its_offset(context, text, start, caplog):
  with caplog.at_level(logging.WARNING):
    assert learn(context, Answer(text, start)) == (text, start)
  assert not caplog.text


@pytest.mark.parametrize(
    ("context", "answer", "expected"),
    [
        ("a bb c", Answer("bb", 2), (2, 4)),
        ("a bb c", Answer(" bb ", 1), (2, 4)),
        ("a (bb) c", Answer("bb", 2), (3, 5)),  # One too small.
        ("x-x-x-x", Answer("x", 3), (2, 3)),  # The first of the nearest.
        ("a B\u00a0b c", Answer("b b", 2), (2, 5)),
        # Composed in one place, decomposed in the other.
        ("le cafe\u0301 la", Answer("caf\u00e9", 3), (3, 8)),
        ("le caf\u00e9 la", Answer("cafe\u0301", 3), (3, 7)),
        ("가각", Answer("\u1100\u1161\u11a8", 0), None),  # Runs over the end.
        ("나 가각 나", Answer("\u1100\u1161\u11a8", 3), (3, 4)),
        ("(\uff2e\u200d\uff21\uff34\uff2f)", Answer("NATO", 1), (1, 6)),
        # Offsets as JavaScript counts them, a character above U+FFFF as two.
        ("👍👍 Paris", Answer("Paris", 5), (3, 8)),
        ("👍上海👍上海x上海", Answer("上海", 6), (4, 6)),
        ("a b", Answer("c", 2), None),
        ("a b", Answer("", 2), None),
        ("a b", Answer("b", -1), None),
        ("a b", Answer("b", 7), None),
        ("a \u200b", Answer("\u00ad", 2), None),
        ("👩\u200d👧👩\u200d👧", Answer("👩\u200d👧", 3), (3, 6)),
        ("שלום\u200f שלום", Answer("שלום", 6), (6, 10)),
    ],
)
def test_characters_of_an_answer(context, answer, expected):
  assert find_characters(context, answer) == expected


@pytest.mark.parametrize(
    ("context", "answer", "learnt", "message"),
    [
        (
            "the japanese",
            Answer("japanes", 4),
            ("japanese", 4),
            "1 of 1 answers are learnt with other characters than the data"
            " says, .* question 'q7', answer 'japanes', learnt as 'japanese'",
        ),
        (
            "(red) blue",
            Answer("red", 0),
            ("red", 1),
            "1 of 1 answers do not stand at their offset .* question 'q7',"
            " answer 'red', said to be at 0, learnt at 1",
        ),
        (
            "the blue",
            Answer("red", 4),
            None,
            "1 of 1 questions are not learnt from: .* question 'q7', answer"
            " 'red' at 4",
        ),
        ("the\u200b blue", Answer("the\u200b", 0), ("the", 0), None),
        (
            "the\tred\r\nblue",
            Answer("red\r\nblue", 4),
            ("red\r\nblue", 4),
            None,
        ),
    ],
)
def test_what_is_learnt_otherwise_is_told(
    context, answer, learnt, message, caplog
):
  with caplog.at_level(logging.WARNING):
    assert learn(context, answer) == learnt
  if message is None:
    assert not caplog.records
  else:
    assert len(caplog.records) == 1
    assert re.search(message, caplog.text)


def test_the_released_spans_are_an_option(caplog):
  def released(context, answer):
    return learn(context, answer, released_answer_spans=True)

  assert released("red/blue/red", Answer("red", 9)) == ("red", 0)
  # Whole words, where the answer's own pieces are not among theirs.
  assert released(":japanese blue", Answer("japanes", 1)) == (":japanese", 0)
  assert released("the blue", Answer("red", 4)) is None
  assert "learnt with other characters" in caplog.text
  assert "do not stand at their offset" in caplog.text
