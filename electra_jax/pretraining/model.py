"""Text in, answer out: which tokens were replaced, what fills a gap."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.models.electra import Electra, discriminator_embeddings
from electra_jax.objectives.masking import MaskedRows, mask_rows, unpack_rows
from electra_jax.pretraining.answers import Fill, MaskedRow, Score
from electra_jax.pretraining.data import warn_of_random_heads
from electra_jax.pretraining.judging import Detection, judge, to_detections
from electra_jax.pretraining.text_rows import (
    MASK,
    RowsOfTexts,
    padded_batch,
    text_rows,
)
from electra_jax.pretraining.trainer import bind, init_params_of
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.buckets import Buckets
from electra_jax.runs.networks import (
    electra_config,
    masking_config,
    method_of,
    objective_options,
    vocabulary_of,
    vocabulary_of_run,
)
from electra_jax.runs.vectors import EmbedsTexts, VectorOptions
from electra_jax.store.feed import Batch, evaluation_batches
from electra_jax.store.reader import open_store
from electra_jax.training.checkpoint import Checkpointer


class PretrainedModel(EmbedsTexts):
  """A pre-trained run, ready to answer.

  Attributes:
    config: of the run.
    tokenizer: of the run.
    params: of its networks.
  """

  def __init__(
      self,
      workdir: epath.PathLike,
      *,
      buckets: Buckets | None = None,
      mesh: Mesh | None = None,
  ):
    """Loads the newest checkpoint.

    Args:
      workdir: of the run.
      buckets: shapes that what `detect` and `fill` read is padded to, so that
        few programs are compiled; answers agree to rounding. None: rows of the
        training's length, as many as there are.
      mesh: devices over which the rows of `buckets` are split, or None for
        the first one.

    Raises:
      UserError: the folder holds no run or no checkpoint.
    """
    run = workdirs.load(workdir)
    if run.kind is not workdirs.PRETRAINING:
      raise UserError(
          f"{workdir} holds a finetune run, which detects nothing; open it with"
          " electra_jax.finetuning.model.FinetunedModel"
      )
    warn_of_random_heads(workdir, run.config)
    self.config = run.config
    self.tokenizer = run.tokenizer
    model_config = electra_config(run.config, run.tokenizer.vocab_size)
    self._model = Electra(model_config)
    abstract = jax.eval_shape(lambda: init_params_of(self._model, 0))
    with Checkpointer(workdirs.checkpoints(workdir)) as checkpointer:
      where = mesh and sharding.params_shardings(mesh, abstract)
      self.params = checkpointer.read_params(abstract, where)
      self.step = checkpointer.restored_step
    self._mesh = mesh
    self._run = run
    self._buckets = buckets
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
    return self.detect_parts(
        self.rows_of(texts), corrupted=corrupted, seed=seed
    )

  def detect_parts(
      self,
      rows: RowsOfTexts,
      *,
      corrupted: bool = False,
      seed: int = 0,
      on_batch: Callable[[int], None] = lambda rows: None,
  ) -> list[Detection]:
    """The same for texts that are rows already.

    Args:
      rows: of `rows_of`.
      corrupted: as of `detect`.
      seed: as of `detect`.
      on_batch: is told how many rows have been judged, batch by batch.
    """
    self._check_detects()
    rng = jax.random.key(seed)
    parts: list[Detection | None] = [None] * len(rows.input_ids)
    last, done = None, 0

    def take(batch, numbers, found) -> None:
      nonlocal done
      detected = to_detections(self.tokenizer, batch, *jax.device_get(found))
      for number, detection in zip(numbers, detected, strict=False):
        parts[number] = detection
      done += len(numbers)
      on_batch(done)

    for batch, numbers in self._batches(rows.input_ids):
      found = self._detect(
          self.params, self._laid_out(batch), rng, corrupted=corrupted
      )
      if last is not None:  # It is put into words while this one is computed.
        take(*last)
      last = batch, numbers, found
    if last is not None:
      take(*last)
    whole = [Detection([], [], []) for _ in range(rows.num_texts)]
    for owner, part in zip(rows.owners, parts, strict=True):
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
    self._check_detects()
    ids, probabilities = jax.device_get(
        self._detect(
            self.params, batch, jax.random.key(seed), corrupted=corrupted
        )
    )
    return to_detections(self.tokenizer, batch, ids, probabilities)

  def _check_detects(self) -> None:
    if not self._model.config.has_discriminator_head:
      raise UserError(
          "this run has no discriminator: its objective is"
          f" {self.config.objective.name!r}; use a run of 'electra'"
      )

  def fill(self, text: str, top: int = 5) -> list[Fill]:
    """Returns the generator's likeliest tokens for every [MASK] of a text.

    Raises:
      UserError: no [MASK] in the text, or a model without a generator.
    """
    return self.fill_rows(self.masks_of(text), top)

  def masks_of(self, text: str) -> list[MaskedRow]:
    """Returns a row for each [MASK] of a text.

    Raises:
      UserError: no [MASK] in the text.
    """
    rows = self.rows_of([text]).input_ids
    mask = self.tokenizer.special.mask
    masks = [
        MaskedRow(row, place)
        for row in rows
        for place, token_id in enumerate(row)
        if token_id == mask
    ]
    if not masks:
      raise UserError(f"there is no {MASK} to fill in {text!r}")
    return masks

  def mask_at(self, text: str, position: int) -> MaskedRow:
    """Returns the row of a text with [MASK] in the place of one token.

    Args:
      text: as given to `detect`.
      position: of the token among those that `detect` answers with.

    Raises:
      UserError: there is no such token, or it is a special one.
    """
    rows = self.rows_of([text]).input_ids
    total, place = sum(map(len, rows)), position
    for row in rows:
      if 0 < place < len(row) - 1:
        return MaskedRow(
            [*row[:place], self.tokenizer.special.mask, *row[place + 1 :]],
            place,
        )
      place -= len(row)
    raise UserError(
        f"position {position} is none of a word of the text, which has {total}"
        " tokens, counted from 0; [CLS] and [SEP] stay as they are"
    )

  def fill_rows(self, masks: Sequence[MaskedRow], top: int = 5) -> list[Fill]:
    """Returns the generator's likeliest tokens for one place of each row.

    Raises:
      UserError: a model without a generator.
    """
    if not self._model.config.has_generator_head:
      raise UserError(
          "this run has no generator: its objective is"
          f" {self.config.objective.name!r}; use a run of 'electra'"
      )
    fills: list[Fill | None] = [None] * len(masks)
    for batch, numbers in self._batches([mask.input_ids for mask in masks]):
      places = np.zeros((len(batch.input_ids), 1), np.int32)
      places[: len(numbers), 0] = [masks[n].place for n in numbers]
      laid_out = self._laid_out((batch, places))
      found = np.asarray(self._fill(self.params, *laid_out))[:, 0]
      for number, row in zip(numbers, found, strict=False):
        best = np.argsort(-row, kind="stable")[:top]
        fills[number] = Fill(
            self.tokenizer.tokens(best.tolist()), row[best].tolist()
        )
    return fills

  def warm_up(self, rows: int, length: int) -> None:
    """Compiles what `detect` and `fill` run on one of the buckets' shapes."""
    special = self.tokenizer.special
    batch = padded_batch(
        [[special.cls, special.sep]], rows, length, special.pad
    )
    if self._model.config.has_discriminator_head:
      self.detect_rows(batch, corrupted=False, seed=0)
    if self._model.config.has_generator_head:
      self._fill(self.params, batch, np.zeros((rows, 1), np.int32))

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
    rows = self.rows_of(texts)
    values: list[list[float]] = [[]] * len(rows.input_ids)
    for batch, numbers in self._batches(rows.input_ids):
      found = np.asarray(self._score(self.params, self._laid_out(batch)))
      for number, row in zip(numbers, found, strict=False):
        values[number] = row[1 : len(rows.input_ids[number]) - 1].tolist()
    tokens, log_likelihoods = [[] for _ in texts], [[] for _ in texts]
    for row, owner in enumerate(rows.owners):
      tokens[owner] += self.tokenizer.tokens(rows.input_ids[row][1:-1])
      log_likelihoods[owner] += values[row]
    return [
        Score(*pair, math.fsum(pair[1]))
        for pair in zip(tokens, log_likelihoods, strict=True)
    ]

  def _embedding_parts(self):
    networks = self._model.config
    params = {
        "embeddings": discriminator_embeddings(self.params, networks),
        "discriminator": self.params["discriminator"],
    }
    length = self.config.data.length
    parts = networks.discriminator, params, self.tokenizer, length
    return *parts, VectorOptions()

  def rows_of(self, texts: Sequence[str]) -> RowsOfTexts:
    """Cuts texts into rows of the training's length at most.

    Raises:
      UserError: no text.
    """
    return text_rows(self.tokenizer, texts, self.config.data.length)

  def _batches(
      self, rows: Sequence[Sequence[int]]
  ) -> Iterator[tuple[Batch, list[int]]]:
    """Yields batches with the numbers of their rows; more just fill up."""
    pad = self.tokenizer.special.pad
    if self._buckets is None:
      width = self.config.data.length  # One length to compile.
      yield padded_batch(rows, len(rows), width, pad), list(range(len(rows)))
      return
    lengths = list(map(len, rows))
    for numbers, count, length in self._buckets.parts(lengths):
      part = [rows[number] for number in numbers]
      yield padded_batch(part, count, length, pad), numbers

  def _laid_out(self, rows: Any) -> Any:
    """Splits rows over the devices, where there are several."""
    if self._mesh is None:
      return rows
    return sharding.rows_to_global(self._mesh, rows)

  def _detect_batch(self, params, batch, rng, *, corrupted: bool):
    networks = bind(self._model, params, None)
    masked = self._masked(batch, rng)
    options = self._options(with_counts=corrupted)
    return judge(networks, self._recipe, masked, options, corrupted=corrupted)

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
    # A shorter row has fewer slots: there are no more places to choose.
    masking = dataclasses.replace(masking, max_length=batch[0].shape[1])
    return mask_rows(rng, unpack_rows(*batch), masking)

  def _options(self, *, with_counts: bool):
    # The counts of a store, which may be gone, are read where they matter.
    vocabulary = vocabulary_of(self.tokenizer)
    if with_counts:
      vocabulary = vocabulary_of_run(self._run)
    return objective_options(self.config, vocabulary)
