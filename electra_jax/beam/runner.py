"""Runs a pipeline with options of the user; every mistake in one sentence."""

import contextlib
import difflib
import io
import logging
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.runner import PipelineState

from electra_jax.errors import UserError

# Runners that hand options on to a server, which knows more of them.
_SERVED = ("flink", "spark", "portable")


def open_pipeline(flags: Sequence[str]) -> beam.Pipeline:
  """Makes an empty pipeline.

  Args:
    flags: Beam's pipeline options, "--name=value" each.

  Raises:
    UserError: an option or the runner is unknown, or does not go.
  """
  shown = " ".join(flags)
  try:
    with contextlib.redirect_stderr(io.StringIO()) as said:
      options = PipelineOptions(list(flags))
      _check_names(options)
    return beam.Pipeline(options=options)
  except SystemExit as error:  # What argparse does.
    reason = said.getvalue().strip().rpartition("error: ")[2]
    raise UserError(f"Beam options {shown!r}: {reason}") from error
  except (ValueError, ImportError, AttributeError) as error:
    reason = " ".join(str(error).split())
    raise UserError(f"Beam options {shown!r}: {reason}") from error


def is_dataflow(pipeline: beam.Pipeline) -> bool:
  """Says whether the workers are Google's, far from this machine's disk."""
  return type(pipeline.runner).__name__ == "DataflowRunner"


def run(pipeline: beam.Pipeline, *, progress: bool) -> None:
  """Runs a pipeline to its end; an interrupt cancels it.

  Args:
    pipeline: with all its stages.
    progress: lets Dataflow tell of the job and its page.

  Raises:
    UserError: the pipeline has not ended well.
  """
  if is_dataflow(pipeline):
    level = logging.INFO if progress else logging.WARNING
    logging.getLogger("apache_beam.runners.dataflow").setLevel(level)
  elif not _is_served(pipeline.options):
    # Workers on this machine write to the same standard error.
    workers = pipeline.options.view_as(WorkerOptions)
    if workers.default_sdk_harness_log_level is None:
      workers.default_sdk_harness_log_level = "ERROR"
  result = pipeline.run()
  try:
    state = result.wait_until_finish()
  except BaseException:
    with contextlib.suppress(Exception):
      result.cancel()
    raise
  if state != PipelineState.DONE:
    raise UserError(
        f"the pipeline has ended in state {state}; look for the reason in the"
        " log of its runner"
    )


def _is_served(options: PipelineOptions) -> bool:
  runner = (options.view_as(StandardOptions).runner or "").lower()
  return any(name in runner for name in _SERVED)


def _check_names(options: PipelineOptions) -> None:
  if _is_served(options):
    return
  known = PipelineOptions([]).get_all_options()
  given = options.get_all_options(retain_unknown_options=True)
  for name in given.keys() - known.keys():
    near = difflib.get_close_matches(name, known, 1)
    raise ValueError(
        f"there is no --{name}" + (f"; --{near[0]} is near" if near else "")
    )
