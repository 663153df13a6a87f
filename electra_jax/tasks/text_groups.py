"""Texts whose vectors belong together: a text, its partner, a negative.

Of a text that has no partner, the two halves are a pair when vectors are
scored: a label that costs nothing, in which training has no part.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from electra_jax.tasks.examples import PairExample
from electra_jax.tasks.task import Task
from electra_jax.tasks.text_windows import text_windows
from electra_jax.text.tokenizer import Tokenizer


class Groups(NamedTuple):
  """Groups of texts as numbers.

  Attributes:
    texts: ids of each, special tokens included, those of a group behind each
      other.
    text_ids: [n] a number of each text, the same where texts are equal.
    cut_pieces: [m] how many pieces each group loses.
    group: texts of a group.
  """

  texts: list[np.ndarray]
  text_ids: Int[np.ndarray, " n"]
  cut_pieces: Int[np.ndarray, " m"]
  group: int


def make_groups(
    groups: Sequence[tuple[str, ...]], tokenizer: Tokenizer, max_length: int
) -> Groups:
  """Cuts each text of each group by itself.

  Args:
    groups: of equal size.
    tokenizer: of the checkpoint.
    max_length: tokens of a text at most, special tokens included.
  """
  sides, cut_pieces = [], np.zeros(len(groups), np.int32)
  for side in zip(*groups, strict=True):
    sides.append([])
    for number, pieces in enumerate(tokenizer.encode_batch(side)):
      ((ids, _),), lost = text_windows(
          pieces,
          None,
          tokenizer.special,
          max_length=max_length,
          stride=max_length,
          only_first=True,
      )
      sides[-1].append(ids)
      cut_pieces[number] += lost
  known: dict[str, int] = {}
  text_ids = [known.setdefault(text, len(known)) for g in groups for text in g]
  texts = [text for group in zip(*sides, strict=True) for text in group]
  return Groups(texts, np.asarray(text_ids, np.int32), cut_pieces, len(sides))


def training_groups(
    task: Task, examples: Sequence[PairExample]
) -> list[tuple[str, ...]]:
  """Returns what is compared in training, by the task's method."""
  if task.vectors.method != "pairs":
    # Each of the two has a dropout mask of its own.
    return [(example.text, example.text) for example in examples]
  return [
      (example.text, example.other_text)
      if example.negative is None
      else (example.text, example.other_text, example.negative)
      for example in examples
  ]


def pair_of(example: PairExample) -> tuple[str, str]:
  """Returns a text and its partner, or its two halves.

  >>> pair_of(PairExample("0", "a cat saw it", None, None, None))
  ('a cat', 'saw it')
  """
  if example.other_text is not None:
    return example.text, example.other_text
  words = example.text.split()
  if len(words) < 2:  # As in Chinese, which has no blanks.
    half = (len(example.text) + 1) // 2
    return example.text[:half], example.text[half:] or example.text
  half = (len(words) + 1) // 2
  return " ".join(words[:half]), " ".join(words[half:])
