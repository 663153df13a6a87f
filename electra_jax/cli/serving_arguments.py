"""Arguments of `demo` and of `completion`."""

import argparse

from electra_jax.cli.shared_arguments import add_compilation_cache

SHELLS = ("bash", "zsh", "fish")


def add_demo(verb: argparse.ArgumentParser) -> None:
  """Adds those of `demo`."""
  verb.add_argument(
      "runs",
      nargs="+",
      metavar="RUN",
      help="folder of a run; several may be given",
  )
  verb.add_argument(
      "--host",
      default="127.0.0.1",
      help="where to listen (%(default)s); any other than loopback demands a"
      " token",
  )
  verb.add_argument(
      "--port",
      type=int,
      default=8000,
      help="where to listen (%(default)s); 0: any that is free",
  )
  verb.add_argument(
      "--seed", type=int, help="finetune: whose model (the best one's)"
  )
  verb.add_argument("--quiet", action="store_true", help="print the URL alone")
  add_compilation_cache(verb)


def add_completion(verb: argparse.ArgumentParser) -> None:
  """Adds those of `completion`."""
  verb.add_argument(
      "shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish"
  )
