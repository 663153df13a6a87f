"""Sources and targets of text to write -> token ids, in plain numpy.

A source is [CLS] A [SEP], or [CLS] A [SEP] B [SEP] where there is a second
text. A target is its pieces and [SEP], which ends it; what it begins with is
the network's matter. Of a target that is too long the first pieces are learnt,
and no end.
"""

from collections.abc import Sequence

import numpy as np

from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.feature_arrays import FeatureOptions, Features
from electra_jax.tasks.text_windows import text_windows
from electra_jax.text.tokenizer import Tokenizer

TARGET_IDS, TARGET_LENGTHS = "target_ids", "target_lengths"


def generation_features(
    examples: Sequence[GenerationExample],
    tokenizer: Tokenizer,
    options: FeatureOptions,
) -> Features:
  """Turns pairs into numbers; one text each, none in windows.

  Args:
    examples: of a split; one without a target has an empty one.
    tokenizer: of both sides.
    options: how long both sides may be.

  Returns:
    The sources as texts; as targets `target_ids` [n, T], T the longest of the
    split, and `target_lengths` [n], 0 without a target.
  """
  special = tokenizer.special
  firsts = tokenizer.encode_batch([e.text for e in examples])
  others = tokenizer.encode_batch([e.other_text or "" for e in examples])
  pieces = tokenizer.encode_batch([e.target or "" for e in examples])
  texts, first_lengths, cut = [], [], []
  for first, other in zip(firsts, others, strict=True):
    ((ids, length),), lost = text_windows(
        first,
        other or None,
        special,
        max_length=options.max_length,
        stride=options.max_length,
        only_first=True,
    )
    texts.append(ids)
    first_lengths.append(length)
    cut.append(lost)
  most = options.max_target_length
  targets = [
      [] if e.target is None else [*ids, special.sep][:most]
      for e, ids in zip(examples, pieces, strict=True)
  ]
  lengths = np.asarray([len(target) for target in targets], np.int32)
  table = np.full(
      (len(targets), max(lengths, default=0)), special.pad, np.int32
  )
  for row, target in zip(table, targets, strict=True):
    row[: len(target)] = target
  cut_targets = [max(len(ids) + 1 - most, 0) for ids in pieces]
  return Features(
      texts,
      np.asarray(first_lengths, np.int32),
      np.arange(len(examples), dtype=np.int32),
      {TARGET_IDS: table, TARGET_LENGTHS: lengths},
      cut_pieces=np.asarray(cut, np.int32),
      cut_target_pieces=np.asarray(cut_targets, np.int32),
  )


def share_unknown(features: Features, unknown: int) -> float:
  """Returns which share of the pieces of all targets is unknown."""
  ids, lengths = (features.targets[x] for x in (TARGET_IDS, TARGET_LENGTHS))
  is_piece = np.arange(ids.shape[1])[None] < lengths[:, None]
  return float(np.sum((ids == unknown) & is_piece) / max(lengths.sum(), 1))
