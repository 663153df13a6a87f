"""Runs in MLflow, by its own package.

Where it keeps them is told by its own variables: MLFLOW_TRACKING_URI,
MLFLOW_EXPERIMENT_NAME and those of its server's password.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from electra_jax.training.tracker import About

_EXPERIMENT = "electra_jax"
_STATUSES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_PARENT = "mlflow.parentRunId"  # MLflow's own tag.
_MOST_PARAMS = 100  # MLflow's limits: of one call, …
_LONGEST_PARAM = 500  # … and of a value, in its oldest versions.


class MlflowTracker:
  """A run; see `Tracker`."""

  def __init__(self, about: About, run_id: str | None, parent_id: str | None):
    from mlflow import MlflowClient

    self._client = MlflowClient()
    self.parent_id = parent_id
    if about.parent is not None and parent_id is None:
      self.parent_id = self._create(about.parent, None)
    self._is_new, self._last_step = run_id is None, 0
    self.id = run_id or self._create(about, self.parent_id)
    if not self._is_new:
      self._client.update_run(self.id, status="RUNNING")
    self._tell(about.config)

  def log(self, step: int, figures: Mapping[str, float]) -> None:
    from mlflow.entities import Metric

    now, self._last_step = int(time.time() * 1000), step
    self._client.log_batch(
        self.id, [Metric(name, x, now, step) for name, x in figures.items()]
    )

  def finish(self, scores: Mapping[str, float], status: str) -> None:
    if scores:
      self.log(
          self._last_step, {f"final/{name}": x for name, x in scores.items()}
      )
    self._client.set_terminated(self.id, _STATUSES[status])

  def _create(self, about: About, parent_id: str | None) -> str:
    tags = {"group": about.group, "kind": about.kind}
    if parent_id is not None:
      tags[_PARENT] = parent_id
    run = self._client.create_run(
        self._experiment(), tags=tags, run_name=about.name
    )
    return run.info.run_id

  def _experiment(self) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
    found = self._client.get_experiment_by_name(name)
    if found is None:
      try:
        return self._client.create_experiment(name)
      except Exception:  # Another run has just made it.
        found = self._client.get_experiment_by_name(name)
        if found is None:
          raise
    return found.experiment_id

  def _tell(self, config: Mapping[str, Any]) -> None:
    """Notes the config; what a resumed run has changed becomes a tag."""
    from mlflow.entities import Param

    before = {}
    if not self._is_new:
      before = self._client.get_run(self.id).data.params
    values = {n: str(v)[:_LONGEST_PARAM] for n, v in config.items()}
    new = [Param(n, v) for n, v in values.items() if n not in before]
    for i in range(0, len(new), _MOST_PARAMS):
      self._client.log_batch(self.id, params=new[i : i + _MOST_PARAMS])
    for name, value in values.items():
      if before.get(name, value) != value:  # A parameter cannot change there.
        self._client.set_tag(self.id, f"changed.{name}", value)
