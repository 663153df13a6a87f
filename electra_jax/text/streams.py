"""The bytes of a file -> lines of text, whatever packs and encodes them."""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator

from electra_jax.errors import UserError

BUFFER_BYTES = 1 << 20
PIECE_BYTES = 1 << 20  # Of a longer line no more is held at a time.
MAX_RECORD_BYTES = 1 << 28  # The longest line that is read as a whole.
PACKINGS = (".gz", ".bz2", ".xz", ".zst")

_HEAD_BYTES = 4096
# The mark of UTF-32 begins with that of UTF-16. Both codecs take it away.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def packing_of(name: str) -> str:
  """Returns how a file is packed, by the end of its name; "" if it is not."""
  return next((end for end in PACKINGS if name.endswith(end)), "")


def find_mark(head: bytes) -> tuple[bytes, str]:
  """Returns the byte order mark of a text and the encoding that it tells.

  Both are empty where the first bytes, of which four are needed, hold none.
  """
  marked = [(mark, e) for mark, e in _MARKS if head.startswith(mark)]
  return marked[0] if marked else (b"", "")


def check_encoding(encoding: str) -> str:
  """Returns Python's own name of an encoding.

  Raises:
    UserError: there is no such encoding of text.
  """
  try:
    "\n".encode(encoding)
    return codecs.lookup(encoding).name
  except (LookupError, ValueError, TypeError) as error:
    raise UserError(
        f"--encoding {encoding} is unknown; name one that Python knows, such as"
        " utf-8, utf-16-le, cp1252, shift_jis or gb18030"
    ) from error


def missing_extra(source: object, extra: str) -> UserError:
  """Says which extra of this package reads a source."""
  return UserError(
      f"reading {source} needs a package that is not installed; run"
      f" pip install 'electra-jax[{extra}]'"
  )


class TextStream:
  """A file of text, unpacked and as UTF-8.

  A byte order mark says how the file is encoded, whatever else is said, and is
  no part of its text.

  Attributes:
    name: what an error message calls it.
    head: its first bytes as UTF-8, to tell from what kind of text it is.
    is_divisible: whether its lines may be read from any byte on.
  """

  def __init__(self, raw: io.IOBase, name: str, encoding: str = "utf-8"):
    """Looks at the first bytes.

    Args:
      raw: a file that was just opened for reading bytes.
      name: its path, whose end says how it is packed.
      encoding: see `check_encoding`; of a file without a byte order mark.

    Raises:
      UserError: it is damaged, holds bytes of another encoding, or no text.
    """
    self.name = name
    packing = packing_of(name)
    self._start = 0
    with reading(name):
      stream = _unpack(raw, name, packing)
      head = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    mark, marked = find_mark(head)
    encoding = marked or check_encoding(encoding)
    self.is_divisible = not packing and encoding == "utf-8"
    if encoding == "utf-8":
      self._start = len(mark)
      head = head[len(mark) :]
    else:
      stream = io.BufferedReader(_AsUtf8(stream, name, encoding), BUFFER_BYTES)
      with reading(name):
        head = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    if b"\0" in head:
      raise UserError(
          f"{name} holds zero bytes: it is no text, or UTF-16 without a byte"
          " order mark; leave it out, or give --encoding utf-16-le"
      )
    self.head = head
    self._stream = stream

  def lines(self, start: int = 0) -> Iterator[tuple[int, str]]:
    """Reads whole lines that begin at a byte or behind it.

    Args:
      start: the byte; 0 where the file is not divisible.

    Yields:
      The offset of each line, and the line with its end.

    Raises:
      UserError: the file is damaged, wrongly encoded, or has a line of more
        than `MAX_RECORD_BYTES`.
    """
    for offset, raw in self._read(start, MAX_RECORD_BYTES):
      if len(raw) == MAX_RECORD_BYTES and not raw.endswith(b"\n"):
        raise UserError(
            f"{self.name} has a line of more than {MAX_RECORD_BYTES >> 20} MB"
            f" at byte {offset}; write each record on a line of its own"
        )
      yield offset, self._decode(raw, offset)

  def pieces(self, start: int = 0) -> Iterator[tuple[int, str]]:
    """Reads lines as `lines` does, but cuts long ones at white space.

    Joined again the pieces are the line, but for long runs of white space. Only
    the last piece of a line may hold nothing but white space, which it does
    where the whole line does, and only that one ends with a newline character.

    Args:
      start: the byte; 0 where the file is not divisible.

    Yields:
      The offset of the line, and a piece of it.

    Raises:
      UserError: the file is damaged or wrongly encoded.
    """
    decoder, rest, line = codecs.getincrementaldecoder("utf-8")(), "", None
    for offset, raw in self._read(start, PIECE_BYTES):
      is_last = raw.endswith(b"\n") or len(raw) < PIECE_BYTES
      if line is None and is_last:  # As nearly all lines are.
        yield offset, self._decode(raw, offset)
        continue
      line = offset if line is None else line
      held = len(decoder.getstate()[0])
      text = rest + self._decode(raw, offset - held, decoder, final=is_last)
      head, rest = (text, "") if is_last else _cut_at_space(text)
      if head:
        yield line, head
      if is_last:
        line = None
        decoder.reset()
    if line is not None:  # The file ends with a full piece.
      held = len(decoder.getstate()[0])
      end = offset + len(raw) - held
      yield line, rest + self._decode(b"", end, decoder)

  def blocks(self) -> Iterator[str]:
    """Reads the text in blocks of about a megabyte, wherever lines end."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = self._seek(0)
    while True:
      with reading(self.name):
        raw = self._stream.read(BUFFER_BYTES)
      held = len(decoder.getstate()[0])
      yield self._decode(raw, offset - held, decoder, final=not raw)
      offset += len(raw)
      if not raw:
        return

  def _read(self, start: int, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yields lines, or parts of `limit` bytes of longer ones, with offsets."""
    with reading(self.name):
      offset = self._seek(start)
      while raw := self._stream.readline(limit):
        yield offset, raw
        offset += len(raw)

  def _seek(self, start: int) -> int:
    """Goes to the first line from a byte on; returns the line's offset."""
    if start <= self._start:
      self._stream.read(self._start)
      return self._start
    self._stream.seek(start - 1)
    offset = start - 1
    while raw := self._stream.readline(PIECE_BYTES):
      offset += len(raw)
      if raw.endswith(b"\n"):  # A line that began before is another's.
        break
    return offset

  def _decode(self, raw: bytes, offset: int, decoder=None, final=True) -> str:
    try:
      if decoder is None:
        return raw.decode("utf-8")
      return decoder.decode(raw, final)
    except UnicodeDecodeError as error:
      raise _wrongly_encoded(self.name, "utf-8", offset + error.start) from None


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
  """Raises UserError where a file cannot be read or unpacked."""
  try:
    yield
  except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
    raise _damaged(name, error) from error
  except OSError as error:
    if error.errno is None:  # As bz2 and pyarrow say it.
      raise _damaged(name, error) from error
    raise UserError(
        f"cannot read {name}: {error.strerror}; check the file and the disk"
    ) from error


def _damaged(name: str, error: Exception) -> UserError:
  kind = {".gz": "gzip", ".zst": "zstd"}.get(packing_of(name))
  return UserError(
      f"{name} is a damaged {kind or packing_of(name)[1:]} file ({error});"
      " fetch it again, or leave such files out by --skip-bad-files"
  )


def _wrongly_encoded(name: str, encoding: str, offset: int) -> UserError:
  return UserError(
      f"{name} is not {encoding.upper()} at byte {offset}; say what it is, as by"
      " --encoding cp1252, convert it, or leave such files out by"
      " --skip-bad-files"
  )


def _unpack(raw: io.IOBase, name: str, packing: str) -> io.BufferedReader:
  stream = io.BufferedReader(raw, BUFFER_BYTES)
  if packing == ".gz":
    stream = gzip.GzipFile(fileobj=stream)
  elif packing == ".bz2":
    stream = bz2.BZ2File(stream)
  elif packing == ".xz":
    stream = lzma.LZMAFile(stream)  # noqa: SIM115
  elif packing == ".zst":
    try:
      import pyarrow
    except ImportError as error:
      raise missing_extra(name, "parquet") from error
    stream = pyarrow.CompressedInputStream(stream, "zstd")
  return io.BufferedReader(stream, BUFFER_BYTES) if packing else stream


def _cut_at_space(text: str) -> tuple[str, str]:
  """Cuts text before its last word; both parts but the first hold a letter."""
  words = text.rsplit(None, 1)
  if len(words) == 2:
    head, rest = text[: len(words[0])], text[len(words[0]) :]
  elif not words:
    return "", " "
  elif len(words[0]) > len(text) // 2:  # One endless word.
    before = " " if text[0].isspace() else ""
    behind = " " if text[-1].isspace() else ""
    return before + words[0][:-1], words[0][-1] + behind
  else:
    head, rest = "", text
  # A long run of white space is worth no more than one.
  if len(rest) > 2 * len(words[-1]) + 2:
    rest = f" {words[-1]} " if text[-1].isspace() else f" {words[-1]}"
  return head, rest


class _AsUtf8(io.RawIOBase):
  """A file in any encoding, read as UTF-8."""

  def __init__(self, stream: io.BufferedReader, name: str, encoding: str):
    self._stream = stream
    self._name = name
    self._encoding = encoding
    self._decoder = codecs.getincrementaldecoder(encoding)()
    self._ready = b""
    self._offset = 0
    self._is_at_end = False

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    while not self._ready and not self._is_at_end:
      raw = self._stream.read(BUFFER_BYTES)
      self._is_at_end = not raw
      held = len(self._decoder.getstate()[0])
      try:
        text = self._decoder.decode(raw, self._is_at_end)
      except UnicodeDecodeError as error:
        raise _wrongly_encoded(
            self._name, self._encoding, self._offset - held + error.start
        ) from None
      self._ready = text.encode("utf-8", "replace")
      self._offset += len(raw)
    size = min(len(buffer), len(self._ready))
    buffer[:size] = self._ready[:size]
    self._ready = self._ready[size:]
    return size
