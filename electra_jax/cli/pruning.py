"""The verb `prune` on the command line: its arguments, and the call."""

import argparse
from collections.abc import Sequence

from electra_jax.cli.shared_arguments import add_compilation_cache
from electra_jax.cli.typed import read_typed
from electra_jax.errors import UserError


def add_prune(verb: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  verb.add_argument(
      "workdir",
      metavar="RUN",
      help="folder of the run, or tiny-en, which comes with the package",
  )
  verb.add_argument("output", metavar="OUTPUT", help="folder to be made")
  verb.add_argument(
      "--remove-heads",
      metavar="X",
      default="0",
      help="attention heads of each layer: a number, as 2, or a share, as 0.5",
  )
  verb.add_argument(
      "--remove-columns",
      metavar="X",
      default="0",
      help="columns of each layer's feed-forward part: the same",
  )
  verb.add_argument(
      "--remove-layers", metavar="N,N", help="whole layers; 0 is the first one"
  )
  verb.add_argument(
      "--store",
      help="pretrain: another token store to measure importance on",
  )
  verb.add_argument(
      "--texts",
      metavar="FILE",
      help="pretrain: measure it on its lines in place of a store",
  )
  verb.add_argument(
      "--folder", help="finetune: another folder of the tasks' files"
  )
  verb.add_argument(
      "--split",
      help="measure on it: validation or train; of a task: its dev splits if"
      " unset",
  )
  verb.add_argument(
      "--max-rows",
      type=int,
      metavar="N",
      help="measure on so many rows or texts (1000)",
  )
  verb.add_argument(
      "--seed", type=int, help="finetune: whose model (the best one's)"
  )
  add_compilation_cache(verb)


def run_prune(args: argparse.Namespace, rest: Sequence[str]) -> int:
  """Prunes as the arguments say, prints what was done, returns a status."""
  del rest
  amounts = {
      name: _amount(getattr(args, name), f"--{name.replace('_', '-')}")
      for name in ("remove_heads", "remove_columns")
  }
  layers = _numbers(args.remove_layers)
  texts = None
  if args.texts is not None:
    texts = read_typed((), args.texts, "--texts")
  from electra_jax.devices import compilation_cache
  from electra_jax.progress import Progress
  from electra_jax.pruning.prune import MAX_ROWS, prune

  compilation_cache.enable(args.compilation_cache)
  with Progress().stage("pruning", "longer on more rows"):
    done = prune(
        args.workdir,
        args.output,
        **amounts,
        remove_layers=layers,
        store=args.store,
        texts=texts,
        folder=args.folder,
        split=args.split,
        max_rows=MAX_ROWS if args.max_rows is None else args.max_rows,
        seed=args.seed,
    )
  print(f"{done.folder}: pruned at step {done.step:,}")
  print(done.table())
  return 0


def _amount(given: str, flag: str) -> int | float:
  """Reads a number, or a share, which has a point."""
  try:
    return int(given) if given.isdecimal() else float(given)
  except ValueError as error:
    raise UserError(
        f"{flag} {given} is no number; give a share, as 0.5, or a whole number of"
        " each layer, as 1"
    ) from error


def _numbers(given: str | None) -> list[int]:
  if given is None:
    return []
  try:
    return sorted({int(number) for number in given.split(",")})
  except ValueError as error:
    raise UserError(
        f"--remove-layers {given} is no list of whole numbers; give them as in"
        " --remove-layers 0,2"
    ) from error
