"""Tokenizers of both kinds: special tokens, options, files, errors."""

import hashlib
import io
import json
import pathlib
import pickle

import pytest
import sentencepiece
from etils.epath.testing import mock_epath

from electra_jax.errors import UserError
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from tests import helpers

CORPUS = pathlib.Path(__file__).parents[1] / "golden" / "small_corpus.txt"


def train_model(**options):
  """Returns the bytes of a small SentencePiece model."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(CORPUS.read_text(encoding="utf-8").split("\n")),
      model_writer=model,
      vocab_size=300,
      minloglevel=2,
      **options,
  )
  return model.getvalue()


@pytest.fixture(scope="module")
def albert_like():
  return train_model(
      pad_id=0,
      unk_id=1,
      bos_id=-1,
      eos_id=-1,
      control_symbols=["[CLS]", "[SEP]", "[MASK]"],
  )


def test_special_ids_are_found_by_name():
  data = b"[MASK]\nthe\n[SEP]\n[CLS]\n##s\n[UNK]\n[PAD]\n"
  tokenizer = Tokenizer("wordpiece", data)
  assert tokenizer.special._asdict() == {
      "pad": 6, "unk": 5, "cls": 3, "sep": 2, "mask": 0,
  }  # fmt: skip
  assert tokenizer.vocab_size == 7
  assert tokenizer.encode("The thes the x") == [1, 1, 4, 1, 5]


def test_rare_options_are_kept_and_change_the_digest_only_where_set(tmp_path):
  data = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n"
  plain = Tokenizer("wordpiece", data)
  assert plain.digest == (  # Of every store and workdir that there is.
      hashlib.sha256(b'["wordpiece", true, true]\0' + data).hexdigest()
  )
  rare = {"split_chinese": False, "max_word_length": 100}
  own = Tokenizer("wordpiece", data, **rare)
  own.save(tmp_path)
  for again in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(own))):
    assert (again.split_chinese, again.max_word_length) == (False, 100)
    assert again.digest == own.digest != plain.digest
  plain.save(tmp_path / "plain")
  assert load_tokenizer(tmp_path / "plain").split_chinese


def test_windows_line_ends_are_no_part_of_a_piece():
  data = b"[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\nthe\r\n"
  assert Tokenizer("wordpiece", data).encode("the") == [5]


def test_what_editors_leave_in_a_vocabulary():
  lines = [
      "[PAD]",
      "[UNK]",
      "[CLS]",
      "[SEP]",
      "[MASK]",
      "the ",
      "",
      " \xa0",
      "a",
  ]
  for end in ("\n", "\r\n"):
    text = end.join(lines) + end
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode()):
      tokenizer = Tokenizer("wordpiece", data)
      assert tokenizer.special == (0, 1, 2, 3, 4)
      # A blank line has a number, which the model's table has as well.
      assert tokenizer.encode("the a") == [5, 8]
      assert tokenizer.vocab_size == 9


def test_of_equal_lines_the_last_counts(tmp_path):
  lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "the"]
  tokenizer = Tokenizer("wordpiece", "\n".join(lines).encode())
  assert tokenizer.encode("the a") == [7, 6]  # As in the release.
  tokenizer.save(tmp_path)
  assert load_tokenizer(tmp_path).encode("the a") == [7, 6]
  assert load_tokenizer(tmp_path).vocab_size == 8


GOOD = {
    "kind": "wordpiece", "file": "vocab.txt", "lowercase": True,
    "strip_accents": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "told"),
    [
        *((text, "is damaged") for text in ("", "{", "null", "[]", "3", '"a"')),
        ("[" * 100_000, "is damaged"),
        (b"\xff\xfe", "is damaged"),
        ({"kind": "bpe"}, "kind is 'bpe'"),
        ({"kind": ["wordpiece"]}, "kind is ['wordpiece']"),
        ({"file": "../vocab.txt"}, "file is '../vocab.txt', not 'vocab.txt'"),
        ({"file": "/etc/passwd"}, "file is '/etc/passwd'"),
        ({"file": None}, "file is None"),
        ({"lowercase": "false"}, "lowercase is 'false'"),
        ({"strip_accents": 1}, "strip_accents is 1"),
        ({"split_chinese": None}, "split_chinese is None"),
        ({"max_word_length": True}, "max_word_length is True"),
        ({"max_word_length": 0}, "max_word_length is 0"),
    ],
)
def test_damaged_options_are_one_sentence(golden, tmp_path, options, told):
  folder = tmp_path / "saved"
  folder.mkdir()
  for place in (tmp_path, folder):
    (place / "vocab.txt").write_bytes((golden / "vocab.txt").read_bytes())
  path = folder / "tokenizer_options.json"
  path.write_text(json.dumps(GOOD))
  load_tokenizer(folder)
  if isinstance(options, dict):
    options = json.dumps(GOOD | options)
  path.write_bytes(options if isinstance(options, bytes) else options.encode())
  with pytest.raises(UserError) as error:
    load_tokenizer(folder)
  assert str(path) in str(error.value) and told in str(error.value)
  assert "\n" not in str(error.value)


def test_options_that_are_a_folder(tmp_path):
  (tmp_path / "tokenizer_options.json").mkdir()
  with pytest.raises(UserError, match="cannot read"):
    load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "missing", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
)
def test_missing_special_token_is_named(golden, tmp_path, missing):
  pieces = (golden / "vocab.txt").read_text(encoding="utf-8")
  path = tmp_path / "vocab.txt"
  path.write_text(pieces.replace(missing, "[OTHER]"), encoding="utf-8")
  with pytest.raises(UserError) as error:
    load_tokenizer(path)
  assert str(path) in str(error.value) and missing in str(error.value)


def test_albert_like_model(albert_like):
  tokenizer = Tokenizer("sentencepiece", albert_like)
  assert tokenizer.tokens(tokenizer.special) == [
      "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]",
  ]  # fmt: skip
  assert not {2, 3, 4} & set(tokenizer.encode("the [MASK] states [CLS] [SEP]"))
  assert tokenizer.encode("The Stätes") == tokenizer.encode("the states")
  ids = tokenizer.encode("the united states")
  assert tokenizer.decode(ids) == "the united states"
  assert not tokenizer.is_continuation(ids[0])
  cased = Tokenizer("sentencepiece", albert_like, lowercase=False)
  assert cased.encode("The states") != cased.encode("the states")


def test_xlnet_like_model_does_not_read_special_tokens_out_of_text():
  data = train_model(
      control_symbols=["<pad>", "<cls>"],
      user_defined_symbols=["<sep>", "<mask>"],
  )
  tokenizer = Tokenizer("sentencepiece", data)
  assert tokenizer.tokens(tokenizer.special) == [
      "<pad>", "<unk>", "<cls>", "<sep>", "<mask>",
  ]  # fmt: skip
  ids = tokenizer.encode("the <mask> states <sep>")
  assert not {tokenizer.special.mask, tokenizer.special.sep} & set(ids)
  assert tokenizer.special.unk in ids


def test_pieces_words_and_text(tokenizer):
  ids = tokenizer.encode("Citizens' unbelievable union")
  pieces = tokenizer.tokens(ids)
  assert pieces[:2] == ["citizens", "'"]
  assert [tokenizer.token(i) for i in ids] == pieces
  assert [tokenizer.is_continuation(i) for i in ids] == [
      piece.startswith("##") for piece in pieces
  ]
  assert tokenizer.decode(ids) == "citizens ' unbelievable union"
  special = tokenizer.special
  assert tokenizer.decode([special.cls, *ids[:1]]) == "[CLS] citizens"


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_saved_and_pickled_tokenizers_are_the_same(
    golden, albert_like, tmp_path, kind
):
  vocabulary = (golden / "vocab.txt").read_bytes()
  data = vocabulary if kind == "wordpiece" else albert_like
  tokenizer = Tokenizer(kind, data, lowercase=True, strip_accents=False)
  tokenizer.save(tmp_path / "saved")
  loaded = load_tokenizer(tmp_path / "saved", lowercase=False)
  for other in (loaded, pickle.loads(pickle.dumps(tokenizer))):
    assert other.digest == tokenizer.digest
    assert other.kind == kind
    assert other.lowercase and not other.strip_accents
    assert other.encode("The stätes") == tokenizer.encode("The stätes")


def test_digest_tells_vocabularies_and_options_apart(golden):
  data = (golden / "vocab.txt").read_bytes()
  digests = {
      Tokenizer("wordpiece", data).digest,
      Tokenizer("wordpiece", data, lowercase=False).digest,
      Tokenizer("wordpiece", data, strip_accents=False).digest,
      Tokenizer("wordpiece", data + b"more\n").digest,
  }
  assert len(digests) == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.txt", None, "cannot read"),
        ("bad.model", b"not a model", "not a SentencePiece model"),
        ("bad.txt", b"[PAD]\n\xff\n", "not UTF-8 at byte 6"),
        ("empty.txt", b"", "no [UNK] token"),
        ("folder", {}, "no tokenizer_options.json"),
        ("folder", {"tokenizer_options.json": "{}"}, "is damaged"),
    ],
)
def test_errors(tmp_path, name, content, message):
  path = tmp_path / name
  if isinstance(content, bytes):
    path.write_bytes(content)
  elif content is not None:
    path.mkdir()
    for file, text in content.items():
      (path / file).write_text(text)
  with pytest.raises(UserError) as error:
    load_tokenizer(path)
  assert message in str(error.value) and str(path) in str(error.value)


def test_unknown_kind():
  with pytest.raises(UserError, match="'bpe' is unknown"):
    Tokenizer("bpe", b"")


def test_a_bucket_holds_a_tokenizer_as_a_folder_does(tmp_path):
  def local(path):
    return pathlib.Path(str(path).replace("gs://bucket", str(tmp_path)))

  def make(_, path, *args, **kwargs):
    local(path).mkdir(parents=True, exist_ok=True)

  fakes = {
      "open": lambda _, path, *args, **kwargs: local(path).open(
          *args, **kwargs
      ),
      "isdir": lambda _, path: local(path).is_dir(),
      "exists": lambda _, path: local(path).exists(),
      "mkdir": make,
      "makedirs": make,
  }
  tokenizer = load_tokenizer(CORPUS.with_name("vocab.txt"), lowercase=False)
  with mock_epath(**fakes):
    tokenizer.save("gs://bucket/run/tokenizer")
    loaded = load_tokenizer("gs://bucket/run/tokenizer")
  assert loaded.digest == tokenizer.digest
  assert len(list((tmp_path / "run/tokenizer").iterdir())) == 2


@pytest.mark.parametrize("kind", ["unigram", "bpe", "byte fallback"])
def test_golden_strings_as_sentencepiece_reads_them(golden, kind):
  """Any string gets the ids of the library, in its case or lowered."""
  options = {"model_type": "unigram" if kind == "unigram" else "bpe"}
  if kind == "byte fallback":
    options |= {"byte_fallback": True, "vocab_size": 600}
  data = helpers.sentencepiece_model(**options)
  library = sentencepiece.SentencePieceProcessor(model_proto=data)
  path = golden / "tokenization.json"
  texts = [case["text"] for case in json.loads(path.read_text())["cases"]]
  assert len(texts) == 40
  cased = Tokenizer("sentencepiece", data, lowercase=False)
  assert cased.encode_batch(texts) == library.encode(texts)
  lowered = Tokenizer("sentencepiece", data, strip_accents=False)
  expected = library.encode([text.lower() for text in texts])
  assert lowered.encode_batch(texts) == expected
