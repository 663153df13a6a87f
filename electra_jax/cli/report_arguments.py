"""Arguments of `report`."""

import argparse


def add_report(verb: argparse.ArgumentParser) -> None:
  """Adds them to the verb."""
  verb.add_argument(
      "runs",
      nargs="+",
      metavar="RUN",
      help="workdirs of pretrain and finetune runs, or outputs of sweeps;"
      " several are laid over each other",
  )
  verb.add_argument(
      "--output",
      metavar="FILE",
      help="the page, NAME.html; its plots lie in the folder NAME (report.html"
      " in the run's folder; for several runs, in the present one)",
  )
