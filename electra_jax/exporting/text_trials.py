"""Networks that write, tried on held-out sources: their logits and texts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.exporting import writing_loop
from electra_jax.exporting.findings import Finding
from electra_jax.exporting.networks import BATCH
from electra_jax.exporting.runtimes import Arrays, Runtime
from electra_jax.exporting.task_trials import read_dev_split
from electra_jax.exporting.text_network import (
    TextNetwork,
    decoding_facts,
    next_name,
)
from electra_jax.exporting.trials import TEXTS_FIX
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.text_writer import TextWriter
from electra_jax.models.config import EncoderConfig
from electra_jax.models.seq2seq import Seq2Seq
from electra_jax.runs import workdir as workdirs
from electra_jax.shapes import Params
from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.feature_arrays import Features
from electra_jax.tasks.generation_scoring import check_packages
from electra_jax.tasks.predictions import has_gold

_ROWS = 16  # Sources whose logits are compared, place by place.


@dataclasses.dataclass(frozen=True)
class TextTrials:
  """Sources, and what our own model says and writes of them.

  Attributes:
    network: that is tried.
    examples: the sources.
    features: their numbers.
    split: name of their split, "" of given texts.
    writer: writes greedily, and scores.
    texts: ids that our own model has written, the end among them.
    rows: the first sources as the encoder's inputs, padded.
    memory: what our own encoder gives of the rows, by the names of
      `TextNetwork.encoder_outputs`.
    logits: [b, T, V] of our own model along its own texts of the rows.
    origin: of the sources, in words.
  """

  network: TextNetwork
  examples: Sequence[GenerationExample]
  features: Features
  split: str
  writer: TextWriter
  texts: Sequence[Sequence[int]]
  rows: Arrays
  memory: Arrays
  logits: np.ndarray
  origin: str

  def own(self) -> Finding:
    """Returns what our own model scores with what it has written."""
    return Finding(0.0, 0, len(self.texts), self._scores(self.texts))

  def of_encoder(self, encoder: Runtime) -> Finding:
    """Compares what an exported encoder gives, padding left out."""
    found, is_token = encoder(self.rows), self.rows["source_mask"] > 0
    largest = 0.0
    for port in self.network.encoder_outputs:
      difference = np.abs(found[port.name] - self.memory[port.name])
      if "source" in port.shape:
        difference = np.moveaxis(difference, port.shape.index("source"), 1)
        difference = difference[is_token]
      largest = float(np.maximum(largest, difference.max()))
    return Finding(largest, 0, 0)

  def of_decoder(self, encoder: Runtime, decoder: Runtime) -> Finding:
    """Compares logits along our own texts, and the texts of the loop."""
    largest = self._largest_of_logits(encoder, decoder)
    texts = [
        write_greedily(self.network, encoder, decoder, _row(self, number))
        for number in range(len(self.features))
    ]
    differing = sum(a != b for a, b in zip(texts, self.texts, strict=True))
    return Finding(largest, differing, len(texts), self._scores(texts))

  def _largest_of_logits(self, encoder: Runtime, decoder: Runtime) -> float:
    memory = _memory(self.network, encoder(self.rows), self.rows)
    kept = _first(self.network, encoder(self.rows), len(self.logits))
    texts, largest = self.texts[: len(self.logits)], 0.0
    for place in range(max(map(len, texts))):
      begin = self.network.tokenizer.special.cls
      tokens = [
          begin if not place else text[min(place, len(text)) - 1]
          for text in texts
      ]
      found = decoder({**memory, **kept, **_newest(tokens, place)})
      kept = {n: found[next_name(n)] for n in kept}
      is_there = np.array([place < len(text) for text in texts])
      difference = np.abs(found["logits"] - self.logits[:, place])[is_there]
      largest = float(np.maximum(largest, difference.max()))
    return largest

  def _scores(self, texts: Sequence[Sequence[int]]) -> dict[str, float]:
    task = self.network.task
    if not self.split or not has_gold(self.examples):
      return {}
    try:
      check_packages(task.metrics)
    except UserError:  # Scores are a bonus here; the texts are compared.
      return {}
    no_scores = np.zeros(len(texts), np.float32)
    answers = self.writer.in_words(
        self.examples, self.features, texts, no_scores
    )
    found = self.writer.score(task, self.examples, answers)
    return {f"{task.name}/{self.split}/{m}": v for m, v in found.items()}


def try_texts(
    network: TextNetwork,
    encoder: EncoderConfig,
    params: Params,
    run: workdirs.Run,
    *,
    count: int,
    texts: Sequence[str] | None,
) -> TextTrials:
  """Lets our own model write of the sources of a dev split, or of texts.

  Args:
    network: that is exported.
    encoder: shapes and rounding of our own model's encoder.
    params: of our own model.
    run: of the fine-tuning.
    count: sources at most.
    texts: lines as of `parse_inputs`, or None.

  Raises:
    UserError: there is no dev split to be read, or a line lacks something.
  """
  task = network.task
  split, examples = _examples(network, run, count, texts)
  how = dataclasses.replace(run.config.generation, method="greedy")
  config = dataclasses.replace(run.config, generation=how)
  # Other devices multiply float32 in fewer digits.
  mesh = sharding.make_mesh(devices=jax.local_devices(backend="cpu")[:1])
  writer = TextWriter(config, encoder, run.tokenizer, mesh)
  params = jax.device_put(params, mesh.devices.ravel()[0])
  features = writer.features(task, examples)
  written = writer.outputs(params, task, features)
  found = [
      [int(i) for i in row[:length]]
      for row, length in zip(written.tokens, written.lengths, strict=True)
  ]
  numbers = range(min(len(features), _ROWS))
  rows = encoder_inputs(features, numbers, run.tokenizer.special.pad)
  memory, logits = _own(network, encoder, params, rows, found[: len(numbers)])
  whose = f"of {task.name}/{split}" if split else "that were given"
  return TextTrials(
      network,
      examples,
      features,
      split,
      writer,
      found,
      rows,
      memory,
      logits,
      f"{len(examples):,} sources {whose}, written greedily",
  )


def encoder_inputs(
    features: Features, numbers: Sequence[int], pad_id: int
) -> dict[str, np.ndarray]:
  """Returns sources as rows, padded to the longest."""
  texts = [features.texts[i] for i in numbers]
  width = max(map(len, texts))
  ids = np.full((len(texts), width), pad_id, np.int32)
  for row, text in zip(ids, texts, strict=True):
    row[: len(text)] = text
  place = np.arange(width)[None]
  totals = np.asarray([len(text) for text in texts])[:, None]
  first = features.first_lengths[list(numbers)][:, None]
  is_token = place < totals
  return {
      "source_ids": ids,
      "source_mask": is_token.astype(np.int32),
      "source_segments": (is_token & (place >= first)).astype(np.int32),
  }


def write_greedily(
    network: TextNetwork, encoder: Runtime, decoder: Runtime, row: Arrays
) -> list[int]:
  """Writes one text by the loop of example.py."""
  found = encoder(row)
  memory = _memory(network, found, row)

  def step(kept, texts):
    tokens = [[network.tokenizer.special.cls, *text][-1] for text in texts]
    outputs = decoder({**memory, **kept, **_newest(tokens, len(texts[0]))})
    return outputs["logits"], {n: outputs[next_name(n)] for n in kept}

  how = decoding_facts(network)
  return writing_loop.greedy(step, _first(network, found, 1), how)[0]


def _row(trials: TextTrials, number: int) -> Arrays:
  pad_id = trials.network.tokenizer.special.pad
  return encoder_inputs(trials.features, [number], pad_id)


def _memory(network: TextNetwork, found: Arrays, rows: Arrays) -> Arrays:
  memory = {port.name: found[port.name] for port in network.memory}
  return {**memory, "source_mask": rows["source_mask"]}


def _first(network: TextNetwork, found: Arrays, rows: int) -> Arrays:
  """Returns what is kept before the first token."""
  first = {}
  for port in network.kept:
    shape = [
        {BATCH: rows}.get(x, 0 if isinstance(x, str) else x) for x in port.shape
    ]
    first[port.name] = found.get(port.name, np.zeros(shape, np.float32))
  return first


def _newest(tokens: Sequence[int], place: int) -> Arrays:
  return {
      "tokens": np.asarray(tokens, np.int32),
      "place": np.asarray([place], np.int32),
  }


def _examples(
    network: TextNetwork,
    run: workdirs.Run,
    count: int,
    texts: Sequence[str] | None,
) -> tuple[str, list[GenerationExample]]:
  task = network.task
  if texts is not None:
    if not texts:
      raise UserError("--texts holds no text to compare on; give some")
    return "", parse_inputs(task, texts)[:count]
  if not task.dev_splits:
    raise UserError(f"the task {task.name} has no dev split; {TEXTS_FIX}")
  split = task.dev_splits[0]
  return split, read_dev_split(task, run, split)[:count]


def _own(
    network: TextNetwork,
    encoder: EncoderConfig,
    params: Params,
    rows: Arrays,
    texts: Sequence[Sequence[int]],
) -> tuple[Arrays, np.ndarray]:
  """Returns our own encoder's outputs, and logits along texts."""
  model = Seq2Seq(encoder, network.architecture)
  length = max(map(len, texts))
  target = np.full(
      (len(texts), length), network.tokenizer.special.pad, np.int32
  )
  mask = np.zeros_like(target)
  for row, is_token, text in zip(target, mask, texts, strict=True):
    row[: len(text)] = [network.tokenizer.special.cls, *text[:-1]]
    is_token[: len(text)] = 1

  def run(params, rows, target, mask):
    def bound(*args, **options):
      return model.apply({"params": params}, *args, **options)

    source = rows["source_ids"], rows["source_mask"]
    segments = {"source_segments": rows["source_segments"]}
    states = bound(*source, target, mask, **segments)
    memory, kept = bound(*source, **segments, max_length=length, method="start")
    return _named(network, memory.sources, kept), bound(states, method="logits")

  return jax.device_get(jax.jit(run)(params, rows, target, mask))


def _named(network: TextNetwork, sources: Any, kept: Any) -> dict[str, Any]:
  if network.is_recurrent:
    return {"source_states": sources.states, "past_state": kept[:, 0]}
  named = {}
  for i, source in enumerate(sources):
    named[f"source_key_{i}"] = source.key.swapaxes(2, 3)
    named[f"source_value_{i}"] = source.value
  return named
