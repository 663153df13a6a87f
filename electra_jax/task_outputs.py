"""Files of predictions: for people, for leaderboards."""

from collections.abc import Sequence

from etils import epath

from electra_jax.tasks.examples import Example
from electra_jax.tasks.leaderboard import (
    write_leaderboard,
    write_predictions,
    write_squad_files,
)
from electra_jax.tasks.predictions import DecodeOptions, Predictions
from electra_jax.tasks.task import Task


def write_outputs(
    folder: epath.Path,
    task: Task,
    split: str,
    examples: Sequence[Example],
    answers: Predictions,
    options: DecodeOptions,
) -> None:
  """Writes a split's predictions, for people and for leaderboards.

  Args:
    folder: gets `predictions/` and, where there is a server, `leaderboard/`.
    task: of the examples.
    split: which they are.
    examples: of the split.
    answers: in their order.
    options: the threshold of "no answer".
  """
  name = f"{task.name}_{split}"
  place = folder / "predictions"
  place.mkdir(parents=True, exist_ok=True)
  write_predictions(place / f"{name}.jsonl", answers.records)
  if task.kind == "questions":
    write_squad_files(
        place,
        name,
        answers.answers,
        threshold=options.null_threshold,
        may_lack_answer=task.may_lack_answer,
    )
  if split in task.leaderboard:
    place = folder / "leaderboard"
    place.mkdir(parents=True, exist_ok=True)
    write_leaderboard(
        place / task.leaderboard[split],
        [example.id for example in examples],
        answers.values,
        task,
    )
