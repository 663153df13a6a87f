"""Arguments of several verbs."""

import argparse


def add_compilation_cache(verb: argparse.ArgumentParser) -> None:
  """Adds where compiled programs are kept."""
  verb.add_argument(
      "--compilation-cache",
      metavar="DIR",
      help="where compiled programs are kept, a local or gs:// folder; none:"
      " nowhere (default: JAX_COMPILATION_CACHE_DIR, else in the user's cache"
      " folder)",
  )
