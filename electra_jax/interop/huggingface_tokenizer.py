"""Vocabularies of Hugging Face's folders, WordPiece alone."""

import json
from typing import Any

import tokenizers
from etils import epath
from tokenizers import decoders, models, processors

from electra_jax.data import wordpiece
from electra_jax.data.tokenizer import FILE_NAMES, Tokenizer
from electra_jax.errors import UserError

_WHOLE_FILE = "tokenizer.json"
_OPTIONS_FILE = "tokenizer_config.json"


def read_tokenizer(folder: epath.PathLike) -> Tokenizer:
  """Reads tokenizer.json, or vocab.txt with tokenizer_config.json.

  Raises:
    UserError: there is neither, or it is no BERT vocabulary.
  """
  path = epath.Path(folder)
  if (path / _WHOLE_FILE).exists():
    pieces, options = _parse_whole(path / _WHOLE_FILE)
    data = "".join(f"{piece}\n" for piece in pieces).encode()
  elif (path / FILE_NAMES["wordpiece"]).exists():
    data = (path / FILE_NAMES["wordpiece"]).read_bytes()
    options = {}
    if (path / _OPTIONS_FILE).exists():
      options = _read_json(path / _OPTIONS_FILE)
      options["lowercase"] = options.get("do_lower_case", True)
  else:
    raise UserError(
        f"{folder} holds neither {_WHOLE_FILE} nor vocab.txt; give the model's"
        " vocabulary by --tokenizer"
    )
  lowercase = options.get("lowercase", True)
  strip_accents = options.get("strip_accents")
  return Tokenizer(
      "wordpiece",
      data,
      lowercase=lowercase,
      strip_accents=lowercase if strip_accents is None else strip_accents,
      origin=str(folder),
  )


def write_tokenizer(
    folder: epath.PathLike, tokenizer: Tokenizer, max_length: int
) -> None:
  """Writes the files that transformers' AutoTokenizer opens.

  The class is the one that takes tokenizer.json as it is: BERT's own would
  make every word of more than 100 characters unknown, and not of 200.

  Args:
    folder: is there.
    tokenizer: of `check_exportable`.
    max_length: positions of the model.
  """
  path = epath.Path(folder)
  pieces = [tokenizer.token(i) for i in range(tokenizer.vocab_size)]
  special = tokenizer.special._asdict()
  names = {f"{role}_token": pieces[i] for role, i in special.items()}
  splitter = wordpiece.WordSplitter(
      lowercase=tokenizer.lowercase, strip_accents=tokenizer.strip_accents
  )
  whole = tokenizers.Tokenizer(
      models.WordPiece(
          vocab={piece: i for i, piece in enumerate(pieces)},
          unk_token=names["unk_token"],
          max_input_chars_per_word=wordpiece.MAX_WORD_CHARACTERS,
      )
  )
  whole.normalizer = splitter.normalizer
  whole.pre_tokenizer = splitter.pre_tokenizer
  whole.decoder = decoders.WordPiece()
  whole.add_special_tokens(list(names.values()))
  cls, sep = names["cls_token"], names["sep_token"]
  whole.post_processor = processors.TemplateProcessing(
      single=f"{cls}:0 $A:0 {sep}:0",
      pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
      special_tokens=[(cls, special["cls"]), (sep, special["sep"])],
  )
  options = {
      "tokenizer_class": "PreTrainedTokenizerFast",
      "do_lower_case": tokenizer.lowercase,
      "strip_accents": tokenizer.strip_accents,
      "model_max_length": max_length,
      "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
      **names,
  }
  (path / _WHOLE_FILE).write_text(whole.to_str(pretty=True))
  (path / _OPTIONS_FILE).write_text(json.dumps(options, indent=2))
  vocabulary = "".join(f"{piece}\n" for piece in pieces)
  (path / FILE_NAMES["wordpiece"]).write_text(vocabulary)


def check_exportable(tokenizer: Tokenizer) -> None:
  """Raises a UserError unless Hugging Face's ELECTRA takes the vocabulary."""
  if tokenizer.kind != "wordpiece":
    raise UserError(
        f"the vocabulary is of kind {tokenizer.kind!r}, and Hugging Face's"
        " ELECTRA reads WordPiece alone; convert to google, which takes any"
    )


def _parse_whole(path: epath.Path) -> tuple[list[str], dict[str, Any]]:
  whole = _read_json(path)
  try:
    model, options = whole["model"], whole["normalizer"]
    ids = model["vocab"]
    kinds = (model.get("type", "WordPiece"), options["type"])
  except (KeyError, TypeError) as error:
    raise UserError(
        f"{path} has no {error} where a BERT vocabulary has it; give the"
        " model's vocab.txt by --tokenizer"
    ) from error
  pieces = sorted(ids, key=ids.get)
  if kinds != ("WordPiece", "BertNormalizer") or [
      ids[piece] for piece in pieces
  ] != list(range(len(pieces))):
    raise UserError(
        f"{path} is no BERT vocabulary: its model and normalizer are"
        f" {kinds[0]} and {kinds[1]}, with {len(pieces)} pieces; give the"
        " model's vocab.txt by --tokenizer"
    )
  return pieces, options


def _read_json(path: epath.Path) -> Any:
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f"{path} is damaged ({error}); copy it again") from error
