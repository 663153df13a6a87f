"""A workdir is the whole truth of a run: config, environment, tokenizer."""

import dataclasses
import json
import pathlib
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any

import jax
from etils import epath
from jax.experimental import multihost_utils

from electra_jax import __version__
from electra_jax.errors import UserError
from electra_jax.files import write_whole
from electra_jax.runs.config import PretrainConfig, read_pretrain_config
from electra_jax.runs.finetune_config import (
    FinetuneConfig,
    read_finetune_config,
)
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer

Config = PretrainConfig | FinetuneConfig

_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tokenizers",
)
_PHASES = "phases.json"
RANDOM_WEIGHTS = "random weights"  # The start of a run that has no other.


@dataclasses.dataclass(frozen=True)
class Kind:
  """What sort of run a workdir holds.

  Attributes:
    verb: the command that makes it.
    facts_file: where the facts about its data stand.
    immutable_facts: those that a run keeps.
    immutable: beginnings of config keys that a run keeps from its first step to
      its last; the rest may change when it is resumed.
    free: keys excepted from them.
    read: turns the values of a config file into the config.
  """

  verb: str
  facts_file: str
  immutable_facts: tuple[str, ...]
  immutable: tuple[str, ...]
  read: Callable[[Mapping[str, Any]], Config]
  free: tuple[str, ...] = ("model.attention", "model.remat")


PRETRAINING = Kind(
    "pretrain",
    "store.json",
    ("rows_digest", "start"),
    (
        *("seed", "data.length", "model.", "objective.", "optimizer.name"),
        *("train.batch_size", "init_from", "init."),
    ),
    read=read_pretrain_config,
)
FINETUNING = Kind(
    "finetune",
    "task.json",
    ("start", "tokenizer_digest", "tasks", "examples_digest"),
    (
        "task",
        "random_init",
        "data.max_length",
        "data.max_query_length",
        "data.doc_stride",
        "data.released_answer_spans",
        "data.double_unordered",
        "model.",
        "optimizer.",
        "questions.",
        "train.batch_size",
        "train.num_epochs",
        "train.loss_reduction",
    ),
    read=read_finetune_config,
)


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
  """Returns the folder of the checkpoints."""
  return epath.Path(workdir) / "checkpoints"


def check(workdir: epath.PathLike, kind: Kind, config: Config) -> None:
  """Checks that a workdir is free or holds a run of this very config.

  Raises:
    UserError: it holds a run of another kind or config or one of phases, or is
      a file.
  """
  path = epath.Path(workdir)
  if path.exists() and not path.is_dir():
    raise UserError(f"workdir {workdir} is a file; give a folder")
  if names := phases(workdir):
    raise UserError(
        f"workdir {workdir} holds a run of {len(names)} phases and this config"
        " has none; choose another --workdir"
    )
  if not (path / "config.json").exists():
    return
  if not (path / kind.facts_file).exists():
    raise UserError(
        f"workdir {workdir} holds a run of another verb than {kind.verb};"
        " choose another --workdir"
    )
  old = dict(_flat(_plain(_read_config(path, kind))))
  for name, value in _flat(_plain(config)):
    is_fixed = name.startswith(kind.immutable) and name not in kind.free
    if is_fixed and old.get(name) != value:
      raise UserError(
          f"workdir {workdir} holds a run with config.{name} ="
          f" {old.get(name)!r} and this one has {value!r}; choose another"
          " --workdir or the same value"
      )


def check_facts(
    workdir: epath.PathLike, kind: Kind, facts: Mapping[str, Any]
) -> None:
  """Checks that a workdir is free or holds a run on this very data.

  Raises:
    UserError: it holds a run on other data, or from another start.
  """
  path = epath.Path(workdir) / kind.facts_file
  if not path.exists():
    return
  # As JSON gives them back: a tuple is a list there.
  old, new = json.loads(path.read_text()), json.loads(json.dumps(facts))
  for name in kind.immutable_facts:
    if old.get(name) != new[name]:
      raise UserError(
          f"workdir {workdir} holds a run with another {name.replace('_', ' ')}"
          f" ({_short(old.get(name))}) than this one's ({_short(new[name])});"
          " choose another --workdir, or give what that run was given"
      )


def enter(
    workdir: epath.PathLike,
    kind: Kind,
    config: Config,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
) -> None:
  """Checks a workdir in every process, then begins it in the first.

  Raises:
    UserError: it holds another run, or is a file.
  """
  check(workdir, kind, config)
  check_facts(workdir, kind, facts)
  if jax.process_count() > 1:  # No one reads what another is writing.
    # By name: processes of two runs that meet by mistake end here.
    multihost_utils.sync_global_devices(f"workdir {workdir} checked")
  if jax.process_index() == 0:
    begin(workdir, kind, config, tokenizer, facts)


def begin(
    workdir: epath.PathLike,
    kind: Kind,
    config: Config,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
) -> None:
  """Writes all that resuming, evaluating and explaining the run need."""
  path = epath.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  tokenizer.save(path / "tokenizer")
  contents = {
      "environment.json": environment(),
      kind.facts_file: facts,
      "config.json": _plain(config),  # Last: the sign that all is there.
  }
  for name, content in contents.items():
    write_whole(path / name, [json.dumps(content, indent=1)])


def phases(workdir: epath.PathLike) -> dict[str, int | None]:
  """Returns the phases of a run: name -> step it ended at, None before that.

  Each is a workdir by itself, in the folder of its name. A run of one phase
  has no names.
  """
  path = epath.Path(workdir) / _PHASES
  return json.loads(path.read_text()) if path.exists() else {}


def write_phases(
    workdir: epath.PathLike, steps: Mapping[str, int | None]
) -> None:
  """Writes what `phases` reads."""
  path = epath.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  write_whole(path / _PHASES, [json.dumps(steps, indent=1)])


def start_of(workdir: epath.PathLike) -> str:
  """Returns where a pretrain run's first weights came from, in words."""
  path = epath.Path(workdir) / PRETRAINING.facts_file
  facts = json.loads(path.read_text()) if path.exists() else {}
  return facts.get("start", RANDOM_WEIGHTS)


def load(workdir: epath.PathLike) -> Run:
  """Reads what `begin` wrote.

  Raises:
    UserError: the folder holds no run, or one of several phases.
  """
  path = epath.Path(workdir)
  if names := phases(workdir):
    raise UserError(
        f"{workdir} holds a run of {len(names)} phases; name one of them:"
        f" {path / list(names)[-1]}"
    )
  for kind in (PRETRAINING, FINETUNING):
    if (path / "config.json").exists() and (path / kind.facts_file).exists():
      return Run(
          kind,
          _read_config(path, kind),
          load_tokenizer(path / "tokenizer"),
          json.loads((path / kind.facts_file).read_text()),
      )
  raise UserError(
      f"{workdir} is not a workdir: it lacks config.json and"
      f" {PRETRAINING.facts_file} or {FINETUNING.facts_file}; name the --workdir"
      " of a pretrain or finetune run"
  )


def check_not_given(run: Run, **arguments: Any) -> None:
  """Raises a UserError for an argument that only another kind of run takes."""
  for name, value in arguments.items():
    if value:
      raise UserError(
          f"--{name.replace('_', '-')} {value} has no meaning for a"
          f" {run.kind.verb} run; leave it out"
      )


def environment() -> dict[str, Any]:
  """Returns what a figure depends on beside its config, for the record."""
  return {
      "electra_jax": __version__,
      "commit": _commit(),
      "command": sys.argv,
      "python": platform.python_version(),
      "packages": {name: metadata.version(name) for name in _PACKAGES},
      "devices": [str(device) for device in jax.devices()],
      "device_kind": jax.devices()[0].device_kind,
      "processes": jax.process_count(),
  }


def _read_config(path: epath.Path, kind: Kind) -> Config:
  return kind.read(json.loads((path / "config.json").read_text()))


def _short(value: Any) -> str:
  text = str(value)
  return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(config: Config) -> dict[str, Any]:
  # As JSON gives it back: a tuple is a list there.
  return json.loads(json.dumps(dataclasses.asdict(config)))


def _flat(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from _flat(value, f"{prefix}{key}.")
    else:
      yield prefix + key, value


def _commit() -> str | None:
  try:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=pathlib.Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None
