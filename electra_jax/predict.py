"""Text in, answer out: which tokens were replaced, what fills a gap."""

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.console
import rich.text
from etils import epath

from electra_jax import finetuned, programs
from electra_jax import workdir as workdirs
from electra_jax.data.feed import Batch, evaluation_batches
from electra_jax.data.store import open_store
from electra_jax.errors import UserError
from electra_jax.models.electra import Electra
from electra_jax.objectives.corruption import corrupt
from electra_jax.objectives.masking import mask_rows, unpack_rows
from electra_jax.objectives.pretraining import sample, uniform_logits
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


class Predictor:
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
          " electra_jax.finetuned.FinetunedModel"
      )
    self.config = run.config
    self.tokenizer = run.tokenizer
    model_config = programs.electra_config(run.config, run.tokenizer.vocab_size)
    self._model = Electra(model_config)
    abstract = jax.eval_shape(lambda: programs.init_params_of(self._model, 0))
    checkpointer = Checkpointer(workdirs.checkpoints(workdir))
    self._params = checkpointer.restore_params(abstract)
    checkpointer.close()
    self._masking = programs.masking_config(run.config, run.tokenizer.special)
    self._options = programs.objective_options(
        run.config, run.tokenizer.vocab_size
    )
    self._detect = jax.jit(self._detect_batch, static_argnames="corrupted")
    self._fill = jax.jit(self._fill_batch)

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
    split = open_store(self.config.data.store).split("validation")
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
    rows = unpack_rows(*batch)
    networks = programs.bind(self._model, params, None)
    masked = mask_rows(rng, rows, self._masking)
    input_ids = rows.input_ids
    if corrupted:
      if self._model.config.has_generator_head:
        logits = networks.masked_lm_logits(
            masked.masked_input_ids, masked, masked.masked_lm_positions
        )
      else:
        logits = uniform_logits(masked, self._options)
      input_ids, _ = corrupt(masked, sample(logits, masked, self._options))
    return input_ids, jax.nn.sigmoid(
        networks.replaced_token_logits(input_ids, masked)
    )

  def _fill_batch(self, params, batch, positions) -> Any:
    rows = unpack_rows(*batch)
    logits = self._model.apply(
        {"params": params}, *rows, positions, method="masked_lm_logits"
    )
    return jax.nn.softmax(logits, axis=-1)


def render(detection: Detection) -> rich.text.Text:
  """Colours one text: what was replaced, and what the discriminator says.

  A replaced token is underlined, with the original behind it. Green: found;
  yellow: missed; red: a false alarm; plain: rightly called original.
  """
  text = rich.text.Text()
  places = itertools.pairwise([*detection.tokens, ""])
  for i, (token, following) in enumerate(places):
    original = detection.originals[i]
    probability = detection.probabilities[i]
    replaced, called = token != original, probability > 0.5
    style = {
        (True, True): "bold green underline",
        (True, False): "yellow underline",
        (False, True): "red",
        (False, False): "",
    }[replaced, called]
    text.append(token.removeprefix("##").removeprefix("▁"), style=style)
    if replaced:
      shown = original.removeprefix("##").removeprefix("▁")
      text.append(f"({shown} {probability:.0%})", style="dim")
    elif called:
      text.append(f"({probability:.0%})", style="dim")
    if not following.startswith("##"):
      text.append(" ")
  return text


def suspects(detection: Detection, top: int = 3) -> list[tuple[str, float]]:
  """Returns the tokens most likely replaced, with their probabilities."""
  order = np.argsort(-np.asarray(detection.probabilities), kind="stable")
  return [
      (detection.tokens[i], detection.probabilities[i]) for i in order[:top]
  ]


def print_detections(
    workdir: epath.PathLike,
    texts: Sequence[str],
    *,
    corrupted: bool = False,
    held_out: int | None = None,
    seed: int = 0,
    as_json: bool = False,
) -> None:
  """Prints what a pre-trained model says of texts.

  Args:
    workdir: of a pretrain run.
    texts: one with [MASK] is filled in, any other judged token by token.
    corrupted: whether the generator replaces tokens first.
    held_out: judge so many corrupted held-out rows in place of texts.
    seed: of the corruption.
    as_json: a JSON object a line, in place of colours.
  """
  predictor = Predictor(workdir)
  console = rich.console.Console(highlight=False)
  gapped = [text for text in texts if MASK in text]
  for text in gapped:
    fills = predictor.fill(text)
    if as_json:
      print(json.dumps({"text": text, "fills": [f._asdict() for f in fills]}))
    else:
      _print_fills(console, text, fills)
  texts = [text for text in texts if MASK not in text]
  if held_out:
    detections = predictor.detect_held_out(held_out, seed=seed)
  elif texts or not gapped:
    detections = predictor.detect(texts, corrupted=corrupted, seed=seed)
  else:
    return
  if as_json:
    for detection in detections:
      print(json.dumps(detection._asdict()))
    return
  console.print(LEGEND)
  for detection in detections:
    console.print()
    console.print(render(detection))
    listed = ", ".join(f"{t} {p:.0%}" for t, p in suspects(detection))
    console.print(f"  most suspicious: {listed}", markup=False)


def print_answers(
    workdir: epath.PathLike,
    lines: Sequence[str],
    *,
    task: str | None = None,
    seed: int | None = None,
    question: str | None = None,
    as_json: bool = False,
) -> None:
  """Prints what a fine-tuned model answers; see `finetuned.parse_inputs`.

  Args:
    workdir: of a finetune run.
    lines: what is typed.
    task: of a model that has learned several.
    seed: whose model, or None for the best.
    question: asked of every line.
    as_json: a JSON object a line, in place of colours.
  """
  model = finetuned.FinetunedModel(workdir, seed=seed)
  one = model.task(task)
  examples = finetuned.parse_inputs(one, lines, question)
  console = rich.console.Console(highlight=False)
  for record in model.predict(examples, one.name).records:
    if as_json:
      print(json.dumps(record, ensure_ascii=False))
    else:
      console.print(finetuned.render(one, record))


def _print_fills(console, text: str, fills: Sequence[Fill]) -> None:
  console.print(text, markup=False)
  for fill in fills:
    pairs = zip(fill.tokens, fill.probabilities, strict=True)
    listed = ", ".join(f"{token} {p:.1%}" for token, p in pairs)
    console.print(f"  {MASK} {listed}", markup=False)


LEGEND = (
    "[bold green underline]replaced and found[/]  "
    "[yellow underline]replaced and missed[/]  [red]false alarm[/]  original"
    "  [dim](what stood there, probability of a replacement)[/]"
)
