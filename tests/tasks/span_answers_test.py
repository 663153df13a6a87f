"""Decoding: which spans may be answers, and which of them is the best."""

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import QuestionExample
from electra_jax.tasks.span_answers import (
    NBest,
    QuestionAnswer,
    SpanScores,
    decode_answers,
)
from electra_jax.tasks.span_features import make_span_features
from electra_jax.text.tokenizer import Tokenizer

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] who ? ( ) a b c d e f g h"
TOKENIZER = Tokenizer("wordpiece", PIECES.replace(" ", "\n").encode())
FIRST = 4  # Position of the first context piece behind [CLS] who ? [SEP].


def scores(*beam, null=0.0):
  """Makes scores of (start, log_prob, [(end, log_prob), ...])."""
  starts, start_log_probs, ends = zip(*beam, strict=True)
  return SpanScores(
      start_log_probs=np.array(start_log_probs, np.float32),
      start_index=np.array(starts, np.int32),
      end_log_probs=np.array([[p for _, p in e] for e in ends], np.float32),
      end_index=np.array([[i for i, _ in e] for e in ends], np.int32),
      answerable_logit=null,
  )


def decode(contexts, window_scores, max_length=64, doc_stride=3, **options):
  examples = [
      QuestionExample(f"q{i}", "who?", context, ())
      for i, context in enumerate(contexts)
  ]
  features, pieces = make_span_features(
      examples,
      TOKENIZER,
      max_length=max_length,
      max_query_length=2,
      doc_stride=doc_stride,
      for_training=False,
  )
  return decode_answers(examples, features, pieces, window_scores, **options)


def test_the_likeliest_span_is_a_slice_of_the_context():
  (answer,) = decode(
      ["(Ä b) \u202f C?"],
      [
          scores(
              (5, -0.5, [(9, -1.5), (5, -0.25)]),
              (8, -2.0, [(8, -0.5), (9, -3.0)]),
              null=1.5,
          )
      ],
  )
  likelihoods = np.exp([-0.75, -2.0, -2.5, -5.0])
  probabilities = likelihoods / likelihoods.sum()
  assert answer == QuestionAnswer(
      id="q0",
      text="Ä",
      start=1,
      end=2,
      probability=pytest.approx(probabilities[0]),
      null_odds=1.5,
      n_best=[
          NBest("Ä", 1, 2, pytest.approx(probabilities[0]), -0.75),
          NBest("Ä b) \u202f C?", 1, 10, pytest.approx(probabilities[1]), -2.0),
          NBest("C", 8, 9, pytest.approx(probabilities[2]), -2.5),
          NBest("C?", 8, 10, pytest.approx(probabilities[3]), -5.0),
      ],
  )


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 0),  # [CLS].
        (0, FIRST),
        (1, FIRST),  # In the question.
        (3, FIRST),  # The first [SEP].
        (FIRST + 1, FIRST),  # Ends before it starts.
        (FIRST, FIRST + 3),  # The last [SEP].
        (FIRST + 3, FIRST + 3),
        (FIRST + 40, FIRST + 41),  # In the padding.
        (FIRST, FIRST + 2),  # Longer than two pieces.
    ],
)
def test_what_is_no_answer(start, end):
  (answer,) = decode(
      ["a b c"],
      [
          scores(
              (start, 0.0, [(end, 0.0)]), (FIRST + 1, -9.0, [(FIRST + 1, -9)])
          )
      ],
      max_answer_length=2,
  )
  assert [n.text for n in answer.n_best] == ["b"]
  assert answer.probability == 1.0


def test_no_span_at_all():
  (answer,) = decode(["a b"], [scores((0, 0.0, [(0, 0.0)]), null=-3.0)])
  assert answer == QuestionAnswer("q0", "", 0, 0, 0.0, -3.0, [])
  (answer,) = decode([" "], [scores((FIRST, 0.0, [(FIRST, 0.0)]))])
  assert answer == QuestionAnswer("q0", "", 0, 0, 0.0, 0.0, [])


def test_windows_compete_where_they_show_most():
  # Windows "a b c d e", "d e f g h"; d counts in the first, e in the second.
  options = {"max_length": 10, "doc_stride": 3}
  d, e = FIRST + 3, FIRST + 4
  first = scores((d, -2.0, [(e, -1.0)]), (e, 0.0, [(e, 0.0)]), null=2.0)
  second = scores(
      (FIRST, 0.0, [(FIRST, 0.0)]),
      (FIRST + 1, -1.0, [(FIRST + 2, -1.0)]),
      null=-1.0,
  )
  (answer,) = decode(["a b c d e f g h"], [first, second], **options)
  assert [(n.text, n.log_prob) for n in answer.n_best] == [
      ("e f", -2.0),
      ("d e", -3.0),
  ]
  assert answer.null_odds == -1.0
  assert (answer.start, answer.end) == (8, 11)


def test_equal_texts_count_once_and_equal_scores_keep_their_order():
  (answer,) = decode(
      ["a b a c"],
      [
          scores(
              (FIRST + 2, -1.0, [(FIRST + 2, 0.0)]),
              (FIRST + 3, -1.0, [(FIRST + 3, 0.0)]),
              (FIRST + 1, -1.0, [(FIRST + 1, 0.0)]),
              (FIRST, -2.0, [(FIRST, 0.0)]),
          )
      ],
      n_best_size=4,
  )
  assert [(n.text, n.start) for n in answer.n_best] == [
      ("a", 4),
      ("c", 6),
      ("b", 2),
  ]
  assert [n.probability for n in answer.n_best] == pytest.approx([1 / 3] * 3)


def test_many_equal_scores_keep_their_order():
  places = range(FIRST, FIRST + 8)
  beam = [(start, 0.0, [(end, 0.0) for end in places]) for start in places]
  (answer,) = decode(["a b c d e f g h"], [scores(*beam)])
  spans = [(n.start, n.end) for n in answer.n_best]
  assert len(spans) == 20 and spans == sorted(spans)


def test_n_best_is_cut():
  beam = [(FIRST + i, -float(i), [(FIRST + i, 0.0)]) for i in range(4)]
  (answer,) = decode(["a b c d"], [scores(*beam)], n_best_size=2)
  assert [n.text for n in answer.n_best] == ["a", "b"]
  assert sum(n.probability for n in answer.n_best) == pytest.approx(1)


def test_each_example_has_its_own_windows():
  window_scores = [
      scores((FIRST + i, 0.0, [(FIRST + i, 0.0)]), null=float(i))
      for i in (0, 1, 0)
  ]
  answers = decode(["a b", "c d e f g h", "b"], [*window_scores], max_length=64)
  assert [(a.id, a.text, a.null_odds) for a in answers] == [
      ("q0", "a", 0.0),
      ("q1", "d", 1.0),
      ("q2", "b", 0.0),
  ]


def test_half_precision_scores_are_added_in_double():
  half = scores((FIRST, -0.1, [(FIRST, -7.0)]))
  half = half._replace(
      start_log_probs=half.start_log_probs.astype(np.float16),
      end_log_probs=half.end_log_probs.astype(np.float16),
  )
  (answer,) = decode(["a"], [half])
  assert answer.n_best[0].log_prob == float(np.float16(-0.1)) - 7


def test_scores_and_windows_must_match():
  with pytest.raises(ValueError, match="shorter"):
    decode(["a", "b"], [scores((FIRST, 0.0, [(FIRST, 0.0)]))])


@pytest.mark.parametrize("name", ["n_best_size", "max_answer_length"])
def test_sizes_must_be_positive(name):
  with pytest.raises(UserError, match=f"{name}=0"):
    decode(["a"], [scores((FIRST, 0.0, [(FIRST, 0.0)]))], **{name: 0})
