"""1,000 questions in six scripts: what is learnt reads as the answer does.

Answers are repeated, stand inside words and at both ends, carry combining marks
and are surrounded by what cannot be seen. Every context is cut by tokenizers of
all kinds; none of the tests trusts the offsets that the tokenizers tell.
"""

import io
import logging
import random
import unicodedata

import pytest
import sentencepiece

from electra_jax.tasks.answer_spans import plain
from electra_jax.tasks.examples import Answer, QuestionExample
from electra_jax.tasks.span_features import make_span_features
from electra_jax.text.tokenizer import Tokenizer, fold

NUM_QUESTIONS = 1000
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Words, and what may stand between two of them.
SCRIPTS = {
    "Chinese": ("北京 上海 上 小王 去了 1950年 李明 2:1 𠀀𠀁 ﹙一﹚", "||||。|\uff0c| "),
    "Japanese": ("東京 は か\u3099き 学生 です ガ ｶﾞｷ 今日 ２月", "||||。|、|\u3000"),
    "Thai": ("กำลัง ที่ น้ำ ไทย เก้า ป่า ๑๒ ปี", "|||| |\u200b|ๆ "),
    "Hindi": ("हिन्दी क्\u200dष कि ज़मीन नई दिल्ली १२ है", " | | |। |-|\u00a0"),
    "Arabic": ("مُحَمَّد في بيت البيت ٢٠ لا آن", " | | |، |\u200f |\u200e"),
    "English": (
        "red re\u0301d Blue caf\u00e9 cafe\u0301 1 1943 it's \u0130s \U0001f469\u200d\U0001f467 \u2764\ufe0f \ufb01ne",
        " | |  |-|/|:|\t|\r\n| (|) |\u202f|. ",
    ),
}  # fmt: skip


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


def find_clusters(text):
  """Yields bounds between which no letter is parted from its marks."""
  start = 0
  for i in range(1, len(text) + 1):
    if i < len(text):
      goes_on = (
          unicodedata.category(text[i])[0] == "M" or text[i] in "\u200d\uff9e"
      )
      # What stands behind a joiner belongs to what stands before it.
      if goes_on or text[i - 1] == "\u200d":
        continue
    yield start, i
    start = i


QUESTIONS = make_questions()
LETTERS = sorted(
    {
        letter
        for q in QUESTIONS
        for text in (q.context, q.context.lower())
        for form in ("NFC", "NFD", "NFKC")
        for letter in unicodedata.normalize(form, text)
        if not letter.isspace()
    }
)


def wordpiece_tokenizer(*pieces, **options):
  vocabulary = [*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS), *pieces]
  return Tokenizer("wordpiece", "\n".join(vocabulary).encode(), **options)


def sentencepiece_tokenizer(*, lowercase=False, **options):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=(
          fold(q.context, lowercase=lowercase, strip_accents=True)
          for q in QUESTIONS
      ),
      model_writer=model,
      character_coverage=1.0,
      hard_vocab_limit=False,
      minloglevel=2,
      control_symbols=[s for s in SPECIAL if s != "[UNK]"],
      **options,
  )
  return Tokenizer("sentencepiece", model.getvalue(), lowercase=lowercase)


WHOLE_WORDS = [
    piece
    for words, _ in SCRIPTS.values()
    for word in words.lower().split(" ")
    for piece in (word, f"##{word[1:]}", word[:2], f"##{word[-2:]}")
    if len(piece.removeprefix("##")) > 1
]
TOKENIZERS = {
    "WordPiece, uncased": lambda: wordpiece_tokenizer(),
    "WordPiece, cased": lambda: wordpiece_tokenizer(lowercase=False),
    "WordPiece, accents": lambda: wordpiece_tokenizer(strip_accents=False),
    "WordPiece, long": lambda: wordpiece_tokenizer(*sorted(set(WHOLE_WORDS))),
    "SentencePiece, letters": lambda: sentencepiece_tokenizer(
        model_type="char", vocab_size=1000
    ),
    "SentencePiece, uncased": lambda: sentencepiece_tokenizer(
        model_type="char", vocab_size=1000, lowercase=True
    ),
    "SentencePiece, long": lambda: sentencepiece_tokenizer(vocab_size=400),
    "SentencePiece, bytes": lambda: sentencepiece_tokenizer(
        model_type="bpe", vocab_size=600, byte_fallback=True
    ),
}


def spell(text):
  """Spells text so that it does not matter how a tokenizer normalises."""
  letters = unicodedata.normalize("NFKD", text.lower())
  letters = unicodedata.normalize("NFKD", letters)
  return "".join(
      c
      for c in letters
      if unicodedata.category(c) not in ("Mn", "Cc", "Cf", "Zs")
      and c not in "\u2581\t\r\n"
  )


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
