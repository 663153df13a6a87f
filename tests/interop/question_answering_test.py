"""Questions are answered in transformers as they are here.

Needs torch and transformers, which the package does not. The pipeline of
transformers 4 answers, which 5 has no longer; there, and in 4 as well, the
model's class does, with what it gives decoded here as the pipeline does.
"""

import numpy as np
import pytest

from electra_jax.tasks.examples import QuestionExample
from tests.interop.exported import TEXTS, Model, tokenizers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.golden, pytest.mark.slow]

TOLERANCE = {"rtol": 0, "atol": 1e-5}
LONGEST = 30  # config.questions.max_answer_length.
QUESTIONS = ("who ?", "When did the war end?", "what")
# Each fits into one window of 64 tokens.
CONTEXTS = (TEXTS[0], TEXTS[2], TEXTS[4], " ".join((TEXTS[0], TEXTS[4])))


def models(kind, folder):
  return Model(
      folder,
      tokenizers()[kind],
      "questions",
      head="huggingface",
      may_lack_answer=True,
  )


def asked(contexts):
  return [
      QuestionExample(f"{i} {j}", question, context, (), has_gold=False)
      for i, question in enumerate(QUESTIONS)
      for j, context in enumerate(contexts)
  ]


def is_same(theirs, ours, kind):
  """Says whether answers agree, up to spaces of SentencePiece.

  There a piece begins with its space, and the piece of a space alone is one;
  here that is the characters of the piece behind it.
  """
  if kind == "sentencepiece":
    return ours.startswith(theirs.strip())
  return theirs == ours


def their_answer(model, encode, example, **windows):
  """Score, start and end of the best span, and the score of none."""
  encoded = encode(
      example.question,
      example.context,
      truncation="only_second",
      return_offsets_mapping=True,
      return_overflowing_tokens=True,
      return_token_type_ids=True,
      **windows,
  )
  best, none = (-1.0, 0, 0), 1.0
  for window, ids in enumerate(encoded["input_ids"]):
    inputs = {
        name: torch.tensor(encoded[name][window])[None]
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    with torch.no_grad():
      output = model(**inputs)
    sequences = encoded.sequence_ids(window)
    is_context = np.asarray([s == 1 for s in sequences])
    is_choice = is_context | (np.arange(len(ids)) == 0)
    start, end = (
        torch.softmax(
            logits[0].masked_fill(~torch.tensor(is_choice), -torch.inf), -1
        ).numpy()
        for logits in (output.start_logits, output.end_logits)
    )
    none = min(none, float(start[0] * end[0]))
    spans = np.triu(start[:, None] * end[None]) - np.triu(
        start[:, None] * end[None], LONGEST
    )
    spans *= is_context[:, None] & is_context[None]
    first, last = np.unravel_index(spans.argmax(), spans.shape)
    offsets = encoded["offset_mapping"][window]
    found = (float(spans.max()), offsets[first][0], offsets[last][1])
    best = max(best, found)
  return best, none


@pytest.mark.parametrize("kind", tokenizers())
def test_the_models_class_answers_as_here(kind, tmp_path):
  model = models(kind, tmp_path / "hf")
  opened = transformers.AutoModelForQuestionAnswering.from_pretrained(
      model.folder
  ).eval()
  assert type(opened).__name__ == "ElectraForQuestionAnswering"
  encode = transformers.AutoTokenizer.from_pretrained(model.folder)
  for example, ours in zip(
      asked(CONTEXTS), model.predict(asked(CONTEXTS)), strict=True
  ):
    (score, start, end), none = their_answer(opened, encode, example)
    np.testing.assert_allclose(score, ours["probability"], **TOLERANCE)
    assert is_same(example.context[start:end], ours["text"], kind)
    odds = np.log(none) - np.log(score)
    np.testing.assert_allclose(odds, ours["null_odds"], rtol=1e-4, atol=1e-4)
    assert (ours["answer"] == "") == (none > score)


def test_windows_of_a_long_context_compete_as_here(tmp_path):
  model = models("wordpiece", tmp_path / "hf")
  opened = transformers.AutoModelForQuestionAnswering.from_pretrained(
      model.folder
  ).eval()
  encode = transformers.AutoTokenizer.from_pretrained(model.folder)
  examples = asked([" ".join(TEXTS * 3), " ".join(TEXTS[::-1] * 2)])
  for example, ours in zip(examples, model.predict(examples), strict=True):
    size = len(encode(example.question)["input_ids"])
    # Theirs is what windows share, and ours from one to the next.
    shared = 64 - 1 - size - 16
    (score, start, end), none = their_answer(
        *(opened, encode, example), max_length=64, stride=shared
    )
    np.testing.assert_allclose(score, ours["probability"], **TOLERANCE)
    assert (start, end) == (ours["start"], ours["end"])
    odds = np.log(none) - np.log(score)
    np.testing.assert_allclose(odds, ours["null_odds"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", tokenizers())
def test_the_pipeline_answers_as_here(kind, tmp_path):
  if not hasattr(transformers, "QuestionAnsweringPipeline"):
    pytest.skip("transformers 5 has no pipeline for questions")
  model = models(kind, tmp_path / "hf")
  pipe = transformers.pipeline("question-answering", model.folder)
  examples = asked(CONTEXTS)
  answered = 0
  for example, ours in zip(examples, model.predict(examples), strict=True):
    told = pipe(
        question=example.question,
        context=example.context,
        max_answer_len=LONGEST,
        align_to_words=False,
        handle_impossible_answer=True,
    )
    assert bool(told["answer"]) == bool(ours["answer"])
    assert is_same(told["answer"], ours["answer"], kind)
    if ours["answer"]:
      answered += 1
      np.testing.assert_allclose(
          told["score"], ours["probability"], **TOLERANCE
      )
  assert answered > 0
