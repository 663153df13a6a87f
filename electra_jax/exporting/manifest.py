"""manifest.json: all that a program must know of an exported folder.

The folder is passed on, so no path of this machine is in it.
"""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

from electra_jax import __version__
from electra_jax.exporting.findings import TOLERANCE, Finding
from electra_jax.exporting.networks import EMBEDDING, Head, Network, Port
from electra_jax.exporting.text_network import TextNetwork
from electra_jax.files import to_json, write_whole
from electra_jax.finetuning.task_data import decode_options
from electra_jax.runs import workdir as workdirs
from electra_jax.tasks.tag_schemes import SCHEMES
from electra_jax.tasks.words import portable_pattern
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.trees import count_parameters

MANIFEST_FILE = "manifest.json"
_FORMAT = 1  # Of the manifest.


class ModelFile(NamedTuple):
  """One file that runs the network.

  Attributes:
    name: in the folder.
    dtype: of its weights, "float32", "int8" or "int4".
    parts: files that it consists of, itself the first.
    size: bytes of all parts.
    found: how it answers.
  """

  name: str
  dtype: str
  parts: tuple[str, ...]
  size: int
  found: Finding


class Facts(NamedTuple):
  """What the manifest tells beside the network.

  Attributes:
    target: as of `export`.
    run: of the source.
    source: name of its folder.
    seed: of a fine-tuned model, whose; None for the best.
    lengths: of rows that are fixed; none where any length is taken.
    packages: that wrote and tried the files, as of `Target`.
    files: with what was found.
    own: what our own model answers.
    origin: of the rows that were tried, in words.
  """

  target: str
  run: workdirs.Run
  source: str
  seed: int | None
  lengths: Sequence[int]
  packages: Mapping[str, str]
  files: Sequence[ModelFile]
  own: Finding
  origin: str


def write_manifest(
    folder: pathlib.Path, network: Network, facts: Facts
) -> None:
  """Writes manifest.json of a network with heads."""
  trained = min(network.trained_length, max(facts.lengths, default=10**9))
  own = {
      "inputs": [_port(port) for port in network.inputs],
      "outputs": [_port(port) for port in network.outputs],
      "lengths": {
          "shortest": network.shortest,
          "longest": network.longest,
          "trained": network.trained_length,
          "fixed": list(facts.lengths) or None,
          "example": trained,
      },
      "head": network.heads[0].kind if network.heads[0].task is None else None,
      "vectors": _vectors(network.heads[0]),
      "tasks": [
          task_facts(network, head, facts.run)
          for head in network.heads
          if head.task is not None
      ],
  }
  write_facts(folder, network, facts, own)


def write_facts(
    folder: pathlib.Path,
    network: Network | TextNetwork,
    facts: Facts,
    own: Mapping[str, Any],
) -> None:
  """Writes manifest.json.

  Args:
    folder: with the files.
    network: that they hold.
    facts: about the export.
    own: what is told of such networks alone.
  """
  manifest = {
      "format": _FORMAT,
      "target": facts.target,
      "source": {
          "run": facts.source,
          "kind": facts.run.kind.verb,
          "network": network.name,
          "seed": facts.seed,
          "step": network.step,
          "parameters": count_parameters(network.params),
      },
      "versions": {"electra_jax": __version__} | _versions(facts.packages),
      "files": [
          {
              "file": part,
              "dtype": file.dtype,
              "bytes": (folder / part).stat().st_size,
              "sha256": _digest(folder / part),
          }
          for file in facts.files
          for part in file.parts
      ],
      **own,
      "tokenizer": _tokenizer(facts.run.tokenizer),
      "checks": {
          "rows": facts.origin,
          "tolerance_of_float32": TOLERANCE,
          "run": {"scores": dict(facts.own.scores)},
          **{file.name: _found(file.found) for file in facts.files},
      },
  }
  write_whole(folder / MANIFEST_FILE, [to_json(manifest, indent=1), "\n"])


def _port(port: Port) -> dict[str, Any]:
  return {**port._asdict(), "shape": list(port.shape)}


def task_facts(
    network: Network, head: Head, run: workdirs.Run
) -> dict[str, Any]:
  """Returns what a program must know of a task."""
  task, config = head.task, run.config
  names = [p.name for p in network.outputs if p.name.startswith(head.prefix)]
  record = {
      "name": task.name,
      "kind": task.kind,
      "labels": list(task.labels),
      "label_range": task.label_range and list(task.label_range),
      "takes_pairs": task.takes_pairs,
      # Of every token of a text, or of the first of a pair.
      "first_segment": 1 if task.kind == "tagging" else 0,
      "outputs": {name.removeprefix(head.prefix): name for name in names},
      "windows": config.data.windows,
  }
  if task.kind == "tagging":
    record |= {
        "tag_scheme": task.tag_scheme,
        "tag_letters": SCHEMES[task.tag_scheme] if task.tag_scheme else None,
        "word_unit": task.word_unit,
        "word_pattern": portable_pattern(task.word_unit),
    }
  if task.kind == "questions":
    options = decode_options(config)  # Its threshold is never None.
    record |= {
        "may_lack_answer": task.may_lack_answer,
        "null_threshold": options.null_threshold,
        "max_answer_length": options.max_answer_length,
        "max_query_length": config.data.max_query_length,
        "doc_stride": config.data.doc_stride,
    }
  return record


def _vectors(head: Head) -> dict[str, Any] | None:
  """Returns how an embedder makes vectors; None of another network."""
  if head.kind != EMBEDDING:
    return None
  return {
      "layer": head.layer,
      "pooling": head.pooling,
      "dimensions": head.size,
      "normalized": head.is_normalized,
  }


def _tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
  return {
      "kind": tokenizer.kind,
      "pieces": tokenizer.vocab_size,
      "lowercase": tokenizer.lowercase,
      "strip_accents": tokenizer.strip_accents,
      "special_ids": tokenizer.special._asdict(),
      "digest": tokenizer.digest,
  }


def _found(found: Finding) -> dict[str, Any]:
  return {
      "largest_logit_difference": found.largest,
      "differing_answers": found.differing,
      "answers": found.answers,
      "scores": dict(found.scores),
  }


def _versions(packages: Mapping[str, str]) -> dict[str, str]:
  """Returns versions by distribution, whichever has the module.

  onnxruntime-gpu and others hold the module onnxruntime as well.
  """
  found = metadata.packages_distributions()
  return {
      name: metadata.version(name)
      for module in packages.values()
      for name in found.get(module, ())
  }


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
