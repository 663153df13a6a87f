"""For tests of sweeps: trials that take no time, and what they were asked."""

import importlib.util
import json
import pathlib
import shlex
import sys

from electra_jax.sweeps.trials import SweepPlan, make_plan
from tests import helpers

# Eight trials.
WEIGHTS = (
    'Sweep("configs/pretrain.py:tiny,runlocal",'
    ' grid({"objective.disc_weight": (1.0, 10.0, 20.0, 50.0)}),'
    ' metric="validation/rtd_auc", seeds=2)'
)
TRIAL = "disc_weight=10,seed=1"


class Trials:
  """A folder whose trials are made by trial.py.

  Attributes:
    output: of the sweep.
    program: takes the place of the Python that runs trials.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self.output = folder / "sweep"
    self.program = folder / "python"
    script = pathlib.Path(__file__).parent / "trial.py"
    words = [sys.executable, "-IS", str(script), str(folder)]
    self.program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    self.program.chmod(0o755)
    (folder / "acts").mkdir()

  def act(self, trial: str, *acts: str) -> None:
    """Says how the next attempts at a trial end."""
    (self._folder / "acts" / trial).write_text(" ".join(acts))

  def calls(self, trial: str = "") -> list[list[str]]:
    """Returns the words of every attempt, or of those at one trial."""
    path = self._folder / "starts"
    lines = path.read_text().splitlines() if path.exists() else []
    words = [json.loads(line) for line in lines]
    return [w for w in words if f"/{trial}" in " ".join(w)]

  def waits(self, trial: str) -> int:
    """Returns the process of an attempt that was told to wait, or 0."""
    path = self._folder / f"waits {trial}"
    return int(path.read_text() or 0) if path.exists() else 0

  def sweep(self, text: str = WEIGHTS) -> str:
    """Writes a sweep file that returns what an expression says."""
    path = self._folder / "a_sweep.py"
    path.write_text(
        "from electra_jax.sweeps.space import *\n\n\n"
        f"def get_sweep(arg=None):\n  return {text}\n"
    )
    return str(path)

  def plan(self, text: str = WEIGHTS) -> SweepPlan:
    """Returns the plan of such a file."""
    return make_plan(self.sweep(text))


def load_command():
  """Returns launch/sweep.py as a module."""
  path = helpers.ROOT / "launch/sweep.py"
  spec = importlib.util.spec_from_file_location("launch_sweep", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
