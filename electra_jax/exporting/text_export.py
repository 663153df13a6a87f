"""Exports a run that writes text: an encoder and a decoder's step, tried out."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from etils import epath

from electra_jax.errors import UserError
from electra_jax.exporting import onnx_file
from electra_jax.exporting.examples import EXAMPLE_FILE
from electra_jax.exporting.findings import check_finding
from electra_jax.exporting.manifest import Facts, ModelFile, write_facts
from electra_jax.exporting.runtimes import open_onnx
from electra_jax.exporting.text_example import text_example
from electra_jax.exporting.text_forward import write_decoder, write_encoder
from electra_jax.exporting.text_network import (
    TextNetwork,
    text_facts,
    text_network,
)
from electra_jax.exporting.text_trials import TextTrials, try_texts
from electra_jax.files import write_whole
from electra_jax.interop.huggingface_tokenizer import write_tokenizer
from electra_jax.interop.written_text import read_text_state
from electra_jax.runs import workdir as workdirs
from electra_jax.text.tokenizer import OPTIONS_FILE

SOURCES = 64  # Tried by default.
FILES = {"encoder": "encoder.onnx", "decoder": "decoder.onnx"}
_TARGET = "onnx"


class TextExport(NamedTuple):
  """What is to be written.

  Attributes:
    network: of the run.
    trials: of the run's own model.
    plain: those of one that does not round, the same of most runs.
    quantization: with which the run was trained.
  """

  network: TextNetwork
  trials: TextTrials
  plain: TextTrials
  quantization: str


def check_text_arguments(
    to: str, network: str | None, lengths: Sequence[int]
) -> None:
  """Raises a UserError for what such a run has no meaning for."""
  if to != _TARGET:
    raise UserError(
        f"--to {to} takes no run that writes text, which is an encoder and a"
        " decoder that is run once a token; choose --to onnx"
    )
  if network is not None:
    raise UserError(
        f"--network {network} is no part of a run that writes text; leave it"
        " out, or choose --network embedder for vectors of texts"
    )
  if lengths:
    typed = ",".join(map(str, lengths))
    raise UserError(
        f"--lengths {typed} has no meaning for --to onnx, which takes sources"
        " of any length; leave it out"
    )


def prepare_text(
    workdir: epath.PathLike,
    run: workdirs.Run,
    *,
    seed: int | None,
    texts: Sequence[str] | None,
    check: int | None,
) -> TextExport:
  """Reads the network and lets it write.

  Raises:
    UserError: there is no such model, or nothing to try it on.
  """
  state = read_text_state(workdir, run, seed)
  network = text_network(state, run.config, run.tokenizer)
  quantization = run.config.model.quantization
  attempt = functools.partial(
      try_texts, network, run=run, count=check or SOURCES, texts=texts
  )
  plain = attempt(network.config, params=state.params)
  trials = plain
  if quantization:
    rounded = dataclasses.replace(network.config, quantization=quantization)
    trials = attempt(rounded, params=state.params)
  return TextExport(network, trials, plain, quantization)


def write_text(
    folder: pathlib.Path, one: TextExport, small: Sequence[str]
) -> list[ModelFile]:
  """Writes and tries the files, and what a program needs beside them.

  Raises:
    UserError: a file in float32 does not answer as it must.
  """
  files = []
  write_encoder(folder / FILES["encoder"], one.network)
  write_decoder(folder / FILES["decoder"], one.network)
  files += _tried(folder, one, "float32", FILES)
  for dtype in small:
    names = {
        role: name.replace(".onnx", f".{dtype}.onnx")
        for role, name in FILES.items()
    }
    for role, name in names.items():
      onnx_file.quantize_onnx(folder / FILES[role], folder / name)
    files += _tried(folder, one, dtype, names)
  return files


def write_beside(folder: pathlib.Path, one: TextExport, facts: Facts) -> None:
  """Writes tokenizer, example.py and manifest.json."""
  tokenizer, network = one.network.tokenizer, one.network
  write_tokenizer(folder, tokenizer, network.source_length, fills_in=False)
  if not (folder / OPTIONS_FILE).exists():
    tokenizer.save(folder)
  write_whole(folder / EXAMPLE_FILE, [text_example(network)])
  write_facts(folder, network, facts, text_facts(network, FILES))


def _tried(
    folder: pathlib.Path, one: TextExport, dtype: str, names: dict[str, str]
) -> list[ModelFile]:
  like = one.trials if dtype == one.quantization else one.plain
  encoder, decoder = (open_onnx(folder / names[role]) for role in FILES)
  found = like.of_encoder(encoder), like.of_decoder(encoder, decoder)
  files = []
  for name, finding in zip(names.values(), found, strict=True):
    if dtype == "float32":
      check_finding(name, finding)
    size = (folder / name).stat().st_size
    files.append(ModelFile(name, dtype, (name,), size, finding))
  return files
