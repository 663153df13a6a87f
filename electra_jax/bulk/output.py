"""A file that is appended to, window by window, and outlives a kill anywhere.

Until it is complete it lies beside its place, as NAME.part, with a record of
what was asked and how far it is, NAME.part.json. Bytes are on the disk before
the record tells of them, so whatever lies behind the recorded end is of a
window that was not finished, and is cut off.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping

from electra_jax.disk.json_files import read_json
from electra_jax.disk.scratch import check_no_link
from electra_jax.errors import UserError
from electra_jax.files import is_remote, write_whole, writing

_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Progress:
  """How far an output is.

  Attributes:
    lines: of the input that have been answered.
    answers: of them, those with an answer and not an error.
    input_digest: checksum of those lines.
    size: bytes of the output.
    digest: checksum of those bytes.
  """

  lines: int
  answers: int
  input_digest: str
  size: int
  digest: str


@dataclasses.dataclass(frozen=True)
class _Record:
  """What NAME.part.json holds.

  Attributes:
    program: a sign that it is ours.
    asked: what the answers depend on, by name.
    progress: how far the output is.
  """

  program: str
  asked: dict[str, str]
  progress: Progress


_PROGRAM = "electra_jax predict"
_EMPTY = Progress(0, 0, "", 0, hashlib.sha256().hexdigest())


class Output:
  """The file, opened and held by this process alone.

  Attributes:
    path: where it will be.
    progress: how far it is.
  """

  def __init__(self, path: pathlib.Path, asked: Mapping[str, str]):
    """Is called by `open_output`."""
    self.path = path
    self.progress = _EMPTY
    self._part, self._record = _beside(path)
    self._asked = dict(asked)
    self._hash = hashlib.sha256()
    self._file = -1
    self._is_new = False

  def open(self) -> None:
    """Makes the file, or goes on where the record says.

    Raises:
      UserError: as `open_output`.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with writing(self._part):
      self._file = os.open(self._part, flags, 0o666)
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(
          f"{self._part} is being written by another process; wait for its end,"
          " or choose another --output"
      ) from error
    record = _read_record(self._record)
    size = os.fstat(self._file).st_size
    if record is None and size:
      raise UserError(
          f"{self._part} is in the way and has no record {self._record.name}"
          " beside it; move it away, or choose another --output"
      )
    self._is_new = not size
    if record is not None and size:
      self._go_on(record, size)
    self._write_record()

  def append(
      self, lines: list[str], answers: int, count: int, input_digest: str
  ) -> None:
    """Adds the answers of a window, and takes note of them.

    Args:
      lines: of JSON, with their ends.
      answers: how many of them are answers and no errors.
      count: lines of the input that have been answered by now.
      input_digest: their checksum.

    Raises:
      UserError: the disk is full, or the place cannot be written.
    """
    content = "".join(lines).encode()
    with writing(self._part):
      left = memoryview(content)
      while left:
        left = left[os.write(self._file, left) :]
      os.fsync(self._file)
    self._hash.update(content)
    self.progress = Progress(
        count,
        self.progress.answers + answers,
        input_digest,
        self.progress.size + len(content),
        self._hash.hexdigest(),
    )
    self._write_record()

  def publish(self) -> None:
    """Puts the complete file in its place.

    Raises:
      UserError: something has come to be there meanwhile.
    """
    check_free(self.path)
    with writing(self.path):
      os.rename(self._part, self.path)
      self._record.unlink(missing_ok=True)

  def close(self) -> None:
    """Lets go of the file, and removes a new one that holds no answer."""
    if self._file < 0:
      return
    if self._is_new and not self.progress.size:
      with contextlib.suppress(OSError):
        self._record.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)
    os.close(self._file)

  def _go_on(self, record: _Record, size: int) -> None:
    for name, value in self._asked.items():
      if record.asked.get(name) != value:
        raise UserError(
            f"{self._part} was begun with another {name} than this; give what"
            f" it was given, or delete it and {self._record.name} to begin anew"
        )
    if size < record.progress.size or not self._is_as_written(record.progress):
      raise UserError(
          f"{self._part} is not what was written; delete it and"
          f" {self._record.name} to begin anew"
      )
    with writing(self._part):
      os.ftruncate(self._file, record.progress.size)
      os.lseek(self._file, 0, os.SEEK_END)
    self.progress = record.progress

  def _is_as_written(self, progress: Progress) -> bool:
    left = progress.size
    while left:
      content = os.read(self._file, min(left, _CHUNK_BYTES))
      if not content:
        return False
      self._hash.update(content)
      left -= len(content)
    return self._hash.hexdigest() == progress.digest

  def _write_record(self) -> None:
    record = _Record(_PROGRAM, self._asked, self.progress)
    text = json.dumps(dataclasses.asdict(record), indent=1)
    write_whole(self._record, [text + "\n"])


@contextlib.contextmanager
def open_output(
    path: str | os.PathLike, asked: Mapping[str, str]
) -> Iterator[Output]:
  """Opens an output to be appended to, an unfinished one where it ended.

  Args:
    path: a local file that is not there yet.
    asked: all that answers depend on; what is unfinished must have been asked
      the same.

  Raises:
    UserError: something is there, another process writes it, the place cannot
      be written, or what is unfinished was asked something else.
  """
  check_free(path)
  output = Output(pathlib.Path(path), asked)
  try:
    output.open()
    yield output
  finally:
    output.close()


def check_free(path: str | os.PathLike) -> None:
  """Checks that an output may be written.

  Raises:
    UserError: it is remote or a link, or something is there.
  """
  if not os.fspath(path):
    raise UserError("--output is empty; give the file to write")
  if is_remote(path):
    raise UserError(
        f"--output {path} is not a local file, which alone can be appended to;"
        " give one, and copy it when it is complete"
    )
  check_no_link(path, "--output")
  if os.path.lexists(path):
    raise UserError(
        f"--output {path} exists and is complete, or another's; choose another"
        " name, or delete it"
    )


def is_begun(path: str | os.PathLike) -> bool:
  """Says whether an unfinished output lies beside its place."""
  part, record = _beside(pathlib.Path(path))
  return part.exists() and part.stat().st_size > 0 and record.exists()


def _beside(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  part = path.with_name(f"{path.name}.part")
  return part, part.with_name(f"{part.name}.json")


def _read_record(path: pathlib.Path) -> _Record | None:
  fix = "delete it and the file beside it to begin anew"
  try:
    record = read_json(path, _Record, fix)
  except FileNotFoundError:
    return None
  if record.program != _PROGRAM:
    raise UserError(
        f"{path} is no record of this program; move it away, or choose another"
        " --output"
    )
  return record
