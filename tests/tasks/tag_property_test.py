"""1,000 sentences in six scripts: tags come back to their words as written."""

import random

import numpy as np
import pytest

from electra_jax.tasks.features import (
    FeatureOptions,
    make_features,
    with_labels,
)
from electra_jax.tasks.predictions import DecodeOptions, decode, score
from electra_jax.tasks.tag_schemes import SCHEMES, Span, write_tags
from electra_jax.tasks.tagging import TAGGING_TASKS
from electra_jax.tasks.task import Source
from tests.tasks.six_scripts import ALL_WORDS, TOKENIZERS, spell

# Words that are no words to a tokenizer, or more than one.
ODD_WORDS = ["New York", "#", "\u200b", "\u200f", "a\u00a0b", "北京上海", "-", "=", "٣-٢"]  # fmt: skip
NUM_SENTENCES = 1000 // len(SCHEMES) + 1


def make_sentence(rng, scheme, typed):
  words = rng.choices(ALL_WORDS + ODD_WORDS, k=rng.randint(1, 30))
  spans, place = [], 0
  while (start := place + rng.choice((0, 0, 1, 4))) < len(words):
    place = min(start + rng.choice((1, 1, 2, 4)), len(words))
    spans.append(Span(start, place, rng.choice(("PER", "LOC-x")) * typed))
  return words, write_tags(spans, len(words), scheme)


def write_file(path, sentences, rng):
  lines = ["-DOCSTART-\tO", ""]
  for words, tags in sentences:
    if rng.random() < 0.5:
      lines += ["# sent_id = 7", f"# text = {' '.join(words)}"]
    lines += [f"{w}\t_\t{t}" for w, t in zip(words, tags, strict=True)]
    lines.append("")
  path.write_text("\r\n".join(lines), encoding="utf-8", newline="")


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_tags_come_back_as_written(tmp_path, scheme, typed):
  rng = random.Random(f"{scheme} {typed}")
  # The two kinds of each scheme share its sentences.
  sentences = [
      make_sentence(rng, scheme, typed) for _ in range(NUM_SENTENCES // 2 + 1)
  ]
  (tmp_path / "ner").mkdir()
  write_file(tmp_path / "ner/train.txt", sentences, rng)
  task = TAGGING_TASKS["ner"]
  examples = task.read(Source(tmp_path), "train")
  task = with_labels(task, examples)
  assert task.tag_scheme == scheme
  name = rng.choice(list(TOKENIZERS))
  tokenizer = TOKENIZERS[name]()
  features = make_features(
      task, examples, tokenizer, FeatureOptions(max_length=40)
  )
  # A model that is always right, and says it by the numbers it has learnt.
  logits = np.eye(len(task.labels))[features.targets["labels"]]
  predictions = decode(task, examples, features, logits, DecodeOptions())
  found = [(r["words"], tuple(r["tags"])) for r in predictions.records]
  assert found == sentences
  assert [tuple(r["gold"]) for r in predictions.records] == [
      tags for _, tags in sentences
  ]
  scores = score(task, examples, predictions, DecodeOptions())
  assert scores["span_f1"] == scores["accuracy"] == 100.0
  check_places(features, [words for words, _ in sentences], tokenizer)


def check_places(features, words, tokenizer):
  """Each word's place holds the first piece of that word and no other."""
  rests = [list(some) for some in words]
  assert len(features.texts) > len(words)  # Some sentences are cut.
  for i, text in enumerate(features.texts):
    count = int(features.targets["weights"][i].sum())
    for place in features.targets["word_places"][i, :count]:
      word = rests[features.examples[i]].pop(0)
      piece = tokenizer.token(int(text[place]))
      if int(text[place]) != tokenizer.special.unk and "<0x" not in piece:
        assert spell(word).startswith(spell(piece.removeprefix("##"))), word
  assert not any(rests)
