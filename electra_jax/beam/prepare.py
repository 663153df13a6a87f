"""`prepare` for text beyond one machine: an Apache Beam pipeline.

Needs the extra `beam`. Any of Beam's runners will do: DirectRunner here,
Dataflow, Flink or Spark by their options.
"""

import logging
import os
import types
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from electra_jax.beam.spans import Part, TfdsSpan, divide, read_part
from electra_jax.errors import UserError
from electra_jax.files import is_remote
from electra_jax.preprocessing import prepare
from electra_jax.preprocessing.held_out import choose_split
from electra_jax.preprocessing.progress import Reporter
from electra_jax.preprocessing.rows import Recipe
from electra_jax.store.manifest import Manifest
from electra_jax.store.writer import check_output
from electra_jax.text.formats import ReadOptions
from electra_jax.text.movie_reviews import MOVIE_REVIEWS
from electra_jax.text.sources import Fields
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer


def prepare_beam(
    sources: str | Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    tokenizer: str | os.PathLike | Tokenizer,
    flags: Sequence[str] = ("--runner=DirectRunner",),
    lowercase: bool = True,
    strip_accents: bool = True,
    allow_long_words: bool = False,
    length: int = 128,
    packing: str = "released",
    deduplicate: bool = False,
    validation_percent: float = 0.5,
    seed: int = 0,
    field: Fields = "text",
    document_per: str = "blank-line",
    encoding: str = "utf-8",
    overwrite: bool = False,
    progress: bool = True,
) -> Manifest:
  """Turns text into a token store on many machines.

  The store has the rows of `prepare.prepare`, in another order and in more
  files; it is read in the same way. Its bytes follow from the sources and the
  arguments, not from the runner or the number of workers. The sources are cut
  into parts of up to 128 MB that are read apart; files with .gz at their end
  and `movie-reviews` are not cut. The store appears when all is done.

    prepare_beam(
        ["gs://BUCKET/text"], "gs://BUCKET/store", tokenizer="vocab.txt",
        flags=["--runner=DataflowRunner", "--project=PROJECT",
               "--region=us-central1", "--temp_location=gs://BUCKET/tmp",
               "--setup_file=./setup.py"],
    )

  Args:
    sources: as for `prepare`, and URLs such as gs://BUCKET/text, gs://B/**.txt;
      all workers must see them.
    output: a folder or a URL, which all workers must see.
    tokenizer: as for `prepare`. A vocabulary is trained beforehand on some of
      the text, by `prepare` with `train_vocab`; the folder of that store may
      then be given here.
    flags: Beam's pipeline options, "--name=value" each.
    lowercase: as for `prepare`, as are all that follow. With full packing the
      rows of tfds sources of several files differ, as these are read in another
      order.
    strip_accents: drops accents.
    allow_long_words: where much text is in words too long for WordPiece.
    length: tokens of a row.
    packing: "released" or "full"; the latter reads the text twice.
    deduplicate: drops equal documents; reads the text twice.
    validation_percent: held-out share of the documents.
    seed: of segment choice and target lengths.
    field: key or column of the text.
    document_per: what ends a document of a text file.
    encoding: of text without a byte order mark.
    overwrite: replaces a store that is already there.
    progress: shows a summary on standard error, and what the runner tells.

  Returns:
    The manifest of the store.

  Raises:
    UserError: an argument, an option, a source or the vocabulary is at fault,
      the output exists, or the pipeline has failed.
  """
  beam = _import_beam()
  sources = [sources] if isinstance(sources, str) else sources
  sources = [os.fspath(source) for source in sources]
  output = os.fspath(output).rstrip("/")
  prepare.check_arguments(tokenizer, None, length, packing, validation_percent)
  pipeline = beam.runner.open_pipeline(flags)
  check = beam.files.check_url if is_remote(output) else check_output
  check(output, overwrite=overwrite)
  options = ReadOptions(document_per, encoding)
  reporter = Reporter(is_shown=progress)
  parts = _list_parts(beam, sources, field, options, reporter)
  if beam.runner.is_dataflow(pipeline):
    _check_reachable(parts, output)
  if not isinstance(tokenizer, Tokenizer):
    tokenizer = load_tokenizer(
        tokenizer, lowercase=lowercase, strip_accents=strip_accents
    )
  split = choose_split(_read(beam, parts, options), validation_percent)
  recipe = Recipe(tokenizer, length, packing, seed, split)
  writer = beam.output.Output(output, recipe, overwrite=overwrite)
  with prepare.full_disk_explained(output), writer:
    settings = beam.pipeline.Settings(
        recipe,
        options,
        deduplicate,
        prepare.CHUNK_CHARACTERS,
        writer.scratch,
    )
    beam.pipeline.add_stages(pipeline, parts, settings)
    beam.runner.run(pipeline, progress=progress)
    results, counts = beam.pipeline.read_results(settings)
    prepare.check_text(counts, validation_percent)
    manifest = writer.finish(
        results,
        counts,
        sources=tuple(map(prepare.source_name, sources)),
        deduplicate=deduplicate,
        allow_long_words=allow_long_words,
    )
  reporter.summarize(manifest, counts, output)
  return manifest


def prepare_by_command(
    flags: Sequence[str],
    *,
    train_vocab: int | None,
    tokenizer_kind: str,
    num_workers: int | None,
    character_coverage: float | None,
    alphabet_limit: int | None,
    skip_bad_files: bool,
    **arguments: Any,
) -> Manifest:
  """Calls `prepare_beam` with what the command line says.

  Args:
    flags: Beam's pipeline options.
    train_vocab: is refused.
    tokenizer_kind: of `train_vocab`.
    num_workers: is refused.
    character_coverage: of `train_vocab`.
    alphabet_limit: of `train_vocab`.
    skip_bad_files: is refused.
    **arguments: of `prepare_beam`.

  Raises:
    UserError: see `prepare_beam`; or something was asked for that only one
      machine does.
  """
  if train_vocab is not None:
    raise UserError(
        f"--train-vocab {train_vocab} does not run on Beam; train on some of"
        " the text first, electra-jax prepare SAMPLE --output SAMPLE_STORE"
        f" --train-vocab {train_vocab} --tokenizer-kind {tokenizer_kind}, and"
        " give --tokenizer SAMPLE_STORE here"
    )
  if (character_coverage, alphabet_limit) != (None, None):
    raise UserError(
        "--character-coverage and --alphabet-limit are of a vocabulary that is"
        " trained, which does not run on Beam; leave them out"
    )
  if num_workers is not None:
    raise UserError(
        f"--workers {num_workers} is of one machine; name workers by the"
        f" runner's own option, such as --beam.direct_num_workers={num_workers}"
        f" or --beam.max_num_workers={num_workers}"
    )
  if skip_bad_files:
    raise UserError(
        "--skip-bad-files does not run on Beam, where a file is read in parts;"
        " mend the files, or leave them out of the sources"
    )
  return prepare_beam(flags=flags, **arguments)


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
