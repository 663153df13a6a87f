"""The page of a run that has just ended, which nothing in it may spoil."""

import logging
from collections.abc import Callable

from etils import epath

from electra_jax.errors import UserError
from electra_jax.reporting.page import report

_log = logging.getLogger(__name__)


def report_at_end(folder: epath.PathLike, show: Callable[[str], None]) -> None:
  """Writes report.html, or says why there is none.

  Args:
    folder: of the run or sweep.
    show: is told the page, or what to do for one.
  """
  try:
    show(f"report       {report([folder])}")
  except UserError as error:
    show(f"no report    {error}; then: electra-jax report {folder}")
  except Exception as error:
    # What was trained is whole, whatever is wrong with the page.
    _log.debug("no report", exc_info=True)
    show(f"no report    {type(error).__name__}: {error}")
