"""Text in, answer out: which tokens were replaced, what fills a gap."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.models.electra import Electra
from electra_jax.objectives.corruption import corrupt
from electra_jax.objectives.masking import MaskedRows, mask_rows, unpack_rows
from electra_jax.pretraining.trainer import bind, init_params_of
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import (
    electra_config,
    masking_config,
    method_of,
    objective_options,
    vocabulary_of,
    vocabulary_of_run,
)
from electra_jax.store.feed import Batch, evaluation_batches
from electra_jax.store.reader import open_store
from electra_jax.training.checkpoint import Checkpointer

MASK = "[MASK]"


class Detection(NamedTuple):
  """The discriminator's verdict on one text.

  Attributes:
    tokens: the tokens it saw, [CLS] and [SEP] among them.
    originals: the tokens of the text; differ where the generator replaced.
    probabilities: of each token, that it was replaced.
  """

  tokens: list[str]
  originals: list[str]
  probabilities: list[float]


class Fill(NamedTuple):
  """The generator's guesses for one [MASK].

  Attributes:
    tokens: the likeliest first.
    probabilities: of each.
  """

  tokens: list[str]
  probabilities: list[float]


class Score(NamedTuple):
  """How likely a text is.

  Attributes:
    tokens: of the text.
    log_likelihoods: of each given all others, in nats; of an 'electric' run
      they are unnormalised.
    total: their sum, the pseudo-log-likelihood.
  """

  tokens: list[str]
  log_likelihoods: list[float]
  total: float


class PretrainedModel:
  """A pre-trained run, ready to answer."""

  def __init__(self, workdir: epath.PathLike):
    """Loads the newest checkpoint.

    Raises:
      UserError: the folder holds no run or no checkpoint.
    """
    run = workdirs.load(workdir)
    if run.kind is not workdirs.PRETRAINING:
      raise UserError(
          f"{workdir} holds a finetune run, which detects nothing; open it with"
          " electra_jax.finetuning.model.FinetunedModel"
      )
    self.config = run.config
    self.tokenizer = run.tokenizer
    model_config = electra_config(run.config, run.tokenizer.vocab_size)
    self._model = Electra(model_config)
    abstract = jax.eval_shape(lambda: init_params_of(self._model, 0))
    with Checkpointer(workdirs.checkpoints(workdir)) as checkpointer:
      self._params = checkpointer.read_params(abstract)
    self._run = run
    self._recipe = method_of(run.config)
    self._detect = jax.jit(self._detect_batch, static_argnames="corrupted")
    self._fill = jax.jit(self._fill_batch)
    self._score = jax.jit(self._score_batch)

  def detect(
      self, texts: Sequence[str], *, corrupted: bool = False, seed: int = 0
  ) -> list[Detection]:
    """Says of every token of every text how likely it was replaced.

    Args:
      texts: what to judge; one longer than a training row is judged in parts.
      corrupted: whether the generator replaces tokens first.
      seed: of the generator's masks and samples.

    Raises:
      UserError: no text, or a model without a discriminator.
    """
    batch, owners = self._encode(texts)
    parts = self.detect_rows(batch, corrupted=corrupted, seed=seed)
    whole = [Detection([], [], []) for _ in texts]
    for owner, part in zip(owners, parts, strict=True):
      for values, more in zip(whole[owner], part, strict=True):
        values += more
    return whole

  def detect_held_out(self, count: int, *, seed: int = 0) -> list[Detection]:
    """Corrupts and judges the first rows that training has held out."""
    if not self.config.data.store:
      raise UserError(
          "no token store is named: this model came without one, so that no rows"
          " are held out; give texts of yours, with --corrupt"
      )
    store = open_store(self.config.data.store)
    workdirs.check_rows(self._run, store, "give the texts themselves")
    split = store.split("validation")
    count = min(count, split.num_rows)
    batch = next(iter(evaluation_batches(split, batch_size=count)))
    return self.detect_rows(batch, corrupted=True, seed=seed)

  def detect_rows(
      self, batch: Batch, *, corrupted: bool, seed: int
  ) -> list[Detection]:
    """The same for rows of token ids."""
    if not self._model.config.has_discriminator_head:
      raise UserError(
          "this run has no discriminator: its objective is"
          f" {self.config.objective.name!r}; use a run of 'electra'"
      )
    ids, probabilities = jax.device_get(
        self._detect(
            self._params, batch, jax.random.key(seed), corrupted=corrupted
        )
    )
    detections = []
    for row, original in enumerate(np.asarray(batch.input_ids)):
      length = int(batch.segment_lengths[row, 1])
      detections.append(
          Detection(
              self.tokenizer.tokens(ids[row, :length].tolist()),
              self.tokenizer.tokens(original[:length].tolist()),
              probabilities[row, :length].tolist(),
          )
      )
    return detections

  def fill(self, text: str, top: int = 5) -> list[Fill]:
    """Returns the generator's likeliest tokens for every [MASK] of a text.

    Raises:
      UserError: no [MASK] in the text, or a model without a generator.
    """
    if not self._model.config.has_generator_head:
      raise UserError(
          "this run has no generator: its objective is"
          f" {self.config.objective.name!r}; use a run of 'electra'"
      )
    batch, _ = self._encode([text])
    rows, places = np.nonzero(batch.input_ids == self.tokenizer.special.mask)
    if not len(rows):
      raise UserError(f"there is no {MASK} to fill in {text!r}")
    batch = Batch(*(array[rows] for array in batch))
    positions = places[:, None].astype(np.int32)
    fills = []
    for row in np.asarray(self._fill(self._params, batch, positions))[:, 0]:
      best = np.argsort(-row, kind="stable")[:top]
      fills.append(
          Fill(self.tokenizer.tokens(best.tolist()), row[best].tolist())
      )
    return fills

  def score(self, texts: Sequence[str]) -> list[Score]:
    """Returns the pseudo-log-likelihood of every text.

    Special tokens do not count.

    Raises:
      UserError: no text, or a model without a generator.
    """
    if self._recipe.score is None:
      raise UserError(
          "this run has no network that gives likelihoods: its generator is"
          f" {self.config.objective.generator!r}; use a run of 'electric', or"
          " one with a masked-LM or two-tower generator"
      )
    batch, owners = self._encode(texts)
    values = np.asarray(self._score(self._params, batch))
    tokens, log_likelihoods = [[] for _ in texts], [[] for _ in texts]
    for row, owner in enumerate(owners):
      inside = slice(1, int(batch.segment_lengths[row, 1]) - 1)
      ids = batch.input_ids[row, inside].tolist()
      tokens[owner] += self.tokenizer.tokens(ids)
      log_likelihoods[owner] += values[row, inside].tolist()
    return [
        Score(*pair, math.fsum(pair[1]))
        for pair in zip(tokens, log_likelihoods, strict=True)
    ]

  def _encode(self, texts: Sequence[str]) -> tuple[Batch, list[int]]:
    """Returns rows and, for each, the text it is a part of."""
    if not texts:
      raise UserError("there is no text to predict on; give some")
    special = self.tokenizer.special
    room = self.config.data.length - 2  # Positions past it are untrained.
    rows, owners = [], []
    for owner, text in enumerate(texts):
      first, *others = self.tokenizer.encode_batch(text.split(MASK))
      ids = list(first)
      for part in others:
        ids += [special.mask, *part]
      for start in range(0, max(len(ids), 1), room):
        rows.append([special.cls, *ids[start : start + room], special.sep])
        owners.append(owner)
    width = self.config.data.length  # One shape to compile.
    padded = [row + [special.pad] * (width - len(row)) for row in rows]
    lengths = [[len(row), len(row)] for row in rows]
    batch = Batch(np.asarray(padded, np.int32), np.asarray(lengths, np.int32))
    return batch, owners

  def _detect_batch(self, params, batch, rng, *, corrupted: bool):
    networks = bind(self._model, params, None)
    masked = self._masked(batch, rng)
    options = self._options(with_counts=corrupted)
    input_ids = masked.rows.input_ids
    if corrupted:
      generated = self._recipe.generator.function(networks, masked, options)
      input_ids, _ = corrupt(masked, generated.replacements)
    logits = self._recipe.objective.detect(networks, masked, options, input_ids)
    return input_ids, jax.nn.sigmoid(logits)

  def _fill_batch(self, params, batch, positions) -> Any:
    rows = unpack_rows(*batch)
    logits = self._model.apply(
        {"params": params}, *rows, positions, method="masked_lm_logits"
    )
    return jax.nn.softmax(logits, axis=-1)

  def _score_batch(self, params, batch) -> Any:
    networks = bind(self._model, params, None)
    masked = self._masked(batch, jax.random.key(0))
    return self._recipe.score(
        networks, masked, self._run.tokenizer.special.mask
    )

  def _masked(self, batch, rng) -> MaskedRows:
    vocabulary = vocabulary_of(self.tokenizer)
    masking = masking_config(self.config, vocabulary)
    return mask_rows(rng, unpack_rows(*batch), masking)

  def _options(self, *, with_counts: bool):
    # The counts of a store, which may be gone, are read where they matter.
    vocabulary = vocabulary_of(self.tokenizer)
    if with_counts:
      vocabulary = vocabulary_of_run(self._run)
    return objective_options(self.config, vocabulary)
