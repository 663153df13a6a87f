"""Lines out of bytes: packed, marked, in any encoding, of any length."""

import bz2
import codecs
import gzip
import io
import lzma
import random

import pyarrow
import pytest

from electra_jax.errors import UserError
from electra_jax.text import streams
from electra_jax.text.streams import TextStream, check_encoding

TEXT = "Grüße, 世界 \U0001f600\n\nzweite Zeile\nohne Ende"


def pack(data, suffix):
  if suffix == ".zst":
    return pyarrow.compress(data, "zstd", asbytes=True)
  return {
      "": bytes,
      ".gz": gzip.compress,
      ".bz2": bz2.compress,
      ".xz": lzma.compress,
  }[suffix](data)


def read(data, name="a.txt", encoding="utf-8"):
  stream = TextStream(io.BytesIO(data), name, encoding)
  return "".join(line for _, line in stream.lines())


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_packed_files_and_damage(suffix):
  data = pack(TEXT.encode(), suffix)
  assert read(data, f"a.txt{suffix}") == TEXT
  assert read(data + pack(b"!", suffix), f"a.txt{suffix}") == TEXT + "!"
  if suffix:
    with pytest.raises(UserError, match=rf"a\.txt{suffix} is a damaged"):
      read(data[:-6], f"a.txt{suffix}")
    with pytest.raises(UserError, match="damaged"):
      read(b"no such thing" * 9, f"a.txt{suffix}")


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_tells_the_encoding(mark, encoding, packing):
  data = pack(mark + TEXT.encode(encoding), packing)
  assert read(data, f"a.txt{packing}") == TEXT
  assert read(data, f"a.txt{packing}", "latin-1") == TEXT
  assert read(data, f"a.txt{packing}", encoding) == TEXT


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "“Größe” 5 €\nzwei"),
        ("shift_jis", "日本語の文\n二行目"),
        ("gb18030", "中文\n第二行"),
        ("utf-16-le", TEXT),
        ("koi8-r", "Жизнь\nлюди"),
    ],
)
def test_an_encoding_may_be_named(encoding, text):
  assert read(text.encode(encoding), encoding=encoding) == text


def test_wrong_encodings_name_the_byte():
  with pytest.raises(UserError, match=r"not UTF-8 at byte 6; .*--encoding"):
    read("fine\nGr\u00fcn".encode("latin-1")[1:])
  with pytest.raises(UserError, match="not SHIFT_JIS at byte 5"):
    read(b"fine\n\x81", encoding="shift_jis")
  with pytest.raises(UserError, match=r"zero bytes.*--encoding utf-16-le"):
    read("plain".encode("utf-16-le"))
  for name in ("utf-9", "hex", "rot13", ""):
    with pytest.raises(UserError, match=f"--encoding {name}"):
      check_encoding(name)


def test_pieces_of_long_lines_make_the_lines(monkeypatch):
  rng = random.Random(0)
  for size in (8, 16, 33):
    monkeypatch.setattr(streams, "PIECE_BYTES", size)
    for _ in range(200):
      words = [
          "世界é"[: rng.randint(1, 3)] * rng.randint(1, 9) for _ in range(9)
      ]
      line = rng.choice(["", " "]) + " ".join(words[: rng.randint(0, 9)])
      lines = [line + rng.choice(["", "  "]), "", " " * 50, "x"]
      rng.shuffle(lines)
      text = "\n".join(lines) + rng.choice(["", "\n"])
      pieces = list(TextStream(io.BytesIO(text.encode()), "a").pieces())
      joined = "".join(piece for _, piece in pieces)
      assert [x.split() for x in joined.split("\n")] == [
          x.split() for x in text.split("\n")
      ]
      # What ends a document must be seen: a blank line, and no other one.
      blank = [piece for _, piece in pieces if piece.isspace()]
      assert len(blank) == sum(
          line.isspace() for line in text.splitlines(keepends=True)
      )
      assert max(len(piece.encode()) for _, piece in pieces) <= 3 * size


def test_a_record_that_is_too_long_is_refused(monkeypatch):
  monkeypatch.setattr(streams, "MAX_RECORD_BYTES", 1 << 20)
  assert len(read(b"x" * ((1 << 20) - 1))) == (1 << 20) - 1
  with pytest.raises(UserError, match="more than 1 MB at byte 2"):
    read(b"a\n" + b"x" * (1 << 20))


def test_a_cut_letter_at_the_end_is_refused(monkeypatch):
  monkeypatch.setattr(streams, "PIECE_BYTES", 8)
  for length in range(1, 20):
    data = b"x" * length + "世".encode()[:2]
    with pytest.raises(UserError, match=f"not UTF-8 at byte {length}"):
      list(TextStream(io.BytesIO(data), "a").pieces())
