"""What a user gives to `predict`: texts, typed or in lines, and flags."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from electra_jax.errors import UserError
from electra_jax.text.streams import find_mark


def read_typed(
    texts: Sequence[str], file: str | None, flag: str = "--file"
) -> list[str]:
  """Returns what was typed, blank lines among it.

  Args:
    texts: of the command line; where there are none, lines are read.
    file: where they stand, or None for standard input.
    flag: what names the file.

  Raises:
    UserError: both are given, the file cannot be read, or it is neither
      UTF-8 nor what its byte order mark tells.
  """
  if texts and file:
    raise UserError(
        f"{flag} {file} and {len(texts)} text"
        f"{'s' if len(texts) > 1 else ''} on the command line are given; leave"
        " one of them out"
    )
  for number, text in enumerate(texts):
    if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
      raise UserError(
          f"text {number} of the command line is not UTF-8; convert it, or give"
          " it by --file"
      )
  if texts:
    return list(texts)
  data, place = _read(file, flag)
  _, encoding = find_mark(data[:4])
  try:
    # The codec of UTF-16 takes its mark away, that of UTF-8 does not.
    is_utf8 = encoding in ("", "utf-8")
    text = data.decode("utf-8-sig" if is_utf8 else encoding)
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise UserError(
        f"{place}:{line} is not {(encoding or 'utf-8').upper()}; convert it,"
        " for example with iconv"
    ) from error
  return [line.removesuffix("\r") for line in text.split("\n")]


def by_index(lines: Sequence[str]) -> dict[int, str]:
  """Returns the lines that are not blank by their number, from 0."""
  return {i: line for i, line in enumerate(lines) if line.strip()}


def check_predict(args: argparse.Namespace, is_pretraining: bool) -> None:
  """Raises a UserError for flags of `predict` that do not go together."""
  scores = args.pseudo_log_likelihood
  _check_output(args)
  _check_latent(args)
  if args.sort and not scores:
    raise UserError("--sort needs --pseudo-log-likelihood beside it")
  if scores and (args.corrupt or args.held_out):
    other = "--corrupt" if args.corrupt else f"--held-out {args.held_out}"
    raise UserError(
        f"--pseudo-log-likelihood and {other} do not go together; leave one of"
        " them out"
    )
  if args.held_out is not None and args.held_out < 1:
    raise UserError(f"--held-out is {args.held_out}; it must be at least 1")
  if args.held_out and (args.text or args.file):
    raise UserError(
        f"--held-out {args.held_out} takes its texts from the run's store;"
        " leave the texts out"
    )
  if (
      is_pretraining
      and args.seed is not None
      and (not args.corrupt and not args.held_out)
  ):
    raise UserError(
        f"--seed {args.seed} has no meaning without --corrupt or --held-out;"
        " leave it out"
    )


def _check_output(args: argparse.Namespace) -> None:
  if args.output is None:
    for flag, given in (
        ("--skip-bad-lines", args.skip_bad_lines),
        (f"--field {args.field}", args.field is not None),
        ("--quiet", args.quiet),
    ):
      if given:
        raise UserError(f"{flag} needs --output beside it")
    if len(args.file) > 1:
      raise UserError(
          f"--file names {len(args.file)} files; give --output beside them for"
          " the answers, or one file"
      )
    return
  for flag, given in (
      ("texts on the command line", args.text),
      (f"--held-out {args.held_out}", args.held_out is not None),
      ("--corrupt", args.corrupt),
      ("--sort", args.sort),
      (f"--interpolate {args.interpolate}", args.interpolate is not None),
      (f"--from-prior {args.from_prior}", args.from_prior is not None),
  ):
    if given:
      raise UserError(
          f"--output {args.output} and {flag} do not go together; leave one of"
          " them out"
      )


def _check_latent(args: argparse.Namespace) -> None:
  for flag, given in (
      (f"--interpolate {args.interpolate}", args.interpolate is not None),
      (f"--from-prior {args.from_prior}", args.from_prior is not None),
  ):
    if given and args.question is not None:
      raise UserError(
          f"{flag} and --question {args.question!r} do not go together; leave"
          " one of them out"
      )
  if args.from_prior is None:
    return
  for flag, given in (
      ("texts", args.text or args.file),
      (f"--interpolate {args.interpolate}", args.interpolate is not None),
  ):
    if given:
      raise UserError(
          f"--from-prior {args.from_prior} writes from draws, and {flag} are"
          " given; leave one of them out"
      )


def _read(file: str | None, flag: str) -> tuple[bytes, str]:
  if not file:
    return sys.stdin.buffer.read(), "standard input"
  try:
    return pathlib.Path(file).read_bytes(), file
  except OSError as error:
    raise UserError(
        f"cannot read {flag} {file}: {error.strerror}; give a file with a text"
        " on each line"
    ) from error
