"""The command: verbs, flags, distributed initialisation, one call each.

A mistake ends with one sentence and exit status 2. Heavy imports wait until a
verb has been chosen, so that --help answers at once.
"""

import argparse
import gc
import importlib
import os
import pathlib
import sys
from collections.abc import Sequence

from electra_jax import api
from electra_jax.cli.arguments import make_parser
from electra_jax.cli.embedding import run_embed
from electra_jax.cli.exporting import run_export
from electra_jax.cli.interrupts import Interrupts
from electra_jax.cli.messages import set_up_messages
from electra_jax.cli.predicting import run_predict
from electra_jax.cli.prepare_arguments import fields_of
from electra_jax.cli.pruning import run_prune
from electra_jax.config_files import describe_config, load_config, locate
from electra_jax.errors import UserError
from electra_jax.text.visible import visible

_CONFIG_PREFIX = "--config."


def main(argv: Sequence[str] | None = None) -> None:
  """Runs one verb and ends the process with its status."""
  parser = make_parser()
  argv = list(sys.argv[1:] if argv is None else argv)
  if f"{_CONFIG_PREFIX}help" in argv:
    # The keys of a config are told whatever else is missing.
    config = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    config.add_argument("--config", dest="config")
    if named := config.parse_known_args(argv)[0].config:
      argv = ["config", named, "--values"]
  args, rest = parser.parse_known_args(argv)
  prefix = PREFIXES.get(args.verb, ())
  unknown = [argument for argument in rest if not argument.startswith(prefix)]
  if unknown:
    parser.error(f"unknown argument {unknown[0]!r} of {args.verb}")
  set_up_messages(verbose=args.verbose)
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):  # A stream of a test may lack it.
      stream.reconfigure(errors="backslashreplace")
  with Interrupts() as interrupts:
    status = _run(args, rest, interrupts)
  sys.exit(status)


def _run(
    args: argparse.Namespace, rest: Sequence[str], interrupts: Interrupts
) -> int:
  try:
    if args.verb == "prepare":
      with interrupts.held():
        _import_verb(args.verb)
    return VERBS[args.verb](args, rest)
  except UserError as error:
    message = visible(str(error))
    print(f"electra-jax {args.verb}: {message}", file=sys.stderr)
    return 2
  except BrokenPipeError:  # As of `| head`; nothing more can be written.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
  except KeyboardInterrupt:
    print(f"electra-jax {args.verb}: interrupted", file=sys.stderr)
    return 130


def _set_up_jax(args: argparse.Namespace) -> None:
  _begin(args)
  told = (args.coordinator, args.num_processes, args.process_id)
  if args.coordinator:
    if None in told:
      raise UserError(
          f"--coordinator {args.coordinator} needs --num-processes and"
          " --process-id beside it"
      )
    if not args.coordinator.rpartition(":")[2].isdigit():
      raise UserError(
          f"--coordinator {args.coordinator} has no port; give HOST:PORT"
      )
  elif any(number is not None for number in told):
    raise UserError(
        "--num-processes and --process-id need --coordinator HOST:PORT beside"
        " them"
    )
  if args.coordinator or args.distributed:
    _join_processes(*told)


def _join_processes(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
  import jax

  try:
    jax.distributed.initialize(coordinator, num_processes, process_id)
  except ValueError as error:  # It found nothing, or what it was told is odd.
    if coordinator:
      raise UserError(
          f"--process-id {process_id} is not one of --num-processes"
          f" {num_processes}; they are numbered from 0"
      ) from error
    raise UserError(
        "--distributed finds neither a TPU pod nor a SLURM step around this"
        " process; start it on every worker or with srun, or tell it"
        " --coordinator HOST:PORT, --num-processes and --process-id"
    ) from error


def _begin(args: argparse.Namespace) -> None:
  _import_verb(args.verb)
  from electra_jax.devices import compilation_cache

  compilation_cache.enable(args.compilation_cache)


def _import_verb(verb: str) -> None:
  """Imports a verb's module with the garbage collector at rest.

  Modules are never garbage. Searching their objects, now and whenever the
  collector runs later, would take as long as a fifth of the imports.
  """
  name = f"electra_jax.{_MODULES[verb]}"
  if name in sys.modules:
    return
  gc.disable()
  try:
    importlib.import_module(name)
  finally:
    gc.freeze()
    gc.enable()


def _prepare(args: argparse.Namespace, rest: Sequence[str]) -> int:
  given = {
      name: v
      for name, v in vars(args).items()
      if name not in ("verb", "verbose")
  }
  if "field" in given:
    given["field"] = fields_of(given["field"])
  flags = [f"--{a.removeprefix(PREFIXES['prepare'])}" for a in rest]
  api.prepare(**given, flags=flags)
  return 0


def _train(args: argparse.Namespace, rest: Sequence[str]) -> int:
  config = load_config(args.config, rest) if args.config else None
  _set_up_jax(args)
  more = () if args.config else rest
  verb = getattr(api, args.verb)
  result = verb(config, args.workdir, overrides=more, quiet=args.quiet)
  return 0 if result.stopped_by is None else 128 + result.stopped_by


def _evaluate(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  _begin(args)
  from electra_jax.cli.display import print_figures
  from electra_jax.progress import Progress

  with Progress(quiet=args.json).stage("evaluating", "longer on more rows"):
    figures = api.evaluate(
        args.workdir,
        split=args.split,
        store=args.store,
        max_rows=args.max_rows,
        task=args.task,
        folder=args.folder,
        seed=args.seed,
        output=args.output,
    )
  print_figures(figures, as_json=args.json)
  return 0


def _predict(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  _begin(args)
  return run_predict(args)


def _convert(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  done = api.convert(
      args.source,
      args.target,
      to=args.to,
      config=args.config,
      tokenizer=args.tokenizer,
      lowercase=not args.cased,
      strip_accents=not args.keep_accents,
      seed=args.seed,
      dtype=args.dtype,
  )
  moments = "with" if done.has_moments else "without"
  print(
      f"{args.target}: {done.num_parameters:,} parameters of step {done.step:,},"
      f" {moments} the optimizer's moments"
  )
  if done.fresh:
    print(f"initialised, since the source lacks it: {', '.join(done.fresh)}")
  if done.left_out:
    print(
        "left out, since the target has no place for it:"
        f" {', '.join(done.left_out)}"
    )
  for note in done.notes:
    print(note)
  return 0


def _plan(args: argparse.Namespace, rest: Sequence[str]) -> int:
  config = load_config(args.config, rest)
  from electra_jax.devices.chips import HERE, keep_arrays_on_the_cpu
  from electra_jax.files import writable_folder, write_whole

  if args.topology != HERE:
    keep_arrays_on_the_cpu()
  if args.json:
    if pathlib.Path(args.json).is_dir():
      raise UserError(f"--json {args.json} is a folder; give a file")
    writable_folder(pathlib.Path(args.json).parent, "--json")
  result = api.plan(
      config,
      args.topology,
      phase=args.phase,
      efficiency=args.efficiency,
      price=args.price,
      suggest=not args.no_suggestion,
  )
  print(result.table())
  if args.json:
    write_whole(args.json, [result.to_json()])
  return 0


def _benchmark(args: argparse.Namespace, rest: Sequence[str]) -> int:
  config = load_config(args.config, rest)
  _set_up_jax(args)
  import jax

  from electra_jax.files import writable_folder, write_whole

  is_first = jax.process_index() == 0
  if args.json and is_first:
    if pathlib.Path(args.json).is_dir():
      raise UserError(f"--json {args.json} is a folder; give a file")
    writable_folder(pathlib.Path(args.json).parent, "--json")
  result = api.benchmark(
      config,
      steps=args.steps,
      phase=args.phase,
      store=args.store,
      profile=args.profile,
      peak_tflops=args.peak_tflops,
  )
  if is_first:
    print(result.table())
    if args.json:
      write_whole(args.json, [result.to_json()])
  return 0


def _report(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  _import_verb(args.verb)
  from electra_jax.reporting.page import report

  print(report(args.runs, args.output))
  return 0


def _demo(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  _begin(args)
  from electra_jax.serve.server import demo

  demo(
      args.runs,
      host=args.host,
      port=args.port,
      seed=args.seed,
      quiet=args.quiet,
  )
  return 0


def _doctor(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del args, rest
  from electra_jax.runs.doctor import doctor

  for line in doctor():
    print(visible(line))
  return 0


def _completion(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  from electra_jax.cli.completion import script

  print(script(make_parser(), args.shell))
  return 0


def _config(args: argparse.Namespace, rest: Sequence[str]) -> int:
  del rest
  if args.values:
    print(describe_config(args.config))
  else:
    path, _ = locate(args.config, "config", "pretrain:small")
    print(pathlib.Path(path).read_text(encoding="utf-8"), end="")
  return 0


# What a verb imports first; it is the most of its start-up.
_MODULES = {
    "prepare": "preprocessing.prepare",
    "pretrain": "pretraining.pretrain",
    "finetune": "finetuning.finetune",
    "distill": "pretraining.pretrain",
    "evaluate": "pretraining.evaluation",
    "predict": "pretraining.model",
    "embed": "pretraining.model",
    "benchmark": "performance.benchmark",
    "report": "reporting.page",
    "demo": "serve.server",
}
# What flags of any name begin with, by the verb that takes them.
PREFIXES = {
    "prepare": "--beam.",
    "pretrain": "--config.",
    "finetune": "--config.",
    "distill": "--config.",
    "plan": "--config.",
    "benchmark": "--config.",
}
VERBS = {
    "prepare": _prepare,
    "pretrain": _train,
    "finetune": _train,
    "distill": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "convert": _convert,
    "export": run_export,
    "embed": run_embed,
    "prune": run_prune,
    "plan": _plan,
    "benchmark": _benchmark,
    "report": _report,
    "config": _config,
    "demo": _demo,
    "doctor": _doctor,
    "completion": _completion,
}
