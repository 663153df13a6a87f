"""A model as a service: requests in, what a program runs on, answers out."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from electra_jax.errors import UserError
from electra_jax.finetuning.inputs import parse_fields
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.pretraining.model import MASK, PretrainedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.buckets import Buckets, make_buckets
from electra_jax.serve.limits import Limits
from electra_jax.serve.page_facts import (
    FIELDS,
    finetuned_facts,
    pretrained_facts,
    task_fields,
)
from electra_jax.text.tokenizer import Tokenizer

_TEXTS = ("text", "other_text", "question", "context")


class Ask(NamedTuple):
  """What one input asks of a model.

  Attributes:
    program: equal ones are answered in one batch.
    run: answers inputs of any number of asks, in their order.
    inputs: for it.
    finish: makes the answer of what `run` returns for the inputs.
  """

  program: Hashable
  run: Callable[[list[Any]], list[Any]]
  inputs: list[Any]
  finish: Callable[[list[Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class ServedPretrained:
  """A pre-trained model that judges and fills in.

  Attributes:
    name: in requests.
    model: that answers.
    buckets: the shapes that it is compiled for.
    limits: of what one input may ask.
  """

  name: str
  model: PretrainedModel
  buckets: Buckets
  limits: Limits

  def describe(self) -> dict[str, Any]:
    """Returns what a page must know of it."""
    return {
        **pretrained_facts(self.name, self.model.config.data.length),
        "objective": self.model.config.objective.name,
    }

  def ask(self, fields: Mapping[str, Any], task: str | None, place: str) -> Ask:
    """Reads one input.

    Args:
      fields: "text", and where the generator is asked "positions" and "top".
      task: None.
      place: what an error message calls the input.

    Raises:
      UserError: a field is wrong, or beyond the limits.
    """
    if task is not None:
      raise UserError(
          f"task {task!r} has no meaning for {self.name}, which is pre-trained;"
          " leave it out"
      )
    _check_fields(fields, FIELDS["pretrain"], place)
    text = fields.get("text")
    if not isinstance(text, str) or not text.strip():
      raise UserError(f'{place} has no text; give some, as {{"text": "…"}}')
    _check_texts([text], place, self.limits)
    _check_tokens([text], self.model.tokenizer, place, self.limits)
    positions = fields.get("positions")
    if positions is None and MASK not in text:
      _only_of_fills(fields, "top", place)
      return Ask(
          (self.name, "detect"),
          self.model.detect,
          [text],
          lambda answers: {
              "text": text,
              **answers[0]._asdict(),
              "spans": self._spans(text, len(answers[0].tokens)),
          },
      )
    top = _whole_number(fields.get("top", 5), "top", place)
    if not 0 < top <= self.limits.candidates:
      raise UserError(
          f"{place} asks for top {top}; give 1 to {self.limits.candidates}"
      )
    if positions is None:
      masks = self.model.masks_of(text)
    else:
      masks = [
          self.model.mask_at(text, _whole_number(p, "positions", place))
          for p in _list(positions, "positions", place)
      ]
    if not 0 < len(masks) <= self.limits.places:
      raise UserError(
          f"{place} asks for {len(masks)} places; give 1 to"
          f" {self.limits.places}"
      )
    return Ask(
        (self.name, "fill"),
        self._fill,
        masks,
        lambda answers: {
            "text": text,
            "fills": [
                {
                    "tokens": f.tokens[:top],
                    "probabilities": f.probabilities[:top],
                }
                for f in answers
            ],
        },
    )

  def _fill(self, masks):
    return self.model.fill_rows(masks, self.limits.candidates)

  def _spans(self, text: str, count: int) -> list[tuple[int, int] | None]:
    """Returns the characters of each token; None of special ones."""
    ((_, offsets),) = self.model.tokenizer.encode_with_offsets([text])
    room = self.model.config.data.length - 2
    spans: list[tuple[int, int] | None] = []
    for start in range(0, max(len(offsets), 1), room):
      spans += [None, *offsets[start : start + room], None]
    if len(spans) != count:
      return [None] * count
    # A piece of SentencePiece's may begin with the blank before its word.
    return [s and (_first_letter(text, *s), s[1]) for s in spans]


@dataclasses.dataclass(frozen=True)
class ServedFinetuned:
  """A fine-tuned model that answers its tasks.

  Attributes:
    name: in requests.
    model: that answers.
    buckets: the shapes that it is compiled for.
    limits: of what one input may ask.
  """

  name: str
  model: FinetunedModel
  buckets: Buckets
  limits: Limits

  def describe(self) -> dict[str, Any]:
    """Returns what a page must know of it."""
    length = self.model.config.data.max_length
    return finetuned_facts(self.name, length, self.model.tasks.values())

  def ask(self, fields: Mapping[str, Any], task: str | None, place: str) -> Ask:
    """Reads one input.

    Args:
      fields: of the task's example, see `finetuning.inputs.parse_fields`.
      task: which one, of a model that has learned several.
      place: what an error message calls the input.

    Raises:
      UserError: a field is wrong, or beyond the limits.
    """
    one = self.model.task(task)
    _check_fields(fields, task_fields(one), place)
    words = fields.get("words")
    texts = [fields[name] for name in _TEXTS if name in fields]
    texts += words if isinstance(words, list) else []
    texts = [text for text in texts if isinstance(text, str)]
    _check_texts(texts, place, self.limits)
    example = parse_fields(one, fields, place=place)
    _check_tokens(texts, self.model.tokenizer, place, self.limits)
    return Ask(
        (self.name, one.name),
        lambda inputs: self.model.predict(inputs, one.name).records,
        [example],
        lambda answers: answers[0],
    )


Served = ServedPretrained | ServedFinetuned


def open_models(
    runs: epath.PathLike | Sequence[epath.PathLike],
    *,
    seed: int | None = None,
    limits: Limits | None = None,
) -> list[Served]:
  """Opens the models of runs, to be served.

  Args:
    runs: workdirs of pretrain or finetune runs, one or several.
    seed: finetune: whose model, or None for the best.
    limits: of the service.

  Raises:
    UserError: a folder holds no run or no checkpoint.
  """
  limits = limits or Limits()
  if isinstance(runs, str | os.PathLike):
    runs = [runs]
  served: list[Served] = []
  for workdir in runs:
    name = _name_of(workdir, {one.name for one in served})
    run = workdirs.load(workdir)
    if run.kind is workdirs.FINETUNING and run.config.task == "embedding":
      raise UserError(
          f"{workdir} has learned vectors of texts, which no page shows; leave it"
          " out, and turn texts into vectors by electra-jax embed"
      )
    if run.kind is workdirs.FINETUNING:
      buckets = make_buckets(run.config.data.max_length, limits.batch)
      model = FinetunedModel(workdir, seed=seed, buckets=buckets)
      served.append(ServedFinetuned(name, model, buckets, limits))
    else:
      buckets = make_buckets(run.config.data.length, limits.batch)
      model = PretrainedModel(workdir, buckets=buckets)
      served.append(ServedPretrained(name, model, buckets, limits))
  return served


def _name_of(workdir: epath.PathLike, taken: set[str]) -> str:
  path = os.fspath(workdir).rstrip("/")
  name = path.rpartition("/")[2]
  if name in ("", ".", ".."):
    name = pathlib.Path(path or "/").absolute().resolve().name or "model"
  unique, number = name, 2
  while unique in taken:
    unique, number = f"{name}-{number}", number + 1
  return unique


def _check_fields(fields, known, place) -> None:
  for name in fields:
    if name not in known:
      raise UserError(
          f"{place} has a field {name[:80]!r} that is none of"
          f" {', '.join(known)}; leave it out"
      )


def _check_texts(texts: Sequence[str], place: str, limits: Limits) -> None:
  total = sum(map(len, texts))
  if total > limits.characters:
    raise UserError(
        f"{place} has {total:,} characters; give at most {limits.characters:,}"
    )
  for text in texts:
    if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
      raise UserError(
          f"{place} has half of a surrogate pair, which is no character; write"
          " both halves, or the character itself"
      )


def _check_tokens(
    texts: Sequence[str], tokenizer: Tokenizer, place: str, limits: Limits
) -> None:
  total = sum(map(len, tokenizer.encode_batch(texts)))
  if total > limits.tokens:
    raise UserError(
        f"{place} has {total:,} tokens; give at most {limits.tokens:,}"
    )


def _only_of_fills(fields, name, place) -> None:
  if name in fields:
    raise UserError(
        f"{place} has {name!r}, which has a meaning for the generator alone;"
        f" give positions as well or a {MASK} in the text, or leave it out"
    )


def _whole_number(value, name, place) -> int:
  if type(value) is not int:
    raise UserError(f"{place} has no whole number under {name!r}; give one")
  return value


def _list(value, name, place) -> list:
  if not isinstance(value, list):
    raise UserError(f"{place} has no list under {name!r}; give one")
  return value


def _first_letter(text: str, start: int, end: int) -> int:
  while start < end and text[start].isspace():
    start += 1
  return start
