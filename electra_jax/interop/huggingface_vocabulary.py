"""Tokenizers of Hugging Face's folders, read: followed, or refused by name.

What a folder's tokenizer does stands in up to five files, and which of them
counts depends on its class. Of BERT's and ELECTRA's own classes it is
tokenizer_config.json, even where tokenizer.json says otherwise; of the general
classes it is tokenizer.json. A setting that `Tokenizer` has is taken over; any
other that would give other ids ends in a sentence.

Source: transformers 4.57 and 5, tokenization_auto.py and models/bert; the ids
of both are compared in tests/interop/golden_strings_test.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from electra_jax.disk.json_files import read_object
from electra_jax.errors import UserError
from electra_jax.interop.huggingface_files import read_config
from electra_jax.text import wordpiece
from electra_jax.text.tokenizer import (
    FILE_NAMES,
    OPTIONS_FILE,
    SPECIAL_NAMES,
    Tokenizer,
    load_tokenizer,
)

WHOLE_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
ADDED_FILE = "added_tokens.json"
SPECIAL_FILE = "special_tokens_map.json"
OWN_CLASSES = ("BertTokenizer", "ElectraTokenizer")
GENERAL_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")
_OF_MODEL_TYPE = {"bert": "BertTokenizer", "electra": "ElectraTokenizer"}
_LONGEST_WORD = 100  # Of BERT's classes; the release has 200.
# Settings that change the ids: key -> what this package does.
_FIXED = {
    "do_basic_tokenize": True,
    "never_split": None,
    "word_tokenizer_type": "basic",
    "subword_tokenizer_type": "wordpiece",
    "mecab_kwargs": None,
    "sudachi_kwargs": None,
    "jumanpp_kwargs": None,
    "auto_map": None,
}
# Of tokenizer.json, and the part whose kind older files do not tell.
_KINDS = {
    "model": "WordPiece",
    "normalizer": "BertNormalizer",
    "pre_tokenizer": "BertPreTokenizer",
}
_UNNAMED = {"model": "WordPiece"}
_WAY_OUT = (
    "to read text as a plain BERT vocabulary does, give a vocab.txt by"
    " --tokenizer"
)


def read_tokenizer(folder: epath.PathLike) -> Tokenizer:
  """Reads the tokenizer of a folder, of WordPiece or one that we wrote.

  Raises:
    UserError: there is none, a file is damaged, or it does what `Tokenizer`
      does not.
  """
  path = epath.Path(folder)
  if (path / OPTIONS_FILE).exists():
    own = load_tokenizer(path)
    _check_added(path, own.tokens(own.special))
    return own
  settings = read_object(path / SETTINGS_FILE)
  is_general = _is_general(path, settings)
  for key, ours in _FIXED.items():
    value = settings.get(key)
    if value not in (None, ours, []):
      raise _refusal(path / SETTINGS_FILE, key, value)
  options = {}
  if (path / WHOLE_FILE).exists():
    data, options = _read_whole(path, is_general)
  elif is_general:
    raise UserError(
        f"{path} has no {WHOLE_FILE}, which its tokenizer_class needs;"
        f" {_WAY_OUT}"
    )
  elif (path / FILE_NAMES["wordpiece"]).exists():
    data = (path / FILE_NAMES["wordpiece"]).read_bytes()
    options["max_word_length"] = _LONGEST_WORD
  else:
    raise UserError(
        f"{folder} holds neither {WHOLE_FILE} nor vocab.txt; give the model's"
        " vocabulary by --tokenizer"
    )
  if not is_general:
    options |= _options(
        path / SETTINGS_FILE,
        settings,
        {
            "do_lower_case": True,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
        },
    )
  own = Tokenizer("wordpiece", data, origin=str(folder), **options)
  _check_added(path, own.tokens(own.special))
  _check_special(path, settings, own)
  if (path / WHOLE_FILE).exists():
    _check_frame(path / WHOLE_FILE, own)
  return own


def _is_general(path: epath.Path, settings: Mapping[str, Any]) -> bool:
  """Says whether tokenizer.json decides, and not tokenizer_config.json."""
  config = read_config(path)
  name = settings.get("tokenizer_class") or config.get("tokenizer_class")
  if name is None:
    name = _OF_MODEL_TYPE.get(str(config.get("model_type")), "BertTokenizer")
  plain = str(name).removesuffix("Fast")
  if plain not in (*OWN_CLASSES, *GENERAL_CLASSES):
    raise _refusal(path / SETTINGS_FILE, "tokenizer_class", name)
  return plain in GENERAL_CLASSES


def _read_whole(
    path: epath.Path, is_general: bool
) -> tuple[bytes, dict[str, Any]]:
  """Returns the content of vocab.txt and the options of tokenizer.json."""
  file = path / WHOLE_FILE
  whole = read_object(file)
  parts = {}
  for name, kind in _KINDS.items():
    part = _part(file, whole, name)
    if name == "normalizer":
      part = _without_sigma(part)
    parts[name] = part
    if part.get("type", _UNNAMED.get(name)) != kind:
      raise _refusal(file, name, part.get("type"))
  model, normalizer = parts["model"], parts["normalizer"]
  for place, part, key, ours in (
      ("normalizer", normalizer, "clean_text", True),
      ("model", model, "continuing_subword_prefix", wordpiece.CONTINUATION),
      ("model", model, "unk_token", wordpiece.UNKNOWN),
  ):
    if part.get(key, ours) != ours:
      raise _refusal(file, f"{place}.{key}", part[key])
  limit = model.get("max_input_chars_per_word", _LONGEST_WORD)
  if type(limit) is not int or not 0 < limit < 1 << 31:
    raise _refusal(file, "model.max_input_chars_per_word", limit)
  options = {"max_word_length": limit}
  if is_general:
    keys = {
        "lowercase": True,
        "strip_accents": None,
        "handle_chinese_chars": True,
    }
    options |= _options(file, normalizer, keys)
  return _vocabulary(path, model), options


def _without_sigma(normalizer: Mapping[str, Any]) -> Mapping[str, Any]:
  """Returns what stands behind the replacement that an exported one has."""
  pattern = {"Regex": wordpiece.final_sigma(is_cleaned=True)}
  sigma = {"type": "Replace", "pattern": pattern, "content": "ς"}
  if normalizer.get("type") == "Sequence":
    steps = normalizer.get("normalizers")
    if (
        isinstance(steps, list)
        and len(steps) == 2
        and isinstance(steps[1], dict)
        and steps[0] == sigma
    ):
      return steps[1]
  return normalizer


def _vocabulary(path: epath.Path, model: Mapping[str, Any]) -> bytes:
  ids = model.get("vocab")
  is_table = isinstance(ids, dict) and all(
      type(i) is int and i >= 0 for i in ids.values()
  )
  if not is_table or not ids:
    raise UserError(
        f"{path / WHOLE_FILE} is damaged: its model.vocab is no object of ids by"
        " piece; copy it again"
    )
  beside = path / FILE_NAMES["wordpiece"]
  if beside.exists():
    # Its lines may repeat, and then only it has the numbers of all of them.
    data = beside.read_bytes()
    try:
      pieces = wordpiece.parse_vocabulary(data)
    except UnicodeDecodeError as error:
      raise UserError(
          f"{beside} is not UTF-8 at byte {error.start}; copy it again"
      ) from error
    if {piece: i for i, piece in enumerate(pieces)} == ids:
      return data
  pieces = sorted(ids, key=ids.get)
  if [ids[piece] for piece in pieces] != list(range(len(pieces))):
    raise UserError(
        f"{path / WHOLE_FILE} has {len(pieces):,} pieces whose ids are not 0 to"
        f" {len(pieces) - 1:,}, and no vocab.txt of the same pieces lies beside"
        f" it; {_WAY_OUT}"
    )
  # Surrogates, which are no text, and ends of lines, which end a piece.
  data = "".join(f"{piece}\n" for piece in pieces).encode(errors="replace")
  if len(wordpiece.parse_vocabulary(data)) != len(pieces):
    raise UserError(
        f"{path / WHOLE_FILE} has a piece of several lines, which a vocabulary"
        f" here cannot have; {_WAY_OUT}"
    )
  return data


def _options(
    file: epath.Path, settings: Mapping[str, Any], keys: Mapping[str, Any]
) -> dict[str, bool]:
  """Returns the options of `Tokenizer` under three of their keys."""
  values = {key: settings.get(key, default) for key, default in keys.items()}
  lower, strip, chinese = keys
  for key, value in values.items():
    if type(value) is not bool and not (key == strip and value is None):
      raise UserError(
          f"{file} says {key} {value!r} where true or false belongs; mend it"
      )
  lowercase = values[lower]
  strip_accents = lowercase if values[strip] is None else values[strip]
  if strip_accents and not lowercase:
    raise UserError(
        f"{file} says {strip} true beside {lower} false, and this package drops"
        f" accents of lower-cased text alone; {_WAY_OUT}"
    )
  return {
      "lowercase": lowercase,
      "strip_accents": strip_accents,
      "split_chinese": values[chinese],
  }


def _check_added(path: epath.Path, special: list[str]) -> None:
  """Refuses tokens that are cut out of the text before it is split."""
  extra = {}
  for file, tokens in _added(path):
    for token in tokens:
      if token not in special:
        extra.setdefault(token, file)
  if extra:
    told = ", ".join(map(repr, list(extra)[:5]))
    more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
    raise UserError(
        f"{path / next(iter(extra.values()))} adds the tokens {told}{more},"
        f" which this package would not find in text; {_WAY_OUT}"
    )


def _added(path: epath.Path) -> Iterator[tuple[str, list[str]]]:
  """Yields each file with the tokens that it adds."""
  yield ADDED_FILE, list(read_object(path / ADDED_FILE))
  whole = read_object(path / WHOLE_FILE).get("added_tokens")
  yield WHOLE_FILE, _contents(path / WHOLE_FILE, whole or [])
  for file in (SETTINGS_FILE, SPECIAL_FILE):
    settings = read_object(path / file)
    by_id = settings.get("added_tokens_decoder") or {}
    yield file, _contents(path / file, by_id)
    for key in ("additional_special_tokens", "extra_special_tokens"):
      yield file, _contents(path / file, settings.get(key) or [])
    for key in ("bos_token", "eos_token"):
      if settings.get(key) is not None:
        yield file, _contents(path / file, [settings[key]])


def _contents(file: epath.Path, tokens: Any) -> list[str]:
  """Returns the texts of tokens, which are texts or objects with one."""
  if isinstance(tokens, dict):
    tokens = list(tokens.values())
  texts = [
      token.get("content") if isinstance(token, dict) else token
      for token in (tokens if isinstance(tokens, list) else [None])
  ]
  if not all(isinstance(text, str) for text in texts):
    raise UserError(
        f"{file} is damaged: its added tokens are not texts; copy it again"
    )
  return texts


def _check_special(
    path: epath.Path, settings: Mapping[str, Any], own: Tokenizer
) -> None:
  """Refuses other special tokens than those that are looked up by name."""
  for file, found in (
      (SETTINGS_FILE, settings),
      (SPECIAL_FILE, read_object(path / SPECIAL_FILE)),
  ):
    for role in SPECIAL_NAMES:
      value = found.get(f"{role}_token")
      ours = own.token(getattr(own.special, role))
      if value is not None and _contents(path / file, [value]) != [ours]:
        raise UserError(
            f"{path / file} says {role}_token {value!r}, and this package takes"
            f" {ours!r} of this vocabulary; {_WAY_OUT}"
        )


def _check_frame(file: epath.Path, own: Tokenizer) -> None:
  """Refuses special tokens around texts other than [CLS] A [SEP] B [SEP].

  They are compared as they are written: the library ends the process on some
  values that it does not expect.
  """
  cls, sep = own.special.cls, own.special.sep
  names = {cls: own.token(cls), sep: own.token(sep)}

  def place(kind, name, segment):
    return {kind: {"id": name, "type_id": segment}}

  single = [
      place("SpecialToken", names[cls], 0),
      place("Sequence", "A", 0),
      place("SpecialToken", names[sep], 0),
  ]
  second = [
      place("Sequence", "B", 1),
      place("SpecialToken", names[sep], 1),
  ]
  template = {
      "type": "TemplateProcessing",
      "single": single,
      "pair": single + second,
      "special_tokens": {
          name: {"id": name, "ids": [i], "tokens": [name]}
          for i, name in names.items()
      },
  }
  bert = {
      "type": "BertProcessing",
      "cls": [names[cls], cls],
      "sep": [names[sep], sep],
  }
  found = read_object(file).get("post_processor")
  if found not in (template, bert):
    kind = found.get("type") if isinstance(found, dict) else found
    raise _refusal(file, "post_processor", kind)


def _part(file: epath.Path, whole: Mapping[str, Any], key: str) -> dict:
  part = whole.get(key)
  if part is None:
    raise UserError(
        f"{file} has no {key} where a BERT vocabulary has one; {_WAY_OUT}"
    )
  if not isinstance(part, dict):
    raise UserError(f"{file} is damaged: its {key} is no object; copy it again")
  return part


def _refusal(file: epath.Path, key: str, value: Any) -> UserError:
  return UserError(
      f"{file} says {key} {value!r}, which this package does not follow, so"
      f" that text would get other ids; {_WAY_OUT}"
  )
