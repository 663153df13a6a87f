"""1,000 questions in six scripts: what is learnt reads as the answer does.

Answers are repeated, stand inside words and at both ends, carry combining marks
and are surrounded by what cannot be seen. Every context is cut by tokenizers of
all kinds; none of the tests trusts the offsets that the tokenizers tell.
"""

import logging
import random
import unicodedata

import pytest

from electra_jax.tasks.answer_spans import plain
from electra_jax.tasks.examples import Answer, QuestionExample
from electra_jax.tasks.span_features import make_span_features
from tests.tasks.six_scripts import (
    SCRIPTS,
    TOKENIZERS,
    find_clusters,
    spell,
)

NUM_QUESTIONS = 1000


def make_questions() -> list[QuestionExample]:
  rng = random.Random(13)
  return [
      make_question(rng, list(SCRIPTS)[i % len(SCRIPTS)], str(i))
      for i in range(NUM_QUESTIONS)
  ]


def make_question(rng, script, name):
  words = SCRIPTS[script][0].split(" ")
  gaps = SCRIPTS[script][1].split("|")
  some = rng.choices(words, k=rng.randint(1, 4))  # Few: they are repeated.
  context = "".join(
      rng.choice(some) + rng.choice(gaps) for _ in range(rng.randint(3, 24))
  )
  clusters = list(find_clusters(context))
  while True:
    first = rng.randrange(len(clusters)) if rng.random() < 0.8 else 0
    last = min(first + rng.randint(0, 5), len(clusters) - 1)
    if rng.random() < 0.1:
      last = len(clusters) - 1
      first = max(first, last - 20)
    start, end = clusters[first][0], clusters[last][1]
    if plain(context[start:end]):
      answer = Answer(context[start:end], start)
      return QuestionExample(name, "?", context, (answer,))


QUESTIONS = make_questions()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_what_is_learnt_is_the_answer_at_its_place(name, caplog):
  tokenizer = TOKENIZERS[name]()
  with caplog.at_level(logging.WARNING):
    features, contexts = make_span_features(
        QUESTIONS, tokenizer, max_length=96, doc_stride=30, for_training=True
    )
  learnt, num_changed = set(), 0
  for feature in features:
    if feature.start == 0:
      continue
    example, pieces = QUESTIONS[feature.example], contexts[feature.example]
    (answer,), context = example.answers, example.context
    shift = feature.context_offset - feature.first_length
    starts, ends = (
        places[feature.start + shift : feature.end + shift + 1]
        for places in (pieces.starts, pieces.ends)
    )
    text = context[starts[0] : ends[-1]]
    # The ids are those of the characters, whatever the offsets say ...
    ids = feature.input_ids[feature.start : feature.end + 1]
    if tokenizer.special.unk not in ids and "bytes" not in name:
      assert spell(tokenizer.decode(ids)) == spell(text), example
    # ... and the characters are the answer's.
    end = answer.start + len(answer.text)
    assert not plain(context[answer.start : starts[0]]), example
    assert not plain(context[ends[-1] : end]), example
    assert starts[-1] < end and answer.start < ends[0], example
    is_changed = plain(text) != plain(answer.text)
    num_changed += is_changed and feature.example not in learnt
    learnt.add(feature.example)
    if "long" not in name and "bytes" not in name:
      assert not is_changed, (example, text)
  assert len(learnt) == NUM_QUESTIONS
  told = "learnt with other characters" in caplog.text
  assert told == bool(num_changed)
  if told:
    assert f"{num_changed} of {NUM_QUESTIONS} answers are" in caplog.text
  assert "do not stand at their offset" not in caplog.text


def test_the_questions_hold_what_they_should():
  texts = [(q.context, q.answers[0].text, q.answers[0].start) for q in QUESTIONS]  # fmt: skip
  assert len(texts) == 1000
  assert sum(c.count(t) > 1 for c, t, _ in texts) > 400
  assert sum(c.find(t) < s for c, t, s in texts) > 300
  assert sum(s == 0 for _, _, s in texts) > 200
  assert sum(s + len(t) == len(c) for c, t, s in texts) > 50
  marked = [t for _, t, _ in texts if any(map(unicodedata.combining, t))]
  assert len(marked) > 200
  assert (
      max(len(w) for c, _, _ in texts for w in c.split()) < 200
  )  # Or unknown.
