"""Features: ids, segments and targets of every kind, written out by hand."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import (
    Answer,
    QuestionExample,
    TaggedExample,
    TextExample,
)
from electra_jax.tasks.features import (
    FeatureOptions,
    cut_note,
    make_features,
    with_labels,
)
from electra_jax.tasks.registry import TASKS, find_task
from electra_jax.tasks.span_features import make_span_features
from electra_jax.tasks.task import Task
from electra_jax.tasks.text_windows import text_windows
from electra_jax.text.tokenizer import Tokenizer

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g ##x ##y who ?"
TOKENIZER = Tokenizer("wordpiece", PIECES.replace(" ", "\n").encode())


def task_of(kind, *labels, **options):
  return Task("t", kind, ("accuracy",), lambda *_: [], labels, **options)


YES_NO = task_of("classification", "no", "yes")


def text(first, other=None, label=None):
  return TextExample("7", first, other, label)


def make(task, *examples, for_training=False, **options):
  options = FeatureOptions(**options)
  return make_features(
      task, examples, TOKENIZER, options, for_training=for_training
  )


def read(features):
  return [" ".join(TOKENIZER.tokens(ids.tolist())) for ids in features.texts]


def targets(features):
  return {name: array.tolist() for name, array in features.targets.items()}


def assert_consistent(features):
  n = len(features)
  assert len(features.first_lengths) == len(features.examples) == n
  assert {len(array) for array in features.targets.values()} == {n}
  assert {ids.dtype for ids in features.texts} == {np.dtype(np.int32)}


# --- Texts ---


def test_a_text_and_a_pair():
  features = make(YES_NO, text("a bx", label="yes"), text("c", "d e", "no"))
  assert read(features) == ["[CLS] a b ##x [SEP]", "[CLS] c [SEP] d e [SEP]"]
  assert features.texts[1].tolist() == [2, 7, 3, 8, 9, 3]
  assert features.first_lengths.tolist() == [5, 3]
  assert features.examples.tolist() == [0, 1]
  assert targets(features) == {"labels": [1, 0]}
  assert features.targets["labels"].dtype == np.int32
  assert_consistent(features)


def test_a_second_text_without_pieces_is_none_as_released():
  features = make(
      YES_NO, text("a", ""), text(""), text("a", " \u200b"), text("", "a")
  )
  assert read(features) == [
      "[CLS] a [SEP]",
      "[CLS] [SEP]",
      "[CLS] a [SEP]",
      "[CLS] [SEP] a [SEP]",
  ]
  assert features.first_lengths.tolist() == [3, 2, 3, 2]
  assert targets(features) == {"labels": [0, 0, 0, 0]}  # Without labels.
  cut = make(YES_NO, text("a b c d", ""), max_length=5)
  assert read(cut) == ["[CLS] a b c [SEP]"]


@pytest.mark.parametrize(
    ("first", "other", "expected"),
    [
        ("a b c d e f g", None, "a b c d e"),  # Two special tokens.
        ("a b c d", "e f g", "a b [SEP] e f"),  # Three.
        ("a b", "c d e f g", "a b [SEP] c d"),
        ("a b c", "d e", "a b [SEP] d e"),
        ("a b c", "d e f", "a b [SEP] d e"),
        ("a b c d e", "f", "a b c [SEP] f"),
    ],
)
def test_the_longer_text_loses(first, other, expected):
  features = make(YES_NO, text(first, other), max_length=7)
  assert read(features) == [f"[CLS] {expected} [SEP]"]


def test_the_second_text_loses_on_a_tie():
  features = make(YES_NO, text("a b c", "d e f"), max_length=8)
  assert read(features) == ["[CLS] a b c [SEP] d e [SEP]"]


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.integers(0, 12), st.integers(0, 12), st.integers(4, 16))
def test_cutting_is_that_of_popping_one_by_one(a, b, max_length):
  first, second = list(range(5, 5 + a)), list(range(20, 20 + b))
  options = {"max_length": max_length, "stride": 2, "only_first": True}
  windows, cut = text_windows(first, second, TOKENIZER.special, **options)
  ((ids, first_length),) = windows
  if not second:
    assert ids.tolist() == [2, *first[: max_length - 2], 3]
    return
  assert cut == max(0, a + b - max_length + 3)
  while len(first) + len(second) > max_length - 3:
    (first if len(first) > len(second) else second).pop()
  assert ids.tolist() == [2, *first, 3, *second, 3]
  assert first_length == len(first) + 2
  assert len(ids) <= max_length


# --- Windows ---


def test_a_long_text_is_read_in_windows_that_count_once_together():
  examples = text("a b c d e f g", label="yes"), text("g", label="no")
  features = make(YES_NO, *examples, max_length=6, doc_stride=2, windows="mean")
  assert read(features) == [
      "[CLS] a b c d [SEP]",
      "[CLS] c d e f [SEP]",
      "[CLS] e f g [SEP]",
      "[CLS] g [SEP]",
  ]
  assert features.examples.tolist() == [0, 0, 0, 1]
  assert targets(features) == {"labels": [1, 1, 1, 0]}
  np.testing.assert_allclose(features.weights, [1 / 3] * 3 + [1])
  assert not features.cut_pieces.any() and not cut_note(features, OPTIONS)
  assert_consistent(features)


OPTIONS = FeatureOptions(max_length=6)


def test_what_is_cut_is_counted():
  examples = text("a b c d e f g"), text("a b c d"), text("a b", "c d e")
  features = make(YES_NO, *examples, max_length=6)
  assert features.cut_pieces.tolist() == [3, 0, 2]
  told = cut_note(features, OPTIONS)
  assert told.startswith(
      "2 of 3 texts are longer than config.data.max_length=6"
  )
  assert "(5 tokens in all)" in told
  features = make(YES_NO, text("a"), max_length=6)
  assert features.weights.tolist() == [1.0] and not cut_note(features, OPTIONS)


def test_questions_that_are_cut_are_counted():
  task = task_of("questions")
  examples = [
      QuestionExample("1", "who who who ?", "a b c", (), has_gold=False),
      QuestionExample("2", "who ?", "a b c", (), has_gold=False),
  ]
  options = {"max_length": 12, "max_query_length": 3, "doc_stride": 4}
  features = make(task, *examples, **options)
  assert features.cut_pieces.tolist() == [1, 0]
  told = cut_note(features, FeatureOptions(**options))
  assert told.startswith(
      "1 of 2 questions are longer than config.data.max_query_length=3"
  )


def test_a_pair_moves_on_over_its_longer_text():
  options = {"max_length": 8, "doc_stride": 9, "windows": "max"}
  for pair, expected in (
      (("who ?", "a b c d e"), ["who ? [SEP] a b c", "who ? [SEP] d e"]),
      (("a b c d e", "who ?"), ["a b c [SEP] who ?", "d e [SEP] who ?"]),
  ):
    features = make(YES_NO, text(*pair), **options)
    assert read(features) == [f"[CLS] {row} [SEP]" for row in expected]
    assert not features.cut_pieces.any()
  # Of two long ones the shorter keeps its half, and the rest of it is told.
  features = make(YES_NO, text("a b c d e", "a b c d e f g"), **options)
  assert features.cut_pieces.tolist() == [2]
  assert read(features)[0] == "[CLS] a b c [SEP] a b [SEP]"
  assert features.first_lengths.tolist() == [5] * 4


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    st.integers(0, 30),
    st.one_of(st.none(), st.integers(0, 30)),
    st.integers(4, 16),
    st.integers(1, 20),
)
def test_windows_hold_every_piece(a, b, max_length, stride):
  first = list(range(100, 100 + a))
  second = None if b is None else list(range(200, 200 + b))
  options = {"max_length": max_length, "stride": stride}

  def windows(only_first):
    return text_windows(
        first, second, TOKENIZER.special, only_first=only_first, **options
    )

  found, cut = windows(False)
  # The first is the release's cut, whatever follows.
  (released,), _ = windows(True)
  assert found[0][0].tolist() == released[0].tolist()
  assert all(len(ids) <= max_length for ids, _ in found)
  pieces = {i for ids, _ in found for i in ids.tolist() if i >= 100}
  assert len(pieces) + cut == a + (b or 0)
  if b is None or max_length > 4:
    assert not cut or min(a, b) > (max_length - 3) // 2
  for ids, length in found:
    assert ids[length - 1] == TOKENIZER.special.sep


def test_a_label_that_training_lacks():
  with pytest.raises(UserError) as error:
    make(YES_NO, text("a", label="no"), text("b", label="maybe"))
  message = str(error.value)
  assert "example 7 of t has the label 'maybe'" in message
  assert "none of no, yes" in message
  several = task_of("multilabel", "x", "y")
  with pytest.raises(UserError, match="the label 'z', which is none of x, y"):
    make(several, text("a", label=("x", "z")))


def test_pairs_without_order_are_doubled_in_training():
  mrpc, sts = TASKS["mrpc"], TASKS["sts"]
  pairs = text("a b", "c", "1"), text("d", "e", "0")
  features = make(mrpc, *pairs, for_training=True)
  assert read(features) == [
      "[CLS] a b [SEP] c [SEP]",
      "[CLS] d [SEP] e [SEP]",
      "[CLS] c [SEP] a b [SEP]",
      "[CLS] e [SEP] d [SEP]",
  ]
  assert features.first_lengths.tolist() == [4, 3, 3, 3]
  assert features.examples.tolist() == [0, 1, 0, 1]
  assert targets(features) == {"labels": [1, 0, 1, 0]}
  assert_consistent(features)
  doubled = make(sts, text("a", "b", 2.5), for_training=True)
  assert targets(doubled) == {"ratings": [0.5, 0.5]}


def test_other_pairs_are_not_doubled():
  pair = text("a", "b", "1")
  assert len(make(TASKS["mrpc"], pair)) == 1
  assert len(make(TASKS["qqp"], pair, for_training=True)) == 1
  options = {"for_training": True, "double_unordered": False}
  assert len(make(TASKS["mrpc"], pair, **options)) == 1
  # A text that is no pair has no other way round.
  single = text("a", label="1")
  assert len(make(TASKS["mrpc"], single, for_training=True)) == 1


def test_ratings_are_brought_between_0_and_1():
  task = task_of("regression", label_range=(1.0, 5.0))
  ratings = [1.0, 2.0, 5.0, None]
  features = make(task, *(text("a", label=rating) for rating in ratings))
  assert targets(features) == {"ratings": [0.0, 0.25, 1.0, 0.0]}
  assert features.targets["ratings"].dtype == np.float32


def test_several_labels_at_once():
  task = task_of("multilabel", "x", "y", "z")
  labels = [("z", "x"), (), ("y",), None]
  features = make(task, *(text("a", label=some) for some in labels))
  expected = [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
  assert targets(features) == {"labels": expected}
  assert features.targets["labels"].dtype == np.float32


# --- Tags ---

TAGGING = task_of("tagging", "N", "V", "X")


def sentence(words, tags=None):
  return TaggedExample("0", tuple(words.split(" ")), tags and tuple(tags))


def test_first_pieces_stand_for_their_words():
  features = make(TAGGING, sentence("ax b cxy", "VNX"), sentence("d", "N"))
  assert read(features) == ["[CLS] a ##x b c ##x ##y [SEP]", "[CLS] d [SEP]"]
  assert targets(features) == {
      "word_places": [[1, 3, 4], [1, 0, 0]],
      "labels": [[1, 0, 2], [0, 0, 0]],
      "weights": [[1, 1, 1], [1, 0, 0]],
  }
  assert features.targets["weights"].dtype == np.float32
  # As released: every token is of segment 1.
  assert features.first_lengths.tolist() == [0, 0]
  assert_consistent(features)


def test_a_word_without_pieces_still_has_a_place():
  features = make(TAGGING, sentence("a \x07 b", "NNV"))
  assert read(features) == ["[CLS] a [UNK] b [SEP]"]
  assert targets(features)["word_places"] == [[1, 2, 3]]


def test_a_long_sentence_is_cut_between_words():
  features = make(
      TAGGING,
      sentence("a bx c dxy e f", "NVXNVX"),
      sentence("g", "V"),
      max_length=6,
  )
  assert read(features) == [
      "[CLS] a b ##x c [SEP]",
      "[CLS] d ##x ##y e [SEP]",
      "[CLS] f [SEP]",
      "[CLS] g [SEP]",
  ]
  assert features.examples.tolist() == [0, 0, 0, 1]
  assert targets(features) == {
      "word_places": [[1, 2, 4], [1, 4, 0], [1, 0, 0], [1, 0, 0]],
      "labels": [[0, 1, 2], [0, 1, 0], [2, 0, 0], [1, 0, 0]],
      "weights": [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]],
  }


def test_a_word_longer_than_a_text_is_cut():
  features = make(TAGGING, sentence("b axyxyx c", "NVX"), max_length=5)
  assert read(features) == [
      "[CLS] b [SEP]",
      "[CLS] a ##x ##y [SEP]",
      "[CLS] c [SEP]",
  ]
  assert targets(features)["weights"] == [[1], [1], [1]]


words = st.lists(st.sampled_from(["a", "bx", "cxy", "\x07"]), min_size=1)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.lists(words, min_size=1, max_size=5), st.integers(4, 9))
def test_windows_lose_no_word(sentences, max_length):
  examples = [
      TaggedExample(str(i), tuple(some), tuple("NVX"[j % 3] for j, _ in enumerate(some)))
      for i, some in enumerate(sentences)
  ]  # fmt: skip
  features = make(TAGGING, *examples, max_length=max_length)
  assert max(map(len, features.texts)) <= max_length
  assert features.targets["weights"].any(axis=-1).all()  # No empty text.
  found = [[] for _ in examples]
  for i, example in enumerate(features.examples):
    count = int(features.targets["weights"][i].sum())
    places = features.targets["word_places"][i, :count]
    labels = features.targets["labels"][i, :count]
    first_pieces = TOKENIZER.tokens(features.texts[i][places].tolist())
    found[example] += zip(
        first_pieces, (TAGGING.labels[n] for n in labels), strict=True
    )
  for example, pairs in zip(examples, found, strict=True):
    pieces = ["[UNK]" if w == "\x07" else w[0] for w in example.words]
    assert pairs == list(zip(pieces, example.tags, strict=True))


def test_sentences_without_tags_or_with_unknown_ones():
  features = make(TAGGING, sentence("a b"), sentence("c", ["unheard"]))
  assert targets(features) == {
      "word_places": [[1, 2], [1, 0]],
      "labels": [[0, 0], [0, 0]],
      "weights": [[1, 1], [1, 0]],
  }


# --- Questions ---


def question(context, *answers, **options):
  return QuestionExample("q", "who ?", context, answers, **options)


@pytest.mark.parametrize("for_training", [True, False])
def test_questions_are_windows_of_their_contexts(for_training):
  examples = [
      question("a b c d e f g", Answer("f", 10)),
      question("a", is_impossible=True),
  ]
  lengths = {"max_length": 9, "max_query_length": 2, "doc_stride": 3}
  features = make(
      TASKS["squad"], *examples, for_training=for_training, **lengths
  )
  spans, contexts = make_span_features(
      examples, TOKENIZER, for_training=for_training, **lengths
  )
  assert read(features) == [
      "[CLS] who ? [SEP] a b c d [SEP]",
      "[CLS] who ? [SEP] d e f g [SEP]",
      "[CLS] who ? [SEP] a [SEP]",
  ]
  assert features.first_lengths.tolist() == [4, 4, 4]
  assert features.examples.tolist() == [0, 0, 1]
  place = 6 if for_training else 0
  assert targets(features) == {
      "starts": [0, place, 0],
      "ends": [0, place, 0],
      "is_impossible": [0, 0, 1],
  }
  assert [s.context_offset for s in features.spans] == [0, 3, 0]
  assert [s.input_ids for s in features.spans] == [s.input_ids for s in spans]
  assert [c.ids for c in features.contexts] == [c.ids for c in contexts]
  assert_consistent(features)


def test_questions_that_cannot_be_learnt_leave_nothing():
  lost = question("a b", Answer("g", 0))
  features = make(TASKS["squadv1"], lost, for_training=True)
  assert len(features) == 0
  assert targets(features) == {"starts": [], "ends": [], "is_impossible": []}


# --- Labels that the data tells ---


def test_labels_are_found_and_sorted():
  task = task_of("classification")
  examples = [text("a", label=label) for label in ("z", "b", "z", None)]
  assert with_labels(task, examples).labels == ("b", "z")
  tagging = task_of("tagging")
  examples = [sentence("a b", "VN"), sentence("c"), sentence("d", "A")]
  assert with_labels(tagging, examples).labels == ("A", "N", "V")
  several = task_of("multilabel")
  examples = [text("a", label=("y", "x")), text("b", label=())]
  assert with_labels(several, examples).labels == ("x", "y")


def test_tags_of_spans_are_learnt_in_one_scheme(caplog):
  task = task_of("tagging", marks_spans=True)
  examples = [
      sentence("a b c", ("B-X", "I-X", "B-Y")),
      sentence("a b", ("O", "O")),
      sentence("d"),
  ]
  task = with_labels(task, examples)
  assert task.labels == ("B-X", "E-X", "O", "S-Y")
  assert task.tag_scheme == "IOB2"
  assert targets(make(task, *examples))["labels"][0] == [0, 1, 3]
  assert not caplog.text
  broken = [sentence("a b", ("O", "I-X")), *examples]
  assert with_labels(task_of("tagging", marks_spans=True), broken).tag_scheme
  assert (
      "1 of 3 sentences of t have tags that are not of the scheme IOB2"
      in caplog.text
  )
  assert "the first has O I-X" in caplog.text


def test_the_range_of_ratings_is_found():
  options = {"kind": "regression", "text": "text", "label": "label"}
  task = find_task("table", options)
  examples = [text("a", label=rating) for rating in (3.0, -1.0, None)]
  assert with_labels(task, examples).label_range == (-1.0, 3.0)
  # One rating alone must not be divided by nothing.
  task = with_labels(task, examples[:1])
  assert task.label_range == (3.0, 4.0)
  assert targets(make(task, examples[0])) == {"ratings": [0.0]}


def test_a_task_that_knows_its_labels_keeps_them():
  for task in (YES_NO, TASKS["sts"], TASKS["squad"]):
    assert with_labels(task, [text("a", label="other")]) == task


@pytest.mark.parametrize(
    ("kind", "label", "found"),
    [
        ("classification", "x", r"\['x'\]"),
        ("classification", None, r"\[\]"),
        ("multilabel", (), r"\[\]"),
    ],
)
def test_one_label_is_not_enough(kind, label, found):
  with pytest.raises(UserError, match=f"data of t has no labels but {found}"):
    with_labels(task_of(kind), [text("a", label=label)] * 3)
