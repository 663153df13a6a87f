"""What leaves answers in transformers' own pipelines as it does here.

Needs torch and transformers, which the package does not: run it where they
are installed. Nothing is passed to a pipeline but the folder and the text.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from electra_jax.interop import convert, huggingface
from electra_jax.interop.model import PretrainedState
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import Electra
from electra_jax.tasks.examples import TaggedExample, TextExample
from tests import helpers
from tests.interop.exported import TEXTS, Model, tokenizers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.golden, pytest.mark.slow]

TOLERANCE = {"rtol": 0, "atol": 1e-5}
RELEASED = "released"
DENSE = ("wordpiece", "huggingface")  # A head that is theirs already.


@pytest.mark.parametrize("kind", tokenizers())
def test_a_tagger_tags_as_here(kind, tmp_path):
  labels = ("O", "PER", "LOC", "ORG", "MISC")
  model = Model(tmp_path / "hf", tokenizers()[kind], "tagging", labels)
  examples = [
      TaggedExample(str(i), tuple(text.split()), None)
      for i, text in enumerate(TEXTS)
  ]
  ours = model.predict(examples)
  assert len({tag for record in ours for tag in record["tags"]}) > 1
  pipe = transformers.pipeline(
      "token-classification", model.folder, ignore_labels=[]
  )
  for text, record in zip(TEXTS, ours, strict=True):
    theirs = {}
    for piece in pipe(text):
      # A piece begins with the space before it, where it has one.
      start = piece["start"] + (text[piece["start"] :][:1] == " ")
      theirs.setdefault(start, piece)
    starts = np.cumsum([0, *(len(word) + 1 for word in record["words"])])[:-1]
    for word, start in enumerate(starts):
      piece = theirs[start]
      assert piece["entity"] == record["tags"][word], (text, word)
      assert abs(piece["score"] - record["probabilities"][word]) < 1e-5


@pytest.mark.parametrize("is_pair", [False, True])
@pytest.mark.parametrize(
    ("kind", "head"), [*((kind, RELEASED) for kind in tokenizers()), DENSE]
)
def test_a_classifier_answers_as_here(kind, head, is_pair, tmp_path):
  labels = ("contradiction", "entailment", "neutral")
  model = Model(
      tmp_path / "hf", tokenizers()[kind], "classification", labels, head
  )
  others = [*TEXTS[1:], TEXTS[0]] if is_pair else [None] * len(TEXTS)
  ours = model.predict(
      [
          TextExample(str(i), text, other, None)
          for i, (text, other) in enumerate(zip(TEXTS, others, strict=True))
      ]
  )
  # Tame logits may have one winner, but each text is felt.
  found = [list(record["probabilities"].values()) for record in ours]
  assert np.ptp(found, axis=0).max() > 0.1
  pipe = transformers.pipeline("text-classification", model.folder)
  for text, other, record in zip(TEXTS, others, ours, strict=True):
    query = {"text": text, "text_pair": other} if is_pair else text
    answer = pipe(query)
    answer = answer if isinstance(answer, dict) else answer[0]
    assert answer["label"] == record["label"], text
    found = {one["label"]: one["score"] for one in pipe(query, top_k=None)}
    assert found.keys() == record["probabilities"].keys()
    for label, probability in record["probabilities"].items():
      np.testing.assert_allclose(found[label], probability, **TOLERANCE)


@pytest.mark.parametrize(("kind", "head"), [("wordpiece", RELEASED), DENSE])
def test_ratings_have_their_scale_there(kind, head, tmp_path):
  model = Model(
      *(tmp_path / "hf", tokenizers()[kind], "regression"),
      head=head,
      label_range=(1.0, 5.0),
  )
  ours = model.predict([TextExample("", text, None, None) for text in TEXTS])
  ratings = [record["rating"] for record in ours]
  assert np.std(ratings) > 0.1
  pipe = transformers.pipeline("text-classification", model.folder)
  theirs = [one["score"] for one in pipe(list(TEXTS))]
  np.testing.assert_allclose(theirs, ratings, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "head"), [("wordpiece", RELEASED), DENSE])
def test_several_labels_have_their_own_probabilities_there(
    kind, head, tmp_path
):
  labels = ("cast", "music")
  model = Model(tmp_path / "hf", tokenizers()[kind], "multilabel", labels, head)
  ours = model.predict([TextExample("", text, None, None) for text in TEXTS])
  pipe = transformers.pipeline("text-classification", model.folder)
  for text, record in zip(TEXTS, ours, strict=True):
    found = {one["label"]: one["score"] for one in pipe(text, top_k=None)}
    for label, probability in record["probabilities"].items():
      np.testing.assert_allclose(found[label], probability, **TOLERANCE)


@pytest.fixture(name="pretrained", params=tokenizers())
def exported_networks(request, tmp_path):
  tokenizer = tokenizers()[request.param]
  encoder = encoder_config(
      tokenizer.vocab_size, 2, 128, 32, max_position_embeddings=64
  )
  config = ElectraConfig(encoder, generator_config(encoder, 0.5))
  params = helpers.lively_params(config)
  state = PretrainedState(config, params)
  convert.write_hugging_face(epath.Path(tmp_path), state, tokenizer)
  return tmp_path, tokenizer, config, params


def our_rows(tokenizer, text):
  first, *others = tokenizer.encode_batch(text.split("[MASK]"))
  ids = [tokenizer.special.cls, *first]
  for other in others:
    ids += [tokenizer.special.mask, *other]
  ids = jnp.asarray([[*ids, tokenizer.special.sep]], jnp.int32)
  return ids, jnp.ones_like(ids), jnp.zeros_like(ids)


def test_a_generator_fills_in_as_here(pretrained):
  folder, tokenizer, config, params = pretrained
  pipe = transformers.pipeline("fill-mask", str(folder / "generator"))
  for text in ("the [MASK] of the union", "we [MASK] the people, [MASK]."):
    ids, mask, segments = our_rows(tokenizer, text)
    places = jnp.nonzero(ids[0] == tokenizer.special.mask)[0][None]
    logits = Electra(config).apply(
        {"params": params},
        *(ids, mask, segments, places),
        method="masked_lm_logits",
    )
    ours = np.asarray(jax.nn.softmax(logits))[0]
    theirs = pipe(text)
    if places.shape[1] == 1:
      theirs = [theirs]
    for row, answers in zip(ours, theirs, strict=True):
      best = np.argsort(-row, kind="stable")[: len(answers)]
      assert [one["token"] for one in answers] == best.tolist()
      np.testing.assert_allclose(
          [one["score"] for one in answers], row[best], **TOLERANCE
      )


def test_a_discriminator_detects_as_here(pretrained):
  folder, tokenizer, config, params = pretrained
  path = str(folder / "discriminator")
  theirs = transformers.AutoModelForPreTraining.from_pretrained(path)
  encode = transformers.AutoTokenizer.from_pretrained(path)
  for text in (TEXTS[0], TEXTS[2], TEXTS[4]):
    rows = our_rows(tokenizer, text)
    encoded = encode(text, return_tensors="pt")
    assert encoded["input_ids"].tolist() == rows[0].tolist()
    with torch.no_grad():
      found = theirs(**encoded).logits.numpy()
    ours = Electra(config).apply(
        {"params": params}, *rows, method="replaced_token_logits"
    )
    np.testing.assert_allclose(found, ours, **TOLERANCE)


@pytest.mark.parametrize("given", [None, 0, 1])
def test_a_tagger_needs_no_segments(given, tmp_path):
  """Whatever a caller or a slow tokenizer says of segments."""
  tokenizer = tokenizers()["wordpiece"]
  model = Model(tmp_path / "hf", tokenizer, "tagging", ("O", "PER", "LOC"))
  words = ("The", "Senate", "of", "Rome")
  (ours,) = model.predict([TaggedExample("0", words, None)])
  opened = transformers.AutoModelForTokenClassification.from_pretrained(
      model.folder
  )
  encode = transformers.BertTokenizer.from_pretrained(model.folder)
  encoded = encode(" ".join(words), return_tensors="pt")
  segments = {}
  if given is not None:
    segments["token_type_ids"] = torch.full_like(encoded["input_ids"], given)
  with torch.no_grad():
    logits = opened(encoded["input_ids"], **segments).logits[0]
  theirs = torch.softmax(logits, -1).max(-1).values[1 : len(words) + 1]
  np.testing.assert_allclose(theirs, ours["probabilities"], **TOLERANCE)


def test_what_comes_back_has_both_segments(tmp_path):
  tokenizer = tokenizers()["wordpiece"]
  model = Model(tmp_path / "hf", tokenizer, "tagging", ("O", "PER", "LOC"))
  opened = transformers.AutoModelForTokenClassification.from_pretrained(
      model.folder
  )
  opened.save_pretrained(tmp_path / "again")
  back = huggingface.read_model(tmp_path / "again", seed=0)
  helpers.assert_equal_trees(
      back.params["embeddings"], model.params["embeddings"]
  )
  assert back.config.discriminator == dataclasses.replace(
      back.config.discriminator, type_vocab_size=2
  )
  assert back.left_out == ("classifier",)
