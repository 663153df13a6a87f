"""Which messages reach the user: ours; those of libraries on request.

Libraries speak to their developers: of files that orbax does not find, chips
that libtpu looks for, programs that XLA takes long to compile. What matters to
the user comes as an exception, which is told in a sentence.
"""

import logging
import os
import warnings

# Of the C++ below jax and below libtpu: 3 leaves what ends the process.
_LEVELS = ("TF_CPP_MIN_LOG_LEVEL", "TPU_MIN_LOG_LEVEL", "TPU_STDERR_LOG_LEVEL")
_FATAL_ONLY = "3"
_PACKAGE = "electra_jax"


def set_up_messages(*, verbose: bool) -> None:
  """Chooses what is shown; to be called before jax is imported.

  Args:
    verbose: whether libraries may speak as they like.
  """
  handler = logging.StreamHandler()
  if not verbose:
    handler.addFilter(_is_ours)
    for name in _LEVELS:
      os.environ.setdefault(name, _FATAL_ONLY)  # What a user has set stays.
    warnings.simplefilter("ignore")
  logging.basicConfig(
      level=logging.WARNING,
      format="%(levelname)s: %(message)s",
      handlers=[handler],
  )


def _is_ours(record: logging.LogRecord) -> bool:
  return record.name.split(".")[0] == _PACKAGE
