"""The verb `export` on the command line: its arguments, and the call."""

import argparse
from collections.abc import Sequence

from electra_jax import api
from electra_jax.cli.embedding import add_vector_flags, vector_options
from electra_jax.cli.typed import read_typed
from electra_jax.errors import UserError


def add_export(verb: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  verb.add_argument("workdir", metavar="RUN", help="folder of the run")
  verb.add_argument("output", metavar="OUTPUT", help="folder to be made")
  verb.add_argument(
      "--to", required=True, choices=("onnx", "litert", "stablehlo", "web")
  )
  verb.add_argument(
      "--int8",
      action="store_true",
      help="write a file with int8 weights beside the float32 one",
  )
  verb.add_argument(
      "--int4",
      action="store_true",
      help="litert: one with int4 weights, for a run that was trained with"
      " --config.model.quantization=int4",
  )
  verb.add_argument(
      "--lengths",
      metavar="N,N",
      help="litert: tokens of the rows that it takes; the longest that the run"
      " was trained on if unset",
  )
  verb.add_argument(
      "--network",
      choices=("discriminator", "generator", "embedder"),
      help="pretrain: which one; the discriminator, where there is one, if"
      " unset; any run: the embedder, which gives vectors of texts",
  )
  add_vector_flags(verb)
  verb.add_argument(
      "--seed", type=int, help="finetune: whose model (the best one's)"
  )
  verb.add_argument(
      "--texts",
      metavar="FILE",
      help="compare on its lines in place of the run's held-out rows or dev"
      " sets",
  )
  verb.add_argument(
      "--runtime",
      metavar="FOLDER",
      help="web: the files of onnxruntime-web's dist/, which npm fetches if"
      " unset",
  )
  verb.add_argument(
      "--check",
      type=int,
      metavar="N",
      help="compare on so many rows (64), examples of each dev set (1000), or"
      " sources of a run that writes text (64)",
  )


def run_export(args: argparse.Namespace, rest: Sequence[str]) -> int:
  """Exports as the arguments say, prints what was found, returns a status."""
  del rest
  texts = None
  if args.texts:
    lines = read_typed((), args.texts, "--texts")
    texts = [line for line in lines if line.strip()]
  lengths = []
  if args.lengths is not None:
    try:
      lengths = [int(length) for length in args.lengths.split(",")]
    except ValueError as error:
      raise UserError(
          f"--lengths {args.lengths} is no list of whole numbers; give them as"
          " in --lengths 32,128"
      ) from error
  done = api.export(
      args.workdir,
      args.output,
      to=args.to,
      int8=args.int8,
      int4=args.int4,
      lengths=lengths,
      network=args.network,
      seed=args.seed,
      texts=texts,
      check=args.check,
      runtime=args.runtime,
      **vector_options(args),
  )
  print(f"{done.folder}: the {done.network} of step {done.step:,}")
  print(done.table())
  return 0
