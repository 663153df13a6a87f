"""The verb `export`: a run as a folder that another runtime reads."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from electra_jax.disk.scratch import new_folder, open_scratch
from electra_jax.errors import UserError
from electra_jax.exporting import web
from electra_jax.exporting.embedders import (
    is_embedder,
    read_embedder,
    try_embedder,
)
from electra_jax.exporting.examples import EXAMPLE_FILE, example_of
from electra_jax.exporting.findings import check_finding
from electra_jax.exporting.manifest import Facts, ModelFile, write_manifest
from electra_jax.exporting.networks import (
    EMBEDDER,
    MASKED_LM,
    Network,
    network_of_pretraining,
    read_network,
)
from electra_jax.exporting.outcome import Export
from electra_jax.exporting.targets import Target, find_target
from electra_jax.exporting.task_trials import TaskTrials, try_finetuned
from electra_jax.exporting.text_export import (
    TextExport,
    check_text_arguments,
    prepare_text,
    write_beside,
    write_text,
)
from electra_jax.exporting.trials import PretrainedTrials, try_pretrained
from electra_jax.files import is_remote, write_whole, writing
from electra_jax.interop.huggingface_tokenizer import (
    check_exportable,
    write_tokenizer,
)
from electra_jax.interop.model import FinetunedState, PretrainedState
from electra_jax.interop.written_text import learned_to_write
from electra_jax.runs import workdir as workdirs
from electra_jax.text.tokenizer import OPTIONS_FILE

ROWS, EXAMPLES = 64, 1000  # Tried by default: of pre-training, of a dev split.


def export(
    workdir: epath.PathLike,
    output: epath.PathLike,
    *,
    to: str,
    int8: bool = False,
    int4: bool = False,
    lengths: Sequence[int] = (),
    network: str | None = None,
    seed: int | None = None,
    texts: Sequence[str] | None = None,
    check: int | None = None,
    runtime: str | os.PathLike | None = None,
    **vectors: Any,
) -> Export:
  """Writes a network of a run for another runtime, and tries it out.

  The folder holds the network in float32 and, if asked for, in int8 or int4,
  the tokenizer, manifest.json and example.py. It appears once its logits have
  been compared with the run's own. The own logits of a run that was trained
  with rounded weights are rounded, and its float32 file is compared with what
  it answers without rounding. Of a run that writes text an encoder and a
  decoder's step go out, for "onnx" alone.

  Args:
    workdir: of a pretrain or finetune run.
    output: a local folder, which must not be there.
    to: one of TARGETS.
    int8: whether a file with int8 weights stands beside the float32 one.
    int4: whether one with int4 weights does; of "litert" alone.
    lengths: of "litert": tokens of the rows that it takes; by default the
      longest row that the run was trained on.
    network: of a pretrain run: "discriminator" or "generator"; by default the
      discriminator where there is one. Of any run: "embedder", for vectors of
      texts, which a run of task=embedding has by default.
    seed: of a finetune run, whose model; by default the best.
    texts: lines for `predict` to compare on; by default what was held out.
    check: how many of them; ROWS, of each dev split EXAMPLES, and SOURCES of a
      run that writes text, by default.
    runtime: of "web": a folder of onnxruntime-web; by default npm fetches it.
    **vectors: of an embedder: `layer`, `pooling`, `dimensions`, `normalized`,
      as of `runs.vectors.EmbedsTexts.embedder`.

  Raises:
    UserError: an argument or the run is at fault, a package is missing, or the
      logits differ. Nothing has been written then.
  """
  small = [name for name, on in (("int8", int8), ("int4", int4)) if on]
  run = workdirs.load(workdir)
  is_text = learned_to_write(run) and network != EMBEDDER
  if is_text:
    check_text_arguments(to, network, lengths)
  target = find_target(to, small)
  folder = _free(output)
  _check_arguments(to, check, runtime)
  if is_text:
    _check_no_vectors(_given(vectors))
    check_exportable(run.tokenizer)
    one = prepare_text(workdir, run, seed=seed, texts=texts, check=check)
    return _export_text(folder, target, one, workdir, run, seed, small)
  own, state = _read(workdir, run, network, seed, vectors)
  networks = _networks(to, run, own, state, network)
  lengths = _lengths(to, target, own, lengths)
  given = {"lengths": lengths, "texts": texts}
  trials = [_try_both(one, state, run, check, **given) for one in networks]
  with open_scratch(folder) as scratch:
    with writing(folder):
      place = pathlib.Path(scratch.folder)
      files = []
      for one, tried in zip(networks, trials, strict=True):
        files += _write(place, target, one, lengths, tried, small)
      _write_tokenizer(place, own, run)
      needs = target.needs(bool(small))
      facts_of = _make_facts_of(to, run, workdir, seed, lengths, needs)
      facts = facts_of(files, trials[0].own.own(), trials[0].own.origin)
      if to == "web":
        loaded = target.small_files["int8"] if int8 else target.file
        _write_page(place, loaded, networks, run, facts.source, runtime)
      else:
        write_whole(place / EXAMPLE_FILE, [example_of(to, own)])
      write_manifest(place, own, facts)
    scratch.publish()
  return Export(
      os.fspath(output),
      to,
      own.name,
      own.step,
      facts.origin,
      facts.own,
      tuple(files),
  )


def _export_text(
    folder: epath.Path,
    target: Target,
    one: TextExport,
    workdir: epath.PathLike,
    run: workdirs.Run,
    seed: int | None,
    small: Sequence[str],
) -> Export:
  with open_scratch(folder) as scratch:
    with writing(folder):
      place = pathlib.Path(scratch.folder)
      files = write_text(place, one, small)
      needs = target.needs(bool(small))
      facts_of = _make_facts_of("onnx", run, workdir, seed, (), needs)
      facts = facts_of(files, one.trials.own(), one.trials.origin)
      write_beside(place, one, facts)
    scratch.publish()
  own = one.network
  told = own.name, own.step, facts.origin, facts.own, tuple(files)
  return Export(os.fspath(folder), "onnx", *told)


def _make_facts_of(to, run, workdir, seed, lengths, packages):
  """Returns (files, own answers, their origin) -> `Facts`."""
  name = pathlib.Path(workdir).absolute().name
  packages = {"jax": "jax"} | packages
  return functools.partial(Facts, to, run, name, seed, lengths, packages)


def _given(vectors: Mapping[str, Any]) -> dict[str, Any]:
  return {name: x for name, x in vectors.items() if x is not None}


def _check_arguments(
    to: str, check: int | None, runtime: str | os.PathLike | None
) -> None:
  if check is not None and check < 1:
    raise UserError(f"--check is {check}; it must be at least 1")
  if runtime is not None and to != "web":
    raise UserError(f"--runtime {runtime} has no meaning for --to {to}")
  if runtime is None and to == "web":
    web.check_npm()


def _read(workdir, run, network, seed, vectors: Mapping[str, Any]):
  """Reads the network that is asked for; an embedder has no other state."""
  check_exportable(run.tokenizer)
  given = _given(vectors)
  if is_embedder(run, network):
    return read_embedder(workdir, run, seed, given), None
  _check_no_vectors(given)
  return read_network(workdir, run, name=network, seed=seed)


def _check_no_vectors(given: Mapping[str, Any]) -> None:
  for name in given:
    flag = "--raw" if name == "normalized" else f"--{name}"
    raise UserError(
        f"{flag} has no meaning for a network that gives no vectors; add"
        f" --network {EMBEDDER}, or leave it out"
    )


def _networks(
    to: str,
    run: workdirs.Run,
    own: Network,
    state: PretrainedState | FinetunedState | None,
    asked: str | None,
) -> list[Network]:
  """Returns what is exported: of a page, the generator as well."""
  if to != "web":
    return [own]
  if own.name == EMBEDDER:
    raise UserError(
        "--to web shows what a network says of tokens or tasks, and an embedder"
        " gives vectors; choose --to onnx, which a browser runs, too"
    )
  web.check_page(run)
  return [own, *(_generator_beside(own, state) if asked is None else ())]


class _Trials(NamedTuple):
  """What files of a network are compared with.

  Attributes:
    own: the run's own answers.
    plain: those without rounding, which are the same of most runs.
    quantization: with which the run was trained.
  """

  own: PretrainedTrials | TaskTrials
  plain: PretrainedTrials | TaskTrials
  quantization: str


def _try_both(network, state, run, check, **given) -> _Trials:
  plain = _try(network, state, run, check, **given)
  quantization = run.config.model.quantization
  if not quantization:
    return _Trials(plain, plain, quantization)
  config = dataclasses.replace(network.config, quantization=quantization)
  rounded = dataclasses.replace(network, config=config)
  return _Trials(_try(rounded, state, run, check, **given), plain, quantization)


def _try(
    network: Network,
    state: PretrainedState | FinetunedState | None,
    run: workdirs.Run,
    check: int | None,
    **given: Any,
) -> PretrainedTrials | TaskTrials:
  if network.name == EMBEDDER:
    return try_embedder(network, run, count=check or ROWS, **given)
  if isinstance(state, FinetunedState):
    return try_finetuned(
        network, state.params, run, count=check or EXAMPLES, **given
    )
  return try_pretrained(network, state, run, count=check or ROWS, **given)


def _write_page(
    folder: pathlib.Path,
    file: str,
    networks: Sequence[Network],
    run: workdirs.Run,
    name: str,
    runtime: str | os.PathLike | None,
) -> None:
  source = None if runtime is None else pathlib.Path(runtime)
  web.write_runtime(folder / "runtime", source)
  loaded = {_role(one): file.format(_role(one)) for one in networks}
  web.write_page(folder, loaded, networks[0], run, name)


def _generator_beside(
    own: Network, state: PretrainedState | FinetunedState
) -> list[Network]:
  """Returns the generator that a page asks for proposals, where there is one."""
  if isinstance(state, FinetunedState) or own.name == "generator":
    return []
  config = state.config
  if not config.has_generator_head or config.has_two_towers:
    return []
  return [network_of_pretraining(state, "generator", own.trained_length)]


def _role(network: Network) -> str:
  is_tuned = network.heads[0].task is not None
  return "tasks" if is_tuned else network.name


def _free(output: epath.PathLike) -> epath.Path:
  if is_remote(output):
    raise UserError(
        f"OUTPUT {output} is not a local folder, where the files can be tried;"
        " give one, and copy it there"
    )
  return new_folder(output, "OUTPUT")


def _lengths(
    to: str, target: Target, network: Network, lengths: Sequence[int]
) -> tuple[int, ...]:
  typed = ",".join(map(str, lengths))
  if not target.has_lengths:
    if lengths:
      raise UserError(
          f"--lengths {typed} has no meaning for --to {to}, which takes rows of"
          f" any length up to {network.longest}; leave it out"
      )
    return ()
  for length in lengths:
    if length > network.longest:
      raise UserError(
          f"--lengths {typed} asks for rows of {length:,} tokens, and the position"
          f" table of this run has {network.longest:,} rows; give lengths up to"
          " that"
      )
    if length < max(network.shortest, 3):
      raise UserError(
          f"--lengths {typed} asks for rows of {length} tokens, and this network"
          f" needs {max(network.shortest, 3)} at least; give longer ones"
      )
  default = min(network.trained_length, network.longest)
  return tuple(sorted(set(lengths))) or (default,)


def _write(
    folder: pathlib.Path,
    target: Target,
    network: Network,
    lengths: Sequence[int],
    trials: _Trials,
    small: Sequence[str],
) -> list[ModelFile]:
  """Writes and tries the files of a network; raises a UserError."""
  files = []

  def add(name, dtype):
    like = trials.own if dtype == trials.quantization else trials.plain
    found = like.of(target.open(folder / name, network, lengths))
    if dtype == "float32":
      check_finding(name, found)
    parts = (name, target.weights) if target.weights else (name,)
    size = sum((folder / part).stat().st_size for part in parts)
    files.append(ModelFile(name, dtype, parts, size, found))

  whole = target.file.format(_role(network))
  target.write(folder / whole, network, lengths)
  add(whole, "float32")
  for dtype in small:
    name = target.small_files[dtype].format(_role(network))
    target.quantize(folder / whole, folder / name, dtype)
    add(name, dtype)
  return files


def _write_tokenizer(
    folder: pathlib.Path, network: Network, run: workdirs.Run
) -> None:
  fills_in = network.heads[0].kind == MASKED_LM
  write_tokenizer(
      folder, run.tokenizer, network.trained_length, fills_in=fills_in
  )
  if not (folder / OPTIONS_FILE).exists():
    run.tokenizer.save(folder)
