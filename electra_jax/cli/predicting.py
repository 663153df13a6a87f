"""The verb `predict`: a few texts to the terminal, files of them to a file."""

import argparse

from electra_jax.cli.typed import check_predict, read_typed


def run_predict(args: argparse.Namespace) -> int:
  """Runs the verb with its flags; returns its exit status."""
  from electra_jax.cli import display as printing
  from electra_jax.runs import workdir as workdirs

  run = workdirs.load(args.workdir)
  if run.kind is workdirs.FINETUNING:
    workdirs.check_not_given(
        run,
        held_out=args.held_out,
        corrupt=args.corrupt,
        pseudo_log_likelihood=args.pseudo_log_likelihood,
    )
  else:
    workdirs.check_not_given(
        run,
        task=args.task,
        question=args.question,
        interpolate=args.interpolate,
        from_prior=args.from_prior,
    )
  check_predict(args, run.kind is workdirs.PRETRAINING)
  if args.output is not None:
    return _write_answers(args)
  file = args.file[0] if args.file else None
  has_texts = not args.held_out and args.from_prior is None
  lines = read_typed(args.text, file) if has_texts else []
  if args.interpolate is not None or args.from_prior is not None:
    _print_from_latents(args, lines)
  elif run.kind is workdirs.FINETUNING:
    printing.print_answers(
        args.workdir,
        lines,
        task=args.task,
        seed=args.seed,
        question=args.question,
        as_json=args.json,
    )
  elif args.pseudo_log_likelihood:
    printing.print_scores(
        args.workdir, lines, as_json=args.json, by_rank=args.sort
    )
  else:
    printing.print_detections(
        args.workdir,
        lines,
        corrupted=args.corrupt,
        held_out=args.held_out,
        seed=args.seed or 0,
        as_json=args.json,
    )
  return 0


def _print_from_latents(args: argparse.Namespace, lines: list[str]) -> None:
  from electra_jax.cli import display as printing

  how = {"task": args.task, "seed": args.seed, "as_json": args.json}
  if args.from_prior is not None:
    printing.print_draws(args.workdir, args.from_prior, **how)
  else:
    printing.print_line(args.workdir, lines, args.interpolate, **how)


def _write_answers(args: argparse.Namespace) -> int:
  from electra_jax.bulk.predicting import predict
  from electra_jax.progress import Progress

  predict(
      args.workdir,
      args.file,
      args.output,
      task=args.task,
      seed=args.seed,
      question=args.question,
      pseudo_log_likelihood=args.pseudo_log_likelihood,
      field=args.field,
      skip_bad_lines=args.skip_bad_lines,
      progress=Progress(quiet=args.quiet),
  )
  return 0
