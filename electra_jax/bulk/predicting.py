"""The verb `predict` on files of any number of lines."""

import collections
import concurrent.futures
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from electra_jax.bulk.answers import (
    Answers,
    PretrainedAnswers,
    TaskAnswers,
)
from electra_jax.bulk.lines import (
    WINDOW_CHARACTERS,
    WINDOW_LINES,
    Digest,
    Line,
    Lines,
    skipped,
    windows,
)
from electra_jax.bulk.output import Output, check_free, is_begun, open_output
from electra_jax.errors import UserError
from electra_jax.files import to_json
from electra_jax.progress import Progress, Unit, describe_secs
from electra_jax.runs import workdir as workdirs

_LINES = Unit("line")


class Predicted(NamedTuple):
  """What was done.

  Attributes:
    lines: of the input that are not blank.
    answers: to them; the others are bad, and have an error instead.
    resumed: how many of the lines an earlier process had done.
    secs: of this process, from the first line on; compilation included.
  """

  lines: int
  answers: int
  resumed: int
  secs: float

  @property
  def lines_per_sec(self) -> float:
    """Lines that this process answered, by its time."""
    return (self.lines - self.resumed) / max(self.secs, 1e-9)


class _Window(NamedTuple):
  """Some lines, ready for the devices.

  Attributes:
    lines: as read.
    problems: for each line what is wrong with it, "" if nothing.
    asked: of the lines without a problem.
    prepared: of `Answers.prepare`, None where nothing is asked.
    count: lines read up to here.
    digest: of them.
  """

  lines: list[Line]
  problems: list[str]
  asked: list[Any]
  prepared: Any
  count: int
  digest: str


def predict(
    workdir: epath.PathLike,
    files: str | os.PathLike | Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    task: str | None = None,
    seed: int | None = None,
    question: str | None = None,
    pseudo_log_likelihood: bool = False,
    field: str | None = None,
    skip_bad_lines: bool = False,
    progress: Progress | None = None,
) -> Predicted:
  """Answers every line of files, however many, into one file of JSON lines.

      predict("reviews", "texts.txt", "answers.jsonl")

  Memory does not grow with the number of lines, and the same call goes on
  where a killed one has stopped. For a few texts use `open_run`.

  Args:
    workdir: of a pretrain or finetune run, or "tiny-en".
    files: of text, one on each line, JSON lines, CSV or parquet; standard input
      if empty.
    output: the file; it appears when it is complete.
    task: finetune: of a model that has learned several.
    seed: finetune: whose model, or None for the best.
    question: finetune: asked of every line.
    pseudo_log_likelihood: pretrain: how likely each text is, in place of which
      tokens were replaced.
    field: the column or key that holds the text.
    skip_bad_lines: whether a line that cannot be read has an error in place of
      an answer, and does not end it all.
    progress: shows how far it is; None shows nothing.

  Returns:
    How many lines were answered, and how quickly.

  Raises:
    UserError: a line cannot be read, the output exists, or an unfinished one
      was asked something else.
  """
  if isinstance(files, str | os.PathLike):
    files = [files]
  progress = Progress(quiet=True) if progress is None else progress
  check_free(output)
  lines = Lines(files, field)
  answers = _open_answers(
      workdir, task, seed, question, field, pseudo_log_likelihood
  )
  total, digest = None, ""
  if lines.is_rereadable:
    with progress.stage("looking at the lines"):
      may_skip = skip_bad_lines or is_begun(output)
      total, digest = _look_at(lines, answers, check=not may_skip)
  asked = {
      "input": digest,
      "model": answers.depends_on,
      "--task": task or "",
      "--question": question or "",
      "--field": field or "",
      "--pseudo-log-likelihood": str(pseudo_log_likelihood),
      "--skip-bad-lines": str(skip_bad_lines),
      "size of windows": f"{WINDOW_LINES}, {WINDOW_CHARACTERS}",
  }
  with open_output(output, asked) as opened:
    resumed, began = opened.progress.lines, time.monotonic()
    with progress.counting(total, resumed, name="predicting", unit=_LINES):
      _answer_all(lines, answers, opened, skip_bad_lines, progress)
    if not opened.progress.lines:
      raise UserError("there is no text to predict on; give some")
    opened.publish()
    done = opened.progress
  found = Predicted(done.lines, done.answers, resumed, time.monotonic() - began)
  progress.tell(_summary(os.fspath(output), found))
  return found


def _open_answers(
    workdir, task, seed, question, field, pseudo_log_likelihood
) -> Answers:
  run = workdirs.load(workdir)
  if run.kind is workdirs.FINETUNING:
    workdirs.check_not_given(run, pseudo_log_likelihood=pseudo_log_likelihood)
    return TaskAnswers(
        workdir, run, task=task, seed=seed, question=question, field=field
    )
  workdirs.check_not_given(run, task=task, question=question, seed=seed)
  return PretrainedAnswers(
      workdir, run, likelihoods=pseudo_log_likelihood, field=field
  )


def _look_at(lines: Lines, answers: Answers, *, check: bool) -> tuple[int, str]:
  """Returns the number of lines and their digest, before any is answered.

  Raises:
    UserError: some lines cannot be read, if that is checked.
  """
  digest, first, bad = lines.digest(), "", 0
  for line in lines:
    digest.add(line)
    if check:
      try:
        answers.read(line)
      except UserError as error:
        bad += 1
        first = first or str(error)
  if bad:
    more = f" ({bad:,} of {digest.count:,} lines are bad)" if bad > 1 else ""
    raise UserError(
        f"{first}{more}; or leave bad lines out by --skip-bad-lines"
    )
  return digest.count, digest.value()


def _answer_all(
    lines: Lines,
    answers: Answers,
    output: Output,
    skip_bad_lines: bool,
    progress: Progress,
) -> None:
  """Answers what is left of the lines, window by window.

  While the devices compute a window, one thread reads and tokenizes the next,
  and another writes the one before.
  """
  read, digest = iter(lines), lines.digest()
  done = output.progress.lines
  skipped(read, digest, done)
  if done and digest.value() != output.progress.input_digest:
    raise UserError(
        f"{lines.files[0]} is not what {output.path} was begun with; give the"
        " same again, or choose another --output"
    )
  ready = _prepared(windows(read), answers, digest, skip_bad_lines)
  name_files, began = len(lines.files) > 1, time.monotonic()
  resumed = done

  def on_share(share: float, start: int, size: int) -> None:
    count = start + int(share * size)
    rate = (count - resumed) / max(time.monotonic() - began, 1e-9)
    progress.update(count, f"{rate:,.0f} texts/s")

  with (
      concurrent.futures.ThreadPoolExecutor(1) as reader,
      concurrent.futures.ThreadPoolExecutor(1) as writer,
  ):
    writing: collections.deque[concurrent.futures.Future] = collections.deque()
    ahead = reader.submit(next, ready, None)
    while (window := ahead.result()) is not None:
      ahead = reader.submit(next, ready, None)
      start, size = done, len(window.lines)
      computed = None
      if window.asked:
        computed = answers.compute(
            window.prepared,
            lambda share, start=start, size=size: on_share(share, start, size),
        )
      done = window.count
      while writing:
        writing.popleft().result()
      writing.append(
          writer.submit(_write, output, answers, window, computed, name_files)
      )
      if not window.asked:
        on_share(1.0, start, size)
    while writing:
      writing.popleft().result()


def _prepared(
    parts: Iterator[list[Line]],
    answers: Answers,
    digest: Digest,
    skip_bad_lines: bool,
) -> Iterator[_Window]:
  """Yields windows; ends with the first bad line, unless such are skipped."""
  for lines in parts:
    problems, asked = [], []
    for line in lines:
      digest.add(line)
      problem = ""
      try:
        asked.append(answers.read(line))
      except UserError as error:
        if not skip_bad_lines:
          raise
        problem = str(error)
      problems.append(problem)
    prepared = answers.prepare(asked) if asked else None
    yield _Window(
        lines, problems, asked, prepared, digest.count, digest.value()
    )


def _write(
    output: Output,
    answers: Answers,
    window: _Window,
    computed: Any,
    name_files: bool,
) -> None:
  records: Iterator[Mapping[str, Any]] = iter(())
  if window.asked:
    records = iter(answers.records(window.asked, window.prepared, computed))
  written = []
  for line, problem in zip(window.lines, window.problems, strict=True):
    place = {"index": line.index}
    if name_files:
      place = {"file": line.file, **place}
    found = {"error": problem} if problem else next(records)
    written.append(to_json({**place, **found}, ensure_ascii=False) + "\n")
  output.append(written, len(window.asked), window.count, window.digest)


def _summary(path: str, found: Predicted) -> str:
  bad = found.lines - found.answers
  parts = [f"{path}: {found.answers:,} answers"]
  if bad:
    parts.append(f"{bad:,} lines with an error instead")
  if found.resumed:
    parts.append(f"{found.resumed:,} of the lines done before")
  told = f"{describe_secs(found.secs)}, {found.lines_per_sec:,.0f} texts/s"
  return f"{', '.join(parts)}; {told}"
