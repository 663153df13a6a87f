"""A workdir is the whole truth of a run: config, environment, tokenizer."""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from electra_jax.disk.json_files import as_kind, read_json
from electra_jax.disk.scratch import check_no_link_inside
from electra_jax.errors import UserError, shown
from electra_jax.files import without_url_secrets, write_whole, writing
from electra_jax.runs import history, lock, shipped
from electra_jax.runs.console import Show
from electra_jax.runs.environment import environment, session
from electra_jax.runs.kinds import FINETUNING, PRETRAINING, Config, Kind
from electra_jax.store.manifest import MANIFEST_FILE
from electra_jax.store.reader import Store
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer

_CONFIG, _PHASES = "config.json", "phases.json"
ENVIRONMENT_FILE = "environment.json"
_RESTORE = "restore it from a copy, or choose another workdir"
_TOLD_BYTES = 2000  # Of a message that all processes are told.
# What others lay into a workdir, and a run never touches.
_BESIDE = re.compile(r"\..*|lost\+found|lock|log.*\.txt|synthetic_(store|task)")
RANDOM_WEIGHTS = "random weights"  # The start of a run that has no other.


@dataclasses.dataclass(frozen=True)
class Run:
  """What a workdir says of its run.

  Attributes:
    kind: PRETRAINING or FINETUNING.
    config: the resolved config.
    tokenizer: as used.
    facts: about the data; see `pretrain.facts_of` and `finetune.facts_of`.
  """

  kind: Kind
  config: Config
  tokenizer: Tokenizer
  facts: Mapping[str, Any]


def checkpoints(workdir: epath.PathLike) -> epath.Path:
  """Returns the folder of the checkpoints; of a shipped model by its name."""
  return shipped.place_of(workdir) / "checkpoints"


def check(workdir: epath.PathLike, kind: Kind, config: Config) -> None:
  """Checks that a workdir is free or holds a run of this very config.

  Raises:
    UserError: it holds a run of another kind or config or one of phases, or
      something else.
  """
  path = epath.Path(workdir)
  check_ours(workdir)
  if names := phases(workdir):
    raise UserError(
        f"workdir {workdir} holds a run of {len(names)} phases and this config"
        " has none; choose another --workdir"
    )
  if not (path / _CONFIG).exists():
    return
  if not (path / kind.facts_file).exists():
    raise UserError(
        f"workdir {workdir} holds a run of another verb than {kind.verb};"
        " choose another --workdir"
    )
  old = _plain(_read_config(path, kind))
  for change in kind.kept(history.changes(old, _plain(config))):
    raise UserError(
        f"workdir {workdir} holds a run with config.{change.name} ="
        f" {change.old!r} and this one has {change.new!r}; choose another"
        " --workdir or the same value"
    )


def check_ours(workdir: epath.PathLike) -> None:
  """Checks that a folder is a workdir, or holds nothing that is in the way.

  Raises:
    UserError: it is something else, which is not written into.
  """
  if not os.fspath(workdir):
    raise UserError("--workdir is empty; give a folder for the run")
  shipped.check_not_shipped(workdir)
  path = epath.Path(workdir)
  if path.exists() and not path.is_dir():
    raise UserError(f"workdir {workdir} is a file; give a folder")
  if not path.exists():
    return
  names = {x.name for x in path.iterdir() if not _BESIDE.fullmatch(x.name)}
  if not names or phases(workdir) or lock.is_lock(path / lock.LOCK_FILE):
    return
  for kind in (PRETRAINING, FINETUNING):
    if kind.facts_file in names:
      _read_facts(path, kind)
      return
  if MANIFEST_FILE in names:
    what = "a token store"
  else:
    what = f"no workdir: it holds {sorted(names)[0]}"
  raise UserError(
      f"{workdir} is {what}; give a new or an empty folder, or that of a"
      " pretrain or finetune run, as --workdir"
  )


def check_facts(
    workdir: epath.PathLike, kind: Kind, facts: Mapping[str, Any]
) -> None:
  """Checks that a workdir is free or holds a run on this very data.

  Raises:
    UserError: it holds a run on other data, or from another start.
  """
  path = epath.Path(workdir)
  if not (path / _CONFIG).exists() or not (path / kind.facts_file).exists():
    return
  # As JSON gives them back: a tuple is a list there.
  old, new = _read_facts(path, kind), json.loads(json.dumps(facts))
  for name in kind.immutable_facts:
    if old.get(name) != new.get(name):
      raise UserError(
          f"workdir {workdir} holds a run with another {name.replace('_', ' ')}"
          f" ({_short(old.get(name))}) than this one's ({_short(new.get(name))});"
          " choose another --workdir, or give what that run was given"
      )


@dataclasses.dataclass(frozen=True)
class Entry:
  """A workdir that a verb has entered, and is alone in.

  Attributes:
    workdir: the folder.
    kind: PRETRAINING or FINETUNING.
    config: what holds from now on.
    still_ours: raises a UserError once another process has taken the lock over.
  """

  workdir: epath.PathLike
  kind: Kind
  config: Config
  still_ours: Callable[[], None]

  def go_on(self, show: Show, **at: int) -> None:
    """Takes note of a run that goes on; to be called before its first step.

    Args:
      show: is told what differs from what held before.
      **at: where the run stands, as step=52.
    """
    path, config = epath.Path(self.workdir), _plain(self.config)
    old = _plain(_read_config(path, self.kind))
    changed = history.changes(old, config)
    for change in changed:
      show(f"changed      {change} from step {at['step']:,}")
    if jax.process_index() == 0 and (any(at.values()) or changed):
      history.append(path, at, session(), changed=changed)
      _write_json(path / ENVIRONMENT_FILE, environment())
      if changed:
        _write_json(path / _CONFIG, config)


@contextlib.contextmanager
def entered(
    workdir: epath.PathLike,
    kind: Kind,
    config: Config,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
) -> Iterator[Entry]:
  """Checks a workdir in every process, locks it, and begins it if it is new.

  The first process does what is written; the others wait for it.

  Raises:
    UserError: it holds another run, or something else, or is in use.
  """
  check(workdir, kind, config)
  check_facts(workdir, kind, facts)

  def begin_if_new() -> None:
    check(workdir, kind, config)
    check_facts(workdir, kind, facts)
    if not (epath.Path(workdir) / _CONFIG).exists():
      begin(workdir, kind, config, tokenizer, facts)

  with locked(workdir, begin_if_new) as still_ours:
    yield Entry(workdir, kind, config, still_ours)


@contextlib.contextmanager
def locked(
    workdir: epath.PathLike, then: Callable[[], None]
) -> Iterator[Callable[[], None]]:
  """Locks a workdir in the first process, which then does something in it.

  Raises:
    UserError: in all processes, if either fails.
  """
  if jax.process_count() > 1:
    # By name: processes of two runs that meet by mistake end here.
    multihost_utils.sync_global_devices(f"workdir {workdir} checked")
  with contextlib.ExitStack() as stack:
    still_ours, problem = _nothing, ""
    if jax.process_index() == 0:
      try:
        still_ours = stack.enter_context(lock.locked(workdir))
        then()
      except UserError as error:
        problem = str(error)
    if problem := _told_by_first(problem):
      raise UserError(problem)
    yield still_ours


def _nothing() -> None:
  pass


def _told_by_first(text: str) -> str:
  """Returns the text of the first process, which all wait for."""
  if jax.process_count() == 1:
    return text
  content = np.zeros(_TOLD_BYTES, np.uint8)
  encoded = text.encode()[:_TOLD_BYTES]
  content[: len(encoded)] = np.frombuffer(encoded, np.uint8)
  content = np.asarray(multihost_utils.broadcast_one_to_all(content))
  return content.tobytes().rstrip(b"\0").decode("utf-8", "ignore")


def begin(
    workdir: epath.PathLike,
    kind: Kind,
    config: Config,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
) -> None:
  """Writes all that resuming, evaluating and explaining the run need."""
  path = epath.Path(workdir)
  check_no_link_inside(path / "tokenizer")
  with writing(workdir):
    path.mkdir(parents=True, exist_ok=True)
    _write_json(path / kind.facts_file, facts)  # First: the sign of a workdir.
    tokenizer.save(path / "tokenizer")
  _write_json(path / ENVIRONMENT_FILE, environment())
  if not (path / history.HISTORY_FILE).exists():
    origin = {"step": 0, "start": facts.get("start", RANDOM_WEIGHTS)}
    history.append(path, origin, session(), config=_plain(config))
  _write_json(path / _CONFIG, _plain(config))  # Last: all is there.


def phases(workdir: epath.PathLike) -> dict[str, int | None]:
  """Returns the phases of a run: name -> step it ended at, None before that.

  Each is a workdir by itself, in the folder of its name. A run of one phase
  has no names.
  """
  path = epath.Path(workdir) / _PHASES
  if not path.exists():
    return {}
  return read_json(path, dict[str, int | None], _RESTORE)


def write_phases(
    workdir: epath.PathLike, steps: Mapping[str, int | None]
) -> None:
  """Writes what `phases` reads."""
  path = epath.Path(workdir)
  with writing(workdir):
    path.mkdir(parents=True, exist_ok=True)
  _write_json(path / _PHASES, steps)


def start_of(workdir: epath.PathLike) -> str:
  """Returns where a pretrain run's first weights came from, in words."""
  path = epath.Path(workdir)
  if not (path / PRETRAINING.facts_file).exists():
    return RANDOM_WEIGHTS
  return _read_facts(path, PRETRAINING)["start"]


def load(workdir: epath.PathLike) -> Run:
  """Reads what `begin` wrote; of a shipped model, by its name.

  Raises:
    UserError: the folder holds no run, or one of several phases.
  """
  path = shipped.place_of(workdir)
  if names := phases(workdir):
    raise UserError(
        f"{workdir} holds a run of {len(names)} phases; name one of them:"
        f" {path / list(names)[-1]}"
    )
  for kind in (PRETRAINING, FINETUNING):
    if (path / _CONFIG).exists() and (path / kind.facts_file).exists():
      facts = _read_facts(path, kind)
      tokenizer = load_tokenizer(path / "tokenizer")
      if tokenizer.digest != facts["tokenizer_digest"]:
        raise UserError(
            f"the tokenizer files in {path / 'tokenizer'} were changed after"
            " the run began; restore them from a copy"
        )
      return Run(kind, _read_config(path, kind), tokenizer, facts)
  raise UserError(
      f"{workdir} is not a workdir: it lacks config.json and"
      f" {PRETRAINING.facts_file} or {FINETUNING.facts_file}; name the --workdir"
      " of a pretrain or finetune run, or a model that comes with the package:"
      f" {', '.join(shipped.names()) or 'none'}"
  )


def check_rows(run: Run, store: Store, fix: str) -> None:
  """Checks that a store holds the rows that a run was trained on.

  Raises:
    UserError: it holds others.
  """
  recorded, found = run.facts["rows_digest"], store.manifest.rows_digest
  if recorded != found:
    raise UserError(
        f"store {store.path} holds other rows ({found[:12]}…) than the run was"
        f" trained on ({recorded[:12]}…); restore that store, or {fix}"
    )


def check_not_given(run: Run, **arguments: Any) -> None:
  """Raises a UserError for an argument that only another kind of run takes."""
  for name, value in arguments.items():
    if value is None or value is False:
      continue
    told = "" if value is True else f" {value}"  # A flag has no value.
    raise UserError(
        f"--{name.replace('_', '-')}{told} has no meaning for a"
        f" {run.kind.verb} run; leave it out"
    )


def _read_config(path: epath.Path, kind: Kind) -> Config:
  file = path / _CONFIG
  config = _as_config(read_json(file, dict[str, Any], _RESTORE), kind, file)
  values = history.first_config(path)
  if values is not None:
    # Read in the same way: keys of later versions have their defaults.
    began = _as_config(values, kind, path / history.HISTORY_FILE)
    now = without_url_secrets(_plain(config))
    changed = kind.kept(history.changes(_plain(began), now))
    for change in changed:
      raise UserError(
          f"{file} has config.{change.name} = {shown(change.new)} and the run"
          f" began with {shown(change.old)}, as {history.HISTORY_FILE} says;"
          f" {_RESTORE}"
      )
  return config


def _as_config(
    values: Mapping[str, Any], kind: Kind, file: epath.Path
) -> Config:
  try:
    return kind.read(values)
  except UserError as error:
    raise UserError(f"{file} is damaged: {error}; {_RESTORE}") from error


def _read_facts(path: epath.Path, kind: Kind) -> dict[str, Any]:
  file = path / kind.facts_file
  facts = read_json(file, dict[str, Any], _RESTORE)
  as_kind(facts, kind.facts, str(file), _RESTORE)
  return facts


def _write_json(path: epath.Path, content: Any) -> None:
  write_whole(path, [json.dumps(content, indent=1)])


def _short(value: Any) -> str:
  text = str(value)
  return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(config: Config) -> dict[str, Any]:
  # As JSON gives it back: a tuple is a list there.
  return json.loads(json.dumps(dataclasses.asdict(config)))
