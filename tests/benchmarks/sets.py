"""Labelled sets on disk: what scripts are told of them, and learn from them."""

import argparse
import pathlib
import random
import sys
from collections.abc import Mapping
from typing import Any

import electra_jax


def make_parser(doc: str | None) -> argparse.ArgumentParser:
  """Returns a parser of RUN FOLDER OUT [NAME ...] [--size SIZE]."""
  parser = argparse.ArgumentParser(description=doc)
  parser.add_argument("run")
  parser.add_argument("folder")
  parser.add_argument("out")
  parser.add_argument("names", nargs="*")
  parser.add_argument("--size", default="tiny", help="of configs/finetune.py")
  return parser


def names_of(args: argparse.Namespace) -> list[str]:
  """Returns the sets that are named, or all that the folder holds."""
  folder = pathlib.Path(args.folder)
  return args.names or sorted(x.name for x in folder.iterdir() if x.is_dir())


def write_few_texts(
    source: pathlib.Path, folder: pathlib.Path, counts: Mapping[str, int]
) -> None:
  """Writes tables of a set's first shuffled texts, and its whole dev.tsv.

  Args:
    source: folder of the set: train.tsv and dev.tsv, titles first.
    folder: is made.
    counts: name of each table -> its number of texts; a smaller one lies within
      a larger one.
  """
  folder.mkdir(parents=True, exist_ok=True)
  title, *rows = (source / "train.tsv").read_text().splitlines()
  random.Random(0).shuffle(rows)
  for name, count in counts.items():
    text = "\n".join([title, *rows[:count]])
    (folder / f"{name}.tsv").write_text(f"{text}\n")
  (folder / "dev.tsv").write_text((source / "dev.tsv").read_text())


def learn(
    config: Any, workdir: pathlib.Path, overrides: Mapping[str, Any] = {}
) -> dict[str, Any]:
  """Fine-tunes with all seeds, unless that is done already.

  A signal that stops the run stops the script.

  Args:
    config: as of `electra_jax.finetune`.
    workdir: of the run.
    overrides: as of `electra_jax.finetune`.

  Returns:
    The summary of the seeds.
  """
  done = electra_jax.finetune(config, workdir, overrides=overrides, quiet=True)
  if done.stopped_by is not None:
    sys.exit(128 + done.stopped_by)
  return done.summary
