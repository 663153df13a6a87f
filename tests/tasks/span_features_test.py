"""Windows of contexts: what the model sees and where the answer lies."""

import io
import logging

import numpy as np
import pytest
import sentencepiece

from electra_jax.errors import UserError
from electra_jax.tasks.examples import Answer, QuestionExample
from electra_jax.tasks.span_features import make_span_features
from electra_jax.text.tokenizer import Tokenizer

PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] who was it ? ( 1895 - 1943 ) . the japan"
    " ##ese ##ly ##s a b c d e f g h i j k"
)
TOKENIZER = Tokenizer("wordpiece", PIECES.replace(" ", "\n").encode())


def question(context, *answers, text="who?", **options):
  return QuestionExample("q", text, context, answers, **options)


def make(*examples, for_training=True, **options):
  return make_span_features(
      examples, TOKENIZER, for_training=for_training, **options
  )


def read(feature):
  return " ".join(TOKENIZER.tokens(feature.input_ids))


def answer_of(feature):
  ids = feature.input_ids[feature.start : feature.end + 1]
  return " ".join(TOKENIZER.tokens(ids))


def test_one_window():
  features, contexts = make(question("It was (1895-1943).", Answer("1895", 8)))
  feature = features[0]
  assert len(features) == 1
  assert read(feature) == ("[CLS] who ? [SEP] it was ( 1895 - 1943 ) . [SEP]")
  assert feature.first_length == 4
  assert (feature.start, feature.end) == (7, 7)
  assert feature.example == feature.context_offset == 0
  assert not feature.is_impossible
  assert feature.max_context.tolist() == [True] * 8
  assert contexts[0].starts.tolist() == [0, 3, 7, 8, 12, 13, 17, 18]


@pytest.mark.parametrize(
    ("context", "answer", "pieces"),
    [
        ("was (1895-1943).", Answer("1895-1943", 5), "1895 - 1943"),
        ("the b\u202fc\u3000d e", Answer("b C\nd", 4), "b c d"),
        ("a (c b", Answer("c", 2), "c"),  # The offset is one too small.
        ("the Japans, a", Answer("Japan", 4), "japan"),
        ("the (japanesely)", Answer("apanese", 6), "japan ##ese"),
        ("b a.c", Answer("b a.", 0), "b a ."),
        ("a", Answer("a", 0), "a"),
    ],
)
def test_the_pieces_of_the_answer(context, answer, pieces):
  feature = make(question(context, answer))[0][0]
  assert answer_of(feature) == pieces


def test_only_the_first_answer_is_learnt():
  feature = make(question("a b c", Answer("b", 2), Answer("c", 4)))[0][0]
  assert answer_of(feature) == "b"


def test_windows_overlap_and_the_answer_is_whole_or_absent():
  example = question("a b c d e f g h i", Answer("e f", 8))
  features, _ = make(example, max_length=10, max_query_length=2, doc_stride=3)
  assert [read(f)[len("[CLS] who ? [SEP] ") :] for f in features] == [
      "a b c d e [SEP]",
      "d e f g h [SEP]",
      "g h i [SEP]",
  ]
  assert [f.context_offset for f in features] == [0, 3, 6]
  assert [(f.start, f.end) for f in features] == [(0, 0), (5, 6), (0, 0)]
  assert not any(f.is_impossible for f in features)
  # In the middle of five pieces 2.05, at their ends 0.05; at those of three
  # 0.03: d is 1.05 and 0.05, e 0.05 and 1.05, g 1.05 and 0.03, h 0.05 and 1.03.
  assert [f.max_context.tolist() for f in features] == [
      [True, True, True, True, False],
      [False, True, True, True, False],
      [False, True, True],
  ]


def test_the_first_of_equal_windows_has_the_maximal_context():
  features, _ = make(
      question("a b c d e", Answer("a", 0)),
      max_length=9,
      max_query_length=2,
      doc_stride=1,
  )
  assert [f.max_context.tolist() for f in features] == [
      [True, True, True, False],  # c lacks one piece on a side in either.
      [False, False, True, True],
  ]


def test_a_longer_window_counts_for_more():
  features, _ = make(
      question(" ".join("a" * 310), text=""),
      for_training=False,
      max_length=303,
      max_query_length=1,
      doc_stride=150,
  )
  first, second = features
  assert (len(first.max_context), len(second.max_context)) == (300, 160)
  # Piece 225: 74 + 3 in the first against 75 + 1.6 in the second.
  assert first.max_context.tolist() == [True] * 226 + [False] * 74


def test_each_piece_has_one_window():
  rng = np.random.default_rng(0)
  for _ in range(50):
    length, stride = rng.integers(5, 20, 2)
    context = " ".join(["a"] * rng.integers(1, 100))
    features, contexts = make(
        question(context, text=""),
        for_training=False,
        max_length=int(length),
        max_query_length=1,
        doc_stride=int(min(stride, length - 3)),
    )
    counts = np.zeros(len(contexts[0].ids), int)
    for f in features:
      end = f.context_offset + len(f.max_context)
      counts[f.context_offset : end] += f.max_context
      assert len(f.input_ids) == len(f.max_context) + 3 <= length
    assert (counts == 1).all()


def test_a_stride_beyond_the_window_skips_nothing():
  features, _ = make(
      question("a b c d e", Answer("a", 0)),
      max_length=7,
      max_query_length=2,
      doc_stride=128,
  )
  assert [f.context_offset for f in features] == [0, 2, 4]


def test_a_long_question_is_cut():
  example = question("a", Answer("a", 0), text="who was it ?")
  feature = make(example, max_query_length=2)[0][0]
  assert read(feature) == "[CLS] who was [SEP] a [SEP]"


def test_an_impossible_question_points_nowhere():
  example = question("a b", Answer("b", 2), is_impossible=True)
  feature = make(example)[0][0]
  assert (feature.start, feature.end) == (0, 0)
  assert feature.is_impossible


@pytest.mark.parametrize(
    "answer",
    [
        Answer("c", 0),  # Not there.
        Answer("a", 2),  # Elsewhere.
        Answer("b", 5),  # Behind the end.
        Answer("b a", 4),  # Runs over the end.
        Answer("", 0),
        Answer(" ", 1),
        Answer("\u200b", 0),  # No piece.
        None,
    ],
)
def test_an_answer_that_is_not_there_is_left_out_and_told(answer, caplog):
  answers = () if answer is None else (answer,)
  good = question("a b", Answer("b", 2))
  with caplog.at_level(logging.WARNING):
    features, contexts = make(question("a b b", *answers), good)
  assert [f.example for f in features] == [1]
  assert len(contexts) == 2
  assert "1 of 2 questions are not learnt from" in caplog.text


def test_an_offset_before_the_context(caplog):
  assert make(question("a", Answer("a", -1)))[0] == []
  assert "1 of 1" in caplog.text


def test_an_answer_without_a_piece_in_the_context_is_left_out(caplog):
  example = question("\u200b japan", Answer("\u200b", 0))
  assert make(example)[0] == []
  assert "1 of 1" in caplog.text


def test_prediction_needs_no_answer_and_drops_no_question(caplog):
  features, contexts = make(
      question("a b", Answer("nowhere", 7)),
      question(" \n", is_impossible=True),
      question("a b", has_gold=False),
      for_training=False,
  )
  assert [f.example for f in features] == [0, 1, 2]
  assert [(f.start, f.end) for f in features] == [(0, 0)] * 3
  assert read(features[1]) == "[CLS] who ? [SEP] [SEP]"
  assert features[1].max_context.shape == (0,)
  assert [f.is_impossible for f in features] == [False, True, False]
  assert contexts[0] is contexts[2]
  assert not caplog.text


def test_no_example():
  assert make() == ([], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 67}, r"max_length=67 .* max_query_length=64"),
        ({"doc_stride": 0}, "doc_stride=0"),
        ({"max_query_length": 0}, "max_query_length=0"),
    ],
)
def test_lengths_that_cannot_be(options, message):
  with pytest.raises(UserError, match=message):
    make(question("a", Answer("a", 0)), **options)


def test_sentencepiece_answers(sentencepiece_tokenizer):
  context = "He was born there (1895-1943)."
  start = context.index("1895")
  (feature,), (pieces,) = make_span_features(
      [question(context, Answer("1895", start))],
      sentencepiece_tokenizer,
      for_training=True,
  )
  first = feature.start - feature.first_length
  last = feature.end - feature.first_length
  assert context[pieces.starts[first] : pieces.ends[last]] == "1895"


@pytest.fixture(scope="module")
def sentencepiece_tokenizer():
  lines = ["He was born there (1895-1943).", "In 1895 there was the 1943 born."]
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(lines * 10),
      model_writer=model,
      vocab_size=45,
      hard_vocab_limit=False,
      minloglevel=2,
      control_symbols=["[PAD]", "[CLS]", "[SEP]", "[MASK]"],
  )
  return Tokenizer("sentencepiece", model.getvalue())
