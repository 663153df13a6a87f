"""Arguments of `demo` and of `completion`."""

import argparse
from collections.abc import Callable

from electra_jax.cli import examples

SHELLS = ("bash", "zsh", "fish")


def add_service(add: Callable[..., argparse.ArgumentParser]) -> None:
  """Adds the verbs `demo`, `doctor` and `completion`, with their arguments."""
  add_demo(add("demo", "models behind a page and an API", examples.DEMO))
  add("doctor", "what is here, and what is missing", examples.DOCTOR)
  add_completion(add("completion", "a shell's completion", examples.COMPLETION))


def add_demo(verb: argparse.ArgumentParser) -> None:
  """Adds those of `demo`."""
  verb.add_argument(
      "runs",
      nargs="+",
      metavar="RUN",
      help="folder of a run, or tiny-en; several may be given",
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
  verb.add_argument(
      "--compilation-cache",
      metavar="DIR",
      help="where compiled programs are kept, a local or gs:// folder; none:"
      " nowhere (default: JAX_COMPILATION_CACHE_DIR, else in the user's cache"
      " folder)",
  )


def add_completion(verb: argparse.ArgumentParser) -> None:
  """Adds those of `completion`."""
  verb.add_argument(
      "shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish"
  )
