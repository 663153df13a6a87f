"""Shares of a sweep on a cluster or in the cloud, by the scripts of launch/.

A share is a run like any other to them: each gets an env file of its own, which
reads the user's and puts `launch/sweep.py … --share I/K` in the place of the
command.
"""

import dataclasses
import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable

from electra_jax.errors import UserError
from electra_jax.sweeps.trials import ROOT

_SCRIPT = "launch/sweep.py"
# Said by the array's task around a process, not by number.
SLURM_SHARE = "slurm"


@dataclasses.dataclass(frozen=True)
class Order:
  """What all shares have in common.

  Attributes:
    sweep: the sweep file and its argument, as given.
    output: the folder, local or gs://.
    shares: their number.
    words: the other arguments of launch/sweep.py.
  """

  sweep: str
  output: str
  shares: int
  words: tuple[str, ...]

  def command(self, share: str) -> list[str]:
    """Returns the words that run a share in the repository's folder."""
    words = [_SCRIPT, "--sweep", _inside(self.sweep), "--output", self.output]
    return [*words, "--share", f"{share}/{self.shares}", *self.words]


def submit_to_slurm(order: Order, *, dry_run: bool) -> int:
  """Submits an array with a task for each share; returns the exit status.

  Raises:
    UserError: there is no env file, or the sweep is not in the repository.
  """
  # An option that comes later wins over slurm.sh's own.
  array = [f"--array=1-{order.shares}", "--output=runs/%x-%a.log"]
  env = _write_env(
      order, "slurm", SLURM_SHARE, f"SBATCH_OPTIONS+=({shlex.join(array)})"
  )
  status = _launch("slurm.sh", "submit", env, dry_run)
  if status == 0 and not dry_run:
    print(
        f"the array is queued; ENV={env} bash launch/slurm.sh status tells how"
        " it stands, cancel ends it; for table and plot:\n"
        + shlex.join([
            *("python", _SCRIPT, "--sweep", order.sweep),
            *("--output", order.output, "--results", *order.words),
        ])
    )  # fmt: skip
  return status


def run_on_tpu_vms(
    order: Order, is_open: Callable[[int], bool], *, dry_run: bool
) -> int:
  """Keeps a TPU VM for each share until that has ended; returns the status.

  Args:
    order: what to run; its output must be on gs://.
    is_open: whether a share, from 1, has something left to do.
    dry_run: print what would be done.

  Raises:
    UserError: there is no env file, the output is not on gs://, or the sweep
      is not in the repository.
  """
  if not order.output.startswith("gs://"):
    raise UserError(
        f"--output {order.output} is a folder of this machine, which TPU VMs do"
        " not see; give one on gs://"
    )
  waiting = []
  for share in range(1, order.shares + 1):
    if not dry_run and not is_open(share):
      print(f"share {share} is finished")
      continue
    env = _write_env(
        order, f"share_{share}", str(share), f'RUN_NAME="$RUN_NAME-{share}"'
    )
    if dry_run:
      _launch("tpu_vm.sh", "queue", env, dry_run)
      _launch("tpu_vm.sh", "keep", env, dry_run)
    elif status := _launch("tpu_vm.sh", "queue", env, dry_run):
      print(
          f"share {share} could not be queued (status {status}); where its"
          f" machine is there already: ENV={env} bash launch/tpu_vm.sh keep",
          file=sys.stderr,
      )
      waiting.append(None)
    else:
      command = ["bash", str(ROOT / "launch/tpu_vm.sh"), "keep"]
      waiting.append(subprocess.Popen(command, env=os.environ | {"ENV": env}))
  try:
    statuses = [1 if keep is None else keep.wait() for keep in waiting]
  except KeyboardInterrupt:
    print(
        "the machines go on without being looked after; ENV=… bash"
        " launch/tpu_vm.sh keep does that again, delete ends one; the env files"
        f" are in {_folder(order)}"
    )
    raise
  return int(any(statuses))


def _launch(script: str, verb: str, env: str, dry_run: bool) -> int:
  words = ["bash", f"launch/{script}", *["--dry-run"] * dry_run, verb]
  if dry_run:
    print(f"ENV={shlex.quote(env)} {shlex.join(words)}", flush=True)
  done = subprocess.run(words, cwd=ROOT, env=os.environ | {"ENV": env})
  return done.returncode


def _write_env(order: Order, name: str, share: str, line: str) -> str:
  user = pathlib.Path(os.environ.get("ENV") or ROOT / "launch/env").absolute()
  if not user.exists():
    raise UserError(
        f"there is no {user}; copy launch/env.example to launch/env and fill it"
        " in, or name another file: ENV=FILE"
    )
  path = _folder(order) / f"{name}.env"
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(
      f"source {shlex.quote(str(user))}\n"
      f"{line}\n"
      f"COMMAND=({shlex.join(order.command(share))})\n"
  )
  return str(path)


def _folder(order: Order) -> pathlib.Path:
  name = re.sub(r"[^-A-Za-z0-9_.]+", "_", order.output.strip("/"))
  return ROOT / "build/sweeps" / name


def _inside(flag: str) -> str:
  path, colon, argument = flag.partition(":")
  whole = pathlib.Path(path).absolute()
  if not whole.exists():
    whole = ROOT / path
  if not whole.is_relative_to(ROOT):
    raise UserError(
        f"sweep {path} lies outside of {ROOT}, the only folder that other"
        " machines get; put it into configs/sweeps/"
    )
  return f"{whole.relative_to(ROOT)}{colon}{argument}"


def parse_share(text: str) -> tuple[int, int]:
  """Parses "I/K"; of "slurm/K" the array's task says I.

  Raises:
    UserError: it is no such thing, or I is not one of 1 to K.
  """
  part, _, whole = text.partition("/")
  if part == SLURM_SHARE:
    part = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    if not part:
      raise UserError(
          f"--share {text} is for the tasks of an array, and SLURM has told this"
          " process none; give a number"
      )
  if not (part.isdigit() and whole.isdigit() and 1 <= int(part) <= int(whole)):
    raise UserError(
        f"--share {text} is not I/K with I from 1 to K; 2/4 is the second of"
        " four"
    )
  return int(part), int(whole)
