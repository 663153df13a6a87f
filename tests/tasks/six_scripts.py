"""Words in six scripts, and tokenizers of every kind that know their letters."""

import io
import unicodedata

import sentencepiece

from electra_jax.text.tokenizer import Tokenizer, fold

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Words, and what may stand between two of them.
SCRIPTS = {
    "Chinese": ("北京 上海 上 小王 去了 1950年 李明 2:1 𠀀𠀁 ﹙一﹚", "||||。|\uff0c| "),
    "Japanese": ("東京 は か\u3099き 学生 です ガ ｶﾞｷ 今日 ２月", "||||。|、|\u3000"),
    "Thai": ("กำลัง ที่ น้ำ ไทย เก้า ป่า ๑๒ ปี", "|||| |\u200b|ๆ "),
    "Hindi": ("हिन्दी क्\u200dष कि ज़मीन नई दिल्ली १२ है", " | | |। |-|\u00a0"),
    "Arabic": ("مُحَمَّد في بيت البيت ٢٠ لا آن", " | | |، |\u200f | \u200f|\u200e"),
    "English": (
        "red re\u0301d Blue caf\u00e9 cafe\u0301 1 1943 it's \u0130s \U0001f469\u200d\U0001f467 \u2764\ufe0f \ufb01ne",
        " | |  |-|/|:|\t|\r\n| (|) |\u202f|. ",
    ),
}  # fmt: skip


ALL_WORDS = [w for words, _ in SCRIPTS.values() for w in words.split(" ")]
ALL_GAPS = [g for _, gaps in SCRIPTS.values() for g in gaps.split("|")]
TEXTS = [
    "".join(w + g for w in words.split(" ") for g in gaps.split("|"))
    for words, gaps in SCRIPTS.values()
]
LETTERS = sorted(
    {
        letter
        for whole in TEXTS
        for text in (whole, whole.lower())
        for form in ("NFC", "NFD", "NFKC")
        for letter in unicodedata.normalize(form, text)
        if not letter.isspace()
    }
)


def wordpiece_tokenizer(*pieces, **options):
  vocabulary = [*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS), *pieces]
  return Tokenizer("wordpiece", "\n".join(vocabulary).encode(), **options)


def sentencepiece_tokenizer(*, lowercase=False, **options):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=(
          fold(text, lowercase=lowercase, strip_accents=True) for text in TEXTS
      ),
      model_writer=model,
      character_coverage=1.0,
      hard_vocab_limit=False,
      minloglevel=2,
      control_symbols=[s for s in SPECIAL if s != "[UNK]"],
      **options,
  )
  return Tokenizer("sentencepiece", model.getvalue(), lowercase=lowercase)


WHOLE_WORDS = [
    piece
    for word in map(str.lower, ALL_WORDS)
    for piece in (word, f"##{word[1:]}", word[:2], f"##{word[-2:]}")
    if len(piece.removeprefix("##")) > 1
]
TOKENIZERS = {
    "WordPiece, uncased": lambda: wordpiece_tokenizer(),
    "WordPiece, cased": lambda: wordpiece_tokenizer(lowercase=False),
    "WordPiece, accents": lambda: wordpiece_tokenizer(strip_accents=False),
    "WordPiece, Chinese whole": lambda: wordpiece_tokenizer(
        split_chinese=False
    ),
    "WordPiece, long": lambda: wordpiece_tokenizer(*sorted(set(WHOLE_WORDS))),
    "SentencePiece, letters": lambda: sentencepiece_tokenizer(
        model_type="char", vocab_size=1000
    ),
    "SentencePiece, uncased": lambda: sentencepiece_tokenizer(
        model_type="char", vocab_size=1000, lowercase=True
    ),
    "SentencePiece, long": lambda: sentencepiece_tokenizer(vocab_size=400),
    "SentencePiece, bytes": lambda: sentencepiece_tokenizer(
        model_type="bpe", vocab_size=600, byte_fallback=True
    ),
}


def find_clusters(text):
  """Yields bounds between which no letter is parted from its marks."""
  start = 0
  for i in range(1, len(text) + 1):
    if i < len(text):
      goes_on = (
          unicodedata.category(text[i])[0] == "M" or text[i] in "\u200d\uff9e"
      )
      # What stands behind a joiner belongs to what stands before it.
      if goes_on or text[i - 1] == "\u200d":
        continue
    yield start, i
    start = i


def spell(text):
  """Spells text so that it does not matter how a tokenizer normalises."""
  letters = unicodedata.normalize("NFKD", text.lower())
  letters = unicodedata.normalize("NFKD", letters)
  return "".join(
      c
      for c in letters
      if unicodedata.category(c) not in ("Mn", "Cc", "Cf", "Zs")
      and c not in "\u2581\t\r\n"
  )
