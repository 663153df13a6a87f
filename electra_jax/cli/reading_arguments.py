"""Arguments of `prepare` that say how text is read."""

import argparse
from collections.abc import Sequence

from electra_jax.errors import UserError


def add_reading(verb: argparse.ArgumentParser) -> None:
  """Adds them to the verb."""
  verb.add_argument(
      "--field",
      action="append",
      metavar="[SOURCE=]NAME",
      help="key or column that holds the text, in JSON, CSV, parquet and tfds"
      " (default: text); with SOURCE= of that source or of files that fit a"
      " pattern such as '*.csv=body'; may be given several times",
  )
  verb.add_argument(
      "--document-per",
      choices=("blank-line", "line", "file"),
      help="what ends a document of a text file (default: blank-line)",
  )
  verb.add_argument(
      "--encoding",
      help="of text without a byte order mark (default: utf-8)",
  )
  verb.add_argument(
      "--skip-bad-files",
      action="store_true",
      default=argparse.SUPPRESS,
      help="leave out, count and name files that cannot be read to their ends;"
      " reads all text once more",
  )


def fields_of(given: Sequence[str]) -> dict[str, str]:
  """Returns what --field says, by the sources it says it of."""
  fields = {}
  for flag in given:
    source, has_source, name = flag.partition("=")
    if not has_source:
      source, name = "*", flag
    if source in fields:
      raise UserError(
          f"--field {flag} comes after --field"
          f" {'' if source == '*' else source + '='}{fields[source]}; give one"
          " of the two, or SOURCE=NAME to say whose it is"
      )
    fields[source] = name
  return fields
