"""For tests of launch/: an env file, stand-ins for tools, the JobSet's schema."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

from tests import helpers

# Words that a shell, YAML or Kubernetes would take apart.
WORDS = [
    *("pretrain", "--config", "configs/pretrain.py:tiny,runlocal"),
    *("--workdir", "gs://buck/a run", '--config.x=it\'s "5" \\ $(HOME) & *'),
]
VALUES = {
    "RUN_NAME": "try-1",
    "BUCKET": "buck",
    "COMMAND": WORDS,
    "PROJECT": "proj",
    "SPOT": "true",
    "PRICE_PER_CHIP_HOUR": "1.25",
    "ZONE": "zone-a",
    "ACCELERATOR_TYPE": "v5p-32",
    "RUNTIME_VERSION": "v2-alpha",
    "CLUSTER": "clus",
    "CLUSTER_LOCATION": "europe-west4",
    "IMAGE": "place/electra-jax:1",
    "TPU_ACCELERATOR": "tpu-v5p-slice",
    "TOPOLOGY": "2x2x4",
    "CHIPS_PER_NODE": "4",
    "NODES": "2",
    "GPUS_PER_NODE": "4",
    "TIME_LIMIT": "1:00:00",
    "CHECKPOINT_SECS": "120",
    "SBATCH_OPTIONS": ["--partition=gpu", "--comment=two words"],
    "VENV": "venv",
    "PROCESSES": "2",
    "DEVICES_PER_PROCESS": "3",
    "PORT": "8476",
}


# All that the launchers may find beside a test's own programs: no test meets a
# cloud or a cluster.
_TOOLS = (
    "awk bash cat chmod cp date dirname env git grep mkdir rm sed sh sleep tail"
)


def environment(folder: pathlib.Path) -> dict[str, str]:
  """Returns variables in which a folder's `bin` is all that is installed."""
  tools = folder / "tools"
  if not tools.exists():
    tools.mkdir()
    for name in _TOOLS.split():
      (tools / name).symlink_to(shutil.which(name))
  return os.environ | {
      "ENV": str(folder / "env"),
      "PATH": f"{folder / 'bin'}:{tools}",
      "POLL_SECS": "0",
      "RETRY_SECS": "0",
  }


def start(
    script: str,
    *arguments: str,
    folder: pathlib.Path,
    root: pathlib.Path = helpers.ROOT,
    **values: str | list[str] | None,
) -> subprocess.Popen:
  """Starts a launcher.

  Args:
    script: its file name.
    *arguments: as on the command line.
    folder: where its env file is written; programs in its `bin` come first.
    root: the repository.
    **values: of the env file, beside VALUES; None leaves one out.
  """
  lines = [
      f"{name}={_bash(value)}\n"
      for name, value in (VALUES | values).items()
      if value is not None
  ]
  (folder / "env").write_text("".join(lines))
  return subprocess.Popen(
      ["bash", root / "launch" / script, *arguments],
      env=environment(folder),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


def launch(*arguments: str, **values: Any) -> subprocess.CompletedProcess:
  """Runs a launcher to its end; takes what `start` takes."""
  with start(*arguments, **values) as process:
    out, err = process.communicate(timeout=300)
  return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _bash(value: str | list[str]) -> str:
  if isinstance(value, list):
    return f"({' '.join(map(shlex.quote, value))})"
  return shlex.quote(value)


def words_of(text: str) -> list[str]:
  """Returns the array COMMAND that a piece of bash declares."""
  done = subprocess.run(
      ["bash", "-c", f"{text}\nprintf '%s\\0' \"${{COMMAND[@]}}\""],
      capture_output=True,
      text=True,
      check=True,
  )
  return done.stdout.split("\0")[:-1]


def install(folder: pathlib.Path, **programs: str) -> None:
  """Writes programs in bash into a folder's `bin`.

  In them $PYTHON is this interpreter, $HERE the folder, and a line of `calls`
  there has the words that each was called with.
  """
  (folder / "bin").mkdir(exist_ok=True)
  for name, text in programs.items():
    path = folder / "bin" / name.replace("_", "-")
    path.write_text(
        f"#!/usr/bin/env bash\nPYTHON={sys.executable} HERE={folder}\n"
        f'printf "%s\\n" "{path.name} $*" >>"$HERE/calls"\n{text}\n'
    )
    path.chmod(0o755)


def calls(folder: pathlib.Path, start: str = "") -> list[str]:
  """Returns the calls of a folder's programs that begin so."""
  path = folder / "calls"
  lines = path.read_text().splitlines() if path.exists() else []
  return [line for line in lines if line.startswith(start)]


# What the API server and the JobSet controller accept, of the fields that we
# use: a name that is not here is one they would refuse. "?" marks an optional
# one. From api/jobset/v1alpha2/jobset_types.go of kubernetes-sigs/jobset and
# batch/v1 and core/v1 of Kubernetes.
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUANTITIES = {"google.com/tpu": int}
JOB_SET = {
    "apiVersion": {"jobset.x-k8s.io/v1alpha2"},
    "kind": {"JobSet"},
    "metadata": {"name": _LABEL},
    "spec": {
        "failurePolicy": {
            "maxRestarts": int,
            "rules": [
                {
                    "name": re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"),
                    "action": {
                        "FailJobSet",
                        "RestartJobSet",
                        "RestartJobSetAndIgnoreMaxRestarts",
                    },
                    "onJobFailureReasons": [
                        {
                            "BackoffLimitExceeded",
                            "DeadlineExceeded",
                            "FailedIndexes",
                            "MaxFailedIndexesExceeded",
                            "PodFailurePolicy",
                        }
                    ],
                }
            ],
        },
        "replicatedJobs": [
            {
                "name": _LABEL,
                "replicas": int,
                "template": {
                    "spec": {
                        "parallelism": int,
                        "completions": int,
                        "completionMode": {"Indexed"},
                        "backoffLimit": int,
                        "podFailurePolicy": {
                            "rules": [
                                {
                                    "action": {"FailJob", "Ignore", "Count"},
                                    "onExitCodes": {
                                        "containerName": _LABEL,
                                        "operator": {"In", "NotIn"},
                                        "values": [int],
                                    },
                                }
                            ]
                        },
                        "template": {
                            "spec": {
                                # Which a podFailurePolicy demands.
                                "restartPolicy": {"Never"},
                                "terminationGracePeriodSeconds": int,
                                "nodeSelector": {
                                    "cloud.google.com/gke-tpu-accelerator": str,
                                    "cloud.google.com/gke-tpu-topology": str,
                                    "cloud.google.com/gke-spot?": str,
                                },
                                "containers": [
                                    {
                                        "name": _LABEL,
                                        "image": str,
                                        "args": [str],
                                        "resources": {
                                            "requests": _QUANTITIES,
                                            "limits": _QUANTITIES,
                                        },
                                    }
                                ],
                            }
                        },
                    }
                },
            }
        ],
    },
}  # fmt: skip


def check(value: Any, schema: Any, place: str) -> None:
  """Asserts that a parsed YAML is of a schema: see JOB_SET."""
  if isinstance(schema, dict):
    assert isinstance(value, dict), place
    required = {name for name in schema if not name.endswith("?")}
    allowed = {name.removesuffix("?"): of for name, of in schema.items()}
    assert required <= value.keys() <= allowed.keys(), (place, value.keys())
    for name, part in value.items():
      check(part, allowed[name], f"{place}.{name}")
  elif isinstance(schema, list):
    assert isinstance(value, list) and value, place
    for i, part in enumerate(value):
      check(part, schema[0], f"{place}[{i}]")
  elif isinstance(schema, set):
    assert value in schema, (place, value)
  elif isinstance(schema, re.Pattern):
    assert schema.fullmatch(value), (place, value)
  else:
    assert type(value) is schema, (place, value)
