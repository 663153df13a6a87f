"""Checkpoints by orbax: whole or not at all, the newest K kept, all checked.

The data position is the step, since a batch is a pure function of it; so the
train state is all there is to save. Beside it lies a record of checksums, which
every array that is read must have; no state that is not finite is saved. In the
place of checkpoints there may be one file of weights, see `weights_file`.
"""

import json
import logging
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from electra_jax.disk.scratch import check_no_link_inside
from electra_jax.errors import UserError, shown
from electra_jax.files import writing
from electra_jax.training.checkpoint_record import (
    DamagedError,
    Record,
    Window,
    make_record,
)
from electra_jax.training.checksums import examine
from electra_jax.training.step import TrainState
from electra_jax.training.weights_file import find_weights_file

_log = logging.getLogger(__name__)
_STATE, _RECORD = "state", "record"
_RECORD_FILE = "metadata"  # Orbax calls it so.
_TIMES_FILE = "_CHECKPOINT_METADATA"  # And this.


class NonFiniteError(UserError):
  """A state that is not finite was to be saved."""


class Checkpointer:
  """Saves and restores train states under one folder.

    with Checkpointer(folder) as checkpointer:
      params = checkpointer.read_params(abstract)

  Attributes:
    directory: the folder.
    restored_step: step of what was last read or restored, None before that.
  """

  def __init__(
      self,
      directory: epath.PathLike,
      keep: int = 3,
      still_ours: Callable[[], None] = lambda: None,
  ):
    """Opens the folder, which is made at the first save.

    Args:
      directory: a local or gs:// folder.
      keep: newest checkpoints to keep; 0 keeps all.
      still_ours: raises a UserError where nothing may be saved any more.

    Raises:
      UserError: there is a file in the folder's place.
    """
    self.directory = epath.Path(directory).absolute()
    self.restored_step: int | None = None
    self._keep = keep
    self._still_ours = still_ours
    if self.directory.exists() and not self.directory.is_dir():
      raise UserError(
          f"{self.directory} is a file, where a folder of checkpoints belongs;"
          " move it away"
      )
    check_no_link_inside(self.directory)
    self._weights = find_weights_file(self.directory)
    self._manager = self._open()

  def _open(self) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=self._keep or None, enable_async_checkpointing=True
    )
    try:
      return ocp.CheckpointManager(
          self.directory, options=options, item_names=(_STATE, _RECORD)
      )
    except OSError as error:
      raise UserError(
          f"{self.directory} cannot be opened ({error.strerror or error});"
          " mend that and run the same command again"
      ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
      # It reads the times of all checkpoints, and bears no damage there.
      raise UserError(
          f"a file {_TIMES_FILE} below {self.directory} is damaged"
          f" ({shown(str(error), 200)}); restore it from a copy, or delete it: a"
          " checkpoint can be read without it"
      ) from error

  def __enter__(self) -> "Checkpointer":
    return self

  def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
    if kind is None:
      self.close()
      return
    try:  # What ended the run is told, not what it has led to.
      self.close()
    except UserError as error:
      _log.warning("%s", error)

  @property
  def has_weights_alone(self) -> bool:
    """Whether there is no optimizer's state, and nothing can be saved."""
    return self._weights is not None

  def steps(self) -> list[int]:
    """Returns the steps that have a checkpoint, oldest first."""
    if self._weights is not None:
      return [self._weights.record.step]
    return sorted(self._manager.all_steps())

  def save(
      self, state: TrainState, step: int, window: Window | None = None
  ) -> None:
    """Writes in the background; the state may be donated at once.

    Args:
      state: what is saved, unless that step is saved already.
      step: updates done.
      window: see `Record`.

    Raises:
      NonFiniteError: a value of it is infinite or NaN; nothing is written.
      UserError: this or an earlier write failed (a full disk, say).
    """
    if step in self.steps():
      return
    self._check_states()
    self._still_ours()
    found = examine(state)
    if bad := [name for name, x in found.items() if not x.is_finite]:
      raise NonFiniteError(
          f"the update of step {step} has made {bad[0]}"
          f"{f' and {len(bad) - 1} more arrays' if bad[1:] else ''} infinite or"
          " NaN, so that step is not saved"
      )
    sums = {name: x.checksum for name, x in found.items()}
    record = make_record(step, state, sums, window).to_json()
    try:
      self._manager.save(
          step,
          args=ocp.args.Composite(
              state=ocp.args.StandardSave(state),
              record=ocp.args.JsonSave(record),
          ),
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
    try:
      self.wait()
    finally:
      self._manager.close()

  def restore_latest(
      self, abstract: TrainState, shardings: TrainState
  ) -> TrainState | None:
    """Restores the newest checkpoint that can be read and is what was saved.

    A broken one is named, put aside, and the one before it is used.

    Args:
      abstract: shapes and dtypes of the state.
      shardings: where every array is to lie; any mesh will do.

    Returns:
      The state, or None where there is no checkpoint.

    Raises:
      UserError: the checkpoint is of another model, or none can be read.
    """
    self._check_states()
    target = _with_shardings(abstract, shardings)
    restored, broken = self._first_sound(target, self._restore_state)
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
    self._check_states()
    target = _with_shardings(abstract, shardings)
    restored, _ = self._first_sound(target, self._restore_state)
    return self._existing(restored)

  def read_params(self, abstract: Any, shardings: Any = None) -> Any:
    """Reads the parameters alone, of the newest sound checkpoint.

    Args:
      abstract: shapes and dtypes of the parameters, all or some of them.
      shardings: where each is to lie, or None for the first device.

    Raises:
      UserError: there is no checkpoint, it is of another model, or none can
        be read.
    """
    if shardings is None:
      here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
      shardings = jax.tree.map(lambda _: here, abstract)
    if self._weights is not None:
      self.restored_step = self._weights.record.step
      return self._weights.read(abstract, shardings)
    target = {"params": _with_shardings(abstract, shardings)}
    restored, _ = self._first_sound(target, self._restore_part)
    return self._existing(restored)["params"]

  def window(self, step: int) -> Window | None:
    """Returns the open window of a checkpoint, None where there is none."""
    if self._weights is not None or step not in self.steps():
      return None
    return self._record(step).window

  def _check_states(self) -> None:
    if self._weights is not None:
      raise UserError(
          f"{self.directory} holds weights alone, without the optimizer's state;"
          " start a new --workdir from them by --config.init_from, with"
          " --config.init.optimizer=fresh"
      )

  def _existing(self, restored: Any) -> Any:
    if restored is None:
      raise UserError(
          f"there is no checkpoint in {self.directory}; name the workdir of a"
          " run that has saved one"
      )
    return restored

  def _first_sound(
      self, target: Any, restore: Callable[[int, Any], Any]
  ) -> tuple[Any, list[int]]:
    """Returns what the newest sound checkpoint holds, and the broken ones."""
    broken = []
    for step in reversed(self.steps()):
      restored, reason = self._try(step, target, restore)
      if reason is None:
        self.restored_step = step
        return restored, broken
      broken.append(step)
      _log.warning(
          "checkpoint %s cannot be read (%s); trying the one before it",
          self.directory / str(step),
          reason,
      )
    if broken:
      raise UserError(
          f"none of the checkpoints {broken} in {self.directory} can be read;"
          " restore one from a copy, or choose another workdir"
      )
    return None, broken

  def _try(
      self, step: int, target: Any, restore: Callable[[int, Any], Any]
  ) -> tuple[Any, str | None]:
    """Returns what was read, or why it is not what was saved."""
    restored = record = reason = None
    try:
      record = self._record(step)
      self._check_fit(step, record, target)
      restored = restore(step, target)
    except UserError:
      raise
    except Exception as error:  # Any reader's error means a broken file.
      reason = str(error).split("\n")[0][:200] or repr(error)
      self._check_blame(step, error)
    if _in_any_process(reason is not None):
      return None, reason or "another process cannot read it"
    try:
      record.check({n: x.checksum for n, x in examine(restored).items()})
    except DamagedError as error:
      return None, str(error)
    return restored, None

  def _check_blame(self, step: int, error: Exception) -> None:
    """Raises UserError where an error says nothing against the files."""
    if isinstance(error, MemoryError | PermissionError) or (
        "RESOURCE_EXHAUSTED" in str(error)
    ):
      raise UserError(
          f"checkpoint {self.directory / str(step)} is not read for want of"
          f" memory or permission ({str(error)[:200]}); mend that and run the"
          " same command again"
      ) from error

  def _record(self, step: int) -> Record:
    path = self.directory / str(step) / _RECORD / _RECORD_FILE
    try:
      record = Record.from_json(json.loads(path.read_text()))
    except FileNotFoundError as error:
      raise DamagedError("it has no record of checksums") from error
    except (ValueError, RecursionError) as error:
      raise DamagedError("its record is damaged") from error
    if record.step != step:
      raise DamagedError(f"it holds step {record.step}")
    return record

  def _check_fit(self, step: int, record: Record, target: Any) -> None:
    if misfit := record.misfit(target):
      name, saved, wanted = misfit
      raise UserError(
          f"checkpoint {self.directory / str(step)} holds {name!r} as {saved}"
          f" and this model needs {wanted}; give the config it was trained"
          " with, or another workdir"
      )

  def _restore_state(self, step: int, target: TrainState) -> TrainState:
    return self._manager.restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
    )[_STATE]

  def _restore_part(self, step: int, target: Any) -> Any:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
      return reader.restore(
          self.directory / str(step) / _STATE,
          args=ocp.args.PyTreeRestore(
              item=target,
              restore_args=ocp.checkpoint_utils.construct_restore_args(target),
              partial_restore=True,
          ),
      )

  def _put_aside(self, broken: list[int]) -> None:
    # A step that is taken again must find its name free.
    if not broken:
      return
    self._manager.close()
    if jax.process_index() == 0:
      for step in broken:
        with writing(self.directory):
          (self.directory / str(step)).rename(self._free_name(step))
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices("broken checkpoints put aside")
    self._manager = self._open()

  def _free_name(self, step: int) -> epath.Path:
    path, number = self.directory / f"broken-{step}", 1
    while path.exists():
      number += 1
      path = self.directory / f"broken-{step}-{number}"
    return path

  def _write_error(self, step: int | None, error: Exception) -> UserError:
    what = "a checkpoint" if step is None else f"checkpoint {step}"
    reason = str(error).split("\n")[0][:200]
    saved = self.steps()
    return UserError(
        f"{what} could not be written to {self.directory} ({reason}); the last"
        f" good one is {saved[-1] if saved else 'none'}; free space there and"
        " run the same command again"
    )


def _in_any_process(failed: bool) -> bool:
  """Says whether something failed in a process; all must ask alike."""
  if jax.process_count() == 1:
    return failed
  return bool(multihost_utils.process_allgather(np.asarray(failed)).any())


def _with_shardings(abstract: Any, shardings: Any) -> Any:
  return jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      abstract,
      shardings,
  )
