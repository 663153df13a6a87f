"""A workdir is the whole truth of a run: config, environment, tokenizer."""

import dataclasses
import json
import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from electra_jax import __version__
from electra_jax.data.store import Store
from electra_jax.data.tokenizer import Tokenizer, load_tokenizer
from electra_jax.errors import UserError

# What a run keeps from its first step to its last; the rest may change when
# it is resumed.
_FIXED = ("seed", "data.length", "model.", "objective.", "train.batch_size")
_FREE = ("model.remat",)
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
class Run:
  """What a workdir says of its run.

  Attributes:
    config: the resolved config.
    tokenizer: as used.
    unigram_entropy: of the training rows, in nats.
  """

  config: ConfigDict
  tokenizer: Tokenizer
  unigram_entropy: float


def checkpoints(workdir: epath.PathLike) -> epath.Path:
  """Returns the folder of the checkpoints."""
  return epath.Path(workdir) / "checkpoints"


def check(workdir: epath.PathLike, config: ConfigDict, store: Store) -> None:
  """Checks that a workdir is free or holds this very run.

  Raises:
    UserError: it holds a run of another model, objective or store, or is a
      file.
  """
  path = epath.Path(workdir)
  if path.exists() and not path.is_dir():
    raise UserError(f"workdir {workdir} is a file; give a folder")
  if not (path / "config.json").exists():
    return
  old = dict(_flat(json.loads((path / "config.json").read_text())))
  for name, value in _flat(_plain(config)):
    is_fixed = name.startswith(_FIXED) and name not in _FREE
    if is_fixed and old.get(name) != value:
      raise UserError(
          f"workdir {workdir} holds a run with config.{name} ="
          f" {old.get(name)!r} and this one has {value!r}; choose another"
          " --workdir or the same value"
      )
  digest = json.loads((path / "store.json").read_text())["rows_digest"]
  if digest != store.manifest.rows_digest:
    raise UserError(
        f"workdir {workdir} holds a run on other rows than those of"
        f" {config.data.store}; choose another --workdir or that run's store"
    )


def begin(workdir: epath.PathLike, config: ConfigDict, store: Store) -> None:
  """Writes all that resuming, evaluating and explaining the run need."""
  path = epath.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  (path / "config.json").write_text(json.dumps(_plain(config), indent=1))
  facts = {
      "rows_digest": store.manifest.rows_digest,
      "tokenizer_digest": store.manifest.tokenizer_digest,
      "sources": store.manifest.sources,
      "unigram_entropy": store.unigram_entropy(),
  }
  (path / "store.json").write_text(json.dumps(facts, indent=1))
  (path / "environment.json").write_text(json.dumps(_environment(), indent=1))
  if not (path / "tokenizer").exists():
    store.tokenizer().save(path / "tokenizer")


def load(workdir: epath.PathLike) -> Run:
  """Reads what `begin` wrote.

  Raises:
    UserError: the folder holds no run.
  """
  path = epath.Path(workdir)
  if not (path / "config.json").exists():
    raise UserError(
        f"{workdir} is not a workdir: it has no config.json; name the"
        " --workdir of a pretrain run"
    )
  facts = json.loads((path / "store.json").read_text())
  return Run(
      ConfigDict(json.loads((path / "config.json").read_text())),
      load_tokenizer(path / "tokenizer"),
      facts["unigram_entropy"],
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
