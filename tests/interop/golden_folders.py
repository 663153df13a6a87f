"""Tokenizer folders as other people's models have them, and their ids.

`python -m tests.interop.golden_folders` writes transformers_ids.json anew, with
the ids that the installed transformers gives the golden strings.
"""

import io
import json
import os
import pathlib
import sys
import tempfile

import tokenizers
from tokenizers import (
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
STORED = GOLDEN / "transformers_ids.json"
PIECES = (GOLDEN / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ELECTRA = {"tokenizer_class": "ElectraTokenizer"}
GENERAL = {"tokenizer_class": "PreTrainedTokenizerFast"}


def whole(added=(), pre_tokenizer=None, framed=True, limit=100, **options):
  """Returns a tokenizer of BERT's kind, which tokenizer.json holds."""
  ids = {piece: i for i, piece in enumerate(PIECES)}
  made = tokenizers.Tokenizer(
      models.WordPiece(
          vocab=ids, unk_token="[UNK]", max_input_chars_per_word=limit
      )
  )
  made.normalizer = normalizers.BertNormalizer(**options)
  made.pre_tokenizer = pre_tokenizer or pre_tokenizers.BertPreTokenizer()
  made.decoder = decoders.WordPiece()
  made.add_special_tokens(SPECIAL)
  made.add_tokens(list(added))
  if framed:
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")],
    )
  return made


def byte_level():
  """Returns a tokenizer of GPT-2's kind."""
  made = tokenizers.Tokenizer(models.BPE())
  made.pre_tokenizer = pre_tokenizers.ByteLevel()
  text = (GOLDEN / "small_corpus.txt").read_text(encoding="utf-8")
  trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL)
  made.train_from_iterator(io.StringIO(text), trainer)
  return made


# Name: tokenizer_config.json, tokenizer.json, other files.
FOLLOWED = {
    "no settings": (None, None, {}),
    "uncased": ({**ELECTRA, "do_lower_case": True}, None, {}),
    "cased": ({**ELECTRA, "do_lower_case": False}, None, {}),
    "bert": ({"tokenizer_class": "BertTokenizerFast"}, whole(), {}),
    "keep accents": ({**ELECTRA, "strip_accents": False}, None, {}),
    "no chinese splitting": (
        {**ELECTRA, "tokenize_chinese_chars": False},
        None,
        {},
    ),
    "cased by settings, uncased by tokenizer.json": (
        {**ELECTRA, "do_lower_case": False},
        whole(lowercase=True),
        {},
    ),
    "uncased by settings, cased by tokenizer.json": (
        ELECTRA,
        whole(lowercase=False),
        {},
    ),
    "uncased by settings, cased by tokenizer.json of a general class": (
        {**GENERAL, "do_lower_case": True},
        whole(lowercase=False),
        {},
    ),
    "keep accents by tokenizer.json": (
        GENERAL,
        whole(strip_accents=False, limit=200),
        {},
    ),
    "no chinese splitting by tokenizer.json": (
        GENERAL,
        whole(handle_chinese_chars=False),
        {},
    ),
}
REFUSED = {
    "mecab": (
        {
            "tokenizer_class": "BertJapaneseTokenizer",
            "word_tokenizer_type": "mecab",
        },
        None,
        {},
        "tokenizer_class 'BertJapaneseTokenizer'",
    ),
    "mecab without a class": (
        {"word_tokenizer_type": "mecab"},
        None,
        {},
        "word_tokenizer_type 'mecab'",
    ),
    "albert": (
        {"tokenizer_class": "AlbertTokenizer"},
        None,
        {},
        "tokenizer_class 'AlbertTokenizer'",
    ),
    "code": (
        {**ELECTRA, "auto_map": {"AutoTokenizer": ["x.Y", None]}},
        None,
        {},
        "auto_map",
    ),
    "no basic": (
        {**ELECTRA, "do_basic_tokenize": False},
        None,
        {},
        "do_basic_tokenize False",
    ),
    "never split": (
        {**ELECTRA, "never_split": ["it's"]},
        None,
        {},
        r"never_split \[",
    ),
    "accents of cased text": (
        {**ELECTRA, "do_lower_case": False, "strip_accents": True},
        None,
        {},
        "strip_accents true beside do_lower_case false",
    ),
    "added tokens": (
        ELECTRA,
        whole(added=["camelcaseword", "café"]),
        {},
        r"tokenizer.json adds the tokens 'café', 'camelcaseword', which",
    ),
    "added tokens of old": (
        ELECTRA,
        None,
        {"added_tokens.json": {"camelcaseword": len(PIECES)}},
        "added_tokens.json adds the tokens 'camelcaseword', which",
    ),
    "added tokens in settings": (
        {**ELECTRA, "added_tokens_decoder": {"9": {"content": "nato"}}},
        None,
        {},
        "tokenizer_config.json adds the tokens 'nato', which",
    ),
    "more special tokens": (
        ELECTRA,
        None,
        {"special_tokens_map.json": {"additional_special_tokens": ["<e1>"]}},
        "special_tokens_map.json adds the tokens '<e1>', which",
    ),
    "end of text": (
        {**ELECTRA, "eos_token": "</s>"},
        None,
        {},
        "tokenizer_config.json adds the tokens '</s>', which",
    ),
    "another unknown": (
        {**ELECTRA, "unk_token": "the"},
        None,
        {},
        r"unk_token 'the', and this package takes '\[UNK\]'",
    ),
    "another mask": (
        ELECTRA,
        None,
        {"special_tokens_map.json": {"mask_token": {"content": "the"}}},
        r"mask_token .*the.*, and this package takes '\[MASK\]'",
    ),
    "byte-level": (GENERAL, byte_level(), {}, "says model 'BPE'"),
    "byte-level by settings": (
        {"tokenizer_class": "GPT2Tokenizer"},
        byte_level(),
        {},
        "tokenizer_class 'GPT2Tokenizer'",
    ),
    "another splitter": (
        GENERAL,
        whole(pre_tokenizer=pre_tokenizers.Whitespace()),
        {},
        "pre_tokenizer 'Whitespace'",
    ),
    "another frame": (GENERAL, whole(framed=False), {}, "post_processor None"),
    "no cleaning": (
        GENERAL,
        whole(clean_text=False),
        {},
        "normalizer.clean_text False",
    ),
    "no whole file": (GENERAL, None, {}, "has no tokenizer.json, which its"),
}


def write(folder, settings, made, files, **unused):
  """Writes a folder of a tokenizer, new."""
  folder.mkdir()
  files = {
      "config.json": {"model_type": "electra", "vocab_size": len(PIECES)},
      **files,
  }
  if settings is not None:
    files["tokenizer_config.json"] = settings
  for name, content in files.items():
    (folder / name).write_text(json.dumps(content))
  if made is not None:
    (folder / "tokenizer.json").write_text(made.to_str())
  (folder / "vocab.txt").write_bytes((GOLDEN / "vocab.txt").read_bytes())


def golden_strings():
  """Returns the texts, in the order of tokenization.json."""
  cases = json.loads((GOLDEN / "tokenization.json").read_text())["cases"]
  return [case["text"] for case in cases]


def their_ids():
  """Returns ids of the golden strings by folder, of installed transformers."""
  os.environ["TRANSFORMERS_VERBOSITY"] = "error"
  import transformers

  ids = {}
  for name, (settings, made, files) in FOLLOWED.items():
    with tempfile.TemporaryDirectory() as parent:
      folder = pathlib.Path(parent) / "model"
      write(folder, settings, made, files)
      opened = transformers.AutoTokenizer.from_pretrained(str(folder))
      ids[name] = [
          opened(text, add_special_tokens=False)["input_ids"]
          for text in golden_strings()
      ]
  return transformers.__version__, ids


if __name__ == "__main__":
  version, found = their_ids()
  lines = [f"{json.dumps(n)}: {json.dumps(x)}" for n, x in found.items()]
  STORED.write_text(
      f'{{"transformers": "{version}",\n' + ",\n".join(lines) + "}\n"
  )
  sys.stdout.write(f"{STORED}: transformers {version}\n")
