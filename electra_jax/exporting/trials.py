"""Pre-trained networks tried out: rows, and what our own model says of them."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.exporting.findings import NOTHING, Finding
from electra_jax.exporting.networks import (
    DETECTION,
    EMBEDDING,
    MASKED_LM,
    POSITIONS,
    Network,
)
from electra_jax.exporting.runtimes import Arrays, Runtime
from electra_jax.interop.model import PretrainedState
from electra_jax.models.config import ElectraConfig
from electra_jax.models.electra import Electra
from electra_jax.objectives.masking import unpack_rows
from electra_jax.runs import workdir as workdirs
from electra_jax.shapes import Params
from electra_jax.store.feed import Batch, evaluation_batches
from electra_jax.store.reader import open_store
from electra_jax.text.tokenizer import Tokenizer

TEXTS_FIX = "give --texts FILE with a text on each line"
_BATCH_ROWS = 16
_GUESSES = 4  # Tokens of a row that a masked LM guesses.


class Trial(NamedTuple):
  """One batch of rows.

  Attributes:
    inputs: of the network.
    expected: our own logits.
  """

  inputs: Arrays
  expected: np.ndarray


@dataclasses.dataclass(frozen=True)
class PretrainedTrials:
  """Rows and our own model's logits.

  Attributes:
    network: that is tried.
    batches: of rows.
    origin: of the rows, in words.
  """

  network: Network
  batches: Sequence[Trial]
  origin: str

  def own(self) -> Finding:
    """Returns what our own model is found to be: no different."""
    return sum(
        (_compare(self.network, t, t.expected) for t in self.batches), NOTHING
    )

  def of(self, runtime: Runtime) -> Finding:
    """Compares an exported file."""
    found, (port,) = NOTHING, self.network.outputs
    for trial in self.batches:
      found += _compare(self.network, trial, runtime(trial.inputs)[port.name])
    return found


def try_pretrained(
    network: Network,
    state: PretrainedState,
    run: workdirs.Run,
    *,
    count: int,
    lengths: Sequence[int],
    texts: Sequence[str] | None,
) -> PretrainedTrials:
  """Runs our own model on rows that training has held out, or on texts.

  Args:
    network: that is exported.
    state: the model it is of.
    run: whose validation split holds the rows.
    count: rows at most.
    lengths: that rows are cut to, each for itself; none: as they are.
    texts: to make rows of, or None.

  Raises:
    UserError: the run's store is gone, or holds no such rows.
  """
  batch, origin = rows_of_run(run, count, texts)
  batches = []
  for inputs in inputs_of(batch, lengths):
    if network.heads[0].kind == MASKED_LM:
      inputs = _with_guesses(inputs, run.tokenizer.special.mask)
    batches += run_own(network, state.config, state.params, inputs)
  return PretrainedTrials(network, batches, origin)


def inputs_of(
    batch: Batch, lengths: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
  """Yields a network's inputs: the rows cut to each length, or as they are."""
  rows = jax.device_get(unpack_rows(*map(jnp.asarray, batch)))
  for length in lengths or (rows.input_ids.shape[1],):
    yield {name: array[:, :length] for name, array in rows._asdict().items()}


def rows_of_run(
    run: workdirs.Run, count: int, texts: Sequence[str] | None
) -> tuple[Batch, str]:
  """Returns rows that pre-training has held out, or of texts; and of which.

  Raises:
    UserError: the run's store is gone, or holds no such rows.
  """
  if texts is not None:
    batch = rows_of_texts(run.tokenizer, texts[:count], run.config.data.length)
    return batch, f"{len(batch.input_ids):,} rows of given texts"
  path = run.config.data.store
  if not path:
    raise UserError(
        "this run has no token store, so that no row of it is held out;"
        f" {TEXTS_FIX}"
    )
  try:
    store = open_store(path)
    workdirs.check_rows(run, store, TEXTS_FIX)
    split = store.split("validation")
    batch = next(
        iter(evaluation_batches(split, batch_size=min(count, split.num_rows)))
    )
  except UserError as error:
    if TEXTS_FIX in str(error):
      raise
    raise UserError(
        f"the run's held-out rows cannot be read ({error}); {TEXTS_FIX}"
    ) from error
  held = len(batch.input_ids)
  name = epath.Path(path).name  # Of the whole path a manifest must not tell.
  return batch, f"{held:,} rows of the validation split of {name}"


def rows_of_texts(
    tokenizer: Tokenizer, texts: Sequence[str], length: int
) -> Batch:
  """Makes a row of the beginning of each text."""
  if not texts:
    raise UserError("--texts holds no text to compare on; give some")
  special = tokenizer.special
  ids = np.full((len(texts), length), special.pad, np.int32)
  totals = np.zeros((len(texts), 2), np.int32)
  for number, pieces in enumerate(tokenizer.encode_batch(texts)):
    row = [special.cls, *pieces[: length - 2], special.sep]
    ids[number, : len(row)] = row
    totals[number] = len(row)
  return Batch(ids, totals)


def _with_guesses(inputs: Arrays, mask_id: int) -> dict[str, np.ndarray]:
  """Puts [MASK] in a few places of each row."""
  totals = inputs["input_mask"].sum(axis=1)
  shares = (np.arange(_GUESSES) + 0.5) / _GUESSES
  room = np.maximum(totals - 2, 1)[:, None]  # Between [CLS] and the last [SEP].
  positions = (1 + room * shares[None]).astype(np.int32)
  positions = np.minimum(positions, inputs["input_ids"].shape[1] - 1)
  ids = inputs["input_ids"].copy()
  np.put_along_axis(ids, positions, mask_id, axis=1)
  return {**inputs, "input_ids": ids, POSITIONS: positions}


def run_own(
    network: Network, config: ElectraConfig, params: Params, inputs: Arrays
) -> Iterator[Trial]:
  """Yields batches of rows with the logits of our own model, in float32.

  Args:
    network: whose.
    config: of the model it is of.
    params: of that model.
    inputs: of all rows.
  """
  model = Electra(_in_float32(config, network.config.quantization))
  head, kind = network.parts[2], network.heads[0].kind

  def logits(params, inputs):
    rows = [inputs[n] for n in ("input_ids", "input_mask", "segment_ids")]
    if kind == DETECTION:
      return model.apply(
          {"params": params}, *rows, method="replaced_token_logits"
      )
    if head == "generator_head":
      return model.apply(
          {"params": params},
          *rows,
          inputs[POSITIONS],
          method="masked_lm_logits",
      )
    states = model.apply({"params": params}, *rows, method="discriminate")
    return model.apply(
        {"params": params},
        states.sequence,
        inputs[POSITIONS],
        method="token_logits",
    )

  return run_batches(logits, params, inputs)


def run_batches(
    outputs: Callable[[Params, Arrays], jax.Array],
    params: Params,
    inputs: Arrays,
) -> Iterator[Trial]:
  """Yields batches of rows with what a function gives for them.

  Args:
    outputs: (params, inputs of a batch) -> [b, ...].
    params: its first argument.
    inputs: of all rows.
  """
  # Other devices multiply float32 in fewer digits.
  with jax.default_device(jax.local_devices(backend="cpu")[0]):
    program = jax.jit(outputs)
    for start in range(0, len(inputs["input_ids"]), _BATCH_ROWS):
      part = {n: x[start : start + _BATCH_ROWS] for n, x in inputs.items()}
      yield Trial(part, np.asarray(program(params, part)))


def _in_float32(config: ElectraConfig, quantization: str) -> ElectraConfig:
  own = {"dtype": "float32", "remat": "none", "quantization": quantization}
  return dataclasses.replace(
      config,
      **{
          name: dataclasses.replace(encoder, **own)
          for name in ("discriminator", "generator")
          if (encoder := getattr(config, name)) is not None
      },
  )


def _compare(network: Network, trial: Trial, logits: np.ndarray) -> Finding:
  expected = trial.expected
  if network.heads[0].kind == DETECTION:
    is_token = trial.inputs["input_mask"] > 0
    logits, expected = logits[is_token], expected[is_token]
    differs = (logits > 0) != (expected > 0)
  elif network.heads[0].kind == EMBEDDING:
    differs = _nearest(logits) != _nearest(expected)
  else:
    differs = logits.argmax(-1) != expected.argmax(-1)
  largest = float(np.max(np.abs(logits - expected)))
  return Finding(largest, int(differs.sum()), differs.size)


def _nearest(vectors: np.ndarray) -> np.ndarray:
  """Returns, for each text, the nearest other one of its batch."""
  likeness = vectors @ vectors.T
  np.fill_diagonal(likeness, -np.inf)
  return likeness.argmax(axis=1)
