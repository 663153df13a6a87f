"""A static page: networks, tokenizer and runtime as files beside it."""

import hashlib
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from typing import Any

from electra_jax.errors import UserError
from electra_jax.exporting.manifest import task_facts
from electra_jax.exporting.networks import DETECTION, Network
from electra_jax.files import to_json, write_whole
from electra_jax.pretraining.model import MASK
from electra_jax.runs import workdir as workdirs
from electra_jax.serve.page_facts import (
    finetuned_facts,
    page_files,
    pretrained_facts,
)

PACKAGE = "onnxruntime-web@1.30.0"
# Files of the package's dist/ and their SHA-256: no other ones are written.
RUNTIME = {
    "ort.wasm.min.mjs": (
        "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b"
    ),
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
_HERE = pathlib.Path(__file__).parent
_LIMITS = {"characters": 10_000, "tokens": 2_000, "inputs": 1}
_OFFLINE = (
    "or give --runtime FOLDER with the files of its dist/, which npm install"
    " puts into node_modules/onnxruntime-web/dist"
)


def check_page(run: workdirs.Run) -> None:
  """Raises a UserError for a run whose vocabulary the page cannot read."""
  if run.tokenizer.kind != "wordpiece":
    raise UserError(
        f"--to web reads WordPiece vocabularies and this run's is"
        f" {run.tokenizer.kind}; choose --to onnx"
    )


def check_npm() -> None:
  """Raises a UserError where npm, which fetches the runtime, is missing."""
  if shutil.which("npm") is None:
    raise UserError(
        f"--to web fetches {PACKAGE} by npm, which is not installed; install"
        f" Node.js, {_OFFLINE}"
    )


def write_runtime(
    folder: pathlib.Path, source: pathlib.Path | None = None
) -> None:
  """Copies the files of the runtime, each checked by its hash.

  Args:
    folder: to be made.
    source: where they lie; None: they are fetched by npm.

  Raises:
    UserError: npm fails, or a file is not the pinned one.
  """
  folder.mkdir()
  if source is not None:
    for name in RUNTIME:
      _copy(source / name, folder / name)
    return
  with tempfile.TemporaryDirectory() as scratch:
    done = subprocess.run(
        ["npm", "pack", PACKAGE, "--silent", "--ignore-scripts"],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    packed = list(pathlib.Path(scratch).glob("*.tgz"))
    if done.returncode or len(packed) != 1:
      reason = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
      raise UserError(f"npm does not fetch {PACKAGE} ({reason}); {_OFFLINE}")
    with tarfile.open(packed[0]) as archive:
      for name in RUNTIME:
        path = pathlib.Path(scratch) / name
        content = archive.extractfile(f"package/dist/{name}")
        path.write_bytes(content.read() if content else b"")
        _copy(path, folder / name)


def write_page(
    folder: pathlib.Path,
    networks: Mapping[str, str],
    network: Network,
    run: workdirs.Run,
    name: str,
) -> None:
  """Writes the page and what it must know.

  Args:
    folder: that holds the networks and the tokenizer.
    networks: "discriminator", "generator" or "tasks" -> the file to load.
    network: the first of them.
    run: of the source.
    name: of the model, to be shown.
  """
  page = folder / "page"
  page.mkdir()
  shared = page_files()
  for source in (*shared.values(), *(_HERE / "page").iterdir()):
    if source.suffix in (".js", ".css"):
      shutil.copyfile(source, page / source.name)
  html = shared["index.html"].read_text(encoding="utf-8")
  for old, new in _CHANGES:
    if old not in html:
      raise RuntimeError(f"the shared page has no {old!r}")
    html = html.replace(old, new)
  write_whole(folder / "index.html", [html])
  tokenizer = run.tokenizer
  told = {
      "model": _model(network, name),
      "limits": _LIMITS,
      "networks": dict(networks),
      "row_tokens": network.trained_length,
      "shortest": network.shortest,
      "tasks": [task_facts(network, h, run) for h in network.heads if h.task],
      "special_ids": tokenizer.special._asdict(),
      "tokenizer": {
          "lowercase": tokenizer.lowercase,
          "strip_accents": tokenizer.strip_accents,
          "split_chinese": tokenizer.split_chinese,
          "max_word_length": tokenizer.max_word_length,
      },
  }
  write_whole(folder / "page.json", [to_json(told, indent=1), "\n"])


# There is no server to be asked by a program.
_CHANGES = (
    ('src="page/app.js"', 'src="page/local.js"'),
    ("  <details>", "  <details hidden>"),
    ("; POST /predict does not.", "."),
)


def _model(network: Network, name: str) -> dict[str, Any]:
  """Returns what the shared page must know of a model."""
  length = network.trained_length
  tasks = [head.task for head in network.heads if head.task]
  if tasks:
    told = finetuned_facts(name, length, tasks)
    for task in told["tasks"]:
      task["fields"] = [field for field in task["fields"] if field != "id"]
    return told
  told = pretrained_facts(name, length)
  if network.heads[0].kind != DETECTION:
    told["examples"] = [x for x in told["examples"] if MASK in x["text"]]
  return told | {"fields": ["text"]}


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
  try:
    content = source.read_bytes()
  except OSError as error:
    raise UserError(
        f"cannot read {source}: {error.strerror}; --runtime must be the folder"
        f" of {', '.join(RUNTIME)}"
    ) from error
  if hashlib.sha256(content).hexdigest() != RUNTIME[source.name]:
    raise UserError(
        f"{source} is not the file of {PACKAGE}, whose hash is known; take it"
        " from that version"
    )
  target.write_bytes(content)
