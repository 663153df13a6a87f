"""Files on a local disk or at a URL, by Beam's file systems."""

import pathlib
import shutil
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from apache_beam.io.filesystem import (
    BeamIOError,
    CompressionTypes,
    FileMetadata,
)
from apache_beam.io.filesystems import FileSystems

from electra_jax.beam.spans import FileSpan, TfdsSpan, list_tfds
from electra_jax.errors import UserError
from electra_jax.files import is_remote
from electra_jax.store.manifest import MANIFEST_FILE
from electra_jax.store.writer import check_replaceable
from electra_jax.text.formats import SUFFIXES, format_of
from electra_jax.text.movie_reviews import MOVIE_REVIEWS, movie_reviews_path
from electra_jax.text.sources import (
    Fields,
    LeftOut,
    check_fields_used,
    field_of,
    list_sources,
)


def open_file(path: str) -> BinaryIO:
  """Opens a file for reading bytes as they are."""
  return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def create_file(path: str) -> BinaryIO:
  """Opens a file for writing bytes as they are."""
  return FileSystems.create(
      path, compression_type=CompressionTypes.UNCOMPRESSED
  )


def copy_file(path: pathlib.Path, target: str) -> None:
  """Copies a local file."""
  with path.open("rb") as source, create_file(target) as file:
    shutil.copyfileobj(source, file)


def list_spans(
    sources: Sequence[str], field: Fields
) -> tuple[list[FileSpan | TfdsSpan], list[LeftOut]]:
  """Lists the files of all sources, in the order in which `prepare` reads them.

  Args:
    sources: see `text.sources`; a URL may be a file, a folder or a pattern with
      * and **.
    field: see `text.sources.field_of`.

  Returns:
    What is read, and the files of folders that are not.

  Raises:
    UserError: a source does not exist or cannot be listed, or a field belongs
      to none.
  """
  spans, left_out, used = [], [], set()

  def add(source: str, path: str | pathlib.Path, size: int) -> None:
    pattern, name = field_of(source, path, field)
    used.add(pattern)
    spans.append(FileSpan(str(path), 0, size, name))

  for source in sources or list_sources(sources):
    if is_remote(source):
      files, others = _list_url(source)
      left_out += others
      for file in files:
        add(source, file.path, file.size_in_bytes)
      continue
    files, others = list_sources([source])
    left_out += others
    for path, _ in files:
      if path == MOVIE_REVIEWS:
        add(source, path, movie_reviews_path().stat().st_size)
      elif isinstance(path, str):
        pattern, name = field_of(source, path, field)
        used.add(pattern)
        spans += list_tfds(path, name)
      else:
        add(source, path.absolute(), path.stat().st_size)
  check_fields_used(field, used)
  return spans, left_out


def check_url(output: str, *, overwrite: bool) -> list[str]:
  """Says whether a store may be written to a URL, as `check_output` does.

  Returns:
    The names of the files of the store that is to be replaced, if there is one.

  Raises:
    UserError: it is a finished store and `overwrite` is False; or something
      else lies there, itself or beside the store.
  """
  names = [
      file.path.removeprefix(f"{output}/") for file in _match(f"{output}/**")
  ]
  if MANIFEST_FILE in names:
    if not overwrite:
      raise UserError(
          f"{output} already holds a finished token store; choose another"
          " output or pass overwrite"
      )
    with open_file(f"{output}/{MANIFEST_FILE}") as file:
      check_replaceable(output, file.read(), names)
  elif names:
    raise UserError(
        f"{output} exists and is not a token store; choose another output"
    )
  return names


def make_folder(path: str) -> None:
  """Makes a folder that may be there; at many URLs that is nothing."""
  if not FileSystems.exists(path):
    FileSystems.mkdirs(path)


def remove_folder(path: str) -> None:
  """Removes the files of a folder, and the folder where there is such a thing."""
  if not is_remote(path):
    shutil.rmtree(path, ignore_errors=True)
  elif files := _match(f"{path}/**"):
    FileSystems.delete([file.path for file in files])


def remove_files(folder: str, names: Iterable[str]) -> None:
  """Removes files of a folder at a URL, where they are there."""
  paths = [f"{folder}/{name}" for name in names]
  if paths := [path for path in paths if FileSystems.exists(path)]:
    FileSystems.delete(paths)


def publish(folder: pathlib.Path, output: str) -> None:
  """Copies the files of a local folder to a URL, the manifest last."""
  files = sorted(folder.iterdir(), key=lambda file: file.name == MANIFEST_FILE)
  for file in files:
    copy_file(file, f"{output}/{file.name}")


def move(names: dict[str, str], folder: str, target: str) -> None:
  """Moves files from one folder to another, under new names.

  Args:
    names: the new name of each.
    folder: where they lie.
    target: where they go, an existing folder or a URL.

  Raises:
    UserError: one is not there.
  """
  try:
    FileSystems.rename(
        [f"{folder}/{name}" for name in names],
        [f"{target}/{name}" for name in names.values()],
    )
  except BeamIOError as error:
    raise UserError(
        f"the files that workers wrote to {folder} cannot be moved to {target}"
        f" ({error}); choose an output that every worker and this machine see,"
        " such as gs://"
    ) from error


def _list_url(source: str) -> tuple[list[FileMetadata], list[LeftOut]]:
  files, left_out = _match(source), []
  if not files:
    for file in _match(f"{source.rstrip('/')}/**"):
      if format_of(file.path) is not None:
        files.append(file)
      else:
        reason = f"not named {', '.join(SUFFIXES)}"
        left_out.append(LeftOut(file.path, reason))
  if not files:
    raise UserError(
        f"there is no file at {source}, and below it none named"
        f" {'|'.join(SUFFIXES)}, packed or not; give an existing file, folder"
        " or pattern"
    )
  # As paths compare, part by part.
  files.sort(key=lambda file: file.path.split("/"))
  return files, sorted(left_out)


def _match(pattern: str) -> list[FileMetadata]:
  try:
    [result] = FileSystems.match([pattern])
  except (ValueError, OSError) as error:
    raise UserError(
        f"cannot list {pattern}: {str(error).splitlines()[0]}; check it, your"
        " credentials, and that its file system is installed, as by pip install"
        " 'apache-beam[gcp]'"
    ) from error
  return result.metadata_list
