"""Checkpoints by orbax: whole or not at all, the newest K kept.

The data position is the step, since a batch is a pure function of it; so the
train state is all there is to save.
"""

import logging
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from electra_jax.errors import UserError
from electra_jax.training.step import TrainState
from electra_jax.trees import path_names

_log = logging.getLogger(__name__)
_STATE = "state"


class Checkpointer:
  """Saves and restores train states under one folder."""

  def __init__(self, directory: epath.PathLike, keep: int = 3):
    """Opens the folder, which is made at the first save.

    Args:
      directory: a local or gs:// folder.
      keep: newest checkpoints to keep; 0 keeps all.
    """
    self.directory = epath.Path(directory).absolute()
    self._keep = keep
    self._manager = self._open()

  def _open(self) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        self.directory,
        options=ocp.CheckpointManagerOptions(
            max_to_keep=self._keep or None,
            enable_async_checkpointing=True,
        ),
        item_names=(_STATE,),
    )

  def steps(self) -> list[int]:
    """Returns the steps that have a checkpoint, oldest first."""
    return sorted(self._manager.all_steps())

  def save(self, state: TrainState, step: int) -> None:
    """Writes in the background; the state may be donated at once.

    Raises:
      UserError: this or an earlier write failed (a full disk, say).
    """
    if step in self.steps():
      return
    try:
      self._manager.save(
          step, args=ocp.args.Composite(state=ocp.args.StandardSave(state))
      )
    except (OSError, ValueError, RuntimeError) as error:
      raise self._write_error(step, error) from error

  def wait(self) -> None:
    """Returns when everything is on disk.

    Raises:
      UserError: a background write failed.
    """
    try:
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except (OSError, ValueError, RuntimeError) as error:
      raise self._write_error(None, error) from error

  def close(self) -> None:
    """Waits for writes and releases threads."""
    self.wait()
    self._manager.close()

  def restore_latest(
      self, abstract: TrainState, shardings: TrainState
  ) -> TrainState | None:
    """Restores the newest checkpoint that can be read.

    A broken one is named, put aside, and the one before it is used.

    Args:
      abstract: shapes and dtypes of the state.
      shardings: where every array is to lie; any mesh will do.

    Returns:
      The state, or None where there is no checkpoint.

    Raises:
      UserError: the checkpoint is of another model, or none can be read.
    """
    target = _with_shardings(abstract, shardings)
    restored, broken = self._first_readable(
        lambda step: self._restore(step, target)
    )
    self._put_aside(broken)
    return restored

  def read_latest(
      self, abstract: TrainState, shardings: TrainState
  ) -> TrainState:
    """The same of a run that others own: nothing in its folder is changed.

    Raises:
      UserError: there is no checkpoint, it is of another model, or none can
        be read.
    """
    target = _with_shardings(abstract, shardings)
    restored, _ = self._first_readable(lambda step: self._restore(step, target))
    return self._existing(restored)

  def restore_params(self, abstract: Any, shardings: Any = None) -> Any:
    """Restores the parameters alone, of the newest readable checkpoint.

    Args:
      abstract: shapes and dtypes of the parameters.
      shardings: where each is to lie, or None for the first device.

    Raises:
      UserError: there is no checkpoint, it is of another model, or none can
        be read.
    """
    if shardings is None:
      here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
      shardings = jax.tree.map(lambda _: here, abstract)
    target = _with_shardings(abstract, shardings)
    restored, _ = self._first_readable(
        lambda step: self._restore_params(step, target)
    )
    return self._existing(restored)

  def _existing(self, restored: Any) -> Any:
    if restored is None:
      raise UserError(
          f"there is no checkpoint in {self.directory}; name the workdir of a"
          " run that has saved one"
      )
    return restored

  def _first_readable(self, restore: Callable[[int], Any]):
    broken = []
    for step in reversed(self.steps()):
      try:
        return restore(step), broken
      except UserError:
        raise
      except Exception as error:  # Any reader's error means a broken file.
        broken.append(step)
        _log.warning(
            "checkpoint %s cannot be read (%s); trying the one before it",
            self.directory / str(step),
            str(error).split("\n")[0][:200],
        )
    if broken:
      raise UserError(
          f"none of the checkpoints {broken} in {self.directory} can be read;"
          " restore one from a copy, or choose another workdir"
      )
    return None, broken

  def _restore(self, step: int, target: TrainState) -> TrainState:
    self._check_shapes(step, target.params)
    return self._manager.restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
    )[_STATE]

  def _restore_params(self, step: int, target: Any) -> Any:
    self._check_shapes(step, target)
    item = {"params": target}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
      return reader.restore(
          self.directory / str(step) / _STATE,
          args=ocp.args.PyTreeRestore(
              item=item,
              restore_args=ocp.checkpoint_utils.construct_restore_args(item),
              partial_restore=True,
          ),
      )["params"]

  def _check_shapes(self, step: int, params: Any) -> None:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
      saved = reader.metadata(self.directory / str(step) / _STATE)
    tree = saved.item_metadata.tree
    shapes = {n: tuple(x.shape) for n, x in path_names(tree["params"])}
    for name, leaf in path_names(params):
      if shapes.get(name) != tuple(leaf.shape):
        raise UserError(
            f"checkpoint {self.directory / str(step)} holds {name!r} with"
            f" shape {shapes.get(name)} and this model needs"
            f" {tuple(leaf.shape)}; give the config it was trained with, or"
            " another workdir"
        )

  def _put_aside(self, broken: list[int]) -> None:
    # A step that is taken again must find its name free.
    if not broken:
      return
    self._manager.close()
    if jax.process_index() == 0:
      for step in broken:
        folder = self.directory / str(step)
        folder.rename(self.directory / f"broken-{step}")
    if jax.process_count() > 1:
      from jax.experimental import multihost_utils

      multihost_utils.sync_global_devices("broken checkpoints put aside")
    self._manager = self._open()

  def _write_error(self, step: int | None, error: Exception) -> UserError:
    what = "a checkpoint" if step is None else f"checkpoint {step}"
    reason = str(error).split("\n")[0][:200]
    saved = self.steps()
    return UserError(
        f"{what} could not be written to {self.directory} ({reason}); the last"
        f" good one is {saved[-1] if saved else 'none'}; free space there and"
        " run the same command again"
    )


def _with_shardings(abstract: Any, shardings: Any) -> Any:
  return jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      abstract,
      shardings,
  )
