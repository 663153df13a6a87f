"""The Beam pipeline of `prepare_beam`: parts of the sources -> files of rows.

Each part is read, built and written by one worker, so that rows are never
shuffled and every file is a function of the sources alone. What a part has to
know of the others is found beforehand, in one more pass over the text that only
`deduplicate` and full packing need: which of its documents are the first of
their kind, and which chunk is open where it begins (`chunks`). Shuffled are
hashes, lengths, and the documents by which a chunk reaches into the next part.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import pathlib
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from electra_jax.beam.files import copy_file, create_file, open_file
from electra_jax.beam.spans import Part, read_part
from electra_jax.errors import UserError
from electra_jax.preprocessing.chunks import (
    OpenChunk,
    cut_chunks,
    find_passage,
    join_passages,
    take_rest,
)
from electra_jax.preprocessing.held_out import document_digest
from electra_jax.preprocessing.prepare import full_disk_explained, write_rows
from electra_jax.preprocessing.rows import RowOptions, build_rows
from electra_jax.store.manifest import SPLITS, Shard, SplitManifest
from electra_jax.store.writer import SplitWriter
from electra_jax.text.formats import ReadOptions, Tally
from electra_jax.text.lost_text import LostText

COUNTERS = "electra_jax"  # The namespace of the counters.


@dataclasses.dataclass(frozen=True)
class Settings:
  """What every worker is told.

  Attributes:
    row_options: how documents become rows.
    options: how files are read.
    deduplicate: whether documents that equal an earlier one are dropped.
    chunk_characters: see `chunks`.
    scratch: the folder or URL that files of rows are written to.
  """

  row_options: RowOptions
  options: ReadOptions
  deduplicate: bool
  chunk_characters: int
  scratch: str

  @property
  def results(self) -> str:
    """The file that tells of all parts in the end."""
    return f"{self.scratch}/results"

  def read(self, part: Part, tally: Tally | None = None) -> Iterator[str]:
    """Reads the documents of a part."""
    documents = read_part(
        part, options=self.options, open_file=open_file, tally=tally
    )
    return self.row_options.split.divide(documents)


class Job(NamedTuple):
  """What is to be made of a part.

  Attributes:
    part: the part.
    kept: [documents] indices of those that are kept; all if None.
    open_chunk: the chunk that is open where it begins.
  """

  part: Part
  kept: np.ndarray | None
  open_chunk: OpenChunk


class PartResult(NamedTuple):
  """What became of a part.

  Attributes:
    number: of the part.
    attempt: what the names of its files begin with in the scratch folder, as
      a part may be done twice.
    splits: by name.
    tokens_read: see `Manifest`, as are those that follow.
    tokens_kept: tokens that stand in rows.
    lost: what tokenizing lost.
    duplicates_dropped: documents.
    passed_over: what held no text.
    mistake: what a `UserError` says that has ended the work on it, or None. It
      is no exception: runners would try again, and wrap it in many words.
  """

  number: int
  attempt: str = ""
  splits: Mapping[str, SplitManifest] = {}
  tokens_read: int = 0
  tokens_kept: int = 0
  lost: LostText = LostText()
  duplicates_dropped: int = 0
  passed_over: Mapping[str, int] = {}
  mistake: str | None = None


def add_stages(
    pipeline: beam.Pipeline, parts: list[Part], settings: Settings
) -> None:
  """Adds all that is done with some parts to a pipeline.

  Args:
    pipeline: where to.
    parts: the sources.
    settings: how.
  """
  numbered = (
      pipeline
      | "List parts" >> beam.Create(list(enumerate(parts)))
      | "Spread parts" >> beam.Reshuffle()
  )
  is_full = settings.row_options.packing == "full"
  if settings.deduplicate or is_full:
    results = _with_survey(numbered, len(parts), settings, is_full=is_full)
  else:
    results = numbered | "Write rows" >> beam.MapTuple(
        lambda number, part: write_part(
            number, Job(part, None, OpenChunk(number, 0)), [], settings
        )
    )
  counts = (
      results
      | "Counts" >> beam.Map(lambda result: result[1])
      | "Sum counts" >> beam.CombineGlobally(_sum_arrays)
  )
  of_parts = results | "Results" >> beam.Map(lambda result: result[0])
  _ = counts | "Tell" >> beam.Map(
      _save_results, beam.pvalue.AsList(of_parts), settings.results
  )


def read_results(settings: Settings) -> tuple[list[PartResult], np.ndarray]:
  """Reads what a pipeline has told: of all parts in order, and [V] counts.

  Raises:
    UserError: that of the first part that has one.
  """
  with open_file(settings.results) as file:
    told = json.load(file)
  results = [_result_from_json(result) for result in told["results"]]
  counts = np.array(told["counts"], np.int64)
  for result in results:
    if result.mistake is not None:
      raise UserError(result.mistake)
  return results, counts


def _with_survey(
    numbered: beam.PCollection,
    num_parts: int,
    settings: Settings,
    *,
    is_full: bool,
) -> beam.PCollection:
  """Adds the stages that look at all documents before rows are built."""
  limit = settings.chunk_characters
  documents = numbered | "Survey" >> beam.FlatMapTuple(
      lambda number, part: _survey(number, part, settings)
  )
  if settings.deduplicate:
    documents |= "First of equals" >> beam.CombinePerKey(min)
  places = (
      documents
      | "By part"
      >> beam.MapTuple(lambda _, place: (place[0], (place[1], place[2])))
      | "Group by part" >> beam.GroupByKey()
      | "In order"
      >> beam.MapTuple(
          lambda number, some: (number, np.array(sorted(some), np.int64))
      )
  )
  about = {"part": numbered, "places": places}
  if is_full:
    about["open_chunk"] = (
        places
        | "Passages"
        >> beam.MapTuple(
            lambda number, some: (number, find_passage(some[:, 1], limit))
        )
        | "All passages" >> beam.combiners.ToList()
        | "Open chunks" >> beam.FlatMap(_join_passages, num_parts, limit)
    )
  jobs = (
      about | "Join" >> beam.CoGroupByKey() | "Jobs" >> beam.MapTuple(_make_job)
  )
  ends = jobs | "Ends of chunks" >> beam.FlatMapTuple(
      lambda number, job: _read_end(number, job, settings)
  )
  return (
      {"job": jobs, "ends": ends}
      | "Join ends" >> beam.CoGroupByKey()
      | "Write rows"
      >> beam.MapTuple(
          lambda number, joined: write_part(
              number, *joined["job"], joined["ends"], settings
          )
      )
  )


def _survey(
    number: int, part: Part, settings: Settings
) -> Iterator[tuple[bytes, tuple[int, int, int]]]:
  """Yields the hash of each document, its place and its characters."""
  with contextlib.suppress(UserError):  # `write_part` meets it again.
    for index, document in enumerate(settings.read(part)):
      yield document_digest(document), (number, index, len(document))


def _join_passages(
    passages: list, num_parts: int, limit: int
) -> Iterator[tuple[int, OpenChunk]]:
  passages = dict(passages)
  nothing = find_passage(np.zeros(0, np.int64), limit)
  joined = join_passages(
      [passages.get(number, nothing) for number in range(num_parts)], limit
  )
  return enumerate(joined)


def _make_job(number: int, about: dict[str, Any]) -> tuple[int, Job]:
  [part] = about["part"]
  [places] = list(about["places"]) or [np.zeros((0, 2), np.int64)]
  [open_chunk] = list(about.get("open_chunk", ())) or [OpenChunk(number, 0)]
  return number, Job(part, places[:, 0], open_chunk)


def _read_end(
    number: int, job: Job, settings: Settings
) -> Iterator[tuple[int, tuple[int, list[str]]]]:
  """Yields the documents that belong to a chunk of an earlier part."""
  if job.open_chunk.size:
    documents = _kept_documents(job, settings, collections.Counter())
    size, limit = job.open_chunk.size, settings.chunk_characters
    with contextlib.suppress(UserError):
      yield job.open_chunk.part, (number, take_rest(documents, size, limit))


def write_part(
    number: int,
    job: Job,
    ends: Iterable[tuple[int, list[str]]],
    settings: Settings,
) -> tuple[PartResult, np.ndarray]:
  """Builds the rows of a part and writes them to the scratch folder.

  Args:
    number: of the part.
    job: what is to be done.
    ends: documents of later parts that end this one's last chunk.
    settings: how.

  Returns:
    What became of it, and [V] how often each id occurs in its train rows.
  """
  try:
    return _write_part(number, job, ends, settings)
  except UserError as error:
    nothing = np.zeros(settings.row_options.tokenizer.vocab_size, np.int64)
    return PartResult(number, mistake=str(error)), nothing


def _write_part(
    number: int,
    job: Job,
    ends: Iterable[tuple[int, list[str]]],
    settings: Settings,
) -> tuple[PartResult, np.ndarray]:
  row_options, limit = settings.row_options, settings.chunk_characters
  vocab_size = row_options.tokenizer.vocab_size
  dropped, tally = collections.Counter(), Tally()
  documents = _kept_documents(job, settings, dropped, tally)
  take_rest(documents, job.open_chunk.size, limit)  # It is an earlier part's.
  later = (text for _, texts in sorted(ends) for text in texts)
  chunks = cut_chunks(itertools.chain(documents, later), limit)
  attempt = uuid.uuid4().hex
  with (
      full_disk_explained(settings.scratch),
      tempfile.TemporaryDirectory() as name,
  ):
    folder = pathlib.Path(name)
    writers = {
        split: SplitWriter(
            folder, f"{split}-{number:05d}", row_options.length, vocab_size
        )
        for split in SPLITS
    }

    def add(split: str, rows: np.ndarray, **counts: int) -> None:
      writers[split].add(rows, **counts)

    built = (build_rows(chunk, row_options) for chunk in chunks)
    totals = write_rows(built, add, vocab_size)
    splits = {split: writer.finish() for split, writer in writers.items()}
    for path in folder.iterdir():
      copy_file(path, f"{settings.scratch}/{attempt}-{path.name}")
  counts = totals.pop("unigram_counts")
  result = PartResult(
      number,
      attempt,
      splits,
      duplicates_dropped=dropped["duplicates"],
      passed_over=tally.passed_over(bad_files=0),
      **totals,
  )
  _count(result)
  return result, counts


def _kept_documents(
    job: Job,
    settings: Settings,
    dropped: collections.Counter,
    tally: Tally | None = None,
) -> Iterator[str]:
  """Reads a part's documents but for duplicates, and counts these."""
  kept = None if job.kept is None else set(job.kept.tolist())
  for index, document in enumerate(settings.read(job.part, tally)):
    if kept is None or index in kept:
      yield document
    else:
      dropped["duplicates"] += 1


def _count(result: PartResult) -> None:
  """Shows on the runner's page how far it is; the store needs none of it."""
  splits = result.splits.values()
  shards = [shard for split in splits for shard in split.shards]
  for name, number in {
      "documents": sum(split.num_documents for split in splits),
      "duplicates_dropped": result.duplicates_dropped,
      "tokens_read": result.tokens_read,
      "tokens_kept": result.tokens_kept,
      "rows": sum(split.num_rows for split in splits),
      "bytes": sum(shard.size_bytes for shard in shards),
  }.items():
    beam.metrics.Metrics.counter(COUNTERS, name).inc(number)


def _sum_arrays(arrays: Iterable[np.ndarray]) -> np.ndarray:
  return sum(arrays)


def _save_results(
    counts: np.ndarray, results: list[PartResult], path: str
) -> None:
  """Writes JSON, as nothing that lies on a disk is unpickled."""
  ordered = sorted(results, key=lambda result: result.number)
  told = {
      "results": [_result_to_json(result) for result in ordered],
      "counts": counts.tolist(),
  }
  with create_file(path) as file:
    file.write(json.dumps(told).encode())


def _result_to_json(result: PartResult) -> dict[str, Any]:
  splits = {
      name: dataclasses.asdict(written)
      for name, written in result.splits.items()
  }
  return {**result._asdict(), "splits": splits}


def _result_from_json(told: Mapping[str, Any]) -> PartResult:
  splits = {}
  for name, written in told["splits"].items():
    shards = tuple(Shard(**shard) for shard in written["shards"])
    splits[name] = SplitManifest(**{**written, "shards": shards})
  return PartResult(**{**told, "splits": splits})
