"""What a long verb tells while it runs."""

from collections.abc import Callable

import jax

Show = Callable[[str], None]


def shower(quiet: bool) -> Show:
  """Returns what shows a line: on the first process, unless it is quiet."""
  if quiet or jax.process_index() > 0:
    return lambda line: None
  return lambda line: print(line, flush=True)
