"""Tag schemes: each is read as spans and written back to the letter."""

import random

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from electra_jax.errors import UserError
from electra_jax.tasks.tag_schemes import (
    BIOES,
    SCHEMES,
    Span,
    convert_tags,
    find_scheme,
    read_spans,
    write_tags,
)

# A span of three words, one of one, and two neighbours of the same type.
WRITTEN = {
    "IOB2": "B-A I-A I-A O B-B O B-A I-A B-A",
    "BIOES": "B-A I-A E-A O S-B O B-A E-A S-A",
    "BILOU": "B-A I-A L-A O U-B O B-A L-A U-A",
    "BMES": "B-A M-A E-A O S-B O B-A E-A S-A",
    "BMEWO": "B-A M-A E-A O W-B O B-A E-A W-A",
    "BIEO": "B-A I-A E-A O B-B O B-A E-A B-A",
    "IOB1": "I-A I-A I-A O I-B O I-A I-A B-A",
    "IOE2": "I-A I-A E-A O E-B O I-A E-A E-A",
    "IOE1": "I-A I-A I-A O I-B O I-A E-A I-A",
}
SPANS = [Span(0, 3, "A"), Span(4, 5, "B"), Span(6, 8, "A"), Span(8, 9, "A")]


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_read_and_written(scheme, typed):
  tags, spans = WRITTEN[scheme].split(), SPANS
  if not typed:
    tags = [tag[0] for tag in tags]
    spans = [span._replace(type="") for span in spans]
  assert read_spans(tags) == spans
  assert list(write_tags(spans, 9, scheme)) == tags
  assert find_scheme([tags]) == (scheme, [])


def test_text_without_anything_outside():
  tags = ["B", "M", "E", "S", "B", "E"]
  assert [span[:2] for span in read_spans(tags)] == [(0, 3), (3, 4), (4, 6)]
  assert find_scheme([tags]) == ("BMES", [])
  assert convert_tags(tags, BIOES) == tuple("BIESBE")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_sentences_come_back(scheme):
  rng = random.Random(scheme)
  sentences = []
  for _ in range(300):
    spans, place = [], 0
    while rng.random() < 0.8:
      start = place + rng.choice((0, 0, 1, 3))
      place = start + rng.choice((1, 1, 2, 3, 5))
      spans.append(Span(start, place, rng.choice(("PER", "LOC", "B-x"))))
    length = place + rng.randint(0, 2)
    tags = write_tags(spans, length, scheme)
    assert read_spans(tags) == spans and len(tags) == length
    bioes = convert_tags(tags, BIOES)
    # What seqeval scores are these spans: its ends are the last words.
    assert get_entities(list(bioes)) == [
        (s.type, s.start, s.end - 1) for s in spans
    ]
    assert convert_tags(bioes, scheme) == tags
    sentences.append(tags)
  assert find_scheme(sentences) == (scheme, [])


def test_what_a_model_may_answer_is_read_as_seqeval_scores_it():
  rng = random.Random(0)
  labels = ["O", *(f"{a}-{b}" for a in "BIES" for b in ("X", "Y"))]
  for _ in range(2000):
    tags = rng.choices(labels, k=rng.randint(0, 8))
    spans = [(s.type, s.start, s.end - 1) for s in read_spans(tags)]
    assert spans == get_entities(list(tags)), tags


def test_the_scheme_of_most_sentences_is_taken():
  good, bad = ("B-A", "I-A", "O"), ("O", "I-A", "O")
  assert find_scheme([good, bad, good]) == ("IOB2", [1])
  # Few tags: the plainest scheme that they can be of.
  assert find_scheme([("O", "O")]) == ("IOB2", [])
  assert find_scheme([("O", "S-A")]) == ("BIOES", [])
  assert find_scheme([]) == ("IOB2", [])


def test_letters_of_no_scheme():
  with pytest.raises(UserError, match="all the letters B, E, L, O; write"):
    find_scheme([("B-A", "L-A", "O"), ("B-A", "E-A")])


@pytest.mark.parametrize(
    ("form", "tags", "expected"),
    [
        ("IOB2", "B-A I-A B-A O B-B I-B I-B", "B-A E-A S-A O B-B I-B E-B"),
        ("IOB1", "I-A I-A B-A O I-B I-B I-B", "B-A E-A S-A O B-B I-B E-B"),
        ("IOB1, neighbours", "I-A I-B I-B", "S-A B-B E-B"),
        ("BIOES", "B-A E-A S-A O B-B I-B E-B", "B-A E-A S-A O B-B I-B E-B"),
        ("all inside", "I-A I-A I-A", "B-A I-A E-A"),
        ("hyphens", "B-A-x I-A-x I-A-y", "B-A-x E-A-x S-A-y"),
        ("outside", "O O", "O O"),
        ("one", "I-A", "S-A"),
    ],
)
def test_bioes(form, tags, expected):
  assert convert_tags(tags.split(), BIOES) == tuple(expected.split()), form
