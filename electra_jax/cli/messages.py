"""Which messages reach the user: ours; those of libraries on request.

Libraries speak to their developers: of files that orbax does not find, chips
that libtpu looks for, programs that XLA takes long to compile. What matters to
the user comes as an exception, which is told in a sentence.
"""

import glob
import importlib.util
import logging
import os
import pathlib
import warnings
from importlib import metadata

# Of the C++ below jax and below libtpu: 3 leaves what ends the process.
_LEVELS = ("TF_CPP_MIN_LOG_LEVEL", "TPU_MIN_LOG_LEVEL", "TPU_STDERR_LOG_LEVEL")
_FATAL_ONLY = "3"
# Where Linux shows chips; of these files the vendor of PCI devices is read.
_TPUS = ("/dev/accel*", "/dev/vfio/[0-9]*")
_VENDORS, _GOOGLE = "/sys/bus/pci/devices/*/vendor", "0x1ae0"
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
    if _is_for_the_cpu():
      os.environ.setdefault("JAX_PLATFORMS", "cpu")
  logging.basicConfig(
      level=logging.WARNING,
      format="%(levelname)s: %(message)s",
      handlers=[handler],
  )


def _is_ours(record: logging.LogRecord) -> bool:
  return record.name.split(".")[0] == _PACKAGE


def _is_for_the_cpu() -> bool:
  """Whether libtpu is here, and neither a TPU nor what GPUs need.

  libtpu then tells at length that it finds no chip, whatever its level is; so
  it is not asked.
  """
  if importlib.util.find_spec("libtpu") is None:
    return False
  vendors = (pathlib.Path(p).read_text().strip() for p in glob.glob(_VENDORS))
  return not (
      any(map(glob.glob, _TPUS))
      or _GOOGLE in vendors
      or metadata.entry_points(group="jax_plugins")
  )
