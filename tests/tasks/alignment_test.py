"""Alignment: every piece lies where its characters are."""

import io
import pathlib

import pytest
import sentencepiece

from electra_jax.tasks.alignment import align_texts, place_pieces
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
CORPUS = (GOLDEN / "small_corpus.txt").read_text(encoding="utf-8")
PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] ( 1895 - 1943 ) . , ca Ca ##fe ##e ##s a"
    " ##\u0301 οδο ##ς o ##ﬁ 京 istanbul 한 ##국"
)


def wordpiece(**options):
  return Tokenizer("wordpiece", "\n".join(PIECES.split()).encode(), **options)


def train_sentencepiece(**options):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(CORPUS.split("\n")),
      model_writer=model,
      vocab_size=options.pop("vocab_size", 300),
      minloglevel=2,
      pad_id=0,
      unk_id=1,
      bos_id=-1,
      eos_id=-1,
      control_symbols=["[CLS]", "[SEP]", "[MASK]"],
      **options,
  )
  return model.getvalue()


def cut(word, tokenizer):
  """Returns the pieces of a word and the characters that each of them got."""
  ((ids, offsets),) = tokenizer.encode_with_offsets([word])
  assert ids == tokenizer.encode(word)
  spans = place_pieces(word, offsets)
  return (
      " ".join(tokenizer.tokens(ids)),
      "|".join(word[start:end] for start, end in spans),
  )


@pytest.mark.parametrize(
    ("word", "pieces", "characters"),
    [
        ("(1895-1943).", "( 1895 - 1943 ) .", "(|1895|-|1943|)|."),
        ("Cafés,", "ca ##fe ##s ,", "Ca|fé|s|,"),
        ("Cafe\u0301s", "ca ##fe ##s", "Ca|fe\u0301|s"),
        ("ca\u200bfe\u200b,", "ca ##fe ,", "ca|fe|,"),
        ("c\u200ba,", "ca ,", "c\u200ba|,"),
        ("ΟΔΟΣ", "οδο ##ς", "ΟΔΟ|Σ"),
        ("oﬁ,", "o ##ﬁ ,", "o|ﬁ|,"),
        ("İstanbul.", "istanbul .", "İstanbul|."),
        ("京京a", "京 京 a", "京|京|a"),
    ],
)
def test_normalised_pieces_get_the_characters_as_written(
    word, pieces, characters
):
  assert cut(word, wordpiece()) == (pieces, characters)


@pytest.mark.parametrize(
    ("word", "pieces", "characters"),
    [
        ("☃", "[UNK]", "☃"),
        ("(☃☃).", "( [UNK] ) .", "(|☃☃|)|."),
        ("☃-a☃-,☃", "[UNK] - [UNK] - , [UNK]", "☃|-|a☃|-|,|☃"),
        ("龘龘京", "[UNK] [UNK] 京", "龘|龘|京"),
        ("a☃龘a", "[UNK] [UNK] a", "a☃|龘|a"),
        ("\u0301☃\u200b", "[UNK]", "☃"),
        ("☃☃a龘a", "[UNK] [UNK] a", "☃☃a|龘|a"),
        ("Σ☃\u0378a龘Ca", "[UNK] [UNK] ca", "Σ☃\u0378a|龘|Ca"),
    ],
)
def test_an_unknown_piece_gets_its_own_characters(word, pieces, characters):
  assert cut(word, wordpiece()) == (pieces, characters)


def test_a_word_that_is_dropped_has_no_piece():
  assert cut("\u200b", wordpiece()) == ("", "")


def test_the_tokenizers_options_count():
  assert cut("Cae\u0301", wordpiece(lowercase=False)) == (
      "Ca ##e ##\u0301",
      "Ca|e|\u0301",
  )
  kept = wordpiece(strip_accents=False)
  assert cut("Cae\u0301", kept) == ("ca ##e ##\u0301", "Ca|e|\u0301")
  cased = wordpiece(lowercase=False)  # Nothing decomposes these syllables.
  assert cut("한국", cased) == ("한 ##국", "한|국")


@pytest.mark.parametrize(
    ("word", "pieces", "characters"),
    [
        ("Café", "▁ c a f e", "C|C|a|f|é"),
        ("ﬁne", "▁f in e", "ﬁn|ﬁn|e"),
        ("the☃☃the☃s", "▁the <unk> th e <unk> s", "the|☃☃|th|e|☃|s"),
        ("…e", "▁ . . . e", "…|…|…|…|e"),
        ("\u200band\u200f", "▁and", "and"),
        ("\u200f\ufeff\u200eand\u200bthe", "▁and ▁the", "and|the"),
        ("and\u200bthe", "▁and ▁the", "and|the"),
        ("the\u200c\u00a8", "▁the ▁ <unk>", "the|\u200c|\u00a8"),
    ],
)
def test_sentencepiece(word, pieces, characters):
  tokenizer = Tokenizer("sentencepiece", train_sentencepiece())
  assert cut(word, tokenizer) == (pieces, characters)


def test_a_piece_without_any_letter_gets_its_word():
  data = train_sentencepiece(normalization_rule_name="identity")
  tokenizer = Tokenizer("sentencepiece", data)
  assert cut("\ue000", tokenizer) == ("▁ <unk>", "\ue000|\ue000")


def test_every_piece_of_a_text_reads_as_its_characters():
  tokenizer = load_tokenizer(GOLDEN / "vocab.txt")
  pieces = align_texts([CORPUS], tokenizer)[0]
  assert pieces.ids == tokenizer.encode(CORPUS)
  known = 0
  for i, start, end in zip(pieces.ids, pieces.starts, pieces.ends, strict=True):
    if i != tokenizer.special.unk:
      assert tokenizer.decode([i]) == CORPUS[start:end].lower()
      known += 1
  assert known > 5000


def test_words_end_at_any_white_space():
  tokenizer = wordpiece()
  text = "\u202fa\u00a0(a\tca\n\u3000 1895\u2028a\u202fa"
  pieces = align_texts([text], tokenizer)[0]
  cuts = [text[a:b] for a, b in zip(pieces.starts, pieces.ends, strict=True)]
  assert cuts == ["a", "(", "a", "ca", "1895", "a", "a"]


def test_equal_texts_share_their_pieces_and_empty_ones_have_none():
  first, empty, second = align_texts(["a a", " \n", "a a"], wordpiece())
  assert first is second
  assert empty.ids == []
  assert empty.starts.shape == empty.ends.shape == (0,)
  assert align_texts([], wordpiece()) == []


def test_bytes_of_a_character_share_it():
  tokenizer = Tokenizer(
      "sentencepiece",
      train_sentencepiece(byte_fallback=True, vocab_size=560),
  )
  assert cut("theŋand☃the", tokenizer) == (
      "▁the <0xC5> <0x8B> and <0xE2> <0x98> <0x83> th e",
      "the|ŋ|ŋ|and|☃|☃|☃|th|e",
  )


def test_folded_sentencepiece_keeps_track_of_what_was_dropped():
  tokenizer = Tokenizer("sentencepiece", train_sentencepiece(), lowercase=True)
  assert cut("I\u0307Ȧ\u0307NDe\u0301", tokenizer) == (
      "▁ i and e",
      "I\u0307|I\u0307|Ȧ\u0307ND|e\u0301",
  )


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_half_a_surrogate_pair_moves_nothing(kind):
  tokenizer = wordpiece(lowercase=False)
  if kind == "sentencepiece":
    tokenizer = Tokenizer(kind, train_sentencepiece(model_type="char"))
  text = "\ud800a,"
  pieces = align_texts([text], tokenizer)[0]
  assert pieces.ids == tokenizer.encode(text)
  assert text[pieces.starts[-2] : pieces.ends[-2]] == "a"
  assert text[pieces.starts[-1] : pieces.ends[-1]] == ","
