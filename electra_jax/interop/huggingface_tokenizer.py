"""Tokenizers for Hugging Face's library, written: WordPiece and SentencePiece.

A SentencePiece model goes out as a tokenizer.json of the same pieces, with the
model beside it, which is what is read when the folder comes back.
"""

import itertools
import json
from typing import Any

import tokenizers
from etils import epath
from tokenizers import decoders, models, normalizers, processors

from electra_jax.errors import UserError
from electra_jax.interop.huggingface_vocabulary import SETTINGS_FILE, WHOLE_FILE
from electra_jax.text import wordpiece
from electra_jax.text.tokenizer import (
    FILE_NAMES,
    WORD_START,
    Tokenizer,
)

# Spaces, capitals, accents, ligatures, widths, scripts, and what has no width.
_PROBES = (
    *(" ", "  a  b ", "a\tb\nc\r\nd", "\u2581a", "a\u00a0b\u3000c"),
    *("THE Élan Ångström İ ß", "ΟΔΟΣ ΣΟΦΊΑΣ", "e\u0301 X\u0301"),
    *("ﬁ ½ Ⅷ", "\uff21\uff11", "日本語", "한국어", "हिन्दी", "Ёлка", "العربية"),
    *("😀", "\u200b\ufeff"),
)


def write_tokenizer(
    folder: epath.PathLike,
    tokenizer: Tokenizer,
    max_length: int,
    *,
    fills_in: bool = True,
) -> None:
  """Writes the files that transformers' AutoTokenizer opens.

  The class is the one that takes tokenizer.json as it is: BERT's own would
  make every word of more than 100 characters unknown, and not of 200.

  Args:
    folder: is there.
    tokenizer: of `check_exportable`.
    max_length: tokens that a text is cut to where transformers is asked to.
    fills_in: whether a special token that is written out in a text stands for
      itself, as the [MASK] that a generator fills; else it is split into its
      letters, as here.
  """
  path = epath.Path(folder)
  pieces = tokenizer.tokens(range(tokenizer.vocab_size))
  special = tokenizer.special._asdict()
  names = {f"{role}_token": pieces[i] for role, i in special.items()}
  whole = _ENGINES[tokenizer.kind](tokenizer)
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
      "split_special_tokens": not fills_in,
      "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
      **names,
  }
  (path / WHOLE_FILE).write_text(whole.to_str(pretty=True))
  (path / SETTINGS_FILE).write_text(json.dumps(options, indent=2))
  if tokenizer.kind == "wordpiece":
    (path / FILE_NAMES["wordpiece"]).write_bytes(tokenizer.data)
  else:
    tokenizer.save(path)  # For the way back: a model is not to be rebuilt.


def check_exportable(tokenizer: Tokenizer) -> None:
  """Raises a UserError unless Hugging Face's library gives the same ids.

  A SentencePiece model is tried on its own pieces, and on characters that it
  may rewrite.
  """
  if tokenizer.kind == "wordpiece":
    return
  advice = "convert to google, which takes any"
  model = _parse_model(tokenizer)
  if model.trainer_spec.model_type != model.trainer_spec.UNIGRAM:
    raise UserError(
        "the SentencePiece vocabulary is no unigram model, and Hugging Face's"
        f" library reads no other kind of SentencePiece; {advice}"
    )
  readable = (model.SentencePiece.NORMAL, model.SentencePiece.USER_DEFINED)
  pieces = [
      piece.piece.replace(WORD_START, " ")
      for i, piece in enumerate(model.pieces)
      if piece.type in readable and i not in tokenizer.special
  ]
  pairs = map("".join, itertools.pairwise(pieces))
  probes = [*_PROBES, *pieces, *pairs]
  theirs = _unigram(tokenizer).encode_batch(probes, add_special_tokens=False)
  ours = tokenizer.encode_batch(probes)
  for probe, own, other in zip(probes, ours, theirs, strict=True):
    if own != other.ids:
      raise UserError(
          f"the SentencePiece vocabulary makes {tokenizer.tokens(own)} of"
          f" {probe!r} and would make {tokenizer.tokens(other.ids)} of it in Hugging Face's"
          f" library; {advice}"
      )


def _wordpiece(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
  splitter = wordpiece.WordSplitter(
      lowercase=tokenizer.lowercase,
      strip_accents=tokenizer.strip_accents,
      split_chinese=tokenizer.split_chinese,
  )
  pieces = tokenizer.tokens(range(tokenizer.vocab_size))
  whole = tokenizers.Tokenizer(
      models.WordPiece(
          vocab={piece: i for i, piece in enumerate(pieces)},
          unk_token=pieces[tokenizer.special.unk],
          max_input_chars_per_word=tokenizer.max_word_length,
      )
  )
  whole.normalizer = splitter.normalizer
  if tokenizer.lowercase:
    sigma = _replace(wordpiece.final_sigma(is_cleaned=True), "ς")
    whole.normalizer = normalizers.Sequence([sigma, splitter.normalizer])
  whole.pre_tokenizer = splitter.pre_tokenizer
  whole.decoder = decoders.WordPiece()
  return whole


def _unigram(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
  model = _parse_model(tokenizer)
  rules = model.normalizer_spec.precompiled_charsmap
  steps = []
  if tokenizer.lowercase:
    steps.append(_replace(wordpiece.final_sigma(is_cleaned=False), "ς"))
    steps.append(normalizers.Lowercase())
    if tokenizer.strip_accents:
      # Its own StripAccents drops the vowels of Indic scripts as well.
      steps += [normalizers.NFD(), _replace(r"\p{Mn}", "")]
      if rules:
        # Its Precompiled would not put the parts of Hangul together again.
        steps.append(normalizers.NFC())
  if rules:
    steps.append(normalizers.Precompiled(rules))
  steps += [_replace("^ +| +$", ""), _replace(" +", WORD_START)]
  if model.normalizer_spec.add_dummy_prefix:
    steps.append(normalizers.Prepend(WORD_START))
  whole = tokenizers.Tokenizer(
      models.Unigram(
          [(piece.piece, piece.score) for piece in model.pieces],
          unk_id=tokenizer.special.unk,
          byte_fallback=model.trainer_spec.byte_fallback,
      )
  )
  whole.normalizer = normalizers.Sequence(steps)
  whole.decoder = decoders.Metaspace()
  return whole


def _replace(pattern: str, text: str) -> normalizers.Replace:
  return normalizers.Replace(tokenizers.Regex(pattern), text)


def _parse_model(tokenizer: Tokenizer) -> Any:
  # Not needed by those who use WordPiece.
  from sentencepiece import sentencepiece_model_pb2

  return sentencepiece_model_pb2.ModelProto.FromString(tokenizer.data)


_ENGINES = {"wordpiece": _wordpiece, "sentencepiece": _unigram}
