"""What stands between the cells of a CSV file."""

import csv
from collections.abc import Sequence

DELIMITERS = (",", ";", "\t", "|")  # The first wins a tie.


def find_delimiter(header: str, columns: Sequence[str]) -> str:
  """Returns what stands between the names of a file's first line.

  It is the one that makes most of the columns asked for, then the one that
  makes most columns at all.

  Args:
    header: the first line.
    columns: names that will be asked for.
  """

  def found(delimiter: str) -> tuple[int, int]:
    try:
      names = next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error:
      names = []
    names = [name.strip() for name in names]
    return sum(column in names for column in columns), len(names)

  return max(DELIMITERS, key=found)
