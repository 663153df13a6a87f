"""Vocabularies of Hugging Face's folders."""

# ruff: noqa: RUF001

import json
import unicodedata

import pytest
import tokenizers

from electra_jax.errors import UserError
from electra_jax.interop.huggingface_tokenizer import (
    check_exportable,
    write_tokenizer,
)
from electra_jax.interop.huggingface_vocabulary import read_tokenizer
from electra_jax.text import wordpiece
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from tests import helpers

VOCABULARY = helpers.GOLDEN / "vocab.txt"


@pytest.mark.parametrize(
    ("lowercase", "strip_accents"),
    [(True, True), (True, False), (False, False)],
)
@pytest.mark.parametrize("gone", [None, "vocab.txt"])
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


TEXTS = (
    *("", " ", "  two  spaces ", "tab\tline\nreturn\r\nend", "a\u00a0b"),
    *("\u2581already\u2581there", "\u200bno width", "x" * 300, "don't (re-)do"),
    *("Élan naïve e\u0301 İstanbul", "ΟΔΟΣ ΣΟΦΊΑΣ", "ß STRASSE", "ﬁne ½ ㎏"),
    *(
        "日本語 テキスト",
        "한국어 안녕",
        "हिन्दी में",
        "ไทย",
        "العربية",
        "Ёлка мир",
    ),
    *(
        "😀 family 👨\u200d👩\u200d👧",
        "\uff26\uff35\uff2c\uff2c width",
        "Việt Nam",
    ),
    *("\ufffd", "\x00a\x01", "1\ufe0f\u20e3"),
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byte_fallback": True, "vocab_size": 600},
        {"normalization_rule_name": "identity"},
        {"add_dummy_prefix": False},
        {"user_defined_symbols": ["(", ")", "-", "."]},
    ],
)
@pytest.mark.parametrize(
    ("lowercase", "strip_accents"),
    [(True, True), (True, False), (False, False)],
)
def test_a_unigram_model_gives_the_same_ids(
    options, lowercase, strip_accents, tmp_path
):
  own = Tokenizer(
      "sentencepiece",
      helpers.sentencepiece_model(**options),
      lowercase=lowercase,
      strip_accents=strip_accents,
  )
  check_exportable(own)
  write_tokenizer(tmp_path, own, 512)
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  lines = (helpers.GOLDEN / "small_corpus.txt").read_text(encoding="utf-8")
  texts = [*TEXTS, *lines.split("\n")]
  for text, ids in zip(texts, own.encode_batch(texts), strict=True):
    assert theirs.encode(text, add_special_tokens=False).ids == ids, text
  pair = theirs.encode("The Senate", "a [MASK]")
  cls, sep, mask = own.special.cls, own.special.sep, own.special.mask
  first, second = own.encode("The Senate"), own.encode("a")
  assert pair.ids[: len(first) + 2] == [cls, *first, sep]
  assert pair.ids[len(first) + 2 :][: len(second)] == second
  assert pair.ids[-2:] == [mask, sep]
  assert pair.type_ids[len(first) + 1 : len(first) + 3] == [0, 1]
  assert theirs.decode(own.encode("the senate")) == "the senate"
  assert read_tokenizer(tmp_path).digest == own.digest


@pytest.mark.parametrize(
    ("options", "lowercase", "message"),
    [
        ({"model_type": "bpe"}, True, "is no unigram model"),
        ({"remove_extra_whitespaces": False}, True, "of ' ' and would make"),
        ({"treat_whitespace_as_suffix": True}, True, "of '  a  b ' and would"),
        ({"normalization_rule_name": "nfkc_cf"}, False, r"make .*, 'x'\] of"),
    ],
)
def test_models_that_would_give_other_ids_are_refused(
    options, lowercase, message
):
  data = helpers.sentencepiece_model(**options)
  own = Tokenizer("sentencepiece", data, lowercase=lowercase)
  with pytest.raises(UserError, match=message):
    check_exportable(own)


# Characters that the library knows by older tables or as something else:
# punctuation since Unicode 9, marks since then, Chinese of extension E.
NUM_OLDER = 600
SIGMAS = ("ΑΣ{}", "ΑΣ{}Α", "{}Σ", "Α{}Σ", "Α{}ΣΑ", "Σ{}Σ {}", "ΑΣ.{}")


def assigned():
  """Yields the characters that mean something, one in 97 of the large blocks."""
  large = ((0x3400, 0xA000), (0xAC00, 0xD7A4), (0x17000, 0x18D00))
  for code in range(0x32400):
    is_large = any(first <= code < last for first, last in large)
    if code % 97 and (is_large or code >= 0x20000):
      continue
    if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co"):
      yield chr(code)


@pytest.mark.slow
@pytest.mark.parametrize("strip_accents", [True, False])
def test_lower_case_is_that_of_python_around_a_sigma(tmp_path, strip_accents):
  """The form of a sigma follows from what stands around it, on both sides."""
  own = load_tokenizer(VOCABULARY, strip_accents=strip_accents)
  write_tokenizer(tmp_path, own, 512)
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

  def words(text):
    normal = theirs.normalizer.normalize_str(text)
    return [word for word, _ in theirs.pre_tokenizer.pre_tokenize_str(normal)]

  splitter = wordpiece.WordSplitter(lowercase=True, strip_accents=strip_accents)
  older, wrong = set(), set()
  for character in assigned():
    texts = [form.replace("{}", character) for form in SIGMAS]
    if all(words(text) == splitter.words(text) for text in texts):
      continue
    alone = f"a{character}a {character} a{character}"
    is_older = words(alone) != splitter.words(alone)
    (older if is_older else wrong).add(character)
  assert wrong <= {
      "\U0001171e"
  }  # A mark to Python and a letter to the library.
  assert len(older) < NUM_OLDER
  assert not older & set(map(chr, range(0x370, 0x400)))  # None is Greek.


CASED_TEXTS = (
    *(
        "ΟΔΥΣΣΕΥΣ",
        "ΟΔΟΣ. ΟΔΟΣ, ΑΣ'Α ΑΣ",
        "Σ ΣΣ ΣΑΣ",
        "日Σ Σ日 Α\u0301Σ ΑΣ\u0301Α",
    ),
    *("ΑΣ\u00adΑ ΑΣ\u200bΑ ΑΣ\ufffdΑ", "ΑΣ\tΑ ΑΣ\u2028Α", "AΣ BΣ. СΣ"),
    *("İSTANBUL DİYARBAKIR IĞDIR", "STRASSE ẞ ß", "ᎠᎡᎢ Ꭰꭱ", "Ǆ ǅ ǆ Ǉ ǈ Ǌ"),
    *("ﬁ ŉ ǰ ΐ", "ΑΙ ᾼ ᾳ ᾈ", "Å K Ω", "ΌΣΟΣ ὈΔΥΣΣΕΎΣ ΌΣ᾽"),
)


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
@pytest.mark.parametrize("strip_accents", [True, False])
def test_upper_case_of_any_script_is_lowered_alike(
    tmp_path, kind, strip_accents
):
  letters = sorted({c for t in CASED_TEXTS for c in t.lower() if c.isalpha()})
  letters += [c for c in "ςσαουδεi" if c not in letters]
  if kind == "wordpiece":
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u0307", "##\u0307"]
    lines += [*letters, *(f"##{letter}" for letter in letters)]
    data = "".join(f"{line}\n" for line in lines).encode()
  else:
    data = helpers.sentencepiece_model()
  own = Tokenizer(kind, data, strip_accents=strip_accents)
  check_exportable(own)
  write_tokenizer(tmp_path, own, 512)
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  for text in CASED_TEXTS:
    ids = theirs.encode(text, add_special_tokens=False).ids
    assert ids == own.encode(text), text
  if kind == "wordpiece":
    assert own.tokens(own.encode("ΟΔΟΣ")) == ["ο", "##δ", "##ο", "##ς"]
  assert read_tokenizer(tmp_path).digest == own.digest


def test_other_vocabularies_are_refused(tmp_path):
  with pytest.raises(UserError, match=r"neither tokenizer.json nor vocab.txt"):
    read_tokenizer(tmp_path)
  own = load_tokenizer(VOCABULARY)
  write_tokenizer(tmp_path, own, 512)
  path = tmp_path / "tokenizer.json"
  whole = json.loads(path.read_text())

  def refuse(change, message):
    path.write_text(json.dumps({**whole, **change}))
    with pytest.raises(UserError, match=message):
      read_tokenizer(tmp_path)

  refuse({"normalizer": None}, "has no normalizer where a BERT vocabulary has")
  refuse({"normalizer": 3}, "is damaged: its normalizer is no object")
  refuse({"normalizer": {"type": "NFC"}}, "says normalizer 'NFC', which")
  refuse({"model": {"type": "BPE", "vocab": {}}}, "says model 'BPE', which")
  for vocab in ({"[PAD]": "1"}, {"[PAD]": -1}, {}, [], None, [["[PAD]", 0.0]]):
    refuse({"model": {"vocab": vocab}}, "its model.vocab is no object of ids")
  (tmp_path / "vocab.txt").unlink()
  refuse(
      {"model": {"vocab": {"[PAD]": 1}}}, "1 pieces whose ids are not 0 to 0"
  )
  limit = {**whole["model"], "max_input_chars_per_word": "9"}
  refuse({"model": limit}, "max_input_chars_per_word '9', which")
  prefix = {**whole["model"], "continuing_subword_prefix": "@@"}
  refuse({"model": prefix}, "model.continuing_subword_prefix '@@', which")
  refuse({"added_tokens": 3}, "its added tokens are not texts")
  refuse({"added_tokens": [{"id": 3}]}, "its added tokens are not texts")
  vocab = {**whole["model"]["vocab"], "a\nb": own.vocab_size}
  refuse(
      {"model": {**whole["model"], "vocab": vocab}}, "piece of several lines"
  )
  frame = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
  path.write_text(json.dumps({**whole, "post_processor": frame}))
  assert read_tokenizer(tmp_path).vocab_size == own.vocab_size
  refuse({"post_processor": {**frame, "sep": ["[SEP]", 4]}}, "BertProcessing'")
  path.write_text("{")
  with pytest.raises(UserError, match=r"tokenizer.json is damaged"):
    read_tokenizer(tmp_path)


def test_repeated_lines_and_spaces_come_back(tmp_path):
  data = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n  \na\n \nthe\n##b\n"
  own = Tokenizer("wordpiece", data)
  write_tokenizer(tmp_path, own, 512)
  back = read_tokenizer(tmp_path)
  assert back.vocab_size == own.vocab_size == 11
  assert back.digest == own.digest
  assert back.encode("the ab") == own.encode("the ab")
  (tmp_path / "vocab.txt").unlink()
  with pytest.raises(UserError, match="9 pieces whose ids are not 0 to 8"):
    read_tokenizer(tmp_path)


def test_a_sentencepiece_folder_that_was_changed_there_is_refused(tmp_path):
  own = Tokenizer("sentencepiece", helpers.sentencepiece_model())
  write_tokenizer(tmp_path, own, 512)
  path = tmp_path / "tokenizer.json"
  theirs = tokenizers.Tokenizer.from_file(str(path))
  theirs.add_tokens(["covid"])
  theirs.save(str(path))
  with pytest.raises(UserError, match="adds the tokens 'covid', which this"):
    read_tokenizer(tmp_path)


@pytest.mark.parametrize("value", ["true", 1, None])
def test_settings_that_are_no_truth_values_are_told(value, tmp_path):
  (tmp_path / "vocab.txt").write_bytes(VOCABULARY.read_bytes())
  settings = tmp_path / "tokenizer_config.json"
  settings.write_text(json.dumps({"do_lower_case": value}))
  with pytest.raises(UserError, match="where true or false belongs; mend it"):
    read_tokenizer(tmp_path)
  settings.write_text("[]")
  with pytest.raises(
      UserError, match=r"tokenizer_config.json is damaged: the whole"
  ):
    read_tokenizer(tmp_path)
