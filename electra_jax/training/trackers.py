"""Sends a run's figures to trackers, each in a thread of its own.

metrics.jsonl is the truth; a tracker gets a copy. What it has got is noted in
the run's folder, so that a resumed run goes on with the same run there, sends
nothing twice, and catches up on what a tracker has missed. No tracker can stop
or hold up the training: the first thing that goes wrong in one is told in a
sentence, and it gets nothing more.
"""

import contextlib
import importlib.util
import logging
import math
import os
import queue
import re
import threading
from collections.abc import Mapping
from typing import Any

from etils import epath

from electra_jax.disk.json_files import read_json
from electra_jax.errors import UserError
from electra_jax.files import to_json, without_url_secrets, write_whole
from electra_jax.training.mlflow_tracker import MlflowTracker
from electra_jax.training.tracker import About, Tracker
from electra_jax.training.wandb_tracker import WandbTracker

_log = logging.getLogger(__name__)
TRACKERS: dict[str, type[Tracker]] = {
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
}
_FOLDER = "trackers"
_PATIENCE_SECS = 60.0  # For what is under way when a run ends.
_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")
_SHORTEST_SECRET = 6


def tracker_names(text: str) -> list[str]:
  """Returns the names in `config.trackers`, as "wandb,mlflow".

  Raises:
    UserError: one is unknown, or packages are missing; all of these are named.
  """
  names = [name.strip() for name in text.split(",") if name.strip()]
  for name in names:
    if name not in TRACKERS:
      raise UserError(
          f"config.trackers is {text!r}, and {name!r} is none of"
          f" {', '.join(TRACKERS)}; give one or several of them, with commas"
          " between"
      )
  names = list(dict.fromkeys(names))
  missing = [n for n in names if importlib.util.find_spec(n) is None]
  if missing:
    listed = " and ".join(missing)
    raise UserError(
        f"config.trackers is {text!r}, which needs {listed}; run pip install"
        f" 'electra-jax[{','.join(missing)}]', or leave"
        f" {'it' if len(missing) == 1 else 'them'} out"
    )
  return names


def without_secrets(text: str) -> str:
  """Blots out what addresses hide, and values of secret variables."""
  text = without_url_secrets(text)
  for name, value in os.environ.items():
    is_secret = _SECRET_NAMES.search(name.upper())
    if is_secret and len(value) >= _SHORTEST_SECRET:
      text = text.replace(value, "***")
  return text


class Trackers:
  """All trackers of a run; a context, which ends them."""

  def __init__(self, names: list[str], about: About, *, is_new: bool):
    """Starts a thread for each.

    Args:
      names: of `tracker_names`.
      about: the run.
      is_new: whether there are steps to do, so that a run is opened at once;
        else it is when there is something to send.
    """
    self._workers = [_Worker(name, about) for name in names]
    self._ending: tuple[Mapping[str, float], str] = ({}, "stopped")
    if is_new:
      for worker in self._workers:
        worker.put("open")

  def write(self, step: int, group: str, scalars: Mapping[str, float]) -> None:
    """Sends a record of finite figures; see `ScalarWriter.write`."""
    figures = {f"{group}/{name}": value for name, value in scalars.items()}
    for worker in self._workers:
      worker.put("log", step, group, figures)

  def finish(self, scores: Mapping[str, float]) -> None:
    """Notes that the run has come to its end, and its scores."""
    finite = {n: float(x) for n, x in scores.items() if math.isfinite(x)}
    self._ending = (finite, "finished")

  def __enter__(self) -> "Trackers":
    return self

  def __exit__(self, kind, error, trace) -> None:
    scores, status = self._ending
    if kind is not None:
      status = "failed" if issubclass(kind, Exception) else "stopped"
    for worker in self._workers:
      worker.put("finish", scores, status)
    for worker in self._workers:
      worker.join(_PATIENCE_SECS)


class _Worker:
  """A tracker, and the thread that it works in."""

  def __init__(self, name: str, about: About):
    self._name, self._about = name, about
    self._path = _state_path(about.folder, name)
    self._queue: queue.Queue[tuple[Any, ...]] = queue.Queue()
    self._tracker: Tracker | None = None
    self._thread = threading.Thread(
        target=self._work, name=f"tracker {name}", daemon=True
    )
    self._thread.start()

  def put(self, *order: Any) -> None:
    if self._thread.is_alive():
      self._queue.put(order)

  def join(self, secs: float) -> None:
    self._thread.join(secs)
    if self._thread.is_alive():
      _log.warning(
          "%s has not taken all figures within %.0f s of the end; the same"
          " command sends the others",
          self._name,
          secs,
      )

  def _work(self) -> None:
    try:
      self._state = _read_state(self._path)
      is_over = False
      while not is_over:
        what, *values = self._queue.get()
        is_over = what == "finish"
        getattr(self, f"_{what}")(*values)
    except Exception as error:
      self._keep_what_was_sent()
      told = without_secrets(" ".join(str(error).split()))[:300]
      _log.warning(
          "%s gets no more figures of %s, since it failed (%s: %s); the"
          " training goes on, and the same command sends the others later",
          self._name,
          self._about.name,
          type(error).__name__,
          told,
      )

  def _keep_what_was_sent(self) -> None:
    if self._tracker is not None:
      with contextlib.suppress(UserError, OSError):
        _write_state(self._path, self._state)

  def _open(self) -> None:
    if self._tracker is not None:
      return
    parent, parent_id = self._about.parent, None
    if parent is not None:
      path = _state_path(parent.folder, self._name)
      above = _read_state(path)
      parent_id = above.get("id")
    self._tracker = TRACKERS[self._name](
        self._about, self._state.get("id"), parent_id
    )
    if parent is not None and self._tracker.parent_id != parent_id:
      _write_state(path, {**above, "id": self._tracker.parent_id})
    self._state["id"] = self._tracker.id
    _write_state(self._path, self._state)

  def _log(self, step: int, group: str, figures: Mapping[str, float]) -> None:
    logged = self._state.setdefault("logged", {})
    if step <= logged.get(group, -1):
      return
    self._open()
    self._tracker.log(step, figures)
    logged[group] = step
    if self._queue.empty():
      _write_state(self._path, self._state)

  def _finish(self, scores: Mapping[str, float], status: str) -> None:
    is_news = status == "finished" and self._state.get("scores") != scores
    if self._tracker is None and not is_news:
      return
    self._open()
    self._tracker.finish(scores if is_news else {}, status)
    if is_news:
      self._state["scores"] = dict(scores)
    _write_state(self._path, self._state)


def _state_path(folder: epath.PathLike, name: str) -> epath.Path:
  return epath.Path(folder) / _FOLDER / f"{name}.json"


def _read_state(path: epath.Path) -> dict[str, Any]:
  """Returns the run's id there, the last step by group, and its scores."""
  if not path.exists():
    return {}
  return read_json(
      path, dict[str, Any], "delete it, and a new run begins there"
  )


def _write_state(path: epath.Path, state: Mapping[str, Any]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, [to_json(state, indent=1)])
