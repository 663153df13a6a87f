"""What a user is told of the data at the start of a fine-tuning."""

from collections.abc import Mapping, Sequence

from electra_jax.finetuning import task_data
from electra_jax.finetuning.task_data import TaskData
from electra_jax.runs.console import Show
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.tasks.features import FeatureOptions, Features, cut_note
from electra_jax.tasks.generation_features import share_unknown
from electra_jax.tasks.table_checks import describe_labels
from electra_jax.tasks.task import TEXT_KINDS, Task
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.text.visible import visible

_MANY_UNKNOWN = 0.001  # Of all tokens of targets.


def show_labels(data: TaskData, show: Show) -> None:
  """Shows the balance of labels, or a tagger's tags."""
  task = data.task
  if task.kind in TEXT_KINDS:
    for split in ("train", *task.dev_splits):
      told = describe_labels(task.kind, task.labels, data.splits[split])
      show(f"labels       {split}: {told}")
  elif task.labels:
    shown = visible(", ".join(task.labels[:12]))
    more = len(task.labels) - 12
    show(f"labels       {shown}{f' and {more} more' if more > 0 else ''}")


def show_notes(
    config: FinetuneConfig,
    tasks: Sequence[TaskData],
    train_features: Mapping[str, Features],
    other_features: Mapping[tuple[str, str], Features],
    show: Show,
) -> None:
  """Shows what looks wrong in the data, and how long texts are read.

  Args:
    config: of the run.
    tasks: with their notes.
    train_features: by task.
    other_features: by task and split.
    show: takes a line.
  """
  options = task_data.feature_options(config)
  for data in tasks:
    name = data.task.name
    by_split = {"train": train_features[name]} | {
        split: features
        for (task, split), features in other_features.items()
        if task == name
    }
    for note in data.notes:
      show(f"note         {name}: {visible(note)}")
    for split, features in by_split.items():
      if note := cut_note(features, options):
        way_out = _way_out(data.task, options)
        show(f"note         {name}: in {split} {note}; {way_out}")
      texts = len(data.splits[split])
      if data.task.kind in TEXT_KINDS and len(features) > texts:
        show(
            f"windows      {name}: {texts:,} texts of {split} in"
            f" {len(features):,} windows, pooled by their {options.windows}"
        )


def show_vocabulary_notes(
    tasks: Sequence[TaskData],
    train_features: Mapping[str, Features],
    tokenizer: Tokenizer,
    show: Show,
) -> None:
  """Shows what a vocabulary cannot write of the targets."""
  for data in tasks:
    if data.task.kind != "generation":
      continue
    lost = [
        what
        for what, is_lost in (
            ("capitals", tokenizer.lowercase),
            ("accents", tokenizer.lowercase and tokenizer.strip_accents),
        )
        if is_lost
    ]
    name = data.task.name
    if lost:
      show(
          f"note         {name}: the vocabulary has no {' and no '.join(lost)},"
          " so that none are written; scores count them as they stand in the"
          " targets"
      )
    share = share_unknown(train_features[name], tokenizer.special.unk)
    if share > _MANY_UNKNOWN:
      show(
          f"note         {name}: {share:.1%} of the tokens of targets in train"
          " are unknown to the vocabulary and are never written; take one that"
          " holds them, as `electra-jax prepare --train-vocab` makes"
      )


def _way_out(task: Task, options: FeatureOptions) -> str:
  if task.kind == "questions":
    return "set a larger --config.data.max_query_length"
  if task.kind == "embedding":
    return "set a larger --config.data.max_length"
  if task.kind == "generation":
    return (
        "set a larger --config.data.max_length or"
        " --config.generation.max_target_length"
    )
  if options.windows == "first":
    return (
        "set --config.data.windows=mean (or max) to read all of a text, or a"
        " larger --config.data.max_length"
    )
  return "of two long texts in a pair the shorter keeps half of the room"
