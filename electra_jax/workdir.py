"""A workdir is the whole truth of a run: config, environment, tokenizer."""

import dataclasses
import json
import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from electra_jax import __version__
from electra_jax.data.tokenizer import Tokenizer, load_tokenizer
from electra_jax.errors import UserError

_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tokenizers",
)


@dataclasses.dataclass(frozen=True)
class Kind:
  """What sort of run a workdir holds.

  Attributes:
    verb: the command that makes it.
    facts_file: where the facts about its data stand.
    digest: the fact that tells one set of data from another.
    fixed: beginnings of config keys that a run keeps from its first step to
      its last; the rest may change when it is resumed.
    free: keys excepted from them.
  """

  verb: str
  facts_file: str
  digest: str
  fixed: tuple[str, ...]
  free: tuple[str, ...] = ("model.remat",)


PRETRAINING = Kind(
    "pretrain",
    "store.json",
    "rows_digest",
    ("seed", "data.length", "model.", "objective.", "train.batch_size"),
)
FINETUNING = Kind(
    "finetune",
    "task.json",
    "examples_digest",
    (
        "task",
        "random_init",
        "data.max_length",
        "data.max_query_length",
        "data.doc_stride",
        "data.double_unordered",
        "model.",
        "optimizer.",
        "questions.answerable_weight",
        "train.batch_size",
        "train.num_epochs",
        "train.loss_reduction",
    ),
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
  config: ConfigDict
  tokenizer: Tokenizer
  facts: Mapping[str, Any]


def checkpoints(workdir: epath.PathLike) -> epath.Path:
  """Returns the folder of the checkpoints."""
  return epath.Path(workdir) / "checkpoints"


def check(
    workdir: epath.PathLike,
    kind: Kind,
    config: ConfigDict,
    facts: Mapping[str, Any],
) -> None:
  """Checks that a workdir is free or holds this very run.

  Raises:
    UserError: it holds a run of another kind, config or data, or is a file.
  """
  path = epath.Path(workdir)
  if path.exists() and not path.is_dir():
    raise UserError(f"workdir {workdir} is a file; give a folder")
  if not (path / "config.json").exists():
    return
  if not (path / kind.facts_file).exists():
    raise UserError(
        f"workdir {workdir} holds a run of another verb than {kind.verb};"
        " choose another --workdir"
    )
  old = dict(_flat(json.loads((path / "config.json").read_text())))
  for name, value in _flat(_plain(config)):
    is_fixed = name.startswith(kind.fixed) and name not in kind.free
    if is_fixed and old.get(name) != value:
      raise UserError(
          f"workdir {workdir} holds a run with config.{name} ="
          f" {old.get(name)!r} and this one has {value!r}; choose another"
          " --workdir or the same value"
      )
  old_facts = json.loads((path / kind.facts_file).read_text())
  if old_facts[kind.digest] != facts[kind.digest]:
    raise UserError(
        f"workdir {workdir} holds a run on other data than this one's; choose"
        " another --workdir, or give that run's data"
    )


def begin(
    workdir: epath.PathLike,
    kind: Kind,
    config: ConfigDict,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
) -> None:
  """Writes all that resuming, evaluating and explaining the run need."""
  path = epath.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  (path / "config.json").write_text(json.dumps(_plain(config), indent=1))
  (path / kind.facts_file).write_text(json.dumps(facts, indent=1))
  (path / "environment.json").write_text(json.dumps(_environment(), indent=1))
  if not (path / "tokenizer").exists():
    tokenizer.save(path / "tokenizer")


def load(workdir: epath.PathLike) -> Run:
  """Reads what `begin` wrote.

  Raises:
    UserError: the folder holds no run.
  """
  path = epath.Path(workdir)
  for kind in (PRETRAINING, FINETUNING):
    if (path / "config.json").exists() and (path / kind.facts_file).exists():
      return Run(
          kind,
          ConfigDict(json.loads((path / "config.json").read_text())),
          load_tokenizer(path / "tokenizer"),
          json.loads((path / kind.facts_file).read_text()),
      )
  raise UserError(
      f"{workdir} is not a workdir: it lacks config.json and"
      f" {PRETRAINING.facts_file} or {FINETUNING.facts_file}; name the --workdir"
      " of a pretrain or finetune run"
  )


def _plain(config: ConfigDict) -> dict[str, Any]:
  return json.loads(config.to_json_best_effort())


def _flat(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from _flat(value, f"{prefix}{key}.")
    else:
      yield prefix + key, value


def _environment() -> dict[str, Any]:
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
