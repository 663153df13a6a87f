"""Arguments of `prepare` that say how text is read."""

import argparse


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
