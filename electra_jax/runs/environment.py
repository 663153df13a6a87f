"""Where a command runs, for the record."""

import platform
import sys
from importlib import metadata
from typing import Any

import jax

from electra_jax import __version__
from electra_jax.files import without_url_secrets
from electra_jax.runs.checkout import git

_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tokenizers",
)


def command() -> list[str]:
  """Returns the words of the command, without secrets."""
  return without_url_secrets(sys.argv)


def environment() -> dict[str, Any]:
  """Returns what a figure depends on beside its config, for the record."""
  return {
      "electra_jax": __version__,
      "commit": git("rev-parse", "HEAD"),
      "command": command(),
      "python": platform.python_version(),
      "packages": {name: metadata.version(name) for name in _PACKAGES},
      "devices": [str(device) for device in jax.devices()],
      "device_kind": jax.devices()[0].device_kind,
      "processes": jax.process_count(),
  }


def session() -> dict[str, Any]:
  """Returns what a line of the history says of the command that wrote it."""
  about = environment()
  names = ("command", "electra_jax", "commit", "device_kind", "processes")
  return {**{x: about[x] for x in names}, "num_devices": len(about["devices"])}
