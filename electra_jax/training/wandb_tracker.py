"""Runs in Weights & Biases, by its own package.

Where it sends them, and as whom, is told by its own variables: WANDB_API_KEY,
WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline.
"""

import os
import secrets
from collections.abc import Mapping

from electra_jax.files import is_remote
from electra_jax.training.tracker import About

_PROJECT = "electra_jax"
_EXIT_CODES = {"finished": 0, "stopped": 130, "failed": 1}
_STEP = "step"


class WandbTracker:
  """A run; see `Tracker`."""

  def __init__(self, about: About, run_id: str | None, parent_id: str | None):
    import wandb

    del parent_id  # Runs of a group have none above them.
    self.id, self.parent_id = run_id or secrets.token_hex(8), None
    own_place = os.environ.get("WANDB_DIR") or is_remote(about.folder)
    self._run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        id=self.id,
        resume="allow",
        name=about.name,
        group=about.group,
        job_type=about.kind,
        dir=None if own_place else os.fspath(about.folder),
        reinit="create_new",  # A notebook may have a run of its own.
        settings=wandb.Settings(
            # The command, its output and its repository may hold secrets.
            console="off",
            disable_code=True,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
        ),
    )
    self._run.config.update(dict(about.config), allow_val_change=True)
    # Its own count of steps would not let a validation join its step.
    self._run.define_metric(_STEP)
    self._run.define_metric("*", step_metric=_STEP)

  def log(self, step: int, figures: Mapping[str, float]) -> None:
    self._run.log({_STEP: step, **figures})

  def finish(self, scores: Mapping[str, float], status: str) -> None:
    self._run.summary.update({f"final/{n}": v for n, v in scores.items()})
    self._run.finish(exit_code=_EXIT_CODES[status])
