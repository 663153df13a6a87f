"""Runs a sweep: some trials at a time, here, under SLURM or on TPU VMs.

  python launch/sweep.py --sweep configs/sweeps/loss_weight.py:runlocal \
      --output runs/loss_weight --jobs 2

The same command again skips trials that are finished and resumes the others.
launch/sweep.md tells the whole way.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from etils import epath

from electra_jax.errors import UserError
from electra_jax.files import absolute
from electra_jax.reporting import at_end
from electra_jax.sweeps import launchers, outcomes, plot, runner, table
from electra_jax.sweeps import trials as plan

PLACES = ("local", "slurm", "tpu_vm")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs a sweep and ends the process with its status.

  0: all trials are finished; 1: some are not; 2: a mistake, told in a sentence;
  128 + N: stopped by signal N.
  """
  try:
    status = run(sys.argv[1:] if argv is None else argv)
  except UserError as error:
    print(f"sweep.py: {error}", file=sys.stderr)
    status = 2
  except KeyboardInterrupt:
    status = 130
  sys.exit(status)


def run(argv: Sequence[str]) -> int:
  """Does what the arguments say and returns the exit status."""
  args, overrides = parse(argv)
  made = plan.make_plan(args.sweep, overrides)
  output = epath.Path(absolute(args.output))
  share = launchers.parse_share(args.share) if args.share else (1, 1)
  mine = plan.share_of(made.trials, share)
  if args.list:
    return list_trials(made, mine, output)
  if args.dry_run and args.on == "local":
    for trial in mine:
      for stage in trial.stages:
        words = [*stage.command(output / trial.name), *flags(args)]
        print(shlex.join(words))
    return 0
  if not args.dry_run:
    plan.enter(made, output)
  if args.results:
    return tell(made, output, {})
  order = launchers.Order(
      args.sweep, str(output), args.jobs, tuple(passed_on(args, overrides))
  )
  if args.on == "slurm":
    return launchers.submit_to_slurm(order, dry_run=args.dry_run)
  if args.on == "tpu_vm":
    return run_on_tpu_vms(made, output, order, dry_run=args.dry_run)
  return run_here(made, mine, output, args)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Parses the arguments; "--config.KEY=VALUE" and the like stay words."""
  parser = argparse.ArgumentParser(
      prog="sweep.py",
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
      epilog="--config.KEY=VALUE sets a value for all trials, --judge.KEY=VALUE"
      "\none of the fine-tuning behind each.",
  )
  add = parser.add_argument
  add("--sweep", required=True, metavar="FILE[:ARG]")
  add("--output", required=True, help="folder of the trials and the results")
  add("--jobs", type=int, default=1, help="trials at a time (%(default)s)")
  add("--retries", type=int, default=1,
      help="how often a trial that died is started again (%(default)s)")  # fmt: skip
  add("--on", choices=PLACES, default="local",
      help="where: --jobs processes here, tasks of an array, or TPU VMs")  # fmt: skip
  add("--share", metavar="I/K", help="the I-th of K parts alone, I from 1")
  add("--distributed", action="store_true",
      help="every process of a TPU pod or SLURM step runs this, and its part of"
      " each trial")  # fmt: skip
  add("--compilation-cache", metavar="DIR", help="as of electra-jax pretrain")
  what = parser.add_mutually_exclusive_group()
  what.add_argument("--list", action="store_true", help="how trials stand")
  what.add_argument(
      "--dry-run", action="store_true", help="print what would be run"
  )
  what.add_argument(
      "--results", action="store_true", help="table and plot of what there is"
  )
  args, rest = parser.parse_known_args([word for word in argv if word != "--"])
  for word in rest:
    if not word.startswith(("--config.", "--judge.")) or "=" not in word:
      parser.error(f"unknown argument {word!r}")
  if args.jobs < 1 or args.retries < 0:
    parser.error("--jobs must be above 0, and --retries not below")
  if args.distributed and args.jobs > 1:
    parser.error("--distributed runs one trial at a time; leave --jobs out")
  if args.share and args.on != "local":
    parser.error(f"--on {args.on} makes shares itself; leave --share out")
  return args, rest


def flags(args: argparse.Namespace) -> list[str]:
  """Returns what every verb is given."""
  words = ["--distributed"] * args.distributed
  if args.compilation_cache:
    words += ["--compilation-cache", args.compilation_cache]
  return words


def passed_on(args: argparse.Namespace, overrides: Sequence[str]) -> list[str]:
  """Returns what a share is given beside its number."""
  words = ["--retries", str(args.retries), *overrides]
  if args.compilation_cache:
    words += ["--compilation-cache", args.compilation_cache]
  return words


def list_trials(
    made: plan.SweepPlan, trials: Sequence[plan.Trial], output: epath.Path
) -> int:
  """Prints how each trial stands, and a line of how many are finished."""
  finished = 0
  for trial in trials:
    found = outcomes.read_outcome(made.sweep, trial, output / trial.name)
    finished += found.state == outcomes.FINISHED
    print(f"{found.state:<12} {trial.name}")
  print(f"{finished} of {len(trials)} trials are finished")
  return 0


def run_on_tpu_vms(
    made: plan.SweepPlan,
    output: epath.Path,
    order: launchers.Order,
    *,
    dry_run: bool,
) -> int:
  """Runs every share on a machine of its own, then tells the results."""

  def is_open(share: int) -> bool:
    trials = plan.share_of(made.trials, (share, order.shares))
    return any(outcomes.next_stage(t, output / t.name) for t in trials)

  status = launchers.run_on_tpu_vms(order, is_open, dry_run=dry_run)
  return status if dry_run else max(status, tell(made, output, {}))


def run_here(
    made: plan.SweepPlan,
    trials: Sequence[plan.Trial],
    output: epath.Path,
    args: argparse.Namespace,
) -> int:
  """Runs trials in processes of this machine, then tells the results."""
  options = runner.Options(
      args.jobs, args.retries, tuple(flags(args)), args.distributed
  )
  done = runner.run(trials, output, options)
  if done.stopped_by is not None:
    print("stopped; the same command goes on")
    return 128 + done.stopped_by
  if args.share:  # The others' trials are for them to tell.
    return int(bool(done.states))
  return tell(made, output, done.states)


def tell(made: plan.SweepPlan, output: epath.Path, states) -> int:
  """Writes and prints the results; 1 where a trial is not finished."""
  found = [
      outcomes.read_outcome(
          made.sweep, trial, output / trial.name,
          states.get(trial.name, "unfinished"),
      )
      for trial in made.trials
  ]  # fmt: skip
  print()
  print(table.write_results(made, found, output), end="")
  print()
  try:
    plot.write_plot(made, outcomes.ranked(made, found), output)
    print(f"{output / table.TABLE}, {table.RECORDS}, {plot.PLOT}")
  except UserError as error:  # A table without its plot is worth having.
    print(error, file=sys.stderr)
  at_end.report_at_end(output, print)
  return int(any(o.state != outcomes.FINISHED for o in found))


if __name__ == "__main__":
  main()
