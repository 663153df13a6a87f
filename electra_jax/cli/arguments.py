"""What the command line takes: verbs, their arguments, an example of each."""

import argparse

from electra_jax import __version__
from electra_jax.cli import examples
from electra_jax.cli.embedding import add_embed
from electra_jax.cli.exporting import add_export
from electra_jax.cli.prepare_arguments import add_prepare
from electra_jax.cli.pruning import add_prune
from electra_jax.cli.report_arguments import add_report
from electra_jax.cli.serving_arguments import add_completion, add_demo
from electra_jax.cli.shared_arguments import add_compilation_cache

_RUN = "folder of the run, or tiny-en, which comes with the package"


def make_parser() -> argparse.ArgumentParser:
  """Builds the parser of all verbs."""
  parser = argparse.ArgumentParser(
      prog="electra-jax",
      description="ELECTRA in JAX: pre-train text encoders by replaced-token"
      " detection.",
      epilog="electra-jax VERB --help explains a verb with an example.",
  )
  parser.add_argument("--version", action="version", version=__version__)
  verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

  for name, (summary, example, add_arguments) in _VERBS.items():
    verb = verbs.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_argument(
        "--verbose",
        action="store_true",
        default=False,
        help="show what the libraries underneath say as well",
    )
    add_arguments(verb)
  return parser


def _add_run(verb: argparse.ArgumentParser) -> None:
  _add_config_flag(
      verb,
      required=False,
      more="; left out, a run is resumed with the config that its workdir has"
      " recorded",
  )
  verb.add_argument("--workdir", required=True, help="folder of the run")
  verb.add_argument("--quiet", action="store_true", help="print nothing")
  add_compilation_cache(verb)
  _add_distributed(verb)


def _add_distributed(verb: argparse.ArgumentParser) -> None:
  verb.add_argument(
      "--distributed",
      action="store_true",
      help="several processes, found out from the TPU pod, GKE or SLURM",
  )
  verb.add_argument(
      "--coordinator", metavar="HOST:PORT", help="or told: process 0's address"
  )
  verb.add_argument("--num-processes", type=int)
  verb.add_argument("--process-id", type=int)


def _add_evaluate(verb: argparse.ArgumentParser) -> None:
  verb.add_argument("--workdir", required=True, help=_RUN)
  verb.add_argument(
      "--split", help="validation or train; of a task: its dev splits if unset"
  )
  verb.add_argument("--store", help="pretrain: another token store")
  verb.add_argument(
      "--max-rows",
      type=int,
      help="pretrain: rows at most; the run's config.train.eval_max_rows if"
      " unset",
  )
  _add_model(verb)
  add_compilation_cache(verb)
  verb.add_argument(
      "--folder", help="finetune: another folder of the tasks' files"
  )
  verb.add_argument(
      "--output",
      help="finetune: folder for predictions and leaderboard files",
  )
  verb.add_argument(
      "--json", action="store_true", help="print JSON; null: not defined"
  )


def _add_predict(verb: argparse.ArgumentParser) -> None:
  verb.add_argument("text", nargs="*", help="texts; standard input if none")
  verb.add_argument("--workdir", required=True, help=_RUN)
  verb.add_argument(
      "--file",
      nargs="+",
      action="extend",
      default=[],
      help="read the texts from here, one on each line; with --output several"
      " files, and tables",
  )
  verb.add_argument("--json", action="store_true", help="print JSON lines")
  verb.add_argument(
      "--output",
      help="write JSON lines there, of any number of lines; the same command"
      " goes on where it was killed",
  )
  verb.add_argument(
      "--field", help="with --output: the column or key that holds the text"
  )
  verb.add_argument(
      "--skip-bad-lines",
      action="store_true",
      help="with --output: an error in place of the answer, and no refusal",
  )
  verb.add_argument(
      "--quiet", action="store_true", help="with --output: tell nothing"
  )
  _add_model(verb)
  add_compilation_cache(verb)
  verb.add_argument("--question", help="questions: asked of every text")
  _add_latent(verb)
  verb.add_argument(
      "--corrupt",
      action="store_true",
      help="let the generator replace tokens first",
  )
  verb.add_argument(
      "--pseudo-log-likelihood",
      action="store_true",
      help="say how likely each text is, and its rank",
  )
  verb.add_argument(
      "--sort",
      action="store_true",
      help="with --pseudo-log-likelihood: the likeliest text first",
  )
  verb.add_argument(
      "--held-out",
      type=int,
      metavar="N",
      help="take N rows that training has held out, corrupted",
  )


def _add_latent(verb: argparse.ArgumentParser) -> None:
  verb.add_argument(
      "--interpolate",
      type=int,
      metavar="N",
      help="autoencode: write N texts on the line between two",
  )
  verb.add_argument(
      "--from-prior",
      type=int,
      metavar="N",
      help="autoencode: write N texts of no text, of z drawn from the prior",
  )


def _add_convert(verb: argparse.ArgumentParser) -> None:
  verb.add_argument("source", metavar="SOURCE", help="the model")
  verb.add_argument("target", metavar="TARGET", help="folder to be made")
  verb.add_argument(
      "--to",
      required=True,
      choices=("workdir", "weights", "huggingface", "google"),
      help="weights: a workdir to be passed on, without the optimizer's state",
  )
  verb.add_argument(
      "--tokenizer",
      help="vocab.txt, SentencePiece .model, or saved folder; by default what"
      " lies beside the source",
  )
  verb.add_argument(
      "--cased", action="store_true", help="that vocabulary has upper case"
  )
  verb.add_argument(
      "--keep-accents",
      action="store_true",
      help="that vocabulary, of lower case, has accents",
  )
  verb.add_argument(
      "--config",
      metavar="FILE[:ARG]",
      help="recipe for the new workdir (pretrain:small_pp, or"
      " finetune:task=translate of an encoder-decoder); shapes are the model's",
  )
  verb.add_argument(
      "--dtype",
      choices=("float32", "bfloat16"),
      default="float32",
      help="activations of the new workdir (%(default)s: it answers as the"
      " source does); a training that starts from it has its own",
  )
  verb.add_argument(
      "--seed",
      type=int,
      help="of what the source lacks (0); of a finetune run, whose model (the"
      " best)",
  )


def _add_plan(verb: argparse.ArgumentParser) -> None:
  _add_config_flag(verb)
  verb.add_argument(
      "--topology",
      required=True,
      help="v5e:4x4, v5p:2x2x4: a TPU slice (v4, v5e, v5p, v6e) by its shape in"
      " chips; h100:8, h100:4x8: GPUs (a100, h100, h200) of one box or of"
      " several; here: the devices of this machine",
  )
  verb.add_argument("--phase", help="which one, of a config that has some")
  verb.add_argument(
      "--efficiency",
      type=float,
      default=0.4,
      metavar="X",
      help="model FLOPs utilisation to count on (%(default)s)",
  )
  verb.add_argument(
      "--price", type=float, metavar="X", help="of one device for one hour"
  )
  verb.add_argument("--json", metavar="FILE", help="write all figures there")
  verb.add_argument(
      "--no-suggestion",
      action="store_true",
      help="where it does not fit, do not look for what does",
  )


def _add_benchmark(verb: argparse.ArgumentParser) -> None:
  _add_config_flag(verb)
  verb.add_argument("--phase", help="which one, of a config that has some")
  verb.add_argument(
      "--steps", type=int, default=50, help="steps to time (%(default)s)"
  )
  verb.add_argument(
      "--store", help="token store to read from; the config's by default"
  )
  verb.add_argument("--json", metavar="FILE", help="write all figures there")
  verb.add_argument(
      "--profile", metavar="DIR", help="write a trace for xprof or Perfetto"
  )
  verb.add_argument(
      "--peak-tflops",
      type=float,
      metavar="X",
      help="dense bfloat16 TFLOP/s of a device that is not known; 0: no MFU",
  )
  add_compilation_cache(verb)
  _add_distributed(verb)


def _add_model(verb: argparse.ArgumentParser) -> None:
  verb.add_argument("--task", help="finetune: one of several tasks")
  verb.add_argument(
      "--seed",
      type=int,
      help="finetune: whose model (the best one's); predict --corrupt and"
      " --held-out: of what is drawn (0)",
  )


def _add_config_flag(
    verb: argparse.ArgumentParser, *, required: bool = True, more: str = ""
) -> None:
  verb.add_argument(
      "--config",
      required=required,
      metavar="FILE[:ARG]",
      help="a shipped config, as pretrain:small, or a .py file of your own;"
      f" --config.KEY=VALUE changes it, --config.help lists the keys{more}",
  )


def _add_config(verb: argparse.ArgumentParser) -> None:
  verb.add_argument("config", metavar="NAME[:ARG]", help="as pretrain:small")
  verb.add_argument(
      "--values", action="store_true", help="print every key with its value"
  )


def _add_nothing(verb: argparse.ArgumentParser) -> None:
  del verb


# Of each verb: what it does, examples, and what adds its arguments.
_VERBS = {
    "prepare": ("text -> token store", examples.PREPARE, add_prepare),
    "pretrain": ("token store -> trained model", examples.PRETRAIN, _add_run),
    "finetune": (
        "trained model -> tasks and scores",
        examples.FINETUNE,
        _add_run,
    ),
    "distill": (
        "larger model -> smaller model",
        examples.DISTILL,
        _add_run,
    ),
    "prune": (
        "a run without the heads and columns that count least",
        examples.PRUNE,
        add_prune,
    ),
    "evaluate": ("a checkpoint's metrics", examples.EVALUATE, _add_evaluate),
    "predict": ("text in, answer out", examples.PREDICT, _add_predict),
    "embed": ("texts -> vectors", examples.EMBED, add_embed),
    "convert": (
        "workdir, TensorFlow 1, Hugging Face: any to any",
        examples.CONVERT,
        _add_convert,
    ),
    "export": ("a run for phones and servers", examples.EXPORT, add_export),
    "plan": (
        "memory, time and cost before renting anything",
        examples.PLAN,
        _add_plan,
    ),
    "benchmark": (
        "a config's speed and memory here",
        examples.BENCHMARK,
        _add_benchmark,
    ),
    "report": (
        "a run's page: curves, samples, config",
        examples.REPORT,
        add_report,
    ),
    "config": (
        "a shipped config, to copy and change",
        examples.CONFIG,
        _add_config,
    ),
    "demo": ("models behind a page and a JSON API", examples.DEMO, add_demo),
    "doctor": (
        "what is here, and what is missing",
        examples.DOCTOR,
        _add_nothing,
    ),
    "completion": (
        "a shell's completion",
        examples.COMPLETION,
        add_completion,
    ),
}
