"""The verb `embed` on the command line: its arguments, and the call."""

import argparse
from collections.abc import Sequence
from typing import Any

from electra_jax.cli.shared_arguments import add_compilation_cache


def add_embed(verb: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  verb.add_argument(
      "workdir",
      metavar="RUN",
      help="folder of the run, or tiny-en, which comes with the package",
  )
  verb.add_argument(
      "--input",
      metavar="FILE",
      help="a text on each line, or .jsonl, .csv, .tsv, .parquet; standard"
      " input if unset",
  )
  verb.add_argument(
      "--output",
      required=True,
      metavar="FILE",
      help=".npy: an array with a row for each text; .jsonl, .parquet: the texts"
      " as well",
  )
  verb.add_argument(
      "--field",
      default="text",
      help="of .jsonl, .csv, .tsv, .parquet: what holds the text (%(default)s)",
  )
  add_vector_flags(verb)
  verb.add_argument(
      "--windows",
      choices=("mean", "max", "first"),
      help="of a text that is longer than a row of the run: the mean (default)"
      " or max over the vectors of all its parts, or the first part's",
  )
  verb.add_argument(
      "--seed", type=int, help="finetune: whose model (the best one's)"
  )
  add_compilation_cache(verb)


def add_vector_flags(verb: argparse.ArgumentParser) -> None:
  """Adds what says how a text becomes a vector."""
  verb.add_argument(
      "--layer",
      type=int,
      metavar="N",
      help="whose states: 0 is what the first layer reads, -1 the last one's; by"
      " default what the run was trained for, else -1",
  )
  verb.add_argument(
      "--pooling",
      choices=("mean", "cls", "max"),
      help="of the states of a text's tokens; cls: the first one's; by default"
      " what the run was trained for (autoencode: z), else mean",
  )
  verb.add_argument(
      "--dimensions",
      type=int,
      metavar="N",
      help="keep the first N numbers of each vector (all)",
  )
  verb.add_argument(
      "--raw", action="store_true", help="do not scale vectors to length 1"
  )


def vector_options(args: argparse.Namespace) -> dict[str, Any]:
  """Returns what those flags say; None for what was not given."""
  return {
      "layer": args.layer,
      "pooling": args.pooling,
      "dimensions": args.dimensions,
      "normalized": False if args.raw else None,
  }


def run_embed(args: argparse.Namespace, rest: Sequence[str]) -> int:
  """Embeds as the arguments say, tells what was written, returns a status."""
  del rest
  from electra_jax.devices import compilation_cache
  from electra_jax.embedding.embed import embed
  from electra_jax.progress import Progress

  compilation_cache.enable(args.compilation_cache)
  with Progress().stage("embedding"):
    done = embed(
        args.workdir,
        args.input,
        args.output,
        field=args.field,
        seed=args.seed,
        windows=args.windows,
        **vector_options(args),
    )
  print(f"{args.output}: {done.count:,} vectors of {done.dimensions} numbers")
  return 0
