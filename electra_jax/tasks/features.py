"""Examples -> token ids and targets, in plain numpy.

A text is [CLS] A [SEP], or [CLS] A [SEP] B [SEP] where B has any piece. A
sentence to tag that is too long becomes several texts, cut between words; so
does a context, and, where windows are asked for, a text to classify or to rate.

Words to tag are cut into pieces as any text is. The release alone keeps Chinese
characters inside a word together there, in pieces that its encoder never saw in
pre-training.
"""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from electra_jax.errors import UserError
from electra_jax.tasks import tag_schemes, words
from electra_jax.tasks.examples import Example, TaggedExample
from electra_jax.tasks.feature_arrays import FeatureOptions, Features
from electra_jax.tasks.generation_features import generation_features
from electra_jax.tasks.span_features import make_span_features
from electra_jax.tasks.task import Task
from electra_jax.tasks.text_groups import (
    make_groups,
    pair_of,
    training_groups,
)
from electra_jax.tasks.text_windows import text_windows
from electra_jax.text.tokenizer import Tokenizer


def make_features(
    task: Task,
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    options: FeatureOptions,
    *,
    for_training: bool = False,
) -> Features:
  """Turns the examples of a split into numbers.

  Args:
    task: of which kind they are, and which labels they may have.
    examples: of the split.
    tokenizer: of the checkpoint.
    options: how texts are cut.
    for_training: whether targets are needed and pairs may be doubled.

  Raises:
    UserError: a label is not among the task's.
  """
  if task.kind == "tagging":
    return _tagging_features(task, examples, tokenizer, options)
  if task.kind == "questions":
    return _span_features(examples, tokenizer, options, for_training)
  if task.kind == "embedding":
    return _group_features(task, examples, tokenizer, options, for_training)
  if task.kind == "generation":
    return generation_features(examples, tokenizer, options)
  return _text_features(
      task,
      examples,
      tokenizer,
      options,
      doubled=for_training and task.doubles_pairs and options.double_unordered,
  )


def with_labels(task: Task, examples: Sequence[Example]) -> Task:
  """Gives a task what its data tells: labels, ratings, scheme, pairs or not.

  Args:
    task: what it knows itself is left as it is.
    examples: of training; of tags, those of dev as well.

  Raises:
    UserError: fewer than two labels are found.
  """
  if task.kind in ("embedding", "generation"):
    return task
  if task.kind not in ("tagging", "questions"):
    takes_pairs = any(example.other_text is not None for example in examples)
    task = dataclasses.replace(task, takes_pairs=takes_pairs)
  if task.kind == "regression" and task.label_range is None:
    ratings = [e.label for e in examples if e.label is not None]
    low, high = min(ratings), max(ratings)
    label_range = (low, high if low < high else low + 1.0)
    return dataclasses.replace(task, label_range=label_range)
  if task.labels or task.kind in ("regression", "questions"):
    return task
  if task.marks_spans:
    task = _with_scheme(task, examples)
  if task.kind == "tagging":
    unit = words.find_unit(example.words for example in examples)
    task = dataclasses.replace(task, word_unit=unit)
    found = {tag for e in examples for tag in learnt_tags(task, e) or ()}
  elif task.kind == "multilabel":
    found = {label for e in examples for label in e.label or ()}
  else:
    found = {e.label for e in examples if e.label is not None}
  if len(found) < (1 if task.kind == "multilabel" else 2):
    raise UserError(
        f"the training data of {task.name} has no labels but {sorted(found)};"
        " give examples of two at least"
    )
  return dataclasses.replace(task, labels=tuple(sorted(found)))


def learnt_tags(task: Task, example: TaggedExample) -> tuple[str, ...] | None:
  """Returns the tags of an example as a model learns them, or None."""
  if example.tags is None or not task.marks_spans:
    return example.tags
  return tag_schemes.convert_tags(example.tags, tag_schemes.BIOES)


def _with_scheme(task: Task, examples: Sequence[TaggedExample]) -> Task:
  """Remembers how the data writes its tags; tells where it does not."""
  examples = [example for example in examples if example.tags is not None]
  scheme, broken = tag_schemes.find_scheme(e.tags for e in examples)
  if broken:
    logging.warning(
        "%d of %d sentences of %s have tags that are not of the scheme %s and"
        " are read as the nearest spans; the first has %s",
        len(broken),
        len(examples),
        task.name,
        scheme,
        " ".join(examples[broken[0]].tags),
    )
  return dataclasses.replace(task, tag_scheme=scheme)


def cut_note(features: Features, options: FeatureOptions) -> str:
  """Says how many examples are longer than what is read of them, or ""."""
  what, key = "texts", "data.max_length"
  if features.contexts:
    what, key = "questions", "data.max_query_length"
  if features.cut_target_pieces is not None:
    what = "sources"
  notes = (
      _cut(features.cut_pieces, what, key, options),
      _cut(
          features.cut_target_pieces,
          "targets",
          "generation.max_target_length",
          options,
      ),
  )
  return "; ".join(filter(None, notes))


def _cut(cut_pieces, what: str, key: str, options: FeatureOptions) -> str:
  if cut_pieces is None or not cut_pieces.any():
    return ""
  limit = getattr(options, key.rpartition(".")[2])
  return (
      f"{np.count_nonzero(cut_pieces):,} of {len(cut_pieces):,} {what} are"
      f" longer than config.{key}={limit} tokens and lose their end"
      f" ({int(cut_pieces.sum()):,} tokens in all)"
  )


def _text_features(task, examples, tokenizer, options, *, doubled) -> Features:
  firsts = tokenizer.encode_batch([e.text for e in examples])
  others = tokenizer.encode_batch([e.other_text or "" for e in examples])
  texts, first_lengths, numbers, weights = [], [], [], []
  cut_pieces = np.zeros(len(examples), np.int32)

  def add(number, first, second):
    windows, cut_pieces[number] = text_windows(
        first,
        second,
        tokenizer.special,
        max_length=options.max_length,
        stride=options.doc_stride,
        only_first=options.windows == "first",
    )
    for text, length in windows:
      texts.append(text)
      first_lengths.append(length)
      numbers.append(number)
      weights.append(1 / len(windows))

  pairs = [example.other_text is not None for example in examples]
  for number, is_pair in enumerate(pairs):
    add(number, firsts[number], others[number] if is_pair else None)
  if doubled:
    for number in np.flatnonzero(pairs):
      add(number, others[number], firsts[number])
  targets = _text_targets(task, examples)
  return Features(
      texts,
      np.asarray(first_lengths, np.int32),
      np.asarray(numbers, np.int32),
      {name: values[numbers] for name, values in targets.items()},
      weights=np.asarray(weights, np.float32),
      cut_pieces=cut_pieces,
  )


def _group_features(
    task, examples, tokenizer, options, for_training
) -> Features:
  found = make_groups(
      training_groups(task, examples)
      if for_training
      else [pair_of(example) for example in examples],
      tokenizer,
      options.max_length,
  )
  return Features(
      found.texts,
      np.asarray([len(text) for text in found.texts], np.int32),
      np.repeat(np.arange(len(examples), dtype=np.int32), found.group),
      {"text_ids": found.text_ids},
      cut_pieces=found.cut_pieces,
      group=found.group,
  )


def _text_targets(task, examples) -> dict[str, np.ndarray]:
  ids = {label: i for i, label in enumerate(task.labels)}
  if task.kind == "regression":
    low, high = task.label_range
    ratings = [low if e.label is None else e.label for e in examples]
    scaled = (np.asarray(ratings, np.float32) - low) / (high - low)
    return {"ratings": scaled}
  if task.kind == "multilabel":
    values = np.zeros((len(examples), len(ids)), np.float32)
    for number, example in enumerate(examples):
      for label in example.label or ():
        values[number, _label_id(ids, label, task, example)] = 1.0
    return {"labels": values}
  return {
      "labels": np.asarray(
          [
              0 if e.label is None else _label_id(ids, e.label, task, e)
              for e in examples
          ],
          np.int32,
      )
  }


def _tagging_features(task, examples, tokenizer, options) -> Features:
  ids = {label: i for i, label in enumerate(task.labels)}
  distinct = sorted({word for e in examples for word in e.words})
  # A word of control characters alone has no piece; it must have a place.
  pieces = {
      word: encoded or [tokenizer.special.unk]
      for word, encoded in zip(
          distinct, tokenizer.encode_batch(distinct), strict=True
      )
  }
  texts, numbers, places, tags = [], [], [], []
  for number, example in enumerate(examples):
    example_tags = learnt_tags(task, example) or ()
    for window in _windows(example, pieces, options.max_length - 2):
      text, word_places = [tokenizer.special.cls], []
      for word in example.words[window]:
        word_places.append(len(text))
        text += pieces[word][: options.max_length - 2]
      texts.append(np.asarray([*text, tokenizer.special.sep], np.int32))
      numbers.append(number)
      places.append(word_places)
      known = example_tags[window]
      # A tag that training has never seen is compared by name when scored.
      tags.append([ids.get(tag, 0) for tag in known])
  return Features(
      texts,
      # The release gives every token of a sentence to tag segment 1.
      np.zeros(len(texts), np.int32),
      np.asarray(numbers, np.int32),
      {
          "word_places": _padded(places),
          "labels": _padded(tags, max(map(len, places))),
          "weights": _padded([[1.0] * len(p) for p in places]).astype(
              np.float32
          ),
      },
  )


def _windows(example: TaggedExample, pieces, room):
  """Yields slices of words that fit a text."""
  start = used = 0
  for place, word in enumerate(example.words):
    size = min(len(pieces[word]), room)
    if used + size > room:
      yield slice(start, place)
      start, used = place, 0
    used += size
  yield slice(start, len(example.words))


def _span_features(examples, tokenizer, options, for_training) -> Features:
  spans, contexts = make_span_features(
      examples,
      tokenizer,
      max_length=options.max_length,
      max_query_length=options.max_query_length,
      doc_stride=options.doc_stride,
      released_answer_spans=options.released_answer_spans,
      for_training=for_training,
  )

  def array(values):
    return np.asarray(list(values), np.int32)

  return Features(
      [array(span.input_ids) for span in spans],
      array(span.first_length for span in spans),
      array(span.example for span in spans),
      {
          "starts": array(span.start for span in spans),
          "ends": array(span.end for span in spans),
          "is_impossible": array(span.is_impossible for span in spans),
      },
      spans,
      contexts,
      cut_pieces=_cut_questions(examples, tokenizer, options.max_query_length),
  )


def _cut_questions(examples, tokenizer, max_query_length) -> np.ndarray:
  questions = tokenizer.encode_batch([e.question for e in examples])
  lengths = np.asarray([len(pieces) for pieces in questions], np.int32)
  return np.maximum(lengths - max_query_length, 0)


def _label_id(ids, label, task, example) -> int:
  if label not in ids:
    raise UserError(
        f"example {example.id} of {task.name} has the label {label!r}, which"
        f" is none of {', '.join(ids)}; mend it, or add training examples of"
        " that label"
    )
  return ids[label]


def _padded(rows: list[list], width: int | None = None) -> np.ndarray:
  width = max(map(len, rows)) if width is None else width
  table = np.zeros((len(rows), width), np.int32)
  for number, row in enumerate(rows):
    table[number, : len(row)] = row
  return table
