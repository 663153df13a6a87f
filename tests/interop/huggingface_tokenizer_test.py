"""Vocabularies of Hugging Face's folders."""

import json

import pytest
import tokenizers

from electra_jax.data.tokenizer import load_tokenizer
from electra_jax.errors import UserError
from electra_jax.interop.huggingface_tokenizer import (
    read_tokenizer,
    write_tokenizer,
)
from tests import helpers

VOCABULARY = helpers.GOLDEN / "vocab.txt"


@pytest.mark.parametrize(
    ("lowercase", "strip_accents"),
    [(True, True), (True, False), (False, False)],
)
@pytest.mark.parametrize("gone", [None, "tokenizer.json", "vocab.txt"])
def test_a_vocabulary_comes_back(lowercase, strip_accents, gone, tmp_path):
  own = load_tokenizer(
      VOCABULARY, lowercase=lowercase, strip_accents=strip_accents
  )
  write_tokenizer(tmp_path, own, 512)
  if gone:
    (tmp_path / gone).unlink()
  assert read_tokenizer(tmp_path).digest == own.digest


def test_accents_go_with_upper_case_by_default(tmp_path):
  (tmp_path / "vocab.txt").write_bytes(VOCABULARY.read_bytes())
  assert read_tokenizer(tmp_path).strip_accents
  (tmp_path / "tokenizer_config.json").write_text(
      '{"do_lower_case": false, "strip_accents": null}'
  )
  own = read_tokenizer(tmp_path)
  assert (own.lowercase, own.strip_accents) == (False, False)


def test_the_file_encodes_as_a_model_reads(tmp_path):
  own = load_tokenizer(VOCABULARY)
  write_tokenizer(tmp_path, own, 512)
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  pair = theirs.encode("The Senate", "a [MASK]")
  cls, sep, mask = own.special.cls, own.special.sep, own.special.mask
  first, second = own.encode("The Senate"), own.encode("a")
  assert pair.ids == [cls, *first, sep, *second, mask, sep]
  assert pair.type_ids == [0] * (len(first) + 2) + [1] * (len(second) + 2)
  assert theirs.decode(own.encode("constitution")) == "constitution"


def test_other_vocabularies_are_refused(tmp_path):
  with pytest.raises(UserError, match=r"neither tokenizer.json nor vocab.txt"):
    read_tokenizer(tmp_path)
  write_tokenizer(tmp_path, load_tokenizer(VOCABULARY), 512)
  path = tmp_path / "tokenizer.json"
  whole = json.loads(path.read_text())

  def refuse(change, message):
    path.write_text(json.dumps({**whole, **change}))
    with pytest.raises(UserError, match=message):
      read_tokenizer(tmp_path)

  refuse({"normalizer": None}, "has no .* where a BERT vocabulary has it")
  refuse({"normalizer": {"type": "NFC"}}, "WordPiece and NFC")
  refuse({"model": {"type": "BPE", "vocab": {}}}, "BPE and BertNormalizer")
  refuse({"model": {"vocab": {"[PAD]": 1}}}, "is no BERT vocabulary")
  path.write_text("{")
  with pytest.raises(UserError, match=r"tokenizer.json is damaged"):
    read_tokenizer(tmp_path)
